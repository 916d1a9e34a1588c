"""A meter for the example, in place of a real one: Modbus TCP on port 15020, whose voltage rises and falls.

Holding register 0 is the voltage in tenths of a volt; 2 and 3 are an energy in watt hours; register 5 is refused.
"""

import math
import socketserver
import time

START = time.time()


def registers():
    passed = time.time() - START
    energy = 70_000 + int(passed)
    return {0: 2301 + int(250 * math.sin(passed / 5)), 1: 0, 2: energy >> 16, 3: energy & 0xFFFF}


class Meter(socketserver.StreamRequestHandler):
    def handle(self):
        while request := self.rfile.read(12):
            first, count = (int.from_bytes(request[at : at + 2], "big") for at in (8, 10))
            now = registers()
            if request[7] == 3 and all(one in now for one in range(first, first + count)):
                data = b"".join(now[one].to_bytes(2, "big") for one in range(first, first + count))
                body = bytes([request[6], 3, len(data)]) + data
            else:
                body = bytes([request[6], request[7] | 0x80, 2])
            self.wfile.write(request[:4] + len(body).to_bytes(2, "big") + body)


socketserver.ThreadingTCPServer.allow_reuse_address = True
with socketserver.ThreadingTCPServer(("127.0.0.1", 15020), Meter) as server:
    server.daemon_threads = True
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
