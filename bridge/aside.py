"""Spooled rows that wait for something else than their turn.

*Held*: the broker refused (``basic.nack``) the first row of a record, or closed the channel because
of it. It is tried again after growing pauses, the rows of its record wait behind it, and after the
last try it is parked. *Gone*: the exchange is not there; after a while its rows are parked too.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Protocol, TypeVar

import structlog

from bridge.core.backoff import refusal_pause
from bridge.core.event import Record
from bridge.core.message import Message, refused_message
from bridge.metrics import Metrics
from bridge.ports import Outcome, Publish, Sender
from bridge.spool import Row, Spool

GONE_SECONDS = 600.0
"""For how long events wait for an exchange that is not there, until they are parked."""

_AGAIN_SECONDS = 1.0
"""The pause after a retry that could not be made."""

_PARK_AGAIN_SECONDS = 60.0
_PARK_AGAIN_AT_MOST = 3600.0
"""Pauses after ``superoffice.parked`` refused what it was given, doubling: a message that is too
large for the broker closes the channel each time."""

Key = Hashable

log = structlog.get_logger()


@dataclass(slots=True)
class Held:
    """Rows by number, in order; the first is retried.

    ``park_as`` is the reason to park it, once there is one, and ``parkings`` how often that was
    refused; ``gone_since`` is when its exchange was found missing.
    """

    seqs: deque[int]
    tries: int = 0
    park_as: str | None = None
    parkings: int = 0
    gone_since: float | None = None


@dataclass(slots=True)
class Gone:
    """Rows by number, in any order, and the records that they are of."""

    since: float
    seqs: deque[int] = field(default_factory=deque)
    records: set[Record | None] = field(default_factory=set)


class _Place(Protocol):
    @property
    def seqs(self) -> deque[int]: ...


P = TypeVar("P", bound=_Place)
K = TypeVar("K", bound=Hashable)


def key_of(row: Row) -> Key:
    """Return what a row is held with: its record, or itself."""
    return row.message.record or ("row", row.seq)


class Shelf:
    """What is set aside, and when it is tried again."""

    def __init__(
        self,
        spool: Spool,
        sender: Sender,
        metrics: Metrics,
        *,
        refused_tries: int,
        answered: Callable[[], None],
    ) -> None:
        """Call ``answered`` whenever the broker took or refused a retry."""
        self._spool = spool
        self._sender = sender
        self._metrics = metrics
        self._refused_tries = refused_tries
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        self._held: dict[Key, Held] = {}
        self._gone: dict[str, Gone] = {}
        self._seqs: set[int] = set()
        self._suspects: set[Key] = set()
        self._due: list[tuple[float, int, Key, Held]] = []
        self._order = count()
        self.under_way = 0

    def __repr__(self) -> str:
        """Show how much is set aside."""
        return f"held records {len(self._held)}, gone exchanges {len(self._gone)}"

    def __contains__(self, row: Row) -> bool:
        """Return whether a row is set aside."""
        return row.seq in self._seqs

    def holds_up(self, message: Message) -> bool:
        """Return whether a new message must go behind something that is set aside."""
        if not self._seqs:
            return False
        record = message.record
        return (
            message.exchange in self._gone
            or record in self._held
            or (record is not None and any(record in gone.records for gone in self._gone.values()))
        )

    @property
    def has_suspects(self) -> bool:
        """Return whether a retry was in flight with others when the broker closed the channel."""
        return bool(self._suspects)

    @property
    def records(self) -> int:
        """Return how many records (and rows without one) are held."""
        return len(self._held)

    def put(self, row: Row) -> bool:
        """Take in a row that belongs here; return False if it can be published."""
        if row.unreadable:
            log.error("spool_row_unreadable", seq=row.seq, error=row.unreadable)
            self._park(row.seq, "spool_unreadable")
            return True
        gone, held = self._gone_exchange(row), self._held.get(key_of(row))
        if gone is not None:
            gone.seqs.append(row.seq)
            gone.records.add(row.message.record)
        elif held is not None:
            held.seqs.append(row.seq)
        else:
            return False
        self._seqs.add(row.seq)
        return True

    def hold(self, row: Row, followers: Sequence[int] = ()) -> None:
        """Hold a refused row, and with it those in line behind it: its record."""
        key = key_of(row)
        self._held[key] = held = Held(deque([row.seq, *followers]), row.tries)
        self._seqs.update(held.seqs)
        self._plan_retry(key, held, row)

    def remove(self, row: Row) -> bool:
        """Forget a row that was never stored; return whether it was here."""
        self._seqs.discard(row.seq)
        return (
            _take_out(self._held, key_of(row), row.seq)
            or _take_out(self._held, ("row", row.seq), row.seq)
            or _take_out(self._gone, row.message.exchange, row.seq)
        )

    def released(self) -> Iterator[deque[int]]:
        """Take out and yield the rows whose exchange is there again; park those of long ago."""
        now = self._loop.time()
        for exchange, gone in list(self._gone.items()):
            if self._sender.takes(exchange):
                del self._gone[exchange]
                self._seqs.difference_update(gone.seqs)
                yield gone.seqs
            elif now - gone.since >= GONE_SECONDS:
                del self._gone[exchange]
                self._give_up(gone)

    async def retry_due(self, limit: int) -> bool:
        """Try again what is due, up to a limit; return whether anything was."""
        tried = False
        connection = self._sender.connection
        while limit > 0 and self._due and self._due[0][0] <= self._loop.time():
            _, _, key, held = heapq.heappop(self._due)
            if self._held.get(key) is held:
                await self._retry(key, held)
                tried = True
                limit = limit - 1 if self._sender.connection == connection else 0
        return tried

    def _gone_exchange(self, row: Row) -> Gone | None:
        exchange = row.message.exchange
        missing = self._sender.is_up and not self._sender.takes(exchange)
        if missing and exchange not in self._gone:
            log.warning("exchange_gone", exchange=exchange, parked_in_seconds=GONE_SECONDS)
            self._gone[exchange] = Gone(self._loop.time())
        return self._gone.get(exchange)

    def _schedule(self, key: Key, held: Held, seconds: float) -> None:
        heapq.heappush(self._due, (self._loop.time() + seconds, next(self._order), key, held))

    def _give_up(self, gone: Gone) -> None:
        for seq in gone.seqs:
            self._park(seq, "exchange_gone")

    def _park(self, seq: int, reason: str) -> None:
        key = ("row", seq)
        self._held[key] = held = Held(deque([seq]), park_as=reason)
        self._seqs.add(seq)
        self._schedule(key, held, 0)

    async def _retry(self, key: Key, held: Held) -> None:
        connection = self._sender.connection
        row = await self._spool.get(held.seqs[0])
        if self._held.get(key) is not held:  # the disk did not take it in the end
            return
        if row is None or connection != self._sender.connection:
            # Not on disk yet, or what may be in flight on a new connection is to be asked first.
            self._schedule(key, held, _AGAIN_SECONDS if row is None else 0)
            return
        if held.park_as is None and self._is_given_up(held, row.message.exchange):
            held.park_as = "exchange_gone"
        message = row.message
        if held.park_as is not None:
            time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            message = refused_message(message, reason=held.park_as, time=time)
        self.under_way += 1
        publish = self._sender.submit(message)
        publish.on_settled(lambda settled: self._retried(key, held, row, settled))

    def _is_given_up(self, held: Held, exchange: str) -> bool:
        """Return whether a held row's exchange, too, is gone for too long."""
        now = self._loop.time()
        if self._sender.takes(exchange):
            held.gone_since = None
        elif held.gone_since is None:
            held.gone_since = now
        return held.gone_since is not None and now - held.gone_since >= GONE_SECONDS

    def _retried(self, key: Key, held: Held, row: Row, publish: Publish) -> None:
        self.under_way -= 1
        outcome = publish.outcome
        if publish.suspect:
            self._suspects.add(key)
        elif outcome is not Outcome.UNKNOWN:
            self._suspects.discard(key)
        if outcome is not None and outcome.accepted:
            self._done(key, held, row, outcome)
        elif outcome is not Outcome.REFUSED:  # being away counts no try
            self._schedule(key, held, 0 if publish.suspect else _AGAIN_SECONDS)
        elif held.park_as is not None:
            self._plan_parking(key, held, row)
        else:
            held.tries += 1
            self._spool.note_tries(row, held.tries)
            self._plan_retry(key, held, row)
        if outcome in (Outcome.CONFIRMED, Outcome.UNROUTED, Outcome.REFUSED):
            self._answered()

    def _done(self, key: Key, held: Held, row: Row, outcome: Outcome) -> None:
        if held.park_as is not None:
            self._metrics.parked.labels(row.endpoint, held.park_as).inc()
            log.warning("event_parked", event_id=row.message.message_id, reason=held.park_as)
        else:
            self._metrics.count_drained(row.endpoint, unrouted=outcome is Outcome.UNROUTED)
        self._spool.delete(row)
        self._seqs.discard(held.seqs.popleft())
        held.tries, held.park_as, held.parkings = 0, None, 0
        if held.seqs:
            self._schedule(key, held, 0)
        else:
            del self._held[key]

    def _plan_parking(self, key: Key, held: Held, row: Row) -> None:
        pause = min(_PARK_AGAIN_SECONDS * 2**held.parkings, _PARK_AGAIN_AT_MOST)
        held.parkings = min(held.parkings + 1, 16)
        log.error(
            "parking_refused",
            event_id=row.message.message_id,
            bytes=len(row.message.body),
            again_in_seconds=pause,
            remedy="make room in superoffice.parked, or raise RabbitMQ's max_message_size",
        )
        self._schedule(key, held, pause)

    def _plan_retry(self, key: Key, held: Held, row: Row) -> None:
        log.warning("event_refused", event_id=row.message.message_id, tries=held.tries)
        if held.tries >= self._refused_tries:
            held.park_as = "refused"
            self._schedule(key, held, 0)
        else:
            self._schedule(key, held, refusal_pause(held.tries))


def _take_out(places: dict[K, P], key: K, seq: int) -> bool:
    place = places.get(key)
    if place is None or seq not in place.seqs:
        return False
    place.seqs.remove(seq)
    if not place.seqs:
        del places[key]
    return True
