import tidegate


def process(message, out):
    """One message with several readings becomes one for each."""
    readings = message.need("readings")
    if not isinstance(readings, list):
        raise tidegate.Reject("field `readings` is not a list")
    for reading in readings:
        if not isinstance(reading.get("name"), str):
            raise tidegate.Reject("a reading has no name")
        out.send(topic=f"devices/{message.key}/{reading['name']}", json={"value": reading["value"]})


Transform = tidegate.transform(process)
