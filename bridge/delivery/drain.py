"""From the spool to the broker, in the order of acceptance per record, until nothing waits.

``backlog`` counts the rows that wait for their turn. New events go behind those of their record
alone, as soon as it is known which records wait (``bridge.delivery.waiting``). What waits for
something else than its turn is passed over (``bridge.delivery.aside``) and does not count.

The *pass* reads each row once, by ascending number. A *sweep* reads again what was passed over, up
to where the pass is, beside it and in the same order, and publishes few rows at first. Whose record
is being served waits in line behind it by number, and is read again when its turn has come. A row
leaves the disk when the broker has confirmed it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from itertools import islice

import structlog

from bridge.aio import set_within
from bridge.core.event import Record
from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.delivery.aside import Shelf, parked
from bridge.delivery.lines import Lines
from bridge.delivery.places import Aside
from bridge.delivery.records import Records
from bridge.delivery.retries import TRIALS, Retries
from bridge.delivery.sweep import Pace, Sweep
from bridge.delivery.tally import Tally
from bridge.delivery.waiting import Waiting
from bridge.metrics import Metrics
from bridge.spool import Row, Spool

WINDOW = 256
"""Rows in flight at a time."""

WINDOW_BYTES = 16 * 1024 * 1024
"""Bytes of those rows, when their bodies are large."""

_LOSSES = 2
"""Number of connections that may be lost under a row until it is tried on one of its own."""

_NAMED = 20
"""Maximum number of places that are named one by one."""

LOOKAHEAD = 100_000
"""Rows in line behind another of their record, until no further ones are looked at."""

_TICK_SECONDS = 0.1
_LOOK_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Handed:
    """A row that was handed to the disk, which has not answered; whether it is of the backlog."""

    row: Row
    counted: bool = True


@dataclass(slots=True)
class _Taken:
    """A row that has its place: in line behind its record, called to be read again, or in flight.

    ``seq`` and ``size`` are those of the row. ``counted`` is whether it is of the backlog,
    ``park_as`` why its message is parked, if it is.
    """

    seq: int
    size: int
    record: Record | None
    counted: bool
    park_as: str | None = None


@dataclass(slots=True)
class _Flight:
    """A row on the wire since a time, and the sweep that put it there, if it was one."""

    row: Row
    since: float
    sweep: Sweep | None = None


class Drain:
    """Empties the spool while the broker takes its rows."""

    def __init__(
        self,
        spool: Spool,
        sender: Publisher,
        metrics: Metrics,
        *,
        refused_tries: int,
        patience: float = 2.0,
    ) -> None:
        """Take how often a refused event is retried before it is parked.

        ``patience``: after so many seconds a publish that is not confirmed is *silent*.
        """
        self._spool = spool
        self._sender = sender
        self._tally = Tally(metrics)
        self._patience = patience
        self._shelf = Shelf(
            spool,
            sender,
            refused_tries=refused_tries,
            books=self._books,
            lets=self._tally.lets,
        )
        self._retries = Retries(
            spool,
            sender,
            self._tally,
            self._shelf,
            answered=self._answered,
            is_taken=self._is_taken,
            is_stored=self._is_stored,
        )
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._backlog = spool.events
        self._waiting = Waiting(spool)
        self._cursor = 0
        self._lines: Lines[Record, int] = Lines()
        self._taken: dict[int, _Taken] = {}
        self._called: dict[int, None] = {}
        self._wire: dict[int, _Flight] = {}
        """Published, not settled, and not given up: in the order of time."""
        self._wire_bytes = 0
        self._attached: dict[int, Publish] = {}
        self._losses: Counter[int] = Counter()
        """How often the connection was lost under a row, while that is not known to be harmless."""
        self._unstored: dict[int, _Handed] = {}
        self._ahead: set[int] = set()
        """Not read yet, and accounted for already."""
        self._sweep: Sweep | None = None
        self._pace = Pace()
        self._connection = 0
        self._probing = True
        self._probing_up_to = spool.last_seq
        """The latest row at the time at which the connection was new."""
        self._looked_at = 0.0
        self.oldest_seconds = 0.0

    def __repr__(self) -> str:
        """Show what waits."""
        return f"<Drain backlog {self._backlog}, {self._shelf!r}>"

    @property
    def backlog(self) -> int:
        """Return how many rows wait for their turn."""
        return self._backlog

    @property
    def holds_up_all(self) -> bool:
        """Return whether a new event must wait whatever its record: not all are known yet."""
        return self._backlog > 0 and not self._waiting.is_known

    @property
    def held_records(self) -> int:
        """Return how many records wait for something else than their turn, about."""
        return self._shelf.records

    @property
    def places_aside(self) -> int:
        """Return how many places (exchange and routing key) are set aside."""
        return len(self._shelf.places)

    @property
    def places_full(self) -> int:
        """Return how many of them have had their share of the disk."""
        return sum(self._is_full(each) for each in self._shelf.places)

    @property
    def aside(self) -> list[dict[str, object]]:
        """Return which places are set aside, the first twenty, and whether the disk takes more."""
        return [
            {
                "exchange": each.place[0],
                "key": each.name,
                "why": each.why,
                "full": self._is_full(each),
            }
            for each in islice(self._shelf.places, _NAMED)
        ]

    @property
    def is_sweeping(self) -> bool:
        """Return whether something that was passed over may go on, and is about to."""
        return self._sweep is not None or self._shelf.wants_sweep or bool(self._taken)

    def comes_first(self, message: Message) -> bool:
        """Return whether a new message must go through the spool."""
        return (
            (self._backlog > 0 and self._waiting.may_have(message.record))
            or not self._sender.is_up
            or message.record in self._lines
            or (self._shelf.holds_up(message) and not self._goes_ahead(message))
            or self._shelf.closers.suspects(message)
            or not self._sender.can_publish_to(message.exchange)
        )

    def _goes_ahead(self, message: Message) -> bool:
        """Return whether a message may use a place that recovers, as the disk takes nothing."""
        return self._shelf.is_recovering_for(message) and not self._spool.accepts

    def has_room_for(self, message: Message) -> bool:
        """Return whether the spool has room for a message, as far as its place is concerned."""
        return self._shelf.has_room_for(message, free=self._spool.free)

    def take(self, row: Row, publish: Publish | None) -> None:
        """Take over a row that was just handed to the spool, with its publish if there was one."""
        alone = self._backlog == 0  # nothing unread lies before it, so its place is known
        self._unstored[row.seq] = _Handed(row)
        self._backlog += 1
        self._waiting.hand(row.message.record)
        if publish is None or publish.outcome is Outcome.NOT_SENT:
            if alone and (self._waits(row.message) or self._queues(row.message)):
                self._cursor = row.seq
                self._ahead.clear()
                self._pass_over(row)
        elif publish.outcome is None:
            self._attached[row.seq] = publish
            if self._sender.is_up:
                self._silence(row)
            else:
                self._fly(_Flight(row, self._loop.time()))
        elif publish.outcome is Outcome.REFUSED or publish.suspect:
            self._leave_backlog(row.seq)
            self._shelf.hold(row, publish)
        else:
            self._losses[row.seq] = 1
        self._wake.set()

    def stored(self, row: Row) -> None:
        """Take note that a row is on disk: the outcome of its publish counts from now on."""
        handed = self._unstored.pop(row.seq, None)
        self._waiting.answered(row.message.record, waits=handed is not None and handed.counted)
        publish = self._attached.get(row.seq)
        if publish is not None:
            publish.on_settled(lambda settled: self._settled(row, settled))
        self._wake.set()

    def drop(self, row: Row) -> None:
        """Forget a row that the disk did not take."""
        self._attached.pop(row.seq, None)
        self._losses.pop(row.seq, None)
        self._land(row.seq, taken=False)
        self._ahead.discard(row.seq)
        handed = self._unstored.pop(row.seq)
        self._waiting.answered(row.message.record, waits=False)
        self._backlog -= handed.counted
        if not handed.counted:
            self._shelf.remove(row)

    async def run(self) -> None:
        """Drain until cancelled; after an error it may be called again."""
        while True:
            if self._backlog == 0:
                self._waiting.clear()
            await self._look()
            looked = await self._waiting.look_on()
            if not self._sender.is_up:
                self._probing = True
            elif await self._step():
                continue
            if not looked:
                await self._idle()

    async def _step(self) -> bool:
        """Do what can be done now; return whether there was anything."""
        self._note_connection()
        self._silence_overdue()
        self._shelf.look_at_exchanges()
        tried = await self._retries.try_due(self._room_for_trials())
        called = await self._serve_called()
        swept = await self._sweep_on()
        return await self._read_on() or called or tried or swept

    async def _read_on(self) -> bool:
        """Take the next rows from the disk; return whether there were any."""
        room = self._free() - len(self._called)
        self._compare_backlog()
        exhausted = self._cursor >= self._spool.last_seq or len(self._taken) >= LOOKAHEAD
        if room <= 0 or exhausted or self._is_busy(room):
            return False
        last = 0 if self._unstored else self._spool.last_seq  # up to there all is on disk, or gone
        limit = WINDOW if self._probing else room  # what is only passed over takes no room
        rows = await self._spool.read(after=self._cursor, limit=limit)
        for row in rows:
            if self._note_connection() or self._free() <= len(self._called):
                break
            if row.seq > self._cursor:
                self._cursor = row.seq
                self._dispatch(row)
        if not rows:
            self._cursor = max(self._cursor, last)
        self._ahead = {seq for seq in self._ahead if seq > self._cursor}  # some may be gone
        return bool(rows)

    def _compare_backlog(self) -> None:
        """Leave rows out of the backlog that somebody else deleted before they were read."""
        is_read = self._cursor >= self._spool.last_seq and not self._unstored
        if is_read and not (self._taken or self._attached) and self._backlog:
            self._note_gone(self._backlog)
            self._backlog = 0

    def _note_gone(self, events: int) -> None:
        if self._tally.lets("spool_rows_gone"):
            log.error("spool_rows_gone", events=events)

    async def _sweep_on(self) -> bool:
        """Read again what was passed over; return whether anything was read."""
        sweep = self._sweep = self._sweep or self._pace.begin(self._shelf, self._loop.time())
        if sweep is None:
            return False
        end = min([self._cursor, *(seq - 1 for seq in self._unstored)])
        if sweep.cursor >= end:
            if not self._ahead:
                self._pass_what_is_not_stored(sweep)
                self._sweep = None
                self._pace.end(sweep, self._shelf, self._loop.time())
            return self._sweep is None
        if self._room_for(sweep) <= 0 or sweep.is_busy:
            return False
        begun, before = self._loop.time(), sweep.cursor
        rows = await self._spool.read(after=sweep.cursor, limit=WINDOW)
        for row in rows:
            if row.seq > end or self._note_connection() or not self._sweep_over(row, sweep):
                break
            sweep.cursor = row.seq
        if not rows or rows[0].seq > end:
            sweep.cursor = end
        sweep.busy += self._loop.time() - begun
        return sweep.cursor > before

    async def _serve_called(self) -> bool:
        """Publish rows whose turn in line has come; return whether there were any."""
        stored = (seq for seq in self._called if seq not in self._unstored)
        turn = list(islice(stored, max(0, self._free())))
        if not turn:
            return False
        rows = await self._spool.get_all(turn)
        self._forget_gone(turn, rows)
        for row in rows:
            if self._note_connection():
                break
            if row.seq in self._called:
                taken = self._taken[row.seq]
                if taken.park_as is None and self._is_aside(row.message):
                    self._pass_over(row)
                else:
                    self._publish(row, taken)
        return True

    def _forget_gone(self, turn: list[int], rows: list[Row]) -> None:
        """Forget rows that were called and are not on the disk: somebody else has deleted them.

        A read of large bodies ends early: what lies behind its last row was not looked for.
        """
        end = rows[-1].seq if rows else max(turn)
        missing = {seq for seq in turn if seq <= end}.difference(row.seq for row in rows)
        for seq in sorted(missing & self._called.keys()):
            self._note_gone(1)
            del self._called[seq]
            self._spool.delete(self._taken[seq])
            self._leave_served(seq)

    async def _look(self) -> None:
        """Note the age of the oldest event, for those who watch."""
        now = self._loop.time()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self.oldest_seconds = await self._spool.oldest_seconds()

    async def _idle(self) -> None:
        """Wait for something to do; the broker's state is looked at again after a moment."""
        await set_within(self._wake, _TICK_SECONDS)
        self._wake.clear()

    def _free(self) -> int:
        """Return how many rows may be published: on a new connection one, until it answers."""
        if self._wire_bytes >= WINDOW_BYTES:
            return 0
        if self._probing:
            return 1 - len(self._wire) - self._retries.under_way
        return WINDOW - len(self._wire)

    def _room_for_trials(self) -> int:
        """Return how many may be tried: on a new connection only when nobody else can ask.

        That is when all that waited before it was read and passed over.
        """
        if self._probing:
            others = self._backlog > 0 and self._cursor < self._probing_up_to
            return 0 if others or self._called else self._free()
        return TRIALS - self._retries.under_way

    def _room_for(self, sweep: Sweep) -> int:
        return min(self._free(), sweep.window - sweep.in_flight)

    def _is_busy(self, room: int) -> bool:
        """Return whether to wait before reading: few large reads are cheaper than many small."""
        return room < WINDOW // 2 and len(self._wire) >= WINDOW // 4

    def _is_full(self, aside: Aside) -> bool:
        return self._shelf.shares.is_full(aside, free=self._spool.free)

    def _is_taken(self, seq: int) -> bool:
        return seq in self._taken

    def _is_stored(self, seq: int) -> bool:
        return seq not in self._unstored

    def _is_aside(self, message: Message) -> bool:
        aside = self._shelf.places.of(message)
        return (aside is not None and not aside.recovering) or self._shelf.misses(message)

    def _waits(self, message: Message) -> bool:
        return self._shelf.holds_up(message) or self._shelf.misses(message)

    def _queues(self, message: Message) -> bool:
        """Return whether a sweep has put a row of the same record in line, and ask for another."""
        queues = message.record in self._lines
        self._shelf.wants_sweep |= queues
        return queues

    def _note_connection(self) -> bool:
        """Return whether the connection is another one, which is tried with one row at first."""
        changed = self._sender.connection != self._connection
        self._connection = self._sender.connection
        if changed:
            self._probing, self._probing_up_to = True, self._spool.last_seq
        return changed

    def _dispatch(self, row: Row) -> None:
        """Give a row that is read for the first time its place."""
        if row.seq in self._ahead:
            self._ahead.discard(row.seq)
        elif row.seq not in self._attached and self._waits(row.message):
            self._pass_over(row)
        elif row.unreadable and not self._shelf.can_park:
            self._leave_backlog(row.seq)
            self._shelf.pass_over_unparked(row, *self._books(row.seq))
        else:
            park_as = "spool_unreadable" if row.unreadable else None
            self._enter(
                row, _Taken(row.seq, row.size, row.message.record, counted=True, park_as=park_as)
            )

    def _sweep_over(self, row: Row, sweep: Sweep) -> bool:
        """Give a row that was passed over its place; return False if there is no room for it."""
        message = row.message
        if self._has_place(row.seq):
            if self._is_given_up(row.seq):
                self._pass_again(row, sweep)
            return True
        park_as = self._shelf.park_as(row)
        behind = self._shelf.holds(message) or message.record in sweep.passed
        if behind or (park_as is None and self._is_aside(message)):
            self._pass_again(row, sweep)
        elif park_as is not None and not self._shelf.can_park:
            self._shelf.pass_over_unparked(row, sweep.passed, again=True)
        elif self._room_for(sweep) <= 0 or len(self._shelf.untried) >= TRIALS:
            return False
        else:
            self._shelf.take_up(row)
            sweep.cursor = row.seq  # what is passed over from here on, it has met
            self._enter(
                row, _Taken(row.seq, row.size, message.record, counted=False, park_as=park_as)
            )
        return True

    def _pass_what_is_not_stored(self, sweep: Sweep) -> None:
        """Leave what the disk has not taken yet to the next sweep: events may keep coming."""
        for row in (handed.row for handed in self._unstored.values()):
            is_passed = not self._has_place(row.seq) or self._is_given_up(row.seq)
            if row.seq <= self._cursor and is_passed:
                self._pass_again(row, sweep)
                self._shelf.wants_sweep |= not self._is_aside(row.message)

    def _has_place(self, seq: int) -> bool:
        return seq in self._taken or seq in self._attached or self._shelf.has(seq)

    def _is_given_up(self, seq: int) -> bool:
        return seq in self._shelf.unresolved and self._shelf.held.get(seq) is None

    def _pass_again(self, row: Row, sweep: Sweep) -> None:
        behind = row.message.record in self._lines
        self._shelf.pass_over(row, sweep.passed, behind=behind, again=True)

    def _enter(self, row: Row, taken: _Taken) -> None:
        """Let a row enter the line of its record, and publish it if it is the first."""
        if row.unreadable:
            self._tally.unreadable(row)
        self._taken[row.seq] = taken
        first = taken.record is None or self._lines.enter(taken.record, row.seq)
        if first and row.seq not in self._attached:
            self._publish(row, taken)

    def _publish(self, row: Row, taken: _Taken) -> None:
        self._called[row.seq] = None  # an error on the way to the wire leaves it called
        if taken.park_as is None and self._shelf.suspects(row):
            self._leave_line(row)
            self._shelf.try_first(row)
            return
        message = parked(row.message, taken.park_as) if taken.park_as else row.message
        publish = self._submit(message)
        del self._called[row.seq]
        self._fly(_Flight(row, self._loop.time(), None if taken.counted else self._sweep))
        publish.on_settled(lambda settled: self._settled(row, settled))

    def _submit(self, message: Message) -> Publish:
        """Put a message on the wire; one that no code expects is refused, and stops nobody."""
        try:
            return self._sender.submit(message)
        except Exception as error:
            log.error("message_invalid", event_id=message.message_id, error=repr(error))
            publish = Publish(message)
            publish.settle(Outcome.REFUSED)
            return publish

    def _fly(self, flight: _Flight) -> None:
        self._wire[flight.row.seq] = flight
        self._wire_bytes += flight.row.size
        if flight.sweep is not None:
            flight.sweep.in_flight += 1

    def _land(self, seq: int, *, taken: bool) -> None:
        """Take a row off the wire, where it is settled or given up."""
        flight = self._wire.pop(seq, None)
        if flight is None:
            return
        self._wire_bytes -= flight.row.size
        if flight.sweep is not None:
            flight.sweep.note(taken=taken)

    def _settled(self, row: Row, publish: Publish) -> None:
        """Take the outcome of a row that is in flight, or was before it was spooled."""
        late = self._attached.pop(row.seq, None) is not None
        outcome = publish.outcome
        self._land(row.seq, taken=outcome is not None and outcome.is_with_broker)
        taken = self._taken.get(row.seq)
        if row.seq in self._shelf.unresolved:
            self._shelf.heard_of(row, publish)
            self._tally.note(row, outcome, late=True)
        elif outcome is not None and outcome.is_with_broker:
            self._finish(row, outcome, taken, late=late)
        elif outcome is Outcome.REFUSED or publish.suspect or (taken and taken.park_as):
            self._probing = False if outcome is Outcome.REFUSED else self._probing
            self._leave_line(row)
            self._shelf.hold(row, publish, park_as=taken.park_as if taken else None)
        else:
            self._lost(row, taken, published=outcome is Outcome.UNKNOWN)
        self._wake.set()

    def _lost(self, row: Row, taken: _Taken | None, *, published: bool) -> None:
        """Publish a row again whose connection is gone; if it is the cause, without the others."""
        self._probing = True
        self._losses[row.seq] += published
        if self._losses[row.seq] >= _LOSSES:
            self._leave_line(row)
            self._shelf.hold_apart(row)
        elif taken is not None:
            self._called[row.seq] = None

    def _finish(self, row: Row, outcome: Outcome, taken: _Taken | None, *, late: bool) -> None:
        self._probing = False
        self._spool.delete(row)
        counted = self._leave_served(row.seq)
        park_as = taken.park_as if taken else None
        if park_as is None:
            self._shelf.confirmed(row.message)
        self._tally.note(row, outcome, park_as=park_as, late=late)
        is_empty = self._backlog == 0 and (counted or self._spool.events == 0)
        if is_empty and self._tally.lets("spool_drained"):
            log.info("spool_drained", held_records=self.held_records)

    def _leave_served(self, seq: int) -> bool:
        """Forget a row that is gone, and call the next of its record; return whether it counted."""
        self._losses.pop(seq, None)
        taken = self._taken.pop(seq, None)
        counted = taken is None or taken.counted
        self._backlog -= counted
        if taken is not None and taken.record is not None:
            following = self._lines.next(taken.record)
            if following is not None:
                self._called[following] = None
        return counted

    def _silence_overdue(self) -> None:
        """Set the places aside whose rows are not confirmed while the broker answers."""
        end = self._loop.time() - self._patience
        while self._wire and self._sender.is_up:
            flight = next(iter(self._wire.values()))
            if flight.since > end:
                return
            self._land(flight.row.seq, taken=False)
            self._probing = False
            self._silence(flight.row)

    def _silence(self, row: Row) -> None:
        if self._shelf.note_silence(row):
            self._leave_line(row)
        else:
            self._pass_over(row)

    def _pass_over(self, row: Row) -> None:
        """Leave a row on the disk, and all that wait in line behind it."""
        taken = self._taken.get(row.seq)
        self._losses.pop(row.seq, None)
        behind = taken is None and row.message.record in self._lines
        self._shelf.pass_over(row, *self._books(row.seq), behind=behind)
        if taken is None:
            self._leave_backlog(row.seq)
        else:
            self._leave_line(row)

    def _leave_line(self, row: Row) -> None:
        """Take a row out of its place, and with it those who wait behind it."""
        taken = self._taken.get(row.seq)
        self._losses.pop(row.seq, None)
        if taken is None:
            self._leave_backlog(row.seq)
            return
        followers = self._lines.close(taken.record) if taken.record is not None else []
        for seq in (row.seq, *followers):
            self._called.pop(seq, None)
            left = self._taken.pop(seq)
            self._backlog -= left.counted
            if seq != row.seq:
                self._shelf.leave_behind(seq, left.size, taken.record)

    def _books(self, seq: int) -> list[Records]:
        """Return where the record of a row that is passed over is written down."""
        sweep = self._sweep
        behind = sweep is not None and seq <= sweep.cursor
        return [self._shelf.passed, sweep.passed] if sweep and behind else [self._shelf.passed]

    def _answered(self) -> None:
        """Take note that the broker answers."""
        self._probing = False
        self._wake.set()

    def _leave_backlog(self, seq: int) -> None:
        self._backlog -= 1
        if seq in self._unstored:
            self._unstored[seq].counted = False
        if seq > self._cursor:
            self._ahead.add(seq)
