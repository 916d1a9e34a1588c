"""Somebody else's client of Kafka, for the end-to-end cases: a question a line in, an answer a line out, both JSON."""
import json
import sys

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic
from kafka.partitioner import murmur2

SERVERS = sys.argv[1]


def admin(work):
    client = KafkaAdminClient(bootstrap_servers=SERVERS, request_timeout_ms=20_000)
    try:
        return work(client)
    finally:
        client.close()


def consumer(work):
    client = KafkaConsumer(bootstrap_servers=SERVERS, enable_auto_commit=False)
    try:
        return work(client)
    finally:
        client.close()


def make(topic, partitions, replicas, configs):
    new = NewTopic(topic, partitions, replicas, topic_configs=configs)
    admin(lambda client: client.create_topics([new], timeout_ms=15_000))


def topics():
    """Asked without a name, so that none is made by it."""
    return sorted(admin(lambda client: client.list_topics()))


def leaders(topic):
    told = admin(lambda client: client.describe_topics([topic]))[0]
    return len({part["leader_id"] for part in told["partitions"]})


def parts(client, topic):
    if topic not in topics():
        return []
    return [TopicPartition(topic, number) for number in sorted(client.partitions_for_topic(topic) or [])]


def count(topic):
    return consumer(lambda client: sum(client.end_offsets(parts(client, topic)).values()))


def records(topic):
    """All of them, each partition in its order."""

    def read(client):
        own = parts(client, topic)
        ends = client.end_offsets(own)
        client.assign(own)
        client.seek_to_beginning(*own)
        found = []
        while any(client.position(part) < ends[part] for part in own):
            for part, batch in client.poll(timeout_ms=1_000, max_records=10_000).items():
                for record in batch:
                    text = lambda value: (value or b"").decode(errors="replace")
                    headers = {name: text(value) for name, value in record.headers}
                    found.append([part.partition, record.timestamp, text(record.key), text(record.value)[:2_000], headers])
        found.sort(key=lambda record: record[0])
        return found

    return consumer(read)


def partition(key, among):
    """Where Java's producers would put it."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % among


KNOWN = {work.__name__: work for work in (make, topics, leaders, count, records, partition)}

for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = {"said": KNOWN[name](*arguments)}
    except Exception as error:  # The case says what is wrong with it.
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
