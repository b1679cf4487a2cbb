"""Declaring or verifying the topology, one object at a time.

Never on the connection that publishes: a declaration that the broker rejects closes its channel.
Some close the connection (a stream, on a broker without streams), and some are never answered. So
each object has a channel of its own, and an object that costs the connection is blamed for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import aio_pika
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import AMQPChannelError

from bridge.broker.connection import Connection, connect
from bridge.broker.errors import ANSWER_SECONDS, broker_errors, describe
from bridge.broker.topology import Exchange, Mismatch, Mode, Queue, Report, Topology
from bridge.core.errors import BrokerUnreachable

_SILENT_AT_MOST = 2
"""Maximum number of objects that a broker may give no answer about before it has given any."""


async def check(url: str, topology: Topology, *, mode: Mode, purpose: str = "topology") -> Report:
    """Declare or verify everything, and report; a quarantine counts only with its queue.

    AMQP shows that an object exists, not how it was declared. So ``verify`` cannot see a wrong type
    or a missing binding; ``declare`` can. Raises ``BrokerUnreachable``.
    """
    async with _opened(url, purpose) as checker:
        results = [(each, await checker.mismatch(each)) for each in _objects(topology, mode)]
    unusable = {each.needed_for for each, mismatch in results if mismatch}
    exchanges = {exchange.name for exchange in (*topology.exchanges, *topology.spooled)}
    return Report(
        verified=frozenset(exchanges - unusable),
        mismatches=tuple(mismatch for _, mismatch in results if mismatch),
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """One thing to ask of the broker: what it is about, what is asked, and how."""

    kind: Literal["exchange", "queue", "binding"]
    name: str
    asked: str
    run: Callable[[AbstractChannel], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Object:
    """An exchange or a queue, and the exchange that cannot be published to without it."""

    steps: tuple[_Step, ...]
    needed_for: str | None


def _objects(topology: Topology, mode: Mode) -> Iterator[_Object]:
    for exchange in topology.exchanges:
        yield _Object((_exchange_step(exchange, mode),), needed_for=exchange.name)
    for exchange in topology.spooled:
        yield _Object((_exchange_step(exchange, "verify"),), needed_for=exchange.name)
    for queue in topology.quarantines:
        yield _Object(tuple(_queue_steps(queue, mode)), needed_for=queue.exchange)
    for queue in topology.queues:
        yield _Object(tuple(_queue_steps(queue, mode)), needed_for=None)


def _exchange_step(exchange: Exchange, mode: Mode) -> _Step:
    passive = mode == "verify"
    asked = "its existence" if passive else f"a durable {exchange.type} exchange without arguments"
    return _Step("exchange", exchange.name, asked, partial(_declare_exchange, exchange, passive))


async def _declare_exchange(exchange: Exchange, passive: bool, channel: AbstractChannel) -> None:
    await channel.declare_exchange(
        exchange.name, aio_pika.ExchangeType(exchange.type), durable=True, passive=passive
    )


def _queue_steps(queue: Queue, mode: Mode) -> Iterator[_Step]:
    passive = mode == "verify"
    arguments = ", ".join(f"{name}={value}" for name, value in queue.all_arguments.items())
    asked = "its existence" if passive else f"a durable queue with {arguments}"
    yield _Step("queue", queue.name, asked, partial(_declare_queue, queue, passive))
    if passive:  # AMQP has no way to ask for a binding
        return
    for key in queue.bindings:
        name = f"{queue.name} <- {queue.exchange} {key}"
        yield _Step("binding", name, "the binding", partial(_bind, queue, key))


async def _declare_queue(queue: Queue, passive: bool, channel: AbstractChannel) -> None:
    await channel.declare_queue(
        queue.name, durable=True, passive=passive, arguments=queue.all_arguments
    )


async def _bind(queue: Queue, key: str, channel: AbstractChannel) -> None:
    underlay = await channel.get_underlay_channel()
    await underlay.queue_bind(queue.name, queue.exchange, key)


@asynccontextmanager
async def _opened(url: str, purpose: str) -> AsyncIterator[_Checker]:
    checker = _Checker(url, purpose, await connect(url, purpose=purpose))
    try:
        yield checker
    finally:
        await checker.connection.close()


class _Checker:
    """A connection to check objects on, replaced when an object has cost it."""

    def __init__(self, url: str, purpose: str, connection: Connection) -> None:
        self._url = url
        self._purpose = purpose
        self.connection = connection
        self._silent: int | None = 0
        """Number of objects without an answer; None since there was one."""

    async def mismatch(self, checked: _Object) -> Mismatch | None:
        """Run the steps of an object on a channel of their own, up to the first that is wrong."""
        with broker_errors(self._url, Exception):
            async with asyncio.timeout(ANSWER_SECONDS):
                channel = await self.connection.amqp.channel(publisher_confirms=False)
        for step in checked.steps:
            if found := await self._wrong(step, channel):
                return Mismatch(step.kind, step.name, step.asked, found)
        with broker_errors(self._url, Exception):
            async with asyncio.timeout(ANSWER_SECONDS):
                await channel.close()
        return None

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
        """Connect anew, and return what is wrong with the object.

        Raises ``BrokerUnreachable`` when the broker gives no answer about anything.
        """
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
