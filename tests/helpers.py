"""What several kinds of tests need: waiting for a condition, and looking into RabbitMQ."""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import RFC_4122, UUID

import pika
from pika.adapters.blocking_connection import BlockingChannel

from bridge.core.message import PARKED, UNROUTED, Message
from bridge.dev.rabbitmq import RabbitMQNode
from tests.contract.validation import SYNTHETIC, check_received


async def eventually(condition: Callable[[], Any], *, seconds: float = 20.0) -> None:
    """Return when the condition holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {condition}"
        await asyncio.sleep(0.01)


def message(number: int = 0, *, key: str = "contact.created", **changes: Any) -> Message:
    """Build a message of the usual shape."""
    fields: dict[str, Any] = {
        "exchange": "superoffice",
        "routing_key": key,
        "body": b'{"number":%d}' % number,
        "content_type": SYNTHETIC,
        "message_id": f"event-{number}",
        "type": f"com.superoffice.{key}",
        "timestamp": 1_772_442_927,
        "headers": {"entity": "contact", "endpoint": "superoffice", "primary_key": number},
    }
    return Message(**{**fields, **changes})


@contextmanager
def amqp(*urls: str) -> Iterator[BlockingChannel]:
    """Open a channel with pika, a client that shares no code with the bridge."""
    connection = pika.BlockingConnection([pika.URLParameters(url) for url in urls])
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


@contextmanager
def private_node(**settings: str) -> Iterator[RabbitMQNode]:
    """Run a RabbitMQ for the length of the block; fail if a deprecated feature was used."""
    with RabbitMQNode.start(config=settings) as node, nothing_deprecated(node):
        yield node


@contextmanager
def nothing_deprecated(node: RabbitMQNode) -> Iterator[None]:
    """Fail at the end if a feature was used that RabbitMQ calls deprecated (as of 4.0)."""
    yield
    assert set() == deprecated(node)


def deprecated(node: RabbitMQNode) -> set[str]:
    """Return the deprecated features that a client used or tried to use, by the node's log.

    ``list_deprecated_features --used`` does not list those that leave nothing behind. And it is not
    enough to deny them: ``global_qos`` then silently becomes a prefetch of each consumer.
    """
    log = (node.directory / "server.log").read_text(errors="replace")
    return set(re.findall(r"\] <[\d.]+> Deprecated features: `(\w+)`", log))


def add_vhost(node: RabbitMQNode, name: str) -> None:
    """Add a virtual host in which ``guest`` may do everything."""
    may = f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>'
    everything = '<<".*">>, <<".*">>, <<".*">>, <<"tests">>)'
    node.evaluate(f'ok = rabbit_vhost:add(<<"{name}">>, <<"tests">>), ok = {may}, {everything}.')


def delete_vhost(node: RabbitMQNode, name: str) -> None:
    """Delete a virtual host, if it is there."""
    node.evaluate(f'rabbit_vhost:delete(<<"{name}">>, <<"tests">>).')


def id_of(body: bytes, *, endpoint: str = "superoffice") -> str:
    """Return the id of a plain event's message, calculated by other code than the bridge's."""
    event = json.loads(body)
    names = ("ContextIdentifier", "WebhookName", "Event", "EventId", "PrimaryKey")
    entity = event.get("Entity")
    other = None if event["Event"].startswith(f"{entity}.") else entity
    whole = None if _is_guid(event["EventId"]) else f"sha256-{hashlib.sha256(body).hexdigest()}"
    parts = [endpoint, *(event.get(name) for name in names), whole, None, None, other, None]
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return f"{event['EventId']}.{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _is_guid(text: str) -> bool:
    """Return whether it is a UUID of any version, as it is usually written."""
    try:
        found = UUID(text)
    except ValueError:
        return False
    return str(found) == text.lower() and found.variant == RFC_4122 and found.version is not None


def drain(url: str, queue: str) -> list[Any]:
    """Take everything out of a queue: (method, properties, body) each, held to the contract."""
    found = []
    with amqp(url) as channel:
        while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
            check_received(*got[1:])
            found.append(got)
    return found


def ids(url: str, queue: str) -> list[str]:
    """Take everything out of a queue and return the message ids."""
    return [properties.message_id for _, properties, _ in drain(url, queue)]


def consumer_queue(
    url: str, name: str, *keys: str, exchange: str = "superoffice", **arguments: Any
) -> None:
    """Declare the exchange and a queue as any consumer would, and bind the keys."""
    with amqp(url) as channel:
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_declare(name, durable=True, arguments=arguments or None)
        for key in keys:
            channel.queue_bind(name, exchange, key)


def wipe(url: str, *, exchanges: tuple[str, ...] = (), queues: tuple[str, ...] = ()) -> None:
    """Delete what tests leave behind in the broker."""
    with amqp(url) as channel:
        for exchange in ("superoffice", PARKED, UNROUTED, *exchanges):
            channel.exchange_delete(exchange)
        for queue in (PARKED, UNROUTED, *queues):
            channel.queue_delete(queue)
