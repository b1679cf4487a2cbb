"""Which records have rows that wait. New events of all other records are published directly.

The records of rows on their way to the disk are counted. Those of rows on the disk go into a
sketch, which is emptied when nothing waits any more. At a start the records on the disk are not
known yet: they are looked up, which is ten times as fast as reading the rows.
"""

from __future__ import annotations

import structlog

from bridge.core.event import Record
from bridge.delivery.records import Sketch
from bridge.spool import Spool, record_key

_AT_ONCE = 1024
"""Number of rows whose records are looked up at a time: some milliseconds of work."""

_IN_A_ROW = 8
"""Number of lookups until the drain may go on: to know all records soon is worth more."""

log = structlog.get_logger()


class Waiting:
    """The records of the backlog, and sometimes a few more."""

    def __init__(self, spool: Spool) -> None:
        """Take a spool before any row is handed to it."""
        self._spool = spool
        self._end = spool.last_seq
        self._cursor = 0
        self._gave_up = False
        self._handed: dict[Record, int] = {}
        """Number of rows of a record on their way to the disk."""
        self._on_disk = Sketch()

    @property
    def is_known(self) -> bool:
        """Return whether the records of all rows that the start has found are known."""
        return self._cursor >= self._end

    def may_have(self, record: Record | None) -> bool:
        """Return whether a row of this record may wait."""
        if not self.is_known:
            return True
        return record is not None and (
            record in self._handed or record_key(record) in self._on_disk
        )

    def hand(self, record: Record | None) -> None:
        """Take note of a row that is handed to the disk."""
        if record is not None:
            self._handed[record] = self._handed.get(record, 0) + 1

    def answered(self, record: Record | None, *, waits: bool) -> None:
        """Take note that the disk has answered: a row ``waits`` there, or does not."""
        if record is None:
            return
        left = self._handed.pop(record, 0) - 1
        if left > 0:
            self._handed[record] = left
        if waits:
            self._on_disk.add(record_key(record))

    def clear(self) -> None:
        """Take note that no row waits on the disk."""
        self._cursor = self._end
        self._on_disk = Sketch()

    async def look_on(self) -> bool:
        """Look up some more records; return whether there were any."""
        looked = False
        for _ in range(_IN_A_ROW):
            if self.is_known or self._gave_up:
                break
            await self._look_up()
            looked = True
        return looked

    async def _look_up(self) -> None:
        try:
            last, found = await self._spool.record_keys(after=self._cursor, limit=_AT_ONCE)
        except Exception as error:  # whatever the error is, the drain goes on
            log.warning("spool_records_unknown", error=f"{type(error).__name__}: {error}")
            self._gave_up = True  # new events wait until nothing waits any more
            return
        self._on_disk.add(*found)
        self._cursor = last or self._end
