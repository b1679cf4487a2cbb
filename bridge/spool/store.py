"""The store itself: rows in, rows out, counted."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import orjson
import structlog

from bridge.aio import start_thread
from bridge.core.message import Message
from bridge.spool.commits import Append, Delete, NoteTries
from bridge.spool.errors import SpoolFull, SpoolHung, SpoolUnavailable
from bridge.spool.files import is_damage, suspect
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
from bridge.spool.writer import HUNG_SECONDS, Writer

_READ_ROWS = 64
_READ_BYTES = 4 * 1024 * 1024
"""Of bodies: as soon as a read has so many, it ends."""

_END_SECONDS = 5.0
"""How long the disk may do nothing at the end, until that goes on without it."""

_RESCUE_SECONDS = 20.0
"""How long it may, while the only copy of events is written: to sync a large one takes seconds."""

log = structlog.get_logger()

TOTALS = "SELECT exchange, count(*), sum(size), max(seq) FROM event GROUP BY exchange"
"""What is known at a start; the index of the table has all of it."""


OnWritten = Callable[[Row, SpoolFull | None], None]
"""Called on the loop when a row is spooled, or with the reason why it could not be written."""


class Counted(Protocol):
    """What must be known of a row to delete it: its number, and its bytes of ``max_bytes``."""

    @property
    def seq(self) -> int:
        """Return its number."""
        ...

    @property
    def size(self) -> int:
        """Return the bytes that it counts."""
        ...


class Spool:
    """The open spool of this process; made by ``bridge.spool.opened``.

    ``events`` are those on the disk; ``bytes`` count from when something is handed over.
    ``exchanges`` are the names that the events found at the start need. Once ``damaged`` is set it
    takes nothing more: who uses it should end, for the next start salvages what can be read.
    """

    def __init__(self, path: Path, *, max_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        """Open the file, on any thread; all else is done on the loop. Raises ``sqlite3.Error``."""
        self._max_bytes = max_bytes
        self._reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        found = self._reader.execute(TOTALS).fetchall()
        self.exchanges: tuple[str, ...] = tuple(name for name, *_ in found)
        self.events: int = sum(events for _, events, _, _ in found)
        self.bytes: int = sum(size for _, _, size, _ in found)
        self._last_seq: int = max((last for *_, last in found), default=0)
        self._path = path
        self._loop = loop
        self.damaged = asyncio.Event()
        self.damage = ""
        """What is wrong with the spool, in words, once ``damaged`` is set."""
        self.is_needed: Callable[[], bool] = lambda: False
        """Asked on a thread whether a 200 needs the disk now. Then it is tried every second."""
        self._is_gone = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        self._reading = asyncio.Lock()
        self._deleting: set[int] = set()
        self._deleted: set[int] = set()
        self._writer = Writer(
            path,
            self._loop,
            deleted=self._deleted.update,
            failed=self.note_error,
            ended=self._note_end,
            is_needed=lambda: self.is_needed(),
        )

    def __repr__(self) -> str:
        """Show how much waits."""
        return f"<Spool {self.events} events, {self.bytes} bytes>"

    @property
    def accepts(self) -> bool:
        """Return whether there is room for one more like those here, and the disk takes it."""
        size = self.bytes / self.events if self.events else 0
        has_room = self.bytes + size <= self._max_bytes
        return has_room and self._writer.takes and not self.damaged.is_set()

    def answer_within(self, seconds: float) -> None:
        """Take note how long an answer can wait for the disk: for the commit before it, and its."""
        self._writer.hung_seconds = min(HUNG_SECONDS, seconds / 2)

    @property
    def is_slow(self) -> bool:
        """Return whether the disk does not answer in time, or did not of late."""
        return self._writer.is_slow

    @property
    def is_hung(self) -> bool:
        """Return whether the disk has not answered for too long."""
        return self._writer.is_hung

    @property
    def fullness(self) -> float:
        """Return how full the spool is: 0 is empty, 1 is ``max_bytes``."""
        return self.bytes / self._max_bytes

    @property
    def free(self) -> int:
        """Return how many bytes more may wait."""
        return self._max_bytes - self.bytes

    @property
    def last_seq(self) -> int:
        """Return the number of the latest event that was handed over."""
        return self._last_seq

    def append(self, message: Message, *, on_written: OnWritten, tries: int = 0) -> Row:
        """Hand an event over; it is safe when ``on_written`` says so. Raises ``SpoolFull``."""
        if self.damaged.is_set():
            raise SpoolFull("the spool is damaged")
        if self.is_hung:
            raise SpoolFull("the disk does not answer")
        row, meta = row_to_store(self._last_seq + 1, time.time(), tries, message)
        if self.bytes + row.size > self._max_bytes:
            raise SpoolFull(f"the spool holds {self.bytes} bytes: max_bytes is {self._max_bytes}")
        self._writer.put(Append(values(row, meta), partial(self._note_written, row, on_written)))
        self._last_seq += 1
        self.bytes += row.size
        return row

    def delete(self, row: Counted) -> None:
        """Delete an event that somebody else is now responsible for; retried until it is done."""
        self._writer.put(Delete(row.seq, row.size))
        self._deleting.add(row.seq)
        self.events -= 1
        self.bytes -= row.size

    def note_tries(self, row: Row, tries: int) -> None:
        """Remember across restarts how often an event was refused."""
        self._writer.put(NoteTries(row.seq, tries))

    async def read(self, *, after: int, limit: int) -> list[Row]:
        """Return the next events in the order of acceptance.

        One whose deletion is under way, or owed by a full disk, is passed over.
        """
        query = f"{SELECT} WHERE seq > ? ORDER BY seq LIMIT ?"
        while found := await self._select(query, after, limit):
            rows = [row for row in found if row.seq not in self._deleting]
            if rows:
                return rows
            after = found[-1].seq
        return []

    async def record_keys(self, *, after: int, limit: int) -> tuple[int, list[str]]:
        """Return the number of the last of so many events, 0 if there is none, and their records.

        They are in the form of ``record_key``. Much cheaper than reading the events.
        """
        [(last, meta)] = await self._fetch(SELECT_META, after, limit)
        return (last, record_keys(meta)) if last else (0, [])

    async def get(self, seq: int) -> Row | None:
        """Return one event, None when it is gone, or its deletion under way or owed."""
        found = await self.get_all([seq])
        return found[0] if found else None

    async def get_all(self, seqs: Sequence[int]) -> list[Row]:
        """Return these events in the order of acceptance, without those that are gone.

        As in ``read``, one whose deletion is under way is as good as gone.
        """
        query = f"{SELECT} WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"  # noqa: S608
        found = await self._select(query, orjson.dumps(seqs).decode())
        return [row for row in found if row.seq not in self._deleting]

    async def oldest_seconds(self) -> float:
        """Return the age of the oldest event, 0 when there is none."""
        found = await self.read(after=0, limit=1) if self.events else []
        return max(0.0, time.time() - found[0].accepted_at) if found else 0.0

    async def flush(self) -> None:
        """Return when everything handed over so far is on disk."""
        await self._writer.flush()

    def note_error(self, error: Exception) -> None:
        """Remember an error that means damage, here and for the next start; not on the loop."""
        if not is_damage(error) or self.damaged.is_set():
            return
        self.give_up(f"damaged: {error}")
        suspect(self._path)
        log.error("spool_damaged", error=str(error))

    def note_gone(self, what: str) -> None:
        """Take note that the files are not where they were; from any thread."""
        self._is_gone = True
        self.give_up(what)
        log.error("spool_gone", detail=what)

    def _note_end(self, error: BaseException) -> None:
        """Take note that nothing is written any more: only a new start helps."""
        self.give_up(f"its thread has ended: {type(error).__name__}: {error}")
        log.error("spool_thread_failed", exc_info=error)

    def give_up(self, damage: str) -> None:
        """Take nothing more, and have the process end because of it; from any thread."""
        self.damage = self.damage or damage
        with suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self.damaged.set)

    def close(self) -> None:
        """Write what is left and close the files; of files that are gone, first copy what is there.

        ``events`` then says how many are on the disk. Raises ``SpoolHung`` as soon as the disk has
        done nothing for some seconds: every step of the end may write, even closing a file. Raises
        ``SpoolUnavailable`` when a step fails.
        """
        self._writer.hand_over()
        self._moved_at = time.monotonic()
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
        return max(self._moved_at, self._writer.moved_at)

    def _close(self) -> None:
        self._writer.close()
        self._thread.shutdown()
        if self._is_gone:
            self.events = rescue(self._path, self._all_rows())
        with suppress(sqlite3.Error):  # all is written; the next start does what is left to do
            self._reader.close()

    def _all_rows(self) -> Iterator[Any]:
        for columns in self._reader.execute(f"{SELECT} ORDER BY seq"):
            self._moved_at = time.monotonic()
            yield columns

    def _note_written(self, row: Row, on_written: OnWritten, refusal: SpoolFull | None) -> None:
        if refusal is None:
            self.events += 1
        else:
            self.bytes -= row.size
        on_written(row, refusal)

    async def _select(self, sql: str, *parameters: int | str) -> list[Row]:
        return [row_of(columns) for columns in await self._fetch(sql, *parameters)]

    async def _fetch(self, sql: str, *parameters: int | str) -> list[Any]:
        loop = asyncio.get_running_loop()
        async with self._reading:
            self._deleting -= self._deleted  # what goes while we look can still be in the answer
            self._deleted.clear()
            try:
                return await loop.run_in_executor(
                    self._thread, _fetch, self._reader, sql, parameters
                )
            except sqlite3.Error as error:
                await loop.run_in_executor(self._thread, self.note_error, error)
                raise


def _fetch(reader: sqlite3.Connection, sql: str, parameters: tuple[int | str, ...]) -> list[Any]:
    """Return what a query finds, or only the start of it when the bodies are large."""
    cursor, found, size = reader.execute(sql, parameters), [], 0
    while size < _READ_BYTES and (page := cursor.fetchmany(_READ_ROWS)):
        found += page
        size += sum(len(columns[-1] or b"") for columns in page)
    return found
