"""Direct to the broker while that keeps the order; through the spool otherwise.

Of one record only one message is unresolved at a time. A later one waits for its outcome. When the
earlier one is spooled, the later ones are spooled behind it in the same instant. Nothing here
awaits between a decision and its effect, so no message can slip in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Protocol

import structlog

from bridge.core.event import Record
from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.delivery.drain import Drain
from bridge.delivery.fifo import FifoPerKey
from bridge.sampling import Sampled, note_events
from bridge.spool import OnWritten, Row, SpoolFull

_PRESSURE_FROM = 0.1
"""How full the spool is when the outbox begins to slow answers, so that it shrinks."""

_PRESSURE_FULL = 0.5
"""How full it is when answers are slowed most."""

_PAUSE_SECONDS = 1.0
"""Maximum seconds by which an answer is slowed."""

_AGAIN_SECONDS = 0.05
"""Minimum seconds between two looks at what is due."""

COMMIT_SECONDS = 0.5
"""How long the disk may take beyond a message's deadline until the answer is 503."""


log = structlog.get_logger()


class Store(Protocol):
    """The part of a spool that the outbox needs."""

    @property
    def fullness(self) -> float:
        """Return how full it is: 0 is empty, 1 has no more room."""
        ...

    def append(self, message: Message, *, on_written: OnWritten) -> Row:
        """Hand a message over; it is safe when ``on_written`` says so. Raises ``SpoolFull``."""
        ...


class _Handover:
    """One message, from when the outbox has it until its outcome is told.

    ``due`` is its deadline; ``expired`` is set when that has passed.
    """

    __slots__ = ("_settled", "due", "expired", "message", "publish")

    def __init__(self, message: Message, settled: Callable[[Outcome], None], *, due: float) -> None:
        self.message = message
        self._settled: Callable[[Outcome], None] | None = settled
        self.due = due
        self.publish: Publish | None = None
        self.expired = False

    @property
    def confirmed(self) -> Outcome | None:
        outcome = self.publish.outcome if self.publish is not None else None
        return outcome if outcome is not None and outcome.is_with_broker else None

    def settle(self, outcome: Outcome) -> None:
        settled, self._settled = self._settled, None
        if settled is None:
            return
        try:
            settled(outcome)
        except Exception as error:  # of whoever asked: it changes nothing about other messages
            log.error("request_failed", exc_info=error)


