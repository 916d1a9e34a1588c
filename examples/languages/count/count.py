import tidegate

counts = tidegate.State(initial=int)


def process(message, out):
    """Counts the messages of each device."""
    counts[message.key] = counts.of(message.key) + 1
    out.emit_json({"device": message.key, "count": counts[message.key]})


Transform = tidegate.transform(process, state=counts)
State = tidegate.state(counts)
