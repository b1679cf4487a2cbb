"""The first reading: each row once, by ascending number."""

from __future__ import annotations

import asyncio
from collections import deque

from bridge.core.publish import WINDOW
from bridge.delivery.arrivals import Arrivals
from bridge.delivery.publishing import Publishing
from bridge.delivery.reaching import Reaching
from bridge.delivery.tally import Tally
from bridge.delivery.turns import Turns
from bridge.delivery.wire import Wire
from bridge.spool import Row, Spool

LOOKAHEAD = 100_000
"""Maximum number of rows that wait in line; beyond it no further rows are read."""


class ReadAhead:
    """Reads the UNREAD rows, and moves on to them as the window has room."""

    def __init__(
        self,
        spool: Spool,
        tally: Tally,
        turns: Turns,
        wire: Wire,
        publishing: Publishing,
        reaching: Reaching,
        arrivals: Arrivals,
    ) -> None:
        self._spool = spool
        self._tally = tally
        self._turns = turns
        self._rows = turns.rows
        self._wire = wire
        self._publishing = publishing
        self._reaching = reaching
        self._arrivals = arrivals
        self._page: deque[Row] = deque()
        """Rows that were read and are not reached yet."""
        self._next: asyncio.Task[list[Row]] | None = None
        """The read of the rows behind them, which begins before they are needed."""

    async def read_on(self) -> bool:
        """Go on to the next rows; return whether there were any."""
        room = self._publishing.room
        self._compare_backlog()
        if room <= 0 or self._is_exhausted or self._wire.is_busy(room):
            return False
        if not self._page and not await self._turn_page():
            return False
        if self._publishing.note_connection():
            self.forget()
        else:
            self._reaching.reach_all(self._page)
        return True

    def forget(self) -> None:
        """Drop the rows that were read and are not reached; they are read again.

        After an outage they may be old: another program may have deleted some meanwhile.
        """
        self._page.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    async def _turn_page(self) -> bool:
        """Get the next rows, and begin to read those behind them; return whether there are any."""
        last = 0 if len(self._arrivals) else self._spool.last_seq  # up to there all is on disk
        rows = await self._ahead() or await self._read(self._rows.cursor)
        if not rows:
            self._rows.skip_to(last)
        elif rows[-1].seq < self._spool.last_seq:
            self._next = asyncio.ensure_future(self._read(rows[-1].seq))
        self._page.extend(rows)
        return bool(rows)

    async def _ahead(self) -> list[Row]:
        """Return what was read ahead, if anything was."""
        reading, self._next = self._next, None
        return [] if reading is None else await reading

    async def _read(self, after: int) -> list[Row]:
        rows = await self._spool.read(after=after, limit=WINDOW)
        arriving = next(iter(self._arrivals), None)
        if arriving is not None:  # it may be found on the disk, and be refused all the same
            rows = [row for row in rows if row.seq < arriving.seq]
        if rows:
            self._rows.read_to = rows[-1].seq
        return rows

    @property
    def _is_exhausted(self) -> bool:
        return self._rows.cursor >= self._spool.last_seq or len(self._turns) >= LOOKAHEAD

    def _compare_backlog(self) -> None:
        """Count no rows any longer that another program deleted before they were read."""
        is_read = self._rows.cursor >= self._spool.last_seq and not len(self._arrivals)
        if is_read and self._rows.backlog and not len(self._turns):
            self._tally.rows_gone(self._rows.none_left())