class Outbox:
    """Makes the broker or the disk responsible for each message."""

    def __init__(
        self, publisher: Publisher, spool: Store, drain: Drain, *, deadline: float
    ) -> None:
        """Take the time in seconds that the broker has to confirm a message."""
        self._publisher = publisher
        self._spool = spool
        self._drain = drain
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._fifo: FifoPerKey[Record, _Handover] = FifoPerKey()
        self._pending: dict[_Handover, None] = {}
        """Messages with neither an outcome nor a row, in the order of their deadlines."""
        self._timer: asyncio.TimerHandle | None = None
        self._writing: dict[_Handover, None] = {}
        """Messages that were handed to the disk, which has not answered yet."""
        self._look: asyncio.TimerHandle | None = None
        self._said = Sampled(note_events)

    def deliver(self, message: Message, settled: Callable[[Outcome], None]) -> None:
        """Call back when the message is confirmed, or spooled, or neither is possible.

        The last is ``NOT_SENT``. Nothing takes a message back, whoever has asked may be gone.
        """
        due = self._loop.time() + self._deadline
        handover = _Handover(message, settled, due=due)
        if self._timer is None:  # with nothing pending it is let go
            self._timer = self._loop.call_at(due, self._expire)
        self._pending[handover] = None
        if message.record is None or self._fifo.enter(message.record, handover):
            self._start(handover)

    def spill_all(self) -> None:
        """Spool everything that is unresolved: the service is about to stop."""
        for handover in list(self._pending):
            if handover.publish is not None:  # others follow the one that they wait for
                self._spill(handover)

    def _start(self, handover: _Handover) -> None:
        try:
            self._begin(handover)
        except Exception as error:
            self._fail(handover, error)

    def _begin(self, handover: _Handover) -> None:
        if handover.expired or self._drain.comes_first(handover.message):
            self._spill(handover)
            return
        try:
            handover.publish = self._publisher.submit(handover.message)
        except MemoryError:  # it is not on the wire: the disk may take it, which needs less
            self._spill(handover)
            return
        handover.publish.on_settled(lambda publish: self._settled(handover, publish))

    def _settled(self, handover: _Handover, publish: Publish) -> None:
        assert publish.outcome is not None  # noqa: S101  # it is settled
        if not publish.outcome.is_with_broker:
            self._spill(handover)
            return
        del self._pending[handover]
        handover.settle(publish.outcome)
        record = handover.message.record
        if record is not None and (following := self._fifo.next(record)) is not None:
            self._start(following)

    def _expire(self) -> None:
        """Spool what is due. All deadlines are equally long, so one timer serves them all."""
        now = self._loop.time()
        try:
            for handover in list(takewhile(lambda each: each.due <= now, self._pending)):
                handover.expired = True
                if handover.publish is not None and handover in self._pending:
                    self._spill(handover)  # and those that wait for it, whose time is over, or soon
        finally:  # no error ends the deadlines of all others
            self._timer = None
            if self._pending:
                due = max(next(iter(self._pending)).due, now + _AGAIN_SECONDS)
                self._timer = self._loop.call_at(due, self._expire)

    def _spill(self, handover: _Handover) -> None:
        """Spool a message, and behind it all that wait for it."""
        if handover.publish is not None:
            handover.publish.on_settled(None)  # from here on it is the drain's
        record = handover.message.record
        followers = [] if record is None else self._fifo.close(record)
        for each in (handover, *followers):
            del self._pending[each]
            self._hand_to_disk(each)

    def _fail(self, handover: _Handover, error: Exception) -> None:
        """Answer 503 because of an unexpected error; the next message of the record goes on."""
        log.error("request_failed", exc_info=error)
        self._pending.pop(handover, None)
        handover.settle(Outcome.NOT_SENT)
        record = handover.message.record
        if record is None or record not in self._fifo:
            return
        if (following := self._fifo.next(record)) is not None:
            self._start(following)

    def _hand_to_disk(self, handover: _Handover) -> None:
        try:
            self._append(handover)
        except Exception as error:  # those behind it must not go without an answer as well
            if self._said.lets("spool_write_failed"):
                log.error("spool_write_failed", error=f"{type(error).__name__}: {error}", events=1)
            if handover not in self._writing:  # else the disk's own answer is still to come
                handover.settle(Outcome.NOT_SENT)

    def _append(self, handover: _Handover) -> None:
        if not self._drain.has_room_for(handover.message):
            handover.settle(Outcome.NOT_SENT)
            return
        try:
            row = self._spool.append(handover.message, on_written=partial(self._written, handover))
        except SpoolFull:
            handover.settle(Outcome.NOT_SENT)
            return
        self._writing[handover] = None
        self._drain.adopt(row, handover.publish)
        if self._look is None:
            self._look = self._loop.call_later(COMMIT_SECONDS, self._give_up_on_the_disk)

    def _give_up_on_the_disk(self) -> None:
        """Answer what has waited too long; a row that is written later still arrives."""
        late = self._loop.time() - COMMIT_SECONDS
        for handover in [each for each in self._writing if each.due <= late]:
            del self._writing[handover]
            handover.settle(handover.confirmed or Outcome.NOT_SENT)
        self._look = None
        if self._writing:
            self._look = self._loop.call_later(COMMIT_SECONDS / 2, self._give_up_on_the_disk)

    def _written(self, handover: _Handover, row: Row, refusal: SpoolFull | None) -> None:
        self._writing.pop(handover, None)
        try:
            self._drain.spooled(row) if refusal is None else self._drain.not_spooled(row)
        finally:  # an error of the drain changes nothing about what is on the disk
            self._answer(handover, refusal)

    def _answer(self, handover: _Handover, refusal: SpoolFull | None) -> None:
        if refusal is not None:
            handover.settle(handover.confirmed or Outcome.NOT_SENT)
        elif (pause := self._pause(handover)) > 0:
            self._loop.call_later(pause, handover.settle, Outcome.SPOOLED)
        else:
            handover.settle(Outcome.SPOOLED)

    def _pause(self, handover: _Handover) -> float:
        """Return by how many seconds to slow an answer: the drain must win over new events."""
        if not self._publisher.is_up:
            return 0.0
        pressure = (self._spool.fullness - _PRESSURE_FROM) / (_PRESSURE_FULL - _PRESSURE_FROM)
        longest = min((handover.due - self._loop.time()) * 0.9, _PAUSE_SECONDS)
        return longest * min(max(pressure, 0.0), 1.0)
