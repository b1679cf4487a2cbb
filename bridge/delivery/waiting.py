"""Of which records something waits: new events of all others are published directly.

The records of events that are on their way to the disk are counted. Those of events that are on it
go into a sketch, which is emptied when nothing waits any more. A start finds events whose records
it does not know yet: it looks them up, which is ten times as fast as reading the events.
"""

from __future__ import annotations

import structlog

from bridge.core.event import Record
from bridge.delivery.records import Sketch
from bridge.spool import Spool, record_key

_AT_ONCE = 1024
"""Rows whose records are looked up at a time: some milliseconds of work."""

_IN_A_ROW = 8
"""How often that is done until the drain may go on: to have it behind us is worth more."""

log = structlog.get_logger()


class Waiting:
    """The records of the backlog, and perhaps a few more."""

    def __init__(self, spool: Spool) -> None:
        """Take a spool to which nothing was handed over yet."""
        self._spool = spool
        self._end = spool.last_seq
        self._cursor = 0
        self._gave_up = False
        self._handed: dict[Record, int] = {}
        """How many rows of a record were handed to the disk, which has not answered."""
        self._on_disk = Sketch()

    @property
    def is_known(self) -> bool:
        """Return whether the records of all that a start has found are known."""
        return self._cursor >= self._end

    def may_have(self, record: Record | None) -> bool:
        """Return whether an event of this record may wait."""
        if not self.is_known:
            return True
        return record is not None and (
            record in self._handed or record_key(record) in self._on_disk
        )

    def hand(self, record: Record | None) -> None:
        """Take note of an event that is handed to the disk."""
        if record is not None:
            self._handed[record] = self._handed.get(record, 0) + 1

    def answered(self, record: Record | None, *, waits: bool) -> None:
        """Take note that the disk has taken an event, which ``waits``, or has refused it."""
        if record is None:
            return
        left = self._handed.pop(record, 0) - 1
        if left > 0:
            self._handed[record] = left
        if waits:
            self._on_disk.add(record_key(record))

    def clear(self) -> None:
        """Take note that nothing on the disk waits."""
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
        except Exception as error:  # whatever it is: the drain goes on
            log.warning("spool_records_unknown", error=f"{type(error).__name__}: {error}")
            self._gave_up = True  # new events wait until nothing waits any more
            return
        self._on_disk.add(*found)
        self._cursor = last or self._end
