"""The first reading: each row once, by ascending number."""

from __future__ import annotations

import asyncio
from collections import deque

from bridge.core.publish import WINDOW
from bridge.core.reasons import Undelivered
from bridge.delivery.arrivals import Arrivals
from bridge.delivery.held.holding import Holding
from bridge.delivery.publishing import Publishing
from bridge.delivery.rows import ATTACHED, UNREAD, State
from bridge.delivery.settling import Settling
from bridge.delivery.tally import Tally
from bridge.delivery.turns import Turns
from bridge.delivery.wire import Wire
from bridge.spool import Row, Spool

LOOKAHEAD = 100_000
"""Maximum number of rows that wait in line; beyond it no further rows are read."""


class ReadAhead:
    """Reads the UNREAD rows, and gives each its turn or passes it over."""

    def __init__(
        self,
        spool: Spool,
        tally: Tally,
        holding: Holding,
        turns: Turns,
        wire: Wire,
        settling: Settling,
        publishing: Publishing,
        arrivals: Arrivals,
    ) -> None:
        self._spool = spool
        self._tally = tally
        self._holding = holding
        self._turns = turns
        self._rows = turns.rows
        self._wire = wire
        self._settling = settling
        self._publishing = publishing
        self._arrivals = arrivals
        self._page: deque[Row] = deque()
        """Rows that were read and are not reached yet."""
        self._next: asyncio.Task[list[Row]] | None = None
        """The read of the rows behind them, which begins before they are needed."""
        self._failed = 0
        """The row that the latest error came from."""

    async def read_on(self) -> bool:
        """Go on to the next rows; return whether there were any."""
        self._compare_backlog()
        if self._publishing.room <= 0 or self._is_exhausted:
            return False
        if not self._page and not await self._turn_page():
            return False
        if not self._publishing.note_connection():
            self._reach_all()
        return True

    def stop(self) -> None:
        """Read nothing ahead any more."""
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
        if rows:
            self._rows.read_to = rows[-1].seq
        return rows

    def _reach_all(self) -> None:
        """Move on to the rows of the page, as far as the window has room."""
        while self._page and self._publishing.room > 0:
            row = self._page[0]
            if row.seq > self._rows.cursor:
                self._reach(row)
            self._page.popleft()

    @property
    def _is_exhausted(self) -> bool:
        return self._rows.cursor >= self._spool.last_seq or len(self._turns) >= LOOKAHEAD

    def _compare_backlog(self) -> None:
        """Count no rows any longer that another program deleted before they were read."""
        is_read = self._rows.cursor >= self._spool.last_seq and not len(self._arrivals)
        if is_read and self._rows.backlog and not len(self._turns):
            self._tally.rows_gone(self._rows.none_left())

    def _reach(self, row: Row) -> None:
        """Move on to a row; after an error it is read again, and after another one passed over."""
        state = self._rows.reach(row.seq)
        try:
            self._dispatch(row, state)
        except BaseException:
            if self._rows[row.seq] is UNREAD:
                self._retreat(row)
            raise

    def _retreat(self, row: Row) -> None:
        if self._failed == row.seq:  # it must not keep the rows behind it waiting for ever
            self._settling.pass_over(row)
            self._holding.passed.wants_sweep = True
        else:
            self._failed = row.seq
            self._rows.retreat(row.seq)

    def _dispatch(self, row: Row, state: State) -> None:
        """Give a row that is read for the first time its turn, or pass it over."""
        if state is UNREAD and self._holding.must_wait(row.message):
            self._settling.pass_over(row)
        elif state is UNREAD and row.unreadable and not self._holding.can_park:
            self._settling.pass_over(row)
            self._holding.passed.note_unparked(row.message)
        elif state in (UNREAD, ATTACHED):
            park_as = Undelivered.SPOOL_UNREADABLE if row.unreadable else None
            self._publishing.enter(row, park_as=park_as, attached=state is ATTACHED)
        # Any other row was held or passed over before it was read.
