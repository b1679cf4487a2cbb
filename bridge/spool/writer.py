"""The one thread that writes to the spool: whatever waits goes into one transaction.

A disk that is full must not keep the spool from draining, and deleting in SQLite writes before it
frees: a reserve file beside the database gives its blocks up for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue

import orjson
import structlog

from bridge.spool.errors import SpoolFull
from bridge.spool.files import Reserve

_COLUMNS = 9
_ROWS_PER_STATEMENT = 256
_OPERATIONS_PER_COMMIT = 1024
_RETRY_SECONDS = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Append:
    """Store a row; the future is done when it is fsynced."""

    values: tuple[object, ...]
    stored: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a row."""

    seq: int


@dataclass(frozen=True, slots=True)
class NoteTries:
    """Remember how often a row was retried."""

    seq: int
    tries: int


@dataclass(frozen=True, slots=True)
class Call:
    """Do something else on the thread, outside any transaction: ``compact`` or ``flush``."""

    action: str
    done: asyncio.Future[None]


Operation = Append | Delete | NoteTries | Call


class Writer:
    """Owns the writing connection and its thread."""

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        deleted: Callable[[Collection[int]], None],
    ) -> None:
        """Start the thread; ``deleted`` is told on the loop which rows are gone from the disk."""
        self._path = path
        self._loop = loop
        self._deleted = deleted
        self._operations: SimpleQueue[Operation | None] = SimpleQueue()
        self._owed: list[Delete | NoteTries] = []
        self._reserve = Reserve(path)
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def append(self, values: tuple[object, ...]) -> asyncio.Future[None]:
        """Queue a row; the future raises ``SpoolFull`` when the disk does not take it."""
        stored: asyncio.Future[None] = self._loop.create_future()
        self._operations.put(Append(values, stored))
        return stored

    def put(self, operation: Delete | NoteTries) -> None:
        """Queue a change that is repeated until it is done."""
        self._operations.put(operation)

    def call(self, action: str) -> asyncio.Future[None]:
        """Queue ``compact`` or ``flush``; the future is done after all that came before."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._operations.put(Call(action, done))
        return done

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self._operations.put(None)
        self._thread.join()

    # What follows runs on the thread.

    def _run(self) -> None:
        database = connect(self._path)
        self._reserve.take()
        closing = False
        while not closing:
            batch = self._next_batch()
            closing = None in batch
            self._write(database, [operation for operation in batch if operation is not None])
        database.close()

    def _next_batch(self) -> list[Operation | None]:
        """Wait for an operation and return it with all that are queued behind it."""
        batch: list[Operation | None] = []
        with contextlib.suppress(Empty):  # what is owed does not wait for something new
            batch.append(self._operations.get(timeout=_RETRY_SECONDS if self._owed else None))
            while len(batch) < _OPERATIONS_PER_COMMIT:
                batch.append(self._operations.get_nowait())
        return batch

    def _write(self, database: sqlite3.Connection, batch: Sequence[Operation]) -> None:
        appends = [operation for operation in batch if isinstance(operation, Append)]
        self._owed += [op for op in batch if isinstance(op, Delete | NoteTries)]
        error = _commit(database, appends, self._owed)
        if error is None:
            self._paid()
            self._reserve.take()
        else:
            log.error("spool_write_failed", error=str(error), events=len(appends))
            self._settle_debts(database)
        self._tell(appends, error)
        for operation in batch:
            if isinstance(operation, Call):
                self._do(database, operation)

    def _settle_debts(self, database: sqlite3.Connection) -> None:
        """Delete without storing anything new, on the blocks of the reserve if need be."""
        if not self._owed:
            return
        self._reserve.release()
        if _commit(database, (), self._owed) is None:
            self._paid()
            with contextlib.suppress(sqlite3.Error):
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _paid(self) -> None:
        gone = [change.seq for change in self._owed if isinstance(change, Delete)]
        self._owed = []
        if gone:
            self._loop.call_soon_threadsafe(self._deleted, gone)

    def _tell(self, appends: Sequence[Append], error: sqlite3.Error | None) -> None:
        if appends:
            futures = [append.stored for append in appends]
            refusal = None if error is None else SpoolFull(f"the disk does not take it: {error}")
            self._loop.call_soon_threadsafe(_resolve, futures, refusal)

    def _do(self, database: sqlite3.Connection, call: Call) -> None:
        if call.action == "compact":
            with contextlib.suppress(sqlite3.Error):  # tried again after the next drain
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._loop.call_soon_threadsafe(_resolve, [call.done], None)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database for writing, in autocommit mode: transactions are spelled out."""
    database = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=30
    )
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA secure_delete = OFF")
    return database


def _commit(
    database: sqlite3.Connection, appends: Sequence[Append], changes: Sequence[Delete | NoteTries]
) -> sqlite3.Error | None:
    """Do all of it in one transaction and return the error if none of it was done."""
    if not appends and not changes:
        return None
    try:
        database.execute("BEGIN IMMEDIATE")
        for start in range(0, len(appends), _ROWS_PER_STATEMENT):
            rows = appends[start : start + _ROWS_PER_STATEMENT]
            values = [value for row in rows for value in row.values]
            database.execute(insert(len(rows)), values)
        _change(database, changes)
        database.execute("COMMIT")
    except sqlite3.Error as error:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        return error
    return None


def _change(database: sqlite3.Connection, changes: Iterable[Delete | NoteTries]) -> None:
    deleted = [change.seq for change in changes if isinstance(change, Delete)]
    if deleted:
        database.execute(
            "DELETE FROM event WHERE seq IN (SELECT value FROM json_each(?))",
            (orjson.dumps(deleted).decode(),),
        )
    for change in changes:
        if isinstance(change, NoteTries):
            database.execute("UPDATE event SET tries = ? WHERE seq = ?", (change.tries, change.seq))


@lru_cache(maxsize=_ROWS_PER_STATEMENT)
def insert(rows: int) -> str:
    """Return an INSERT of so many rows: a step of SQLite lets go of the interpreter only once."""
    one = f"({','.join('?' * _COLUMNS)})"
    return f"INSERT INTO event VALUES {','.join([one] * rows)}"  # noqa: S608  # placeholders only


def _resolve(futures: Iterable[asyncio.Future[None]], refusal: SpoolFull | None) -> None:
    for future in futures:
        if future.done():
            continue
        if refusal is None:
            future.set_result(None)
        else:
            future.set_exception(refusal)
