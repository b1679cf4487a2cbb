"""One program in one fault: posts that go on whatever happens, and what became of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from bench.amqp import EXCHANGE
from bench.measure import until_publishing
from bench.pool import Bodies, event_id, request
from bench.process import Bridge, Program, ProgramFailed
from bridge.dev.rabbitmq import RabbitMQNode
from tests.helpers import amqp
from tests.system.faults.client import Connection

RATE = 200
QUEUE = "ordeal"
ANSWER_SECONDS = 30.0
RESTART_SECONDS = 0.1
"""After so long a program that has ended is started again: what systemd does by itself."""

QUIET_SECONDS = 6.0
PATIENCE_SECONDS = 120.0
"""Until everything must have come out; where nothing comes for the quiet time, nothing will."""

_ID_LENGTH = len(event_id(0))


@dataclass(frozen=True, slots=True)
class Counts:
    """``refused`` posts were not answered 200; ``lost`` ones were, and did not come out.

    ``duplicates`` are copies beyond the first; ``slowest`` is the longest answer in seconds.
    ``statuses`` counts the answers by their status, 0 where there was none.
    """

    sent: int
    refused: int
    lost: int
    duplicates: int
    slowest: float
    statuses: Mapping[int, int]


class Ordeal:
    """Runs a program, and a queue for what it publishes, for the length of the block."""

    def __init__(self, node: RabbitMQNode, program: Program, *, bound: bool) -> None:
        self.node = node
        self.program = program
        self._bound = bound
        self._bodies = Bodies()
        self._begun = 0.0
        self._idle: list[Connection] = []
        self._answers: dict[int, tuple[int, float]] = {}
        self._copies: Counter[int] = Counter()
        self._supervisor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Ordeal:
        """Declare the queue and start the program."""
        await asyncio.to_thread(self._declare)
        try:
            await self.program.start()
            if isinstance(self.program, Bridge):
                await until_publishing(self.program)
        except BaseException:
            self.program.close()
            raise
        self._supervisor = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """End the program."""
        if self._supervisor is not None:
            self._supervisor.cancel()
        await asyncio.to_thread(self.program.close)
        for connection in self._idle:
            connection.close()

    async def at(self, seconds: float) -> None:
        """Wait until so long after the first post."""
        await asyncio.sleep(self._begun + seconds - time.monotonic())

    async def run(self, after: float, fault: Coroutine[Any, Any, object]) -> Counts:
        """Post during a fault and some seconds after it, and count when all has come out."""
        self._answers, self._copies = {}, Counter()
        self._begun = time.monotonic()
        happening = asyncio.create_task(fault)
        posts: list[asyncio.Task[None]] = []
        over = 0.0
        while not happening.done() or time.monotonic() < over + after:
            if not happening.done():
                over = time.monotonic()
            await self.at(len(posts) / RATE)
            posts.append(asyncio.create_task(self._post(len(posts))))
        await asyncio.gather(happening, *posts)
        await self._until_out()
        return self._counts()

    async def _post(self, number: int) -> None:
        connection = self._idle.pop() if self._idle else self._connection()
        body = request(self._bodies(number), event_id(number))
        begun = time.monotonic()
        reply = await connection.send(body)
        self._answers[number] = reply.status if reply else 0, time.monotonic() - begun
        self._idle.append(connection)

    def _connection(self) -> Connection:
        return Connection(self.program.port, seconds=ANSWER_SECONDS)

    async def _supervise(self) -> None:
        """Start the program again whenever it has ended."""
        while True:
            if await self.program.ended_within(0.05) is None:
                continue
            await asyncio.sleep(RESTART_SECONDS)
            with suppress(ProgramFailed):
                await self.program.start()

    async def _until_out(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        latest = time.monotonic()
        while self._missing() and time.monotonic() < min(deadline, latest + QUIET_SECONDS):
            if await asyncio.to_thread(self._take):
                latest = time.monotonic()
            await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        await asyncio.to_thread(self._take)

    def _missing(self) -> bool:
        return any(not self._copies[number] for number in self._accepted())

    def _accepted(self) -> list[int]:
        return [number for number, (status, _) in self._answers.items() if status == HTTPStatus.OK]

    def _counts(self) -> Counts:
        accepted = self._accepted()
        return Counts(
            sent=len(self._answers),
            refused=len(self._answers) - len(accepted),
            lost=sum(1 for number in accepted if not self._copies[number]),
            duplicates=sum(copies - 1 for copies in self._copies.values()),
            slowest=max(seconds for _, seconds in self._answers.values()),
            statuses=dict(Counter(status for status, _ in self._answers.values())),
        )

    def _declare(self) -> None:
        """Leave the broker with the exchange, and with one queue if there shall be one."""
        with amqp(self.node.url) as channel:
            for queue in self._queues():
                channel.queue_delete(queue)
            channel.exchange_declare(EXCHANGE, "topic", durable=True)
            if self._bound:
                channel.queue_declare(QUEUE, durable=True)
                channel.queue_bind(QUEUE, EXCHANGE, "#")
        self.node.sync()

    def _queues(self) -> list[str]:
        return self.node.ctl("list_queues", "--silent", "--no-table-headers", "name").split()

    def _take(self) -> int:
        """Take what is in all queues, and return how much it was."""
        taken = 0
        with suppress(AMQPError), amqp(self.node.url) as channel:
            for queue in self._queues():
                for found in _emptied(channel, queue):
                    self._copies[int(found[:_ID_LENGTH][-12:], 16)] += 1
                    taken += 1
        return taken


def _emptied(channel: BlockingChannel, queue: str) -> Iterator[str]:
    """Yield the ids of messages, which the bridge makes longer, until the queue is empty."""
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        yield got[1].message_id or ""
