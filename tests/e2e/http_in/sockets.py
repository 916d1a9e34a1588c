"""Sends numbered readings over WebSockets, one device a thread, some ahead of their acknowledgements; those that have none when the
connection ends are sent again on the next one.

usage: PORT DEVICES. At SIGTERM each thread ends; then it says how many were acknowledged: these are the numbers from 0 on,
without a gap.
"""

import base64
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

port, devices = int(sys.argv[1]), int(sys.argv[2])
AHEAD = 32
stop = threading.Event()
counts = {}
signal.signal(signal.SIGTERM, lambda *_: stop.set())


def opened(device):
    stream = socket.create_connection(("127.0.0.1", port), timeout=60)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET /devices/{device}/telemetry HTTP/1.1",
        "Host: gateway",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    ]
    stream.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    reader = stream.makefile("rb")
    if reader.readline().split()[1] != b"101":
        raise OSError("not let in")
    expected = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
    accepted = False
    while (line := reader.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        accepted |= name.lower() == b"sec-websocket-accept" and value.strip() == expected
    if not accepted:
        raise SystemExit("the key of the handshake is wrong")
    return stream, reader


def frame(payload):
    mask = os.urandom(4)
    size = len(payload)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def heard(reader):
    """The next acknowledgement."""
    while True:
        head = reader.read(2)
        if len(head) < 2 or head[0] & 15 == 8:
            raise OSError("closed")
        size = head[1] & 127
        if size == 126:
            (size,) = struct.unpack("!H", reader.read(2))
        payload = reader.read(size)
        if head[0] & 15 == 1:
            return json.loads(payload)["ack"]


def send(device):
    safe = 0
    while not stop.is_set():
        try:
            stream, reader = opened(device)
            first = sent = safe
            while not stop.is_set():
                while sent < safe + AHEAD:
                    reading = {"device": device, "seq": sent, "temperature": 21.5}
                    stream.sendall(frame(json.dumps(reading).encode()))
                    sent += 1
                if first + heard(reader) != safe + 1:
                    raise SystemExit("an acknowledgement is out of order")
                safe += 1
        except (OSError, ValueError, struct.error, IndexError):
            # Refused, or cut off: what has no acknowledgement may have been taken, and is sent again.
            time.sleep(0.01)
    counts[device] = safe


threads = [threading.Thread(target=send, args=(f"d{number}",)) for number in range(devices)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    for thread in threads:
        thread.join(0.1)
for device, count in counts.items():
    print(f"accepted {device} {count}", flush=True)
