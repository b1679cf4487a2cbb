"""Of which records a start has found events on the disk: the others need not wait.

To read an event takes ten times as long as to look up its record. So a start looks up the records
of all that waits, beside reading it, and as soon as they are known new events of other records are
published directly, however much is not read yet.
"""

from __future__ import annotations

import structlog

from bridge.core.event import Record
from bridge.core.records import Sketch
from bridge.spool import Spool

AT_LEAST = 1000
"""Number of events at a start from which it is worth while: fewer are read in no time."""

_AT_ONCE = 1024
"""Rows whose records are looked up at a time: some milliseconds of work."""

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
            self._records.add(record)

    def may_have(self, record: Record | None) -> bool:
        """Return whether an event of this record may be among those that wait."""
        if self._records is None or self._cursor < self._end:
            return True
        return record is not None and record in self._records

    async def look_on(self) -> bool:
        """Look up some more records; return whether there were any."""
        if self._records is None or self._cursor >= self._end:
            return False
        try:
            last, found = await self._spool.records(after=self._cursor, limit=_AT_ONCE)
        except Exception as error:  # whatever it is: the drain goes on
            log.warning("spool_records_unknown", error=f"{type(error).__name__}: {error}")
            self.forget()  # new events wait until all is read
            return False
        for record in found:
            self.add(record)
        self._cursor = last or self._end
        return True

    def forget(self) -> None:
        """Let every new event wait while anything does."""
        self._records = None
