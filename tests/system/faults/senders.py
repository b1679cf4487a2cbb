"""Senders that behave like SuperOffice: up to three attempts, then the event is thrown away."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from tests.system.faults.client import Connection
from tests.system.faults.ledger import CONCURRENT, SEQUENTIAL, Ledger
from tests.system.faults.webhooks import Webhooks

ATTEMPTS = (0.0, 1.0, 4.0)
"""Seconds after the event, when SuperOffice sends it."""

ANSWER_SECONDS = 5.0
"""How long a sender waits for an answer: no longer than SuperOffice tries."""

BEHIND_SECONDS = 1.0
"""So much of a delay is made up for afterwards."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """How much of what.

    ``rate`` is events a second in all. Each of ``sequential`` records has one sender, which goes on
    to its next event when the one before it was accepted or given up; each of ``concurrent``
    records has ``at_once``. A sender ends after ``most`` events. ``pace`` shortens the time between
    attempts, ``padding`` makes bodies larger by so many bytes, ``path`` is that of the endpoint.
    With ``races`` a request that crossed with the end of its connection is sent again at once.
    """

    rate: float = 400
    sequential: int = 40
    concurrent: int = 4
    at_once: int = 2
    event: str = "contact.changed"
    first_key: int = 1
    most: int = sys.maxsize
    padding: int = 0
    pace: float = 0.25
    path: str = "/webhook"
    races: bool = False


class Senders:
    """Sends for the length of the block, on one keep-alive connection per sender.

    ``speed`` is the part of the rate that is sent, and may be changed at any time. ``statuses``
    counts the first accepted answer of each event by its status, and answers that are not 200 by
    their number (0: none came); ``raced`` counts what was sent again at once; ``slowest`` is the
    longest answer in seconds; ``given_up`` counts events that all attempts failed for.
    """

    def __init__(self, port: int, ledger: Ledger, traffic: Traffic) -> None:
        self._port = port
        self._ledger = ledger
        self._traffic = traffic
        self._webhooks = Webhooks(traffic.event, padding=traffic.padding, path=traffic.path)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.speed = 1.0
        self.statuses: Counter[str] = Counter()
        self.raced = 0
        self.slowest = 0.0
        self.given_up = 0

    @property
    def never_failed(self) -> bool:
        """Return whether every attempt was answered 200."""
        return not any(status.isdigit() for status in self.statuses)

    async def __aenter__(self) -> Senders:
        """Start sending."""
        traffic = self._traffic
        keys = range(traffic.first_key, traffic.first_key + traffic.sequential + traffic.concurrent)
        kinds = [(SEQUENTIAL, key) for key in keys[: traffic.sequential]]
        kinds += [(CONCURRENT, key) for key in keys[traffic.sequential :]] * traffic.at_once
        interval = len(kinds) / traffic.rate
        self._tasks = [asyncio.create_task(self._run(*each, interval)) for each in kinds]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Start no more events, unless there is a ``most``, and finish those that are begun."""
        if self._traffic.most == sys.maxsize:
            self._stopping.set()
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        failed = [each for each in done if isinstance(each, Exception)]
        if failed and error is None:
            raise failed[0]

    async def _run(self, kind: str, record: int, interval: float) -> None:
        connection = Connection(self._port, seconds=ANSWER_SECONDS, races=self._traffic.races)
        loop = asyncio.get_running_loop()
        due = loop.time() + random.random() * interval
        try:
            for _ in range(self._traffic.most):
                if await self._stopped_within(due - loop.time()):
                    return
                await self._send(connection, kind, record)
                due = max(due + interval / self.speed, loop.time() - BEHIND_SECONDS)
        finally:
            self.raced += connection.raced
            connection.close()

    async def _stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _send(self, connection: Connection, kind: str, record: int) -> None:
        event_id, number = self._ledger.issue(kind, record)
        begun = asyncio.get_running_loop().time()
        for retry, offset in enumerate(ATTEMPTS):
            loop = asyncio.get_running_loop()
            if retry:
                await asyncio.sleep(begun + offset * self._traffic.pace - loop.time())
            asked = loop.time()
            request = self._webhooks.request(event_id, key=record, number=number, retry=retry)
            reply = await connection.send(request)
            self.slowest = max(self.slowest, loop.time() - asked)
            if reply is not None and reply.status == 200:
                self._ledger.accept(number)
                self.statuses[reply.body[11:].partition(b'"')[0].decode()] += 1
                return
            self.statuses[str(reply.status if reply else 0)] += 1
        self.given_up += 1
