"""Posts readings over CoAP with aiocoap.

usage: PORT DEVICES: numbered readings of so many devices, each again and again until it gets its 2.04. At SIGTERM each device ends behind the
reading that is under way; then it says how many were accepted: these are the numbers from 0 on, without a gap.
       PORT each: one reading of each kind: one that wants an acknowledgement, one that wants none, and one in blocks; and what each was answered.
"""

import asyncio
import json
import logging
import signal
import sys

import aiocoap
from aiocoap import POST, Context, Message

# A gateway that is killed is no news.
logging.disable(logging.CRITICAL)
port, what = int(sys.argv[1]), sys.argv[2]


def reading(device, seq, padding="", **options):
    body = {"device": device, "seq": seq, "temperature": 21.5, "padding": padding}
    uri = f"coap://127.0.0.1:{port}/devices/{device}/telemetry"
    return Message(code=POST, uri=uri, payload=json.dumps(body).encode(), content_format=50, **options)


async def each():
    context = await Context.create_client_context()
    kinds = {
        "confirmable": reading("d0", 0),
        "unconfirmed": reading("d1", 0, transport_tuning=aiocoap.Unreliable),
        "blocks": reading("d2", 0, padding="x" * 20_000),
        "nowhere": Message(code=POST, uri=f"coap://127.0.0.1:{port}/elsewhere", payload=b"x"),
        "fetched": Message(code=aiocoap.GET, uri=f"coap://127.0.0.1:{port}/devices/d0/telemetry"),
        "endless": reading("d2", 1, padding="x" * 300_000),
    }
    for kind, message in kinds.items():
        response = await context.request(message).response
        print(f"{kind} {response.code.dotted}", flush=True)
    await context.shutdown()


async def accepted(context, device, seq):
    try:
        request = context.request(reading(device, seq)).response
        return (await asyncio.wait_for(request, 5)).code == aiocoap.CHANGED
    except (aiocoap.error.Error, OSError, asyncio.TimeoutError):
        # Nobody listens, no answer, or 5.03: it may have been taken, and is sent again.
        await asyncio.sleep(0.01)
        return False


async def post(device, stop):
    # One of its own: a client has one request to a server under way.
    context = await Context.create_client_context()
    seq = 0
    while not stop.is_set():
        while not await accepted(context, device, seq):
            pass
        seq += 1
    await context.shutdown()
    return device, seq


async def many(devices):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    posts = [post(f"d{number}", stop) for number in range(devices)]
    for device, count in await asyncio.gather(*posts):
        print(f"accepted {device} {count}", flush=True)


asyncio.run(each() if what == "each" else many(int(what)))
