"""Spooled rows that wait for something else than their turn.

*Held*: the broker refused (``basic.nack``) the first row of a record, or closed the channel because
of it. It is tried again after growing pauses, the rows of its record wait behind it, and after the
last try it is parked. *Gone*: the exchange is not there; after a while its rows are parked too.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import TypeVar

import structlog

from bridge.core.backoff import refusal_pause
from bridge.core.message import refused_message
from bridge.metrics import Metrics
from bridge.ports import Outcome, Publish, Sender
from bridge.spool import Row, Spool

GONE_SECONDS = 600.0
"""For how long events wait for an exchange that is not there, until they are parked."""

_AT_ONCE = 256
"""Retries under way at a time."""

_AGAIN_SECONDS = 1.0
"""The pause after a retry that could not be made."""

Key = Hashable
K = TypeVar("K", bound=Hashable)

log = structlog.get_logger()


@dataclass(slots=True)
class Aside:
    """Rows by number, in order; ``park_as`` is the reason to park them, once there is one."""

    since: float
    seqs: deque[int] = field(default_factory=deque)
    tries: int = 0
    park_as: str | None = None

    def add(self, seq: int) -> bool:
        """Add a row unless it is here already: rows come in ascending order."""
        if self.seqs and seq <= self.seqs[-1]:
            return False
        self.seqs.append(seq)
        return True


def key_of(row: Row) -> Key:
    """Return what a row is held with: its record, or itself."""
    return row.message.record or ("row", row.seq)


class Shelf:
    """What is set aside, and when it is tried again."""

    def __init__(
        self, spool: Spool, sender: Sender, metrics: Metrics, *, refused_tries: int
    ) -> None:
        self._spool = spool
        self._sender = sender
        self._metrics = metrics
        self._refused_tries = refused_tries
        self._loop = asyncio.get_running_loop()
        self._held: dict[Key, Aside] = {}
        self._gone: dict[str, Aside] = {}
        self._due: list[tuple[float, int, Key]] = []
        self._order = count()
        self._under_way = 0

    def __repr__(self) -> str:
        """Show how much is set aside."""
        return f"held records {len(self._held)}, gone exchanges {len(self._gone)}"

    def __contains__(self, record: object) -> bool:
        """Return whether a record is held."""
        return record in self._held

    @property
    def records(self) -> int:
        """Return how many records (and rows without one) are held."""
        return len(self._held)

    def place_of(self, row: Row) -> Aside | None:
        """Return where a row belongs, None if it can be published."""
        held = self._held.get(key_of(row))
        if held is not None:
            return held
        exchange = row.message.exchange
        if not self._sender.is_up or self._sender.takes(exchange):
            return None
        if exchange not in self._gone:
            log.warning("exchange_gone", exchange=exchange, parked_in_seconds=GONE_SECONDS)
            self._gone[exchange] = Aside(self._loop.time())
        return self._gone[exchange]

    def hold(self, row: Row) -> None:
        """Hold a refused row, and with it its record."""
        key = key_of(row)
        self._held[key] = Aside(self._loop.time(), deque([row.seq]), row.tries)
        log.warning("event_refused", event_id=row.message.message_id, tries=row.tries)
        self._schedule(key, refusal_pause(row.tries))

    def remove(self, row: Row) -> bool:
        """Forget a row that was never stored; return whether it was here."""
        return _take_out(self._held, key_of(row), row.seq) or _take_out(
            self._gone, row.message.exchange, row.seq
        )

    def released(self) -> Iterator[Aside]:
        """Take out and yield the rows whose exchange is there again; park those of long ago."""
        now = self._loop.time()
        for exchange, aside in list(self._gone.items()):
            if self._sender.takes(exchange):
                del self._gone[exchange]
                yield aside
            elif now - aside.since >= GONE_SECONDS:
                del self._gone[exchange]
                self._give_up(aside)

    async def retry_due(self) -> bool:
        """Try again what is due; return whether anything was."""
        tried = False
        while self._due and self._due[0][0] <= self._loop.time() and self._under_way < _AT_ONCE:
            _, _, key = heapq.heappop(self._due)
            if key in self._held:
                await self._retry(key, self._held[key])
                tried = True
        return tried

    def _schedule(self, key: Key, seconds: float) -> None:
        heapq.heappush(self._due, (self._loop.time() + seconds, next(self._order), key))

    def _give_up(self, aside: Aside) -> None:
        for seq in aside.seqs:
            key = ("row", seq)
            self._held[key] = Aside(aside.since, deque([seq]), park_as="exchange_gone")
            self._schedule(key, 0)

    async def _retry(self, key: Key, aside: Aside) -> None:
        row = await self._spool.get(aside.seqs[0])
        if row is None:  # handed over, but not on disk yet
            self._schedule(key, _AGAIN_SECONDS)
            return
        message = row.message
        if aside.park_as is not None:
            time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            message = refused_message(message, reason=aside.park_as, time=time)
        self._under_way += 1
        self._sender.submit(message).on_settled(lambda done: self._retried(key, aside, row, done))

    def _retried(self, key: Key, aside: Aside, row: Row, publish: Publish) -> None:
        self._under_way -= 1
        outcome = publish.outcome
        if outcome is not None and outcome.accepted:
            self._done(key, aside, row)
        elif aside.park_as is not None or not (outcome is Outcome.REFUSED or publish.suspect):
            self._schedule(key, _AGAIN_SECONDS)  # being away counts no try
        else:
            self._refused_again(key, aside, row)

    def _done(self, key: Key, aside: Aside, row: Row) -> None:
        if aside.park_as is not None:
            self._metrics.parked.labels(row.message.headers["endpoint"], aside.park_as).inc()
            log.warning("event_parked", event_id=row.message.message_id, reason=aside.park_as)
        else:
            self._metrics.drained.inc()
        self._spool.delete(row)
        aside.seqs.popleft()
        aside.tries, aside.park_as = 0, None
        if aside.seqs:
            self._schedule(key, 0)
        else:
            del self._held[key]

    def _refused_again(self, key: Key, aside: Aside, row: Row) -> None:
        aside.tries += 1
        self._spool.note_tries(row, aside.tries)
        log.warning("event_refused", event_id=row.message.message_id, tries=aside.tries)
        if aside.tries >= self._refused_tries:
            aside.park_as = "refused"
            self._schedule(key, 0)
        else:
            self._schedule(key, refusal_pause(aside.tries))


def _take_out(places: dict[K, Aside], key: K, seq: int) -> bool:
    aside = places.get(key)
    if aside is None or seq not in aside.seqs:
        return False
    aside.seqs.remove(seq)
    if not aside.seqs:
        del places[key]
    return True
