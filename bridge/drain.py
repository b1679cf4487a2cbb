"""From the spool to the broker, in the order of acceptance per record, until nothing waits.

``backlog`` counts the rows that new events must queue behind. Two kinds of rows do not count, for
they hold up nobody but themselves: those of a record whose first row the broker refuses (*held*),
and those of an exchange that is not there (*gone*). They are set aside by number and stay on disk.

A pass reads rows by ascending number and starts over when the connection is lost; what it meets a
second time it recognizes. Who waits behind another row of its record does so by number too, and is
read again when its turn has come: a record with many events takes neither memory nor the others'
places. A row leaves the disk when the broker has confirmed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice

import structlog

from bridge.aside import Shelf
from bridge.core.event import Record
from bridge.core.message import Message
from bridge.core.order import Lines
from bridge.metrics import Metrics
from bridge.ports import Outcome, Publish, Sender
from bridge.spool import Row, Spool

WINDOW = 256
"""Rows in flight at a time."""

WINDOW_BYTES = 16 * 1024 * 1024
"""Bytes of those rows, when their bodies are large."""

LOOKAHEAD = 100_000
"""Rows in line behind another of their record, until no further ones are looked at."""

_TICK_SECONDS = 0.1
_LOOK_SECONDS = 1.0

log = structlog.get_logger()


class Drain:
    """Empties the spool while the broker takes its rows."""

    def __init__(
        self, spool: Spool, sender: Sender, metrics: Metrics, *, refused_tries: int
    ) -> None:
        """Take how often a refused event is retried before it is parked."""
        self._spool = spool
        self._sender = sender
        self._metrics = metrics
        self._shelf = Shelf(
            spool, sender, metrics, refused_tries=refused_tries, answered=self._answered
        )
        self._wake = asyncio.Event()
        self._backlog = spool.events
        self._cursor = 0
        self._lines: Lines[Record, int] = Lines()
        self._active: set[int] = set()
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._called: dict[int, Record] = {}
        self._waiting: set[int] = set()
        self._attached: dict[int, Publish] = {}
        self._suspects: set[int] = set()
        self._connection = 0
        self._interrupted = False
        self._probing = True
        self._looked_at = 0.0
        self.oldest_seconds = 0.0

    def __repr__(self) -> str:
        """Show what waits."""
        return f"<Drain backlog {self._backlog}, {self._shelf!r}>"

    @property
    def backlog(self) -> int:
        """Return how many rows new events must queue behind."""
        return self._backlog

    @property
    def held_records(self) -> int:
        """Return how many records wait because the broker refuses their first row."""
        return self._shelf.records

    def comes_first(self, message: Message) -> bool:
        """Return whether a new message must go through the spool."""
        return (
            self._backlog > 0
            or self._shelf.has_suspects
            or not self._sender.is_up
            or self._shelf.holds_up(message)
            or not self._sender.takes(message.exchange)
        )

    def take(self, row: Row, publish: Publish | None) -> None:
        """Take over a row that was just handed to the spool, with its publish if there was one."""
        self._backlog += 1
        if publish is None or publish.outcome is Outcome.AWAY:
            if self._backlog == 1:  # nothing unread lies before it, so its place is known
                self._set_aside(row)
        elif publish.outcome is None:
            self._attached[row.seq] = publish
        elif publish.outcome is Outcome.REFUSED:
            self._hold(row)
        elif publish.suspect:
            self._suspects.add(row.seq)
        self._wake.set()

    def stored(self, row: Row) -> None:
        """Take note that a row is on disk: the outcome of its publish counts from now on."""
        publish = self._attached.get(row.seq)
        if publish is not None:
            publish.on_settled(lambda settled: self._conclude(row, settled))
        self._wake.set()

    def drop(self, row: Row) -> None:
        """Forget a row that the disk did not take."""
        self._attached.pop(row.seq, None)
        self._suspects.discard(row.seq)
        if not self._shelf.remove(row):
            self._backlog -= 1

    async def run(self) -> None:
        """Drain until cancelled; after an error it may be called again, and then looks anew."""
        self._interrupted = True
        while True:
            await self._look()
            if not self._sender.is_up:
                self._probing = True
            elif await self._step():
                continue
            await self._idle()

    async def _step(self) -> bool:
        """Do what can be done now; return whether there was anything."""
        if self._is_cut_off():
            self._start_over()
        self._release()
        half = (self._free() + 1) // 2
        retried = not self._suspects and await self._shelf.retry_due(half)
        called = await self._serve_called()
        return await self._read_on() or called or retried

    async def _read_on(self) -> bool:
        """Take the next rows from the disk; return whether there were any."""
        room = self._free() - len(self._called)
        exhausted = self._cursor >= self._spool.last_seq or len(self._waiting) >= LOOKAHEAD
        if room <= 0 or exhausted or self._is_busy(room):
            return False
        rows = await self._spool.read(after=self._cursor, limit=room)
        for row in rows:
            if self._is_cut_off():
                break
            self._cursor = row.seq
            self._dispatch(row)
        return bool(rows)

    async def _serve_called(self) -> bool:
        """Publish rows whose turn in line has come; return whether there were any."""
        turn = list(islice(self._called, max(0, self._free())))
        if self._is_cut_off() or not turn:
            return False
        rows = await self._spool.get_all(turn)
        for row in rows:
            if self._is_cut_off():
                break
            if self._called.pop(row.seq, None) is not None:
                self._publish(row)
        return bool(rows)

    async def _look(self) -> None:
        """Note the age of the oldest event, for those who watch."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self.oldest_seconds = await self._spool.oldest_seconds()

    async def _idle(self) -> None:
        """Wait for something to do; the broker's state is looked at again after a moment."""
        try:
            async with asyncio.timeout(_TICK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _free(self) -> int:
        """Return how many rows may be published: after trouble only one at a time."""
        if self._in_flight_bytes >= WINDOW_BYTES:
            return 0
        trouble = self._probing or self._suspects or self._shelf.has_suspects
        return (1 if trouble else WINDOW) - self._in_flight - self._shelf.under_way

    def _is_busy(self, room: int) -> bool:
        """Return whether to wait before reading: few large reads are cheaper than many small."""
        return room < WINDOW // 2 and self._in_flight >= WINDOW // 4

    def _is_cut_off(self) -> bool:
        """Return whether to start over: a publish was lost, or the connection is another one."""
        if self._sender.connection != self._connection:
            self._connection = self._sender.connection
            self._interrupted = True
        return self._interrupted

    def _start_over(self) -> None:
        """Read from the first row again, except what is in flight on a live channel."""
        for seq, record in self._called.items():
            self._active.discard(seq)
            self._lines.close(record)
        self._called.clear()
        self._lines.drop_waiting()
        self._waiting.clear()
        self._cursor = 0
        self._probing = True
        self._interrupted = False

    def _release(self) -> None:
        """Give rows whose exchange is there again back to the backlog."""
        for seqs in self._shelf.released():
            self._backlog += len(seqs)
            self._cursor = min(self._cursor, min(seqs) - 1)

    def _dispatch(self, row: Row) -> None:
        if row.seq in self._active or row.seq in self._waiting or row in self._shelf:
            return
        if row.seq not in self._attached and self._set_aside(row):
            return
        record = row.message.record
        if record is not None and not self._lines.enter(record, row.seq):
            self._waiting.add(row.seq)
            return
        self._active.add(row.seq)
        if row.seq not in self._attached:
            self._publish(row)

    def _publish(self, row: Row) -> None:
        self._in_flight += 1
        self._in_flight_bytes += row.size
        publish = self._sender.submit(row.message)
        publish.on_settled(lambda settled: self._returned(row, settled))

    def _returned(self, row: Row, publish: Publish) -> None:
        """Take the outcome of a row that was published from the spool."""
        self._in_flight -= 1
        self._in_flight_bytes -= row.size
        self._conclude(row, publish)

    def _conclude(self, row: Row, publish: Publish) -> None:
        """Take the outcome of a row that is in flight, or was before it was spooled."""
        late = self._attached.pop(row.seq, None) is not None
        in_line = row.seq in self._active and row.message.record is not None
        self._active.discard(row.seq)
        outcome = publish.outcome
        if outcome is not None and outcome.accepted:
            self._finish(row, outcome, late=late)
            if in_line:
                self._call_next(row)
        elif outcome is Outcome.REFUSED:
            self._hold(row, self._leave_line(row) if in_line else ())
        else:
            self._interrupted = True
            if in_line:
                self._leave_line(row)
            if publish.suspect:
                self._suspects.add(row.seq)
        self._wake.set()

    def _finish(self, row: Row, outcome: Outcome, *, late: bool) -> None:
        self._spool.delete(row)
        self._suspects.discard(row.seq)
        self._probing = False
        self._backlog -= 1
        self._metrics.count_drained(row.endpoint, unrouted=outcome is Outcome.UNROUTED)
        if late:
            self._metrics.late_confirms.inc()
            log.info("event_confirmed_late", event_id=row.message.message_id)
        if self._backlog == 0:
            log.info("spool_drained", held_records=self.held_records)

    def _call_next(self, row: Row) -> None:
        """Let the next in line behind a row that is done have its turn."""
        record = row.message.record
        assert record is not None  # noqa: S101  # only records have lines
        following = self._lines.next(record)
        if following is not None:
            self._waiting.discard(following)
            self._active.add(following)
            self._called[following] = record

    def _leave_line(self, row: Row) -> list[int]:
        """End the line behind a row and return the numbers of those who waited in it."""
        assert row.message.record is not None  # noqa: S101  # only records have lines
        followers = self._lines.close(row.message.record)
        self._waiting.difference_update(followers)
        return followers

    def _hold(self, row: Row, followers: Sequence[int] = ()) -> None:
        """Hold the record of a refused row back, and nobody else."""
        self._shelf.hold(row, followers)
        self._probing = False
        for seq in (row.seq, *followers):
            self._leave_backlog(seq)

    def _set_aside(self, row: Row) -> bool:
        """Put a row on the shelf if it belongs there; return whether it does."""
        if not self._shelf.put(row):
            return False
        self._leave_backlog(row.seq)
        return True

    def _answered(self) -> None:
        """Take note that the broker answers."""
        self._probing = False
        self._wake.set()

    def _leave_backlog(self, seq: int) -> None:
        self._backlog -= 1
        self._suspects.discard(seq)
