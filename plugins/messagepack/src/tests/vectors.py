"""Makes vectors.txt by another implementation: pip install msgpack==1.2.4; python3 vectors.py > vectors.txt

Lines of `both` hold in both directions, those of `decode` in that one.
"""

import json
import random

import msgpack

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
        return random.choice([2**64 - 1, -(2**63), 2**63, 127, 128, 255, 256, 65535, 65536, 2**32, -32, -33, -128, -129, -32769])
    if kind == 4:
        return random.choice([0.0, -0.5, 1.5, 21.6, 65504.0, 1e300, 5e-324, 100000.0])
    if kind == 5:
        return random.uniform(-1e6, 1e6)
    return "".join(random.choice("ab°ü水🦀\"\\\n ") for _ in range(random.choice([0, 3, 31, 32, 60])))


def tree(depth):
    kind = random.randrange(4) if depth else 0
    if kind == 1:
        return [tree(depth - 1) for _ in range(random.choice([0, 1, 16]))]
    if kind >= 2:
        return {f"n{random.getrandbits(12)}": tree(depth - 1) for _ in range(random.choice([0, 2, 6]))}
    return leaf()


print("# Made by msgpack", ".".join(map(str, msgpack.version)))
for value in [leaf() for _ in range(80)] + [tree(2) for _ in range(40)]:
    print("both", msgpack.packb(value).hex(), shown(value))
for value in [1.5, 21.600000381469727]:
    print("decode", msgpack.packb(value, use_single_float=True).hex(), shown(value))
print("decode", msgpack.packb(b"\x00\xff\x10").hex(), shown("AP8Q"))
print("decode", msgpack.packb({1: "one", -2: "minus two"}).hex(), shown({"1": "one", "-2": "minus two"}))
print("decode", msgpack.packb(msgpack.Timestamp(1767225600, 0)).hex(), "1767225600")
print("decode", msgpack.packb(msgpack.Timestamp(1767225600, 500000000)).hex(), "1767225600.5")
print("decode", msgpack.packb(msgpack.Timestamp(-2, 500000000)).hex(), "-1.5")
print("decode", msgpack.packb(msgpack.ExtType(5, b"abc")).hex(), shown({"type": 5, "data": "YWJj"}))
