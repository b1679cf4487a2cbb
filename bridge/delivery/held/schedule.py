"""When held rows and held places are tried again."""

from __future__ import annotations

import asyncio

from bridge.delivery.held.held_rows import HeldRow
from bridge.delivery.held.places import HeldPlace
from bridge.delivery.held.suspects import Suspects
from bridge.delivery.held.timetable import Timetable


class Schedule:
    """What waits for a trial, on the clock of the event loop."""

    def __init__(self, suspects: Suspects) -> None:
        self._loop = asyncio.get_running_loop()
        self._timetable = Timetable()
        self._suspects = suspects

    def add(self, it: HeldRow | HeldPlace, seconds: float) -> None:
        """Have a row or a place tried after so many seconds; a place is scheduled only once."""
        if isinstance(it, HeldPlace):
            if it.trying:
                return
            it.trying = True
        self._timetable.add(it, self._loop.time() + seconds)

    def next(self) -> HeldRow | HeldPlace | None:
        """Return what is to be tried now, if there is anything, and schedule it no longer."""
        it = self._timetable.next(self._loop.time())
        if isinstance(it, HeldRow):
            self._suspects.untried.discard(it.seq)
        return it

    def spend(self, it: HeldRow | HeldPlace) -> None:
        """Take note that a row or a place is being tried: the next ones wait for a moment."""
        self._timetable.spend(it, self._loop.time())
