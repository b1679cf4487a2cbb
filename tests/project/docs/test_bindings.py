"""docs/binding-cookbook.md, every line of it on a real topic exchange."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from bridge.broker.topology import Topology
from bridge.core.routing import TopicPattern
from bridge.dev.rabbitmq import RabbitMQNode
from bridge.dev.samples import encode, known_events, sample
from bridge.settings import load
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse
from tests.helpers import amqp
from tests.project.docs.documents import Row, blocks, document, section, spans, table
from tests.project.docs.events import delivery, published

PAGE = "binding-cookbook.md"
LINES = table(PAGE, "Binding cookbook")
IDS = [row["You want"] for row in LINES]
GET, MISS = "You get, for example", "You do not get"

DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/"

each_line = pytest.mark.parametrize("row", LINES, ids=IDS)


def routing_key(event: str) -> str:
    """Return the key with which the bridge publishes an event."""
    came = delivery(encode(sample(event)))
    return published(normalize(parse(came.body), delivery=came)[0], came).routing_key


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """Return the routing key of every known event, and of all that the page mentions."""
    mentioned = {event for row in LINES for event in spans(row[GET]) + spans(row[MISS])}
    return {event: routing_key(event) for event in [*known_events(), *sorted(mentioned)]}


@pytest.fixture(scope="module")
def received(node: RabbitMQNode, keys: dict[str, str]) -> dict[str, list[str]]:
    """Publish each event once and return, by line, what its queue got."""
    with amqp(node.url) as channel:
        channel.exchange_declare("cookbook", "topic", auto_delete=True)
        queues = {row["You want"]: bound_queue(channel, spans(row["Bind"])) for row in LINES}
        channel.confirm_delivery()
        for event, key in keys.items():
            channel.basic_publish("cookbook", key, event.encode())
        return {line: list(contents(channel, queue)) for line, queue in queues.items()}


def bound_queue(channel: BlockingChannel, bindings: list[str]) -> str:
    """Declare a queue that is gone with the connection, and bind it."""
    queue: str = channel.queue_declare("", exclusive=True).method.queue
    for binding in bindings:
        channel.queue_bind(queue, "cookbook", binding)
    return queue


def contents(channel: BlockingChannel, queue: str) -> Iterator[str]:
    """Take everything out of a queue."""
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        yield got[2].decode()


@each_line
def test_a_line_gets_what_it_says(row: Row, received: dict[str, list[str]]) -> None:
    """The examples arrive, once each, the counterexamples do not, and the number is right."""
    got = received[row["You want"]]

    assert len(got) == len(set(got))
    assert set(spans(row[GET])) <= set(got)
    assert set(spans(row[MISS])).isdisjoint(got)
    assert int(row["Of 225"]) == len(set(got) & set(known_events()))


@each_line
def test_a_route_matches_what_a_binding_does(
    row: Row, received: dict[str, list[str]], keys: dict[str, str]
) -> None:
    """The bridge's own reading of a topic pattern agrees with RabbitMQ's."""
    patterns = [TopicPattern(binding) for binding in spans(row["Bind"])]
    matched = {e for e, key in keys.items() if any(p.matches(key) for p in patterns)}

    assert matched == set(received[row["You want"]])


def test_the_number_of_events_is_right() -> None:
    """The page counts the events that the catalogue has."""
    assert f"Of {len(known_events())}" in LINES[0]
    assert f'"Of {len(known_events())}"' in document(PAGE)


def test_the_consumer_of_the_page_works_beside_the_bridge(broker: str) -> None:
    """Its code declares what the bridge declares, and its queue gets what is bound."""
    [code] = blocks(section(PAGE, "In a consumer"), "python")
    assert 1 == code.count(DEFAULT_URL)
    scope: dict[str, Any] = {}
    with amqp(broker) as channel:
        for exchange in Topology.of(["superoffice"]).exchanges:
            channel.exchange_declare(exchange.name, exchange.type, durable=True)
        exec(code.replace(DEFAULT_URL, broker), scope)  # noqa: S102  # the page's own code
        with closing(scope["connection"]):
            channel.confirm_delivery()
            for key in ("contact.deleted", "contact.created", "associate.changed"):
                channel.basic_publish("superoffice", key, key.encode())
            got = list(contents(scope["channel"], "billing"))

    assert ["contact.deleted", "associate.changed"] == got


def test_the_queue_of_the_page_is_the_consumers(tmp_path: Path) -> None:
    """What the bridge would declare has the name and the bindings of the consumer's code."""
    config = tmp_path / "bridge.toml"
    config.write_text(blocks(section(PAGE, "In the bridge"), "toml")[0])
    [queue] = load(config, {"SUPEROFFICE_SECRET": "s3cret"}).settings.queues
    [code] = blocks(section(PAGE, "In a consumer"), "python")

    assert ("superoffice", "quorum") == (queue.exchange, queue.type)
    assert all(f'"{text}"' in code for text in (queue.name, queue.type, *queue.bindings))
