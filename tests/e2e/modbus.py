"""Modbus devices by pymodbus, over TCP or on a serial line that is a pair of pseudo terminals.

usage: tcp PORT STATION... | line PATH STATION...   (PATH becomes a link to the gateway's end of the line)
Holding registers of each station: 0: 2301; 2: an energy of 70000 (u32); 5: none, it is refused; 6: -5; 10: how often it was read
(u32); 20: the text "meter 7"; input register 0: 99; coils 0 to 2: on, off, on. A station that is not there is silent.
"""

import asyncio
import os
import sys
import threading
import tty

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def device(station):
    count = 0

    async def read(function, start, address, asked, registers, values):
        nonlocal count
        if function == 3 and address <= 10 < address + asked:
            place = 10 - start
            registers[place : place + 2] = [count >> 16, count & 0xFFFF]
            count += 1

    words = DataType.REGISTERS
    text = [int.from_bytes(b"meter 7\0"[at : at + 2], "big") for at in range(0, 8, 2)]
    holding = [
        SimData(0, values=[2301, 0, 1, 70000 - 65536, 0], datatype=words),
        SimData(6, values=[0xFFFB], datatype=words),
        SimData(10, values=[0, 0], datatype=words),
        SimData(20, values=text, datatype=words),
    ]
    bits = [SimData(0, values=[True, False, True] + [False] * 13, datatype=DataType.BITS)]
    inputs = [SimData(0, values=[99], datatype=words)]
    return SimDevice(station, simdata=(bits, bits, holding, inputs), action=read)


def line(path):
    """Both ends of a line: the path of the server's; the gateway's is a link."""
    (ours, its), (theirs, gateway) = os.openpty(), os.openpty()
    for end in (ours, its, theirs, gateway):
        tty.setraw(end)

    def carry(one, other):
        while True:
            try:
                os.write(other, os.read(one, 256))
            except OSError:
                return

    for ends in ((ours, theirs), (theirs, ours)):
        threading.Thread(target=carry, args=ends, daemon=True).start()
    if os.path.islink(path):
        os.unlink(path)
    os.symlink(os.ttyname(gateway), path)
    return os.ttyname(its)


async def main():
    kind, where, stations = sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]]
    devices = [device(station) for station in stations]

    def unless_strange(sending, packet):
        """What is for others is not heard."""
        at = 6 if kind == "tcp" else 0
        return packet if sending or len(packet) <= at or packet[at] in stations else b""

    if kind == "tcp":
        server = ModbusTcpServer(devices, address=("127.0.0.1", int(where)), trace_packet=unless_strange)
    else:
        server = ModbusSerialServer(devices, framer=FramerType.RTU, port=line(where), baudrate=19200, trace_packet=unless_strange)
    print("serving", flush=True)
    await server.serve_forever()


asyncio.run(main())
