"""Topic patterns mean what RabbitMQ takes them for."""

from itertools import product

from bridge.core.routing import TopicPattern
from tests.helpers import amqp

WORDS = ("a", "b", "")

PATTERNS = sorted({".".join(words) for n in range(4) for words in product("*#a", repeat=n)})
PATTERNS += ["a..#", "#..a", ".", "*..#.", "#.#.#.a", "#.*.#.*", "a.#.#.b.#"]

KEYS = sorted({".".join(words) for n in range(4) for words in product(WORDS, repeat=n)})
KEYS += ["a.b.a.b", "a..a.b", "b.b.b.b.a"]


def test_every_pattern_gets_what_rabbitmq_gives_it(broker):
    """A queue for each pattern receives just the keys that the bridge says it matches."""
    with amqp(broker) as channel:
        channel.exchange_declare("patterns", "topic")
        for pattern in PATTERNS:
            channel.queue_declare(f"of {pattern}", durable=True)
            channel.queue_bind(f"of {pattern}", "patterns", pattern)
        channel.confirm_delivery()
        for key in KEYS:
            channel.basic_publish("patterns", key, key.encode())
        received = {each: gotten(channel, f"of {each}") for each in PATTERNS}

    expected = {each: [key for key in KEYS if TopicPattern(each).matches(key)] for each in PATTERNS}
    assert expected == received


def gotten(channel, queue):
    """Return the bodies of all that a queue holds."""
    bodies = iter(lambda: channel.basic_get(queue, auto_ack=True)[2], None)
    return [body.decode() for body in bodies]
