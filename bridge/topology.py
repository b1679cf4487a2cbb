"""The exchanges and queues that the configuration asks of the broker, declared or verified.

Run on a connection of its own: a refused declaration closes its channel, and a channel that closes
among publishes takes the whole connection with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPChannelError

from bridge.connection import ANSWER_SECONDS
from bridge.core.message import PARKED, UNROUTED

Mode = Literal["declare", "verify"]

_ENDLESS = 1_000_000_000
"""As ``x-delivery-limit``: a get with requeue counts as a delivery, and must never delete."""

UNROUTED_LIMIT = 100_000
"""Messages kept in ``superoffice.unrouted``; beyond it the oldest go (its stated bound)."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange without arguments, so that consumers may declare it the same."""

    name: str
    type: Literal["topic", "fanout"] = "topic"


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue and the keys by which it is bound to one exchange."""

    name: str
    exchange: str
    bindings: tuple[str, ...]
    type: Literal["quorum", "classic", "stream"] = "quorum"
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def all_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``queue.declare``."""
        return {"x-queue-type": self.type, **self.arguments}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An object of the broker that is not what was asked for: both sides, in words."""

    kind: Literal["exchange", "queue", "binding"]
    name: str
    asked: str
    found: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.kind} {self.name!r}: asked for {self.asked}; {self.found}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found: the exchanges that may be published to, and what is wrong."""

    verified: frozenset[str]
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything the bridge needs (exchanges, quarantines) or was asked to declare (queues).

    ``spooled`` are exchanges that an earlier configuration named and events on disk still need:
    they are looked for, but never declared.
    """

    exchanges: tuple[Exchange, ...]
    quarantines: tuple[Queue, ...]
    queues: tuple[Queue, ...] = ()
    spooled: tuple[Exchange, ...] = ()

    @classmethod
    def of(
        cls,
        exchanges: Iterable[str],
        queues: Iterable[Queue] = (),
        *,
        spooled: Iterable[str] = (),
    ) -> Topology:
        """Build the topology from the names of exchanges and the consumers' queues."""
        configured = dict.fromkeys(exchanges)
        endless = {"x-delivery-limit": _ENDLESS}
        bounded = {**endless, "x-max-length": UNROUTED_LIMIT, "x-overflow": "drop-head"}
        return cls(
            exchanges=(
                *(Exchange(name) for name in configured),
                Exchange(UNROUTED, "fanout"),
                Exchange(PARKED, "fanout"),
            ),
            quarantines=(
                Queue(UNROUTED, UNROUTED, ("",), arguments=bounded),
                Queue(PARKED, PARKED, ("",), arguments=endless),
            ),
            queues=tuple(queues),
            spooled=tuple(
                Exchange(name) for name in spooled if name not in {*configured, UNROUTED, PARKED}
            ),
        )


async def check(connection: AbstractConnection, topology: Topology, *, mode: Mode) -> Report:
    """Declare or verify everything, and report; a quarantine counts only with its queue.

    AMQP shows of an object that it exists, not how it was declared: ``verify`` cannot see a wrong
    type or a missing binding, ``declare`` can.
    """
    mismatches: list[Mismatch] = []
    verified: set[str] = set()

    async def stands(steps: Iterable[_Step]) -> bool:
        mismatch = await _first_mismatch(connection, steps)
        mismatches.extend(mismatch)
        return not mismatch

    looked_for: Mode = "verify"
    exchanges = [(exchange, mode) for exchange in topology.exchanges]
    exchanges += [(exchange, looked_for) for exchange in topology.spooled]
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


async def _first_mismatch(connection: AbstractConnection, steps: Iterable[_Step]) -> list[Mismatch]:
    """Run the steps of one object on a channel of their own; stop at the first refusal."""
    step: _Step | None = None
    async with asyncio.timeout(ANSWER_SECONDS):
        channel = await connection.channel(publisher_confirms=False)
    try:
        for step in steps:
            async with asyncio.timeout(ANSWER_SECONDS):
                await step.run(channel)
    except AMQPChannelError as refusal:  # the broker has closed the channel already
        assert step is not None  # noqa: S101  # only a step can be refused
        return [Mismatch(step.kind, step.name, step.asked, f"RabbitMQ says: {refusal}")]
    await channel.close()
    return []
