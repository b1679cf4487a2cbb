"""When rows that were passed over are read again, and what becomes of them then."""

from __future__ import annotations

import asyncio

from bridge.core.publish import WINDOW
from bridge.delivery.arrivals import Arrivals
from bridge.delivery.held.holding import Holding
from bridge.delivery.held.passed import PassedOver
from bridge.delivery.held.sweep import Sweep
from bridge.delivery.publishing import Publishing
from bridge.delivery.rows import ON_TRIAL, PASSED_OVER, SILENT
from bridge.delivery.turns import Turns
from bridge.delivery.wire import TRIALS, Wire
from bridge.spool import Row, Spool

_REST = 9
"""How many times as long as a sweep took the next one waits, so that sweeps cost a tenth of the
time."""

_REST_AT_MOST = 600.0
"""Maximum seconds of that."""

AT_LEAST_EVERY_SECONDS = 3600.0
"""How often there is a sweep while anything is held, for rows whose record a filter has mistaken
for one that waits."""


class Pace:
    """When sweeps begin, and when the next one may."""

    def __init__(self) -> None:
        self._not_before = 0.0
        self._ended = 0.0

    def begin(self, passed: PassedOver, now: float) -> Sweep | None:
        """Return a new sweep if there is a reason and it is time."""
        if not len(passed.records):
            self._ended = now
        elif now - self._ended >= AT_LEAST_EVERY_SECONDS:
            passed.wants_sweep = True
        if not passed.wants_sweep or now < self._not_before:
            return None
        return passed.begin_sweep()

    def end(self, sweep: Sweep, passed: PassedOver, now: float) -> None:
        """End a sweep, and let the next one wait."""
        passed.end_sweep(sweep)
        self._ended = now
        self._not_before = now + min(_REST * sweep.busy, _REST_AT_MOST)


class Sweeping:
    """Makes the sweeps, beside the first reading and only up to where that has come."""

    def __init__(
        self,
        spool: Spool,
        holding: Holding,
        turns: Turns,
        wire: Wire,
        publishing: Publishing,
        arrivals: Arrivals,
    ) -> None:
        self._spool = spool
        self._holding = holding
        self._turns = turns
        self._rows = turns.rows
        self._wire = wire
        self._publishing = publishing
        self._arrivals = arrivals
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()

    @property
    def is_under_way(self) -> bool:
        """Return whether something that was passed over may go on, and is about to."""
        passed = self._holding.passed
        return passed.sweep is not None or passed.wants_sweep or len(self._turns) > 0

    async def sweep_on(self) -> bool:
        """Read more of what was passed over; return whether anything was read."""
        passed = self._holding.passed
        sweep = passed.sweep = passed.sweep or self._pace.begin(passed, self._loop.time())
        if sweep is None:
            return False
        end = self._end
        if sweep.cursor >= end:
            return self._finish(sweep)
        if self._room_for(sweep) <= 0 or sweep.is_busy:
            return False
        return await self._read(sweep, end)

    @property
    def _end(self) -> int:
        """Return the last row that a sweep reads: all up to it were read, and are on the disk."""
        arriving = next(iter(self._arrivals), None)
        cursor = self._rows.cursor
        return cursor if arriving is None else min(cursor, arriving.seq - 1)

    def _finish(self, sweep: Sweep) -> bool:
        """End a sweep that has met all rows; return False if some lie beyond the first reading."""
        if self._rows.any_ahead:
            return False
        self._pass_arrivals(sweep)
        self._holding.passed.sweep = None
        self._pace.end(sweep, self._holding.passed, self._loop.time())
        return True

    async def _read(self, sweep: Sweep, end: int) -> bool:
        begun, before = self._loop.time(), sweep.cursor
        rows = await self._spool.read(after=sweep.cursor, limit=WINDOW)
        for row in rows:
            if row.seq > end or self._publishing.note_connection() or not self._meet(row, sweep):
                break
            sweep.cursor = row.seq
        if not rows or rows[0].seq > end:
            sweep.cursor = end
        sweep.busy += self._loop.time() - begun
        return sweep.cursor > before

    def _room_for(self, sweep: Sweep) -> int:
        return min(self._wire.room, sweep.window - sweep.in_flight)

    def _meet(self, row: Row, sweep: Sweep) -> bool:
        """Give a row that was passed over its turn; return False if there is no room for it."""
        message, passed = row.message, self._holding.passed
        if self._rows[row.seq] is not PASSED_OVER:
            if self._is_given_up(row.seq):
                self._pass_again(row, sweep)
            return True
        park_as = self._holding.park_as(row)
        behind = self._holding.holds(message) or message.record in sweep.passed
        if behind or (park_as is None and self._holding.holds_place_of(message)):
            self._pass_again(row, sweep)
        elif park_as is not None and not self._holding.can_park:
            passed.add_again(row, sweep)
            passed.note_unparked(message)
        elif self._room_for(sweep) <= 0 or len(self._holding.suspects.untried) >= TRIALS:
            return False
        else:
            passed.remove(row)
            sweep.cursor = row.seq  # what is passed over from here on, it has met
            self._publishing.enter(row, park_as=park_as)
        return True

    def _pass_arrivals(self, sweep: Sweep) -> None:
        """Leave what is on its way to the disk to the next sweep: events may keep coming."""
        for row in self._arrivals:
            if row.seq > self._rows.cursor:
                return
            if self._rows[row.seq] is PASSED_OVER or self._is_given_up(row.seq):
                self._pass_again(row, sweep)
                may_go_on = not self._holding.holds_place_of(row.message)
                self._holding.passed.wants_sweep |= may_go_on

    def _is_given_up(self, seq: int) -> bool:
        """Return whether a row that lies on the disk may still be confirmed."""
        state = self._rows[seq]
        is_unresolved = state is SILENT or state is ON_TRIAL
        return is_unresolved and self._holding.held.get(seq) is None

    def _pass_again(self, row: Row, sweep: Sweep) -> None:
        behind = self._turns.has(row.message.record)
        self._holding.passed.add_again(row, sweep, behind=behind)
