import tidegate


def process(message, out):
    """A reading in JSON and °C becomes a line of text in °F."""
    fahrenheit = message.number("temperature") * 1.8 + 32
    out.emit(f"{message.key};{fahrenheit:.1f};{message.number('humidity'):.1f}")


Transform = tidegate.transform(process)
