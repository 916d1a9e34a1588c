"""Makes vectors.txt by another implementation: pip install cbor2==6.3.0; python3 vectors.py > vectors.txt

Lines of `both` hold in both directions, those of `decode` in that one.
"""

import datetime
import json
import random
import struct

import cbor2

random.seed(2611)


def shown(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def leaf():
    kind = random.randrange(8)
    if kind == 0:
        return random.choice([None, True, False])
    if kind <= 2:
        return random.choice([1, -1]) * random.getrandbits(random.randrange(1, 64))
    if kind == 3:
        return random.choice([2**64 - 1, -(2**63), 2**63, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, -24, -25, -256, -257])
    if kind == 4:
        return random.choice([0.0, -0.5, 1.5, 21.6, 65504.0, 65536.5, 1e300, 5e-324, 3.4028234663852886e38, 100000.0])
    if kind == 5:
        return random.uniform(-1e6, 1e6)
    return "".join(random.choice("ab°ü水🦀\"\\\n ") for _ in range(random.choice([0, 3, 23, 24, 40])))


def tree(depth):
    kind = random.randrange(4) if depth else 0
    if kind == 1:
        return [tree(depth - 1) for _ in range(random.choice([0, 1, 4]))]
    if kind >= 2:
        names = {f"n{random.getrandbits(12)}" for _ in range(random.choice([0, 2, 6]))}
        # In the order of the canonical form, so that both directions can be compared.
        return {name: tree(depth - 1) for name in sorted(names, key=lambda name: (len(name), name))}
    return leaf()


def indefinite(parts, start, end=b"\xff"):
    return start + b"".join(parts) + end


print("# Made by cbor2 6.3.0")
for value in [leaf() for _ in range(80)] + [tree(2) for _ in range(40)]:
    print("both", cbor2.dumps(value, canonical=True).hex(), shown(value))
for value in [tree(2) for _ in range(10)]:
    print("decode", cbor2.dumps(value).hex(), shown(value))
for value in [1.5, 21.600000381469727, -0.25]:
    print("decode", (b"\xfa" + struct.pack(">f", value)).hex(), shown(value))
print("decode", cbor2.dumps(datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), timezone=None).hex(), shown("2026-01-01T00:00:00Z"))
print("decode", cbor2.dumps(cbor2.CBORTag(55799, [1, {"a": 2}])).hex(), shown([1, {"a": 2}]))
print("decode", cbor2.dumps(cbor2.undefined).hex(), "null")
print("decode", cbor2.dumps({1: "one", -2: "minus two"}).hex(), shown({"1": "one", "-2": "minus two"}))
print("decode", cbor2.dumps(b"\x00\xff\x10").hex(), shown("AP8Q"))
print("decode", indefinite([cbor2.dumps(1), cbor2.dumps([2])], b"\x9f").hex(), shown([1, [2]]))
print("decode", indefinite([cbor2.dumps("a"), cbor2.dumps(None)], b"\xbf").hex(), shown({"a": None}))
print("decode", indefinite([cbor2.dumps("ab"), cbor2.dumps("ü")], b"\x7f").hex(), shown("abü"))
print("decode", indefinite([cbor2.dumps(b"\x00"), cbor2.dumps(b"\xff\x10")], b"\x5f").hex(), shown("AP8Q"))
