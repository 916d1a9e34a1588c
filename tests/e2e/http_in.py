"""Posts numbered readings, one device a thread, each again and again until it gets its 202.

usage: URL DEVICES [CA]. At SIGTERM each thread ends behind the reading that is under way; then it says how many were accepted:
these are the numbers from 0 on, without a gap.
"""

import json
import signal
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request

url, devices = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile=sys.argv[3]) if len(sys.argv) > 3 else None
stop = threading.Event()
counts = {}
signal.signal(signal.SIGTERM, lambda *_: stop.set())


def accepted(device, seq):
    body = json.dumps({"device": device, "seq": seq, "temperature": 21.5}).encode()
    request = urllib.request.Request(f"{url}/devices/{device}/telemetry", data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return answer.status == 202
    except (urllib.error.URLError, OSError, ValueError):
        # Refused, cut off, or 503: it may have been taken, and is sent again.
        time.sleep(0.01)
        return False


def post(device):
    seq = 0
    while not stop.is_set():
        while not accepted(device, seq):
            pass
        seq += 1
    counts[device] = seq


threads = [threading.Thread(target=post, args=(f"d{number}",)) for number in range(devices)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    for thread in threads:
        thread.join(0.1)
for device, count in counts.items():
    print(f"accepted {device} {count}", flush=True)
