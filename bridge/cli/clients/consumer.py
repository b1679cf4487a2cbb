"""Reaching the broker as a consumer does."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from typing import Any

from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity

from bridge.broker.connection import Connection, broker_errors, connect, safe_url
from bridge.cli.errors import CommandFailed
from bridge.cli.output import printable
from bridge.core.errors import BrokerUnreachable

_PREFETCH = 100

Binding = tuple[str, str]
"""An exchange and a topic pattern."""


async def first_reachable(urls: Iterable[str]) -> str:
    """Return the first URL at which a broker lets us in; raises ``BrokerUnreachable``."""
    failures = []
    for url in urls:
        try:
            connection = await connect(url, purpose="probe")
        except BrokerUnreachable as error:
            failures.append(str(error))
        else:
            await connection.close()
            return url
    raise BrokerUnreachable("; ".join(failures))


@asynccontextmanager
async def subscribed(
    url: str, bindings: Sequence[Binding]
) -> AsyncIterator[AsyncIterator[AbstractIncomingMessage]]:
    """Bind a queue of our own for the length of the block, and yield what arrives in it.

    Raises ``CommandFailed`` when an exchange does not exist, and ``BrokerUnreachable``, also when
    the connection is lost.
    """
    connection = await connect(url, purpose="listen")
    try:
        with broker_errors(url):
            queue = await _bind(connection, url, bindings)
        async with aclosing(_arrivals(url, queue)) as messages:
            yield messages
    finally:
        await connection.close()


async def _bind(connection: Connection, url: str, bindings: Sequence[Binding]) -> AbstractQueue:
    channel = await connection.amqp.channel(publisher_confirms=False)
    await channel.set_qos(prefetch_count=_PREFETCH)
    queue = await channel.declare_queue(exclusive=True, auto_delete=True)
    for exchange, pattern in bindings:
        try:
            await queue.bind(exchange, pattern)
        except ChannelNotFoundEntity:
            raise CommandFailed(
                f"there is no exchange {exchange!r} at {safe_url(url)}: the bridge declares it"
                " when it starts, and so does `bridge topology apply`"
            ) from None
    return queue


async def _arrivals(
    url: str, queue: AbstractQueue
) -> AsyncGenerator[AbstractIncomingMessage, None]:
    incoming: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
    for closes in (queue.channel.close_callbacks, queue.close_callbacks):
        closes.add(lambda *_: incoming.put_nowait(None))
    with broker_errors(url):
        await queue.consume(incoming.put)
        while (message := await incoming.get()) is not None:
            await message.ack()
            yield message
    raise BrokerUnreachable(f"{safe_url(url)}: the connection was lost")


def as_json(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Return a message for programs, with its body as JSON where it is JSON."""
    content = exact_body(message.body)
    with suppress(ValueError, TypeError):
        content["body"] = json.loads(content["body"])
    return {**properties(message), **content}


def properties(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Return all of a message but its body, ``timestamp`` in seconds since the Unix epoch."""
    time = message.timestamp
    return {
        "routing_key": message.routing_key,
        "exchange": message.exchange,
        "message_id": message.message_id,
        "type": message.type,
        "content_type": message.content_type,
        "timestamp": int(time.timestamp()) if isinstance(time, datetime) else time,
        "app_id": message.app_id,
        "headers": dict(message.headers),
    }


def exact_body(body: bytes) -> dict[str, Any]:
    """Return a body as text in ``body``; what is no UTF-8 is in ``body_base64``."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(body).decode()}


def body_text(body: bytes) -> str:
    """Return a body on one line: the text if it is UTF-8, else base64."""
    content = exact_body(body)
    text = content["body"]
    if text is None:
        return f"base64:{content['body_base64']}"
    if printable(text) == text:
        return str(text)
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return printable(text)
