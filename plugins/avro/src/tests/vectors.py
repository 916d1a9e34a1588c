"""Makes vectors.txt by another implementation: pip install fastavro==1.13.1; python3 vectors.py > vectors.txt

A line has a schema, its fingerprint, a value in Avro, and the value in JSON, with tabs between them.
"""

import base64
import decimal
import io
import json
import random

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

random.seed(2611)

READING = {
    "type": "record", "name": "Reading", "namespace": "acme", "doc": "what a device says", "aliases": ["Old"],
    "fields": [
        {"name": "device", "type": "string", "doc": "its name"},
        {"name": "count", "type": "int", "default": 0},
        {"name": "total", "type": "long"},
        {"name": "temperature", "type": ["null", "float"], "default": None},
        {"name": "pressure", "type": "double", "order": "ignore"},
        {"name": "on", "type": {"type": "boolean"}},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["IDLE", "BUSY"]}},
        {"name": "before", "type": ["null", "State"]},
        {"name": "raw", "type": "bytes"},
        {"name": "mac", "type": {"type": "fixed", "name": "other.Mac", "size": 6}},
        {"name": "samples", "type": {"type": "array", "items": "long"}},
        {"name": "by_name", "type": {"type": "map", "values": ["double", "string"]}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "next", "type": ["null", "Reading"]},
    ],
}
OTHERS = [
    "null", "boolean", "int", "long", "float", "double", "bytes", "string", ["null", "string"],
    {"type": "array", "items": {"type": "array", "items": "int"}},
    {"type": "map", "values": "double"},
    {"type": "enum", "name": "a.b.Word", "symbols": ["A", "B"]},
    {"type": "fixed", "name": "Four", "size": 4, "namespace": "x.y"},
    {"type": "fixed", "name": "Price", "size": 5, "logicalType": "decimal", "precision": 9, "scale": 3},
    {"type": "record", "name": "Empty", "fields": []},
]


def of(schema, depth=2):
    if isinstance(schema, list):
        return of(random.choice([kind for kind in schema if depth or kind != "Reading"]), depth)
    kind = schema if isinstance(schema, str) else schema["type"]
    if isinstance(kind, dict):
        return of(kind, depth)
    if not isinstance(schema, str) and schema.get("logicalType") == "decimal":
        scale = schema["scale"]
        return decimal.Decimal(random.choice([0, 1, -1, 127, 128, -129, random.getrandbits(20), -random.getrandbits(20)])).scaleb(-scale)
    match kind:
        case "null": return None
        case "boolean": return random.random() < 0.5
        case "int": return random.choice([0, -1, 2**31 - 1, -(2**31), random.getrandbits(12)])
        case "long": return random.choice([0, 63, 64, -64, -65, 2**63 - 1, -(2**63), random.getrandbits(40)])
        case "float": return random.choice([0.0, -0.5, 21.5, 1e10])
        case "double": return random.choice([0.0, 1013.25, random.uniform(-1e6, 1e6)])
        case "bytes": return random.randbytes(random.choice([0, 1, 5]))
        case "string": return random.choice(["", "d7", "größe \"7\"\n", "水🦀"])
        case "fixed": return random.randbytes(schema["size"])
        case "enum": return random.choice(schema["symbols"])
        case "array": return [of(schema["items"], depth) for _ in range(random.choice([0, 1, 3]))]
        case "map": return {name: of(schema["values"], depth) for name in random.sample(["a", "b", "ü"], random.choice([0, 1, 3]))}
        case "State": return random.choice(["IDLE", "BUSY"])
        case "Reading": return of(READING, depth - 1)
        case "record": return {field["name"]: of(field["type"], depth) for field in schema["fields"]}


def shown(value):
    match value:
        case bytes(): return base64.b64encode(value).decode()
        case decimal.Decimal(): return float(value)
        case dict(): return {name: shown(inner) for name, inner in value.items()}
        case list(): return [shown(inner) for inner in value]
    return value


def plain(schema):
    """Without what would make dates of numbers."""
    return json.loads(json.dumps(schema).replace('"logicalType": "timestamp-millis"', '"x": 1'))


for schema in [READING] * 20 + [schema for schema in OTHERS for _ in range(3)]:
    value, out = of(schema), io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(schema)), value)
    print(json.dumps(schema), fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"), out.getvalue().hex(),
          json.dumps(shown(value), ensure_ascii=False, separators=(",", ":")), sep="\t")
