from dataclasses import dataclass

import tidegate

devices = tidegate.State(initial=lambda: {"heard_us": 0, "is_silent": False})


@dataclass
class Settings:
    after: tidegate.Duration


def alarm(out, device, state):
    out.send(port="alarms", topic=f"alarms/{device}/silence", key=device, json={"device": device, "state": state})


def process(message, out, settings):
    """An alarm when a device falls silent, and its end when it is back."""
    device = devices.of(message.key)
    device["heard_us"] = message.running_us
    out.pass_on()
    if device["is_silent"]:
        alarm(out, message.key, "back")
    device["is_silent"] = False


def tick(out, settings):
    now_us = tidegate.host.running_us()
    for key, device in list(devices.items()):
        if not device["is_silent"] and now_us - device["heard_us"] >= settings.after * 1e6:
            devices[key] = device | {"is_silent": True}
            alarm(out, key, "silent")


Transform = tidegate.transform(process, Settings, ports=["alarms"], tick_every=lambda settings: settings.after / 6, state=devices)
Timer = tidegate.timer(tick, Transform)
State = tidegate.state(devices)
