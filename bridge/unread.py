"""Of which records a start has found events on the disk: the others need not wait.

To read an event takes several times as long as to look up its record. So a start looks up the records
of all that waits, beside reading it, and as soon as they are known new events of other records are
published directly, however much is not read yet.
"""

from __future__ import annotations

import structlog

from bridge.core.event import Record
from bridge.core.records import Sketch
from bridge.spool import Spool, record_key

AT_LEAST = 1000
"""Number of events at a start from which it is worth while: fewer are read in no time."""

_AT_ONCE = 1024
"""Rows whose records are looked up at a time: some milliseconds of work."""

_IN_A_ROW = 8
"""How often that is done until the drain may go on: to have it behind us is worth more."""

log = structlog.get_logger()


class Unread:
    """The records of all that waits on the disk, from a start until nothing waits any more."""

    def __init__(self, spool: Spool) -> None:
        """Take a spool to which nothing was handed over yet."""
        self._spool = spool
        self._end = spool.last_seq
        self._cursor = 0
        self._records = Sketch() if spool.events >= AT_LEAST else None

    def add(self, record: Record | None) -> None:
        """Take note of an event that is handed to the disk."""
        if self._records is not None and record is not None:
            self._records.add(record_key(record))

    def may_have(self, record: Record | None) -> bool:
        """Return whether an event of this record may be among those that wait."""
        if self._records is None or self._cursor < self._end:
            return True
        return record is not None and record_key(record) in self._records

    async def look_on(self) -> bool:
        """Look up some more records; return whether there were any."""
        looked = False
        for _ in range(_IN_A_ROW):
            if self._records is None or self._cursor >= self._end:
                break
            await self._look_up(self._records)
            looked = True
        return looked

    async def _look_up(self, known: Sketch) -> None:
        try:
            last, found = await self._spool.record_keys(after=self._cursor, limit=_AT_ONCE)
        except Exception as error:  # whatever it is: the drain goes on
            log.warning("spool_records_unknown", error=f"{type(error).__name__}: {error}")
            self.forget()  # new events wait until all is read
            return
        known.add(*found)
        self._cursor = last or self._end

    def forget(self) -> None:
        """Let every new event wait while anything does."""
        self._records = None
