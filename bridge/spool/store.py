"""The open spool: rows in, rows out, and the count of both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import structlog

from bridge.aio import start_thread
from bridge.core.message import Message
from bridge.disk.beside import is_damage, suspect
from bridge.spool.batch import SELECT_BATCH, rows_of
from bridge.spool.counting import Count
from bridge.spool.errors import SpoolFull, SpoolHung, SpoolUnavailable
from bridge.spool.health import HUNG_SECONDS
from bridge.spool.operations import Append, Counted, Delete, NoteTries
from bridge.spool.reader import Reader
from bridge.spool.rowcodec import (
    SELECT,
    SELECT_META,
    Row,
    record_keys,
    row_of,
    row_to_store,
    values,
)
from bridge.spool.salvage.copying import rescue
from bridge.spool.writer import Writer

_END_SECONDS = 5.0
"""How long the disk may do nothing while we close the spool, before we end without it."""

_RESCUE_SECONDS = 20.0
"""The same while we write the only copy of the events: to sync a large one takes seconds."""

_BEHIND = f"{SELECT} WHERE seq > ? ORDER BY seq LIMIT ?"
"""Query for the next rows after one."""

_AMONG = f"{SELECT} WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"  # noqa: S608
"""Query for some rows by number."""

log = structlog.get_logger()

OnWritten = Callable[[Row, SpoolFull | None], None]
"""Called on the loop when a row is spooled, or with the reason why it could not be written."""


class Spool:
    """The open spool of this process; made by ``bridge.spool.opened``.

    ``events`` counts the rows on the disk. ``bytes`` counts a row from the moment it is handed
    over, so that a burst cannot pass ``max_bytes``. ``exchanges`` are the exchanges of the rows
    that the start found. Once ``damaged`` is set, the spool takes no more rows and the process
    should end: the next start salvages what can be read.
    """

    def __init__(
        self,
        path: Path,
        found: Count,
        *,
        max_bytes: int,
        loop: asyncio.AbstractEventLoop,
        what_is_wrong: Callable[[], str] = str,
        lock: int | None = None,
    ) -> None:
        """Open the file, on any thread; everything else happens on the loop, unless it says so.

        ``found`` are its rows; ``what_is_wrong`` and ``lock`` are for the process that writes.
        Raises ``sqlite3.Error``.
        """
        self._max_bytes = max_bytes
        self._reader = Reader(path, failed=self.note_error)
        self.exchanges, self.events, self.bytes, self._last_seq, _ = found
        self._path = path
        self._loop = loop
        self.damaged = asyncio.Event()
        self.damage = ""
        """What is wrong with the spool, in words, once ``damaged`` is set."""
        self.is_needed: Callable[[], bool] = lambda: False
        """Whether a 200 needs the disk now; then it is probed every second."""
        self._is_gone = False
        self._reading = asyncio.Lock()
        self._deleting: set[int] = set()
        """Rows that the writer shall delete. A read may still find them on the disk."""
        self._deleted: set[int] = set()
        """Those of them that are gone, except from a read that began before."""
        self._writer = Writer(
            path,
            self._loop,
            deleted=self._deleted.update,
            doubted=self._deleting.update,
            damaged=self._note_damage,
            gone=self.note_gone,
            is_needed=lambda: self.is_needed(),
            what_is_wrong=what_is_wrong,
            lock=lock,
        )
        self.health = self._writer.health

    def __repr__(self) -> str:
        """Show how much is spooled."""
        return f"<Spool {self.events} events, {self.bytes} bytes>"

    @property
    def accepts(self) -> bool:
        """Return whether there is room for one more row of average size, and the disk is well."""
        size = self.bytes / self.events if self.events else 0
        has_room = self.bytes + size <= self._max_bytes
        return has_room and self.health.is_ok and not self.damaged.is_set()

    def correct(self, surplus: int) -> None:
        """Note that the start has counted so many bytes too many."""
        self.bytes -= surplus

    def answer_within(self, seconds: float) -> None:
        """Tell how long a request can wait for two commits: that under way, and its own."""
        self.health.hung_seconds = min(HUNG_SECONDS, seconds / 2)

    @property
    def is_slow(self) -> bool:
        """Return whether the disk does not answer in time, or did not recently."""
        return self.health.is_slow

    @property
    def fullness(self) -> float:
        """Return how full the spool is: 0 is empty, 1 is ``max_bytes``."""
        return self.bytes / self._max_bytes

    @property
    def free(self) -> int:
        """Return how many more bytes fit in."""
        return self._max_bytes - self.bytes

    @property
    def last_seq(self) -> int:
        """Return the ``seq`` of the latest row that was handed over."""
        return self._last_seq

    def append(self, message: Message, *, on_written: OnWritten, tries: int = 0) -> Row:
        """Hand a message over; it is safe when ``on_written`` says so. Raises ``SpoolFull``."""
        if self.damaged.is_set():
            raise SpoolFull("the spool is damaged")
        if self.health.is_hung:
            raise SpoolFull("the disk does not answer")
        row, meta = row_to_store(self._last_seq + 1, time.time(), tries, message)
        if self.bytes + row.size > self._max_bytes:
            raise SpoolFull(f"the spool holds {self.bytes} bytes: max_bytes is {self._max_bytes}")
        self._writer.put(
            Append(
                row.seq, row.size, values(row, meta), partial(self._note_written, row, on_written)
            )
        )
        self._last_seq += 1
        self.bytes += row.size
        return row

    def delete(self, row: Counted) -> None:
        """Delete a row that is not needed any more; retried until it is done."""
        self._writer.put(Delete(row.seq, row.size))
        self._deleting.add(row.seq)
        self.events -= 1
        self.bytes -= row.size

    def note_tries(self, row: Row, tries: int) -> None:
        """Remember across restarts how often a row was nacked."""
        self._writer.put(NoteTries(row.seq, tries))

    async def read(self, *, after: int, limit: int) -> list[Row]:
        """Return the next rows in the order of acceptance, without those we are deleting.

        A full disk may owe a deletion for a long time, so they may fill whole pages.
        """
        while found := await self._select(_BEHIND, after, limit):
            rows = [row for row in found if row.seq not in self._deleting]
            if rows:
                return rows
            after = found[-1].seq
        return []

    async def record_keys(self, *, after: int, limit: int) -> tuple[int, list[str]]:
        """Return the records of up to ``limit`` rows, as ``record_key`` has them, and the last seq.

        The seq is 0 when there are no more rows. This is much cheaper than reading the rows.
        """
        [(last, meta)] = await self._fetch(SELECT_META, after, limit)
        return (last, record_keys(meta)) if last else (0, [])

    async def get(self, seq: int) -> Row | None:
        """Return one row, or None when it is gone or we are deleting it."""
        found = await self.get_all([seq])
        return found[0] if found else None

    async def get_all(self, seqs: Sequence[int]) -> list[Row]:
        """Return these rows in the order of acceptance, without those gone or being deleted."""
        found = await self._select(_AMONG, orjson.dumps(seqs).decode())
        return [row for row in found if row.seq not in self._deleting]

    async def oldest_seconds(self) -> float:
        """Return the age of the oldest row, 0 when there is none."""
        found = await self.read(after=0, limit=1) if self.events else []
        return max(0.0, time.time() - found[0].accepted_at) if found else 0.0

    async def flush(self) -> None:
        """Wait until everything handed over so far is on disk, or has failed."""
        await self._writer.flush()

    def note_error(self, error: Exception) -> None:
        """Check whether an error means damage; if so, leave a mark of it for the next start.

        It writes to the disk, so it must not be called on the loop.
        """
        if is_damage(error) and not self.damaged.is_set():
            suspect(self._path)
            self._note_damage(str(error))

    def _note_damage(self, error: str) -> None:
        if not self.damaged.is_set():
            self.give_up(f"damaged: {error}")
            log.error("spool_damaged", error=error)

    def note_gone(self, what: str) -> None:
        """Note that the files are not where they were; callable from any thread."""
        self._is_gone = True
        self.give_up(what)
        log.error("spool_gone", detail=what)

    def give_up(self, damage: str) -> None:
        """Take no more rows, and let the process end because of it; callable from any thread."""
        self.damage = self.damage or damage
        with suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self.damaged.set)

    def close(self) -> None:
        """Write what is left and close the files.

        If the files were removed, copy their rows first: the open files still have them. ``events``
        then says how many rows are on the disk. Raises ``SpoolHung`` when the disk has done nothing
        for some seconds, since every step may write, even closing a file. Raises
        ``SpoolUnavailable`` when a step fails.
        """
        self._progress_at = time.monotonic()
        end = start_thread(self._close, name="spool-end")
        patience = _RESCUE_SECONDS if self._is_gone else _END_SECONDS
        while not end.done() and (left := self._idle_since() + patience - time.monotonic()) > 0:
            wait([end], timeout=left)
        if end.done() and (error := end.exception()) is not None:
            raise SpoolUnavailable(
                f"{self._path}: closing it failed ({type(error).__name__}: {error}), and it may"
                " lack what was to be written last, none of which was answered 200: start again"
            ) from error
        if not end.done():
            raise SpoolHung(
                f"{self._path}: the disk has not answered for {patience:g} s, and may lack what was"
                " to be written last, none of which was answered 200: mend it, and start again"
            )

    def _idle_since(self) -> float:
        return max(self._progress_at, self.health.progress_at)

    def _close(self) -> None:
        self._writer.close()
        self._reader.stop()
        if self._is_gone:
            self.events = rescue(self._path, self._all_rows())
        self._reader.close()

    def _all_rows(self) -> Iterator[Any]:
        for columns in self._reader.all_rows():
            self._progress_at = time.monotonic()
            yield columns

    def _note_written(self, row: Row, on_written: OnWritten, refusal: SpoolFull | None) -> None:
        if refusal is None:
            self.events += 1
        else:
            self.bytes -= row.size
        on_written(row, refusal)

    async def _select(self, rows: str, *parameters: int | str) -> list[Row]:
        [columns] = await self._fetch(f"{SELECT_BATCH} ({rows})", *parameters)
        found = rows_of(columns)
        if found is None:
            found = [row_of(each) for each in await self._fetch(rows, *parameters)]
        return found

    async def _fetch(self, sql: str, *parameters: int | str) -> list[Any]:
        async with self._reading:
            # Between two reads only: a row that is deleted during a read may be in its result.
            self._deleting -= self._deleted
            self._deleted.clear()
            return await self._reader.fetch(sql, *parameters)
