"""The first reading: each row once, by ascending number."""

from __future__ import annotations

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
        self._failed = 0
        """The row that the latest error came from."""

    async def read_on(self) -> bool:
        """Read the next rows; return whether there were any."""
        room = self._publishing.room
        self._compare_backlog()
        if room <= 0 or self._is_exhausted or self._wire.is_busy(room):
            return False
        last = 0 if len(self._arrivals) else self._spool.last_seq  # up to there all is on disk
        limit = WINDOW if self._wire.probe.is_open else room  # a row passed over takes no room
        rows = await self._spool.read(after=self._rows.cursor, limit=limit)
        for row in rows:
            if self._publishing.note_connection() or self._wire.room <= len(self._rows.due):
                break
            if row.seq > self._rows.cursor:
                self._reach(row)
        self._rows.skip_to(0 if rows else last)
        return bool(rows)

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
