"""What becomes of a row when the first reading reaches it: it has its turn, or is passed over."""

from __future__ import annotations

from collections import deque

from bridge.core.reasons import Undelivered
from bridge.delivery.held.holding import Holding
from bridge.delivery.publishing import Publishing
from bridge.delivery.rows import ATTACHED, UNREAD, State
from bridge.delivery.settling import Settling
from bridge.delivery.turns import Turns
from bridge.delivery.wire import Wire
from bridge.spool import Row


class Reaching:
    """Moves on to rows that were read."""

    def __init__(
        self,
        holding: Holding,
        turns: Turns,
        wire: Wire,
        settling: Settling,
        publishing: Publishing,
    ) -> None:
        self._holding = holding
        self._rows = turns.rows
        self._wire = wire
        self._settling = settling
        self._publishing = publishing
        self._there = ""
        """The exchange that was found not to be missing, for as long as nothing can change that."""
        self._failed = 0
        """The row that the latest error came from."""

    def reach_all(self, page: deque[Row]) -> None:
        """Move on to the rows of a page as far as the window has room, and take them out of it."""
        rows, wire, self._there = self._rows, self._wire, ""
        while page and wire.room > len(rows.due):
            row = page[0]
            if row.seq > rows.cursor:
                self._reach(row)
            page.popleft()

    def _reach(self, row: Row) -> None:
        """Move on to a row; after an error it is met again, and after another one passed over."""
        state = self._rows.reach(row.seq)
        try:
            if state is UNREAD and self._is_free(row):
                self._publishing.begin(row)
            else:
                self._dispatch(row, state)
        except BaseException:
            if self._rows[row.seq] is UNREAD:
                self._retreat(row)
            raise

    def _is_free(self, row: Row) -> bool:
        """Return whether nothing but its record can hold up a row; most rows are free."""
        exchange = row.message.exchange
        if row.unreadable or not self._holding.is_idle:
            return False
        if exchange != self._there:
            if self._holding.exchanges.hold_if_missing(row.message):
                return False
            self._there = exchange
        return True

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
            enter = self._publishing.attach if state is ATTACHED else self._publishing.enter
            enter(row, park_as=park_as)
        # Any other row was held, passed over or gone before it was reached.
