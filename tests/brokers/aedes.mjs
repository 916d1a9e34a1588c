// aedes with its defaults: a broker in RAM, MQTT 3.1.1. The port is the argument.
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const broker = await Aedes.createBroker()
createServer(broker.handle).listen(Number(process.argv[2]), '127.0.0.1')
