"""The recipes of docs/scaling.md, run as they stand there, on events of a real bridge.

They need RabbitMQ's plugin rabbitmq_consistent_hash_exchange: a node of their own has it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from pika import BasicProperties

from bridge.dev.rabbitmq import RabbitMQNode, find_installation
from bridge.dev.samples import encode, request_headers, sample
from tests.cli.conftest import running
from tests.helpers import amqp
from tests.project.docs.documents import blocks, section
from tests.project.docs.test_bindings import DEFAULT_URL

PAGE = "scaling.md"
PLUGIN = "rabbitmq_consistent_hash_exchange"
BY_RECORD = "A queue for each share of the records"
STREAM = "A stream, to read again"
QUEUES = [f"crm.{number}" for number in range(4)]
KEY = "primary_key"
SECRET = "Hemmelig!"
RECORDS = range(4711, 4911)
EVENTS = ("contact.created", "contact.changed", "contact.deleted")


def code(title: str) -> str:
    """Return the program below a heading of the page."""
    [found] = blocks(section(PAGE, title), "python")
    assert 1 == found.count(DEFAULT_URL)
    return found


def run(program: str, url: str) -> dict[str, Any]:
    """Run it against another broker, and return its variables."""
    scope: dict[str, Any] = {}
    exec(program.replace(DEFAULT_URL, url), scope)  # noqa: S102  # the page's own code
    return scope


@pytest.fixture(scope="module")
def node():
    """Start a RabbitMQ with the plugin, which those of the other tests do without."""
    with RabbitMQNode.start() as started:
        plugins = started.directory / "home" / "plugins"
        [library] = (find_installation() / "plugins").glob(f"{PLUGIN}*")
        (plugins / library.name).symlink_to(library)
        (started.directory / "enabled_plugins").write_text(f"[{PLUGIN}].\n")
        started.restart()
        yield started


@pytest.fixture(scope="module")
def url(node, tmp_path_factory):
    """Run both programs, then have a bridge publish all events; return the URL of the broker."""
    for title in (BY_RECORD, STREAM):
        run(code(title), node.url)["connection"].close()
    variables = {"SUPEROFFICE_SECRET": SECRET, "BRIDGE_BROKER__URLS": node.url}
    directory = tmp_path_factory.mktemp("bridge")
    with running("serve", cwd=directory, BRIDGE_SERVER__HOST="127.0.0.1", **variables) as bridge:
        while '"service_started"' not in (line := bridge.read_until('{"timestamp"')):
            pass
        statuses = Counter(post(json.loads(line)["url"]))
        assert 0 == bridge.end()[0]
    assert Counter({200: len(RECORDS) * len(EVENTS)}) == statuses
    return node.url


def post(url: str) -> Iterator[int]:
    """Send every event of every record, and yield the answers' statuses."""
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=10)) as connection:
        for event in EVENTS:
            for record in RECORDS:
                made = sample(event, primary_key=record)
                body, named = encode(made), {"event": event, "event_id": made["EventId"]}
                headers = request_headers(body, secret=SECRET.encode(), **named)
                connection.request("POST", "/webhook", body, headers)
                answer = connection.getresponse()
                answer.read()
                yield answer.status


def test_all_events_of_a_record_are_in_one_queue_in_order(url):
    """None is split, none is missing, and each queue has a share."""
    shares = [order(messages) for messages in contents(url, QUEUES)]
    records = [record for share in shares for record in share]

    assert sorted(RECORDS) == sorted(records)
    assert all(shares)
    assert {EVENTS} == {tuple(events) for share in shares for events in share.values()}


def test_without_the_argument_records_are_split(url):
    """What the page warns of: by the routing key, the events of a record part."""
    with amqp(url) as channel:
        channel.exchange_declare("by-key", "x-consistent-hash", durable=True)
        queues = [f"by-key.{number}" for number in range(len(QUEUES))]
        for queue in queues:
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, "by-key", "1")
        channel.confirm_delivery()
        for event in EVENTS:
            channel.basic_publish("by-key", event, b"", BasicProperties(headers={KEY: 4711}))
        counts = [channel.queue_declare(q, passive=True).method.message_count for q in queues]

    assert len(EVENTS) == sum(counts)
    assert max(counts) < len(EVENTS)


def test_a_stream_is_read_from_the_first_event_as_often_as_one_likes(url):
    """Two readers get everything in the same order, which is that of the events of each record."""
    first, second = (read_again(url, len(EVENTS) * len(RECORDS)) for _ in range(2))

    assert first == second
    assert {record: [*EVENTS] for record in RECORDS} == order(first)


def read_again(url: str, count: int) -> list[tuple[str, int]]:
    """Read the stream with the program of the page, from its beginning."""
    found: list[tuple[str, int]] = []
    program = run(code(STREAM), url)
    with closing(program["connection"]) as connection:
        program["read"](lambda *each: found.append(acknowledged(*each)))
        until(connection, lambda: len(found) >= count)
    return found


def acknowledged(channel: Any, delivery: Any, properties: Any, _: bytes) -> tuple[str, int]:
    """Take a message, and return what it is about."""
    channel.basic_ack(delivery.delivery_tag)
    return delivery.routing_key, properties.headers[KEY]


def contents(url: str, queues: Sequence[str]) -> list[list[tuple[str, int]]]:
    """Consume what the queues have: basic.get is not for those with a single active consumer."""
    found: dict[str, list[tuple[str, int]]] = {queue: [] for queue in queues}
    with amqp(url) as channel:
        for queue, got in found.items():
            channel.basic_consume(queue, lambda *each, got=got: got.append(acknowledged(*each)))
        total = len(RECORDS) * len(EVENTS)
        until(channel.connection, lambda: sum(map(len, found.values())) >= total)
    return list(found.values())


def until(connection: Any, done: Callable[[], bool]) -> None:
    """Receive until it is done."""
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        connection.process_data_events(time_limit=0.1)


def order(messages: list[tuple[str, int]]) -> dict[int, list[str]]:
    """Return the events of each record, in the order in which they were read."""
    found: dict[int, list[str]] = {}
    for event, record in messages:
        found.setdefault(record, []).append(event)
    return found
