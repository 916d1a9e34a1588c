"""A serial line that is a pair of pseudo terminals.

usage: PATH PORT   (PATH becomes a link to the gateway's end; whoever connects to PORT on loopback has the other one)
The end of this program is what pulling an adapter is: the gateway's end breaks.
"""

import os
import select
import socket
import sys
import tty

path, port = sys.argv[1], int(sys.argv[2])
ours, gateway = os.openpty()
tty.setraw(ours)
tty.setraw(gateway)
if os.path.islink(path):
    os.unlink(path)
os.symlink(os.ttyname(gateway), path)
listener = socket.create_server(("127.0.0.1", port))
print("serving", flush=True)
while True:
    device, _ = listener.accept()
    while True:
        ready, _, _ = select.select([device, ours], [], [])
        if ours in ready:
            device.sendall(os.read(ours, 4096))
        if device in ready:
            sent = device.recv(4096)
            if not sent:
                break
            while sent:
                sent = sent[os.write(ours, sent) :]
