from dataclasses import dataclass

import tidegate


@dataclass
class Settings:
    limit: float


def keep(message, settings):
    """Keeps readings whose temperature is above `limit`."""
    return message.number("temperature") > settings.limit


Transform = tidegate.filter(keep, Settings)
