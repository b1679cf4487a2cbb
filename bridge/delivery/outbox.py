"""Direct to the broker while that keeps the order; through the spool otherwise.

Of one record one message is unresolved. A later one waits for its outcome, and when the earlier is
spooled, the later ones are spooled behind it in the same instant: nothing here awaits between a
decision and its effect, so no message can slip in between.
"""

from __future__ import annotations

import asyncio
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
"""How full the spool is when answers begin to be slowed, so that it shrinks."""

_PRESSURE_FULL = 0.5

_PAUSE_SECONDS = 1.0
"""Maximum time by which an answer is slowed."""

_AGAIN_SECONDS = 0.05
"""Minimum time between two looks at what is due."""

COMMIT_SECONDS = 0.5
"""How long the disk may take beyond a message's deadline, until its sender is told to try again."""


log = structlog.get_logger()


class Store(Protocol):
    """The part of a spool that takes messages in."""

    @property
    def fullness(self) -> float:
        """Return how full it is: 0 is empty, 1 takes nothing more."""
        ...

    def append(self, message: Message, *, on_written: OnWritten) -> Row:
        """Hand a message over; it is safe when ``on_written`` says so. Raises ``SpoolFull``."""
        ...


class _Ticket:
    """One message, from its acceptance to its answer."""

    __slots__ = ("answer", "due", "expired", "message", "publish")

    def __init__(self, message: Message, answer: asyncio.Future[Outcome], *, due: float) -> None:
        self.message = message
        self.answer = answer
        self.due = due
        self.publish: Publish | None = None
        self.expired = False

    @property
    def confirmed(self) -> Outcome | None:
        outcome = self.publish.outcome if self.publish is not None else None
        return outcome if outcome is not None and outcome.is_with_broker else None

    def settle(self, outcome: Outcome) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)


