"""Makes vectors.txt by another implementation: pip install bthome-ble==3.25.0 cryptography==50.0.2; python3 vectors.py > vectors.txt"""

import contextlib
import io
import json
import random

from bluetooth_data_tools import monotonic_time_coarse
from bthome_ble import BTHomeBluetoothDeviceData
from bthome_ble.bthome_v2_encryption import encrypt_payload
from bthome_ble.const import MEAS_TYPES
from habluetooth import BluetoothServiceInfoBleak

random.seed(2611)

ADDRESS, KEY = "54:48:E6:8F:80:A5", bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
# Our names where they are others: by class and unit.
NUMBERS = {"pm25": "pm2_5", "volatile_organic_compounds": "tvoc", "carbon_dioxide": "co2", "light": "illuminance"}
TRUTHS = {
    "power": "power_on", "battery": "battery_low", "gas": "gas_detected", "light": "light_detected", "lock": "unlocked",
    "moisture": "moisture_detected",
}


def told(data, key=None):
    """What bthome-ble makes of service data."""
    parser = BTHomeBluetoothDeviceData(bindkey=key)
    info = BluetoothServiceInfoBleak(
        name="d7", address=ADDRESS, rssi=-60, manufacturer_data={}, service_data={"0000fcd2-0000-1000-8000-00805f9b34fb": data},
        service_uuids=[], source="", device=None, advertisement=None, connectable=False, time=monotonic_time_coarse(), tx_power=None,
    )
    update, fields = parser.update(info), {}
    for key, value in update.entity_values.items():
        if key.key == "signal_strength":
            continue
        name, number = (key.key[:-2], key.key[-2:]) if key.key[-2:-1] == "_" else (key.key, "")
        unit, said = update.entity_descriptions[key].native_unit_of_measurement, value.native_value
        if unit in ("mm", "mL") and name != "precipitation":
            said = round(said / 1000, 3)
        if name == "timestamp":
            said = int(said.timestamp())
        fields[("mass_lb" if unit == "lb" else NUMBERS.get(name, name)) + number] = said
    for key, value in update.binary_entity_values.items():
        fields[TRUTHS.get(key.key, key.key)] = value.native_value
    for key, value in update.events.items():
        event, more = value.event_type, value.event_properties
        if more and "args" in more:
            more = {"arguments": more["args"]}
        fields[key.key] = event if more is None else {"event": event, **more}
    if parser.device_type_id is not None:
        fields["device_type"] = parser.device_type_id
    return fields


def bytes_of(id):
    kind = MEAS_TYPES[id]
    if kind.data_format == "string":
        word = "".join(random.choice("ab°ü水\"\\ ") for _ in range(random.choice([1, 5, 20]))).encode()
        return bytes([len(word)]) + word
    if kind.data_format == "raw":
        word = random.randbytes(random.choice([1, 5, 20]))
        return bytes([len(word)]) + word
    if kind.data_format == "command":
        arguments = random.randbytes(random.choice([0, 1, 3]))
        return bytes([len(arguments), random.randrange(5)]) + arguments
    name = str(kind.meas_format)
    if name == "button":
        return bytes([random.choice([1, 2, 3, 4, 5, 6, 0x80, 0x81])])
    if name == "dimmer":
        return bytes([random.choice([1, 2]), random.randrange(256)])
    if "Binary" in type(kind.meas_format).__name__:
        return bytes([random.randrange(2)])
    return random.choice([random.randbytes(kind.data_length), b"\xff" * kind.data_length, bytes(kind.data_length)])


def show(data, key=None):
    print("sealed" if key else "plain", data.hex(), json.dumps(told(data, key), ensure_ascii=False, separators=(",", ":")))


print("# Made by bthome-ble 3.25.0")
ids = [id for id in MEAS_TYPES if id not in (0xF1, 0xF2)]
for id in ids:
    for _ in range(2 if "Binary" in type(MEAS_TYPES[id].meas_format).__name__ else 3):
        show(b"\x40" + bytes([id]) + bytes_of(id))
for several in [[0x00, 0x01, 0x02, 0x03], [0x02, 0x02, 0x45, 0x57], [0x3A, 0x3A], [0x0A, 0x4D, 0x0B, 0x0C], [0x01, 0x15, 0x10, 0x0B], [0x05, 0x1E, 0x21, 0x2D]]:
    for _ in range(3):
        show(b"\x44" + b"".join(bytes([id]) + bytes_of(id) for id in sorted(several)))
for count in [0, 7, 1_122_867, 2**32 - 1]:
    for several in [[0x02, 0x03], [0x00, 0x01, 0x21], [0x53]]:
        data = b"".join(bytes([id]) + bytes_of(id) for id in several)
        with contextlib.redirect_stdout(io.StringIO()):
            sealed = encrypt_payload(data, bytes.fromhex(ADDRESS.replace(":", "")), b"\xd2\xfc", b"\x41", count.to_bytes(4, "little"), KEY)
        show(sealed[2:], KEY)
