"""Declaring or verifying the topology, one object at a time.

Never on the connection of the publishes: a refused declaration closes its channel, and some close
the connection (a stream on a broker without streams) or are never answered. So each object has a
channel of its own, and one that costs the connection is blamed for that alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import aio_pika
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import AMQPChannelError

from bridge.broker.connection import ANSWER_SECONDS, Connection, broker_errors, connect, describe
from bridge.broker.topology import Exchange, Mismatch, Mode, Queue, Report, Topology
from bridge.core.errors import BrokerUnreachable

_SILENT_AT_MOST = 2
"""Maximum number of objects a broker gives no answer about before it has given any."""


async def check(url: str, topology: Topology, *, mode: Mode, purpose: str = "topology") -> Report:
    """Declare or verify everything, and report; a quarantine counts only with its queue.

    AMQP shows of an object that it exists, not how it was declared: ``verify`` cannot see a wrong
    type or a missing binding, ``declare`` can. Raises ``BrokerUnreachable``.
    """
    mismatches: list[Mismatch] = []
    verified: set[str] = set()
    looked_for: Mode = "verify"
    exchanges = [(exchange, mode) for exchange in topology.exchanges]
    exchanges += [(exchange, looked_for) for exchange in topology.spooled]
    async with _looking(url, purpose) as look:

        async def stands(steps: Iterable[_Step]) -> bool:
            mismatch = await look.first_mismatch(steps)
            mismatches.extend(mismatch)
            return not mismatch

        for exchange, how in exchanges:
            if await stands(_exchange_steps(exchange, how)):
                verified.add(exchange.name)
        for queue in topology.quarantines:
            if not await stands(_queue_steps(queue, mode)):
                verified.discard(queue.exchange)
        for queue in topology.queues:
            await stands(_queue_steps(queue, mode))
    return Report(verified=frozenset(verified), mismatches=tuple(mismatches))


@dataclass(frozen=True, slots=True)
class _Step:
    kind: Literal["exchange", "queue", "binding"]
    name: str
    asked: str
    run: Callable[[AbstractChannel], Awaitable[object]]


def _exchange_steps(exchange: Exchange, mode: Mode) -> Iterator[_Step]:
    passive = mode == "verify"
    asked = "its existence" if passive else f"a durable {exchange.type} exchange without arguments"

    async def declare(channel: AbstractChannel) -> None:
        await channel.declare_exchange(
            exchange.name, aio_pika.ExchangeType(exchange.type), durable=True, passive=passive
        )

    yield _Step("exchange", exchange.name, asked, declare)


def _queue_steps(queue: Queue, mode: Mode) -> Iterator[_Step]:
    passive = mode == "verify"
    arguments = ", ".join(f"{name}={value}" for name, value in queue.all_arguments.items())
    asked = "its existence" if passive else f"a durable queue with {arguments}"

    async def declare(channel: AbstractChannel) -> None:
        await channel.declare_queue(
            queue.name, durable=True, passive=passive, arguments=queue.all_arguments
        )

    yield _Step("queue", queue.name, asked, declare)
    if passive:
        return
    for key in queue.bindings:

        async def bind(channel: AbstractChannel, key: str = key) -> None:
            underlay = await channel.get_underlay_channel()
            await underlay.queue_bind(queue.name, queue.exchange, key)

        yield _Step("binding", f"{queue.name} <- {queue.exchange} {key}", "the binding", bind)


@asynccontextmanager
async def _looking(url: str, purpose: str) -> AsyncIterator[_Look]:
    look = _Look(url, purpose, await connect(url, purpose=purpose))
    try:
        yield look
    finally:
        await look.connection.close()


class _Look:
    """A connection to look at objects on, and another one after an object has cost it."""

    def __init__(self, url: str, purpose: str, connection: Connection) -> None:
        self._url = url
        self._purpose = purpose
        self.connection = connection
        self._silent: int | None = 0
        """Number of objects without an answer; None since there was one."""

    async def first_mismatch(self, steps: Iterable[_Step]) -> list[Mismatch]:
        """Run the steps of one object on a channel of their own; stop at what is wrong."""
        with broker_errors(self._url, Exception):
            async with asyncio.timeout(ANSWER_SECONDS):
                channel = await self.connection.amqp.channel(publisher_confirms=False)
        for step in steps:
            if found := await self._wrong(step, channel):
                return [Mismatch(step.kind, step.name, step.asked, found)]
        with broker_errors(self._url, Exception):
            async with asyncio.timeout(ANSWER_SECONDS):
                await channel.close()
        return []

    async def _wrong(self, step: _Step, channel: AbstractChannel) -> str | None:
        try:
            with broker_errors(self._url, Exception):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await step.run(channel)
        except BrokerUnreachable as error:
            cause = error.__cause__ or error
            if isinstance(cause, AMQPChannelError):  # it has closed the channel and no more
                self._silent = None
                return f"RabbitMQ says: {describe(cause)}"
            return await self._begin_again(cause)
        self._silent = None
        return None

    async def _begin_again(self, cause: BaseException) -> str:
        """Connect anew and return what is wrong with the object; if nobody is there, raises."""
        found = "RabbitMQ gives " + describe(cause)
        if not isinstance(cause, TimeoutError):
            found = f"RabbitMQ closes the connection: {describe(self.connection.end or cause)}"
        elif self._silent is not None:
            self._silent += 1
            if self._silent == _SILENT_AT_MOST:
                raise BrokerUnreachable(f"{describe(cause)} about anything")
        self.connection.abort()
        await self.connection.close()
        self.connection = await connect(self._url, purpose=self._purpose)
        return found
