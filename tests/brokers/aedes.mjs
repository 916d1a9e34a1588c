// aedes with its defaults: a broker in RAM, MQTT 3.1.1. The ports are the arguments: for MQTT, and for MQTT over WebSockets.
import { createServer } from 'node:net'
import { createServer as createWebServer } from 'node:http'
import { Aedes } from 'aedes'
import { WebSocketServer, createWebSocketStream } from 'ws'

const broker = await Aedes.createBroker()
const server = createWebServer()
const handleProtocols = (offered) => offered.has('mqtt') && 'mqtt'
const sockets = new WebSocketServer({ server, path: '/mqtt', handleProtocols })
sockets.on('connection', (socket, request) => {
  const stream = createWebSocketStream(socket)
  // A client that is cut off is no end of the broker.
  stream.on('error', () => {})
  broker.handle(stream, request)
})
server.listen(Number(process.argv[3]), '127.0.0.1')
createServer(broker.handle).listen(Number(process.argv[2]), '127.0.0.1')
