"""Makes vectors.txt by another implementation: pip install protobuf==7.36.2 grpcio-tools==1.85.1; python3 vectors.py > vectors.txt

The first two lines are sets of descriptors: of `reading.proto` with what it imports, and of `small.proto`.
"""

import base64
import json
import os
import random
import tempfile

import grpc_tools
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc

random.seed(2611)
HERE = os.path.dirname(os.path.abspath(__file__))


def compiled(name):
    with tempfile.NamedTemporaryFile() as file:
        include = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
        assert protoc.main(["", f"-I{HERE}", f"-I{include}", "--include_imports", f"--descriptor_set_out={file.name}", name]) == 0
        return file.read()


def reading(depth):
    made = Reading()
    whole = lambda bits, sign: random.choice([0, 1, 2**bits - 1, random.getrandbits(bits)]) * (random.choice([1, -1]) if sign else 1)
    for name, bits, sign in [("i32", 31, True), ("i64", 63, True), ("u32", 32, False), ("u64", 64, False), ("s32", 31, True), ("s64", 63, True),
                             ("f32", 32, False), ("f64", 64, False), ("sf32", 31, True), ("sf64", 63, True), ("perhaps", 31, True)]:
        if random.random() < 0.6:
            setattr(made, name, whole(bits, sign))
    made.device = random.choice(["", "d7", "größe \"7\"\n", "水🦀"])
    made.temperature = random.choice([0.0, 21.6, -0.5, 3.4e38, 1e-10])
    made.pressure = random.choice([0.0, 1013.25, random.uniform(-1e6, 1e6)])
    made.on = random.random() < 0.5
    made.raw = random.randbytes(random.choice([0, 1, 5]))
    made.state = random.choice([0, 1, -1, 7])
    made.samples.extend(whole(31, True) for _ in range(random.choice([0, 1, 4])))
    made.tags.extend(random.choice(["", "a", "ü"]) for _ in range(random.choice([0, 2])))
    for name in random.sample(["a", "b", "ü"], random.choice([0, 0, 0, 1, 3])):
        made.by_name[name] = random.choice([0.0, 1.5])
    for number in random.sample([-1, 0, 7], random.choice([0, 0, 0, 1, 3])):
        made.by_number[number].latitude = random.choice([0.0, 47.5])
    for place in range(random.choice([0, 1, 3])):
        made.way.add(latitude=random.choice([0.0, 47.5]), longitude=place)
    if random.random() < 0.5:
        made.place.latitude = 47.3769
    if random.random() < 0.6:
        setattr(made, *random.choice([("text", ""), ("text", "x"), ("number", 0), ("number", -5)]))
    if random.random() < 0.5:
        made.at.FromJsonString(random.choice(["2026-03-29T00:59:00Z", "1969-12-31T23:59:59.500Z", "2026-01-01T00:00:00.000001Z"]))
        made.took.FromJsonString(random.choice(["1.500s", "-3s", "0.000000001s"]))
        made.more.update(random.choice([{}, {"a": 1.5, "b": [True, None, "x", {"c": -2}]}]))
        made.wrapped.value = random.choice([0.0, 2.5])
        made.any.add(string_value="x")
        made.any.add(null_value=0)
    if depth and random.random() < 0.5:
        made.inner.CopyFrom(reading(depth - 1))
    return made


large, small = compiled("reading.proto"), compiled("small.proto")
pool = descriptor_pool.DescriptorPool()
for file in descriptor_pb2.FileDescriptorSet.FromString(large).file:
    pool.AddSerializedFile(file.SerializeToString())
Reading = message_factory.GetMessageClass(pool.FindMessageTypeByName("acme.Reading"))
print(base64.b64encode(large).decode())
print(base64.b64encode(small).decode())
for _ in range(30):
    made = reading(1)
    shown = json_format.MessageToDict(made, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    print(made.SerializeToString(deterministic=True).hex(), json.dumps(shown, ensure_ascii=False, separators=(",", ":")))