class Outbox:
    """Takes responsibility for messages: the broker's, or the disk's."""

    def __init__(self, sender: Publisher, spool: Store, drain: Drain, *, deadline: float) -> None:
        """Take the time in seconds that the broker has to confirm a message."""
        self._sender = sender
        self._spool = spool
        self._drain = drain
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._fifo: FifoPerKey[Record, _Ticket] = FifoPerKey()
        self._pending: dict[_Ticket, None] = {}
        """Those with neither outcome nor place on disk, in the order of their deadlines."""
        self._timer: asyncio.TimerHandle | None = None
        self._storing: dict[_Ticket, None] = {}
        """Those that were handed to the disk, which has not answered yet."""
        self._look: asyncio.TimerHandle | None = None
        self._said = Sampled(note_events)

    async def deliver(self, message: Message) -> Outcome:
        """Return when the message is confirmed, or on disk, or (``NOT_SENT``) neither can take it.

        A caller that is cancelled gives up the answer, not the message.
        """
        due = self._loop.time() + self._deadline
        ticket = _Ticket(message, self._loop.create_future(), due=due)
        if self._timer is None:  # with nothing pending it is let go
            self._timer = self._loop.call_at(due, self._expire)
        self._pending[ticket] = None
        if message.record is None or self._fifo.enter(message.record, ticket):
            self._start(ticket)
        return await ticket.answer

    def spill_all(self) -> None:
        """Spool everything that is unresolved: the service is about to stop."""
        for ticket in list(self._pending):
            if ticket.publish is not None:  # others follow the one that they wait for
                self._spill(ticket)

    def _start(self, ticket: _Ticket) -> None:
        try:
            self._begin(ticket)
        except Exception as error:
            self._fail(ticket, error)

    def _begin(self, ticket: _Ticket) -> None:
        if ticket.expired or self._drain.comes_first(ticket.message):
            self._spill(ticket)
            return
        try:
            ticket.publish = self._sender.submit(ticket.message)
        except MemoryError:  # it is not on the wire: the disk may take it, which needs less
            self._spill(ticket)
            return
        ticket.publish.on_settled(lambda publish: self._settled(ticket, publish))

    def _settled(self, ticket: _Ticket, publish: Publish) -> None:
        assert publish.outcome is not None  # noqa: S101  # it is settled
        if not publish.outcome.is_with_broker:
            self._spill(ticket)
            return
        del self._pending[ticket]
        ticket.settle(publish.outcome)
        record = ticket.message.record
        if record is not None and (following := self._fifo.next(record)) is not None:
            self._start(following)

    def _expire(self) -> None:
        """Spool what is due. All deadlines are equally long, so one timer serves them all."""
        now = self._loop.time()
        try:
            for ticket in list(takewhile(lambda each: each.due <= now, self._pending)):
                ticket.expired = True
                if ticket.publish is not None and ticket in self._pending:
                    self._spill(ticket)  # and those that wait for it, whose time is over, or soon
        finally:  # no error ends the deadlines of all others
            self._timer = None
            if self._pending:
                due = max(next(iter(self._pending)).due, now + _AGAIN_SECONDS)
                self._timer = self._loop.call_at(due, self._expire)

    def _spill(self, ticket: _Ticket) -> None:
        """Spool a message, and behind it all that wait for it."""
        if ticket.publish is not None:
            ticket.publish.on_settled(None)  # from here on it is the drain's
        record = ticket.message.record
        followers = [] if record is None else self._fifo.close(record)
        for each in (ticket, *followers):
            del self._pending[each]
            self._store(each)

    def _fail(self, ticket: _Ticket, error: Exception) -> None:
        """Tell a sender to try again because of an error nobody expected; its record goes on."""
        log.error("request_failed", exc_info=error)
        self._pending.pop(ticket, None)
        ticket.settle(Outcome.NOT_SENT)
        record = ticket.message.record
        if record is None or record not in self._fifo:
            return
        if (following := self._fifo.next(record)) is not None:
            self._start(following)

    def _store(self, ticket: _Ticket) -> None:
        try:
            self._keep(ticket)
        except Exception as error:  # those behind it must not go without an answer as well
            if self._said.lets("spool_write_failed"):
                log.error("spool_write_failed", error=f"{type(error).__name__}: {error}", events=1)
            if ticket not in self._storing:  # else the disk's own answer is still to come
                ticket.settle(Outcome.NOT_SENT)

    def _keep(self, ticket: _Ticket) -> None:
        if not self._drain.has_room_for(ticket.message):
            ticket.settle(Outcome.NOT_SENT)
            return
        try:
            row = self._spool.append(ticket.message, on_written=partial(self._stored, ticket))
        except SpoolFull:
            ticket.settle(Outcome.NOT_SENT)
            return
        self._storing[ticket] = None
        self._drain.adopt(row, ticket.publish)
        if self._look is None:
            self._look = self._loop.call_later(COMMIT_SECONDS, self._give_up_on_the_disk)

    def _give_up_on_the_disk(self) -> None:
        """Answer who has waited too long; what the disk takes later is delivered all the same."""
        late = self._loop.time() - COMMIT_SECONDS
        for ticket in [each for each in self._storing if each.due <= late]:
            del self._storing[ticket]
            ticket.settle(ticket.confirmed or Outcome.NOT_SENT)
        self._look = None
        if self._storing:
            self._look = self._loop.call_later(COMMIT_SECONDS / 2, self._give_up_on_the_disk)

    def _stored(self, ticket: _Ticket, row: Row, refusal: SpoolFull | None) -> None:
        self._storing.pop(ticket, None)
        try:
            self._drain.spooled(row) if refusal is None else self._drain.not_spooled(row)
        finally:  # the disk has it or not, whatever the drain makes of that
            self._answer(ticket, refusal)

    def _answer(self, ticket: _Ticket, refusal: SpoolFull | None) -> None:
        if refusal is not None:
            ticket.settle(ticket.confirmed or Outcome.NOT_SENT)
        elif (pause := self._pause(ticket)) > 0:
            self._loop.call_later(pause, ticket.settle, Outcome.SPOOLED)
        else:
            ticket.settle(Outcome.SPOOLED)

    def _pause(self, ticket: _Ticket) -> float:
        """Return by how many seconds an answer is slowed: the drain must win over the senders."""
        if not self._sender.is_up:
            return 0.0
        pressure = (self._spool.fullness - _PRESSURE_FROM) / (_PRESSURE_FULL - _PRESSURE_FROM)
        longest = min((ticket.due - self._loop.time()) * 0.9, _PAUSE_SECONDS)
        return longest * min(max(pressure, 0.0), 1.0)
