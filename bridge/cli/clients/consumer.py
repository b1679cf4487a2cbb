"""A consumer of RabbitMQ, with a temporary queue of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager

from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity

from bridge.broker.connection import Connection, connect
from bridge.broker.errors import broker_errors, safe_url
from bridge.cli.errors import CommandFailed
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
async def open_subscription(
    url: str, bindings: Sequence[Binding]
) -> AsyncIterator[AsyncIterator[AbstractIncomingMessage]]:
    """Declare and bind an exclusive queue, and yield the messages that arrive in it.

    Raises ``CommandFailed`` when an exchange does not exist, and ``BrokerUnreachable`` when there
    is no connection, or the connection is lost later.
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
    # A closed channel or a deleted queue puts None behind the messages, which ends the wait.
    incoming: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
    for closes in (queue.channel.close_callbacks, queue.close_callbacks):
        closes.add(lambda *_: incoming.put_nowait(None))
    with broker_errors(url):
        await queue.consume(incoming.put)
        while (message := await incoming.get()) is not None:
            await message.ack()
            yield message
    raise BrokerUnreachable(f"{safe_url(url)}: the connection was lost")
