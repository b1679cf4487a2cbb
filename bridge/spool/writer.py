"""The one thread that writes to the spool: whatever waits goes into one transaction.

A commit costs about as much as everything else that is done for a dozen events, and waking the
thread is not cheap either. So what the event loop hands over is gathered while each of its turns
brings more: under load a few events share both, and without load nothing waits.

A disk that is full must not keep the spool from draining, and deleting in SQLite writes before it
frees: a reserve file beside the database gives its blocks up for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

import orjson
import structlog

from bridge.spool.errors import SpoolFull
from bridge.spool.files import Reserve

_COLUMNS = 9
_ROWS_PER_STATEMENT = 256
_OPERATIONS_PER_COMMIT = 1024
_OPERATIONS_TO_GATHER = 16
_RETRY_SECONDS = 0.5

log = structlog.get_logger()


class Append(NamedTuple):
    """Store a row; ``stored`` is called on the loop, with a refusal if there is one."""

    values: tuple[object, ...]
    stored: Callable[[SpoolFull | None], None]


class Delete(NamedTuple):
    """Delete a row."""

    seq: int


class NoteTries(NamedTuple):
    """Remember how often a row was retried."""

    seq: int
    tries: int


class Call(NamedTuple):
    """Do something else on the thread, outside any transaction: ``compact`` or ``flush``."""

    action: str
    done: asyncio.Future[None]


Operation = Append | Delete | NoteTries | Call

_TRIAL = Append((0, 0, 0, 0, "", "", "", b"", bytes(64 * 1024)), lambda refusal: None)
"""A row as large as few events are. No event has its number, and none but its commit sees it."""


class Writer:
    """Owns the writing connection and its thread."""

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        deleted: Callable[[Collection[int]], None],
        failed: Callable[[sqlite3.Error], None],
    ) -> None:
        """Start the thread.

        ``deleted`` is told on the loop which rows are gone from the disk, ``failed`` on the thread
        why a commit was not done.
        """
        self._path = path
        self._loop = loop
        self._deleted = deleted
        self._failed = failed
        self._gathered: list[Operation] = []
        self._seen = 0
        self._looking = False
        self._operations: SimpleQueue[list[Operation] | None] = SimpleQueue()
        self._owed: list[Delete | NoteTries] = []
        self.takes = True
        """Whether the disk takes events, as far as is known; read on the loop."""
        self._reserve = Reserve(path)
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def put(self, operation: Append | Delete | NoteTries) -> None:
        """Queue an operation; deletions and tries are repeated until they are done."""
        self._gathered.append(operation)
        if len(self._gathered) >= _OPERATIONS_TO_GATHER:
            self._hand_over()
        elif not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def call(self, action: str) -> asyncio.Future[None]:
        """Queue ``compact`` or ``flush``; the future is done after all that came before."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._gathered.append(Call(action, done))
        self._hand_over()
        return done

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self._hand_over()
        self._operations.put(None)
        self._thread.join()

    def _look(self) -> None:
        """Hand over what was gathered if the latest turn of the loop brought nothing."""
        found = len(self._gathered)
        if found > self._seen:
            self._seen = found
            self._loop.call_soon(self._look)
        else:
            self._looking = False
            self._hand_over()

    def _hand_over(self) -> None:
        self._seen = 0
        if self._gathered:
            self._operations.put(self._gathered)
            self._gathered = []

    # What follows runs on the thread.

    def _run(self) -> None:
        database = connect(self._path)
        self._reserve.take()
        while (batch := self._next_batch()) is not None:
            self._write(database, batch)
        database.close()

    def _next_batch(self) -> list[Operation] | None:
        """Wait for operations and return all that are queued; None is the end.

        What is owed, or to be found out, does not wait for something new.
        """
        batch: list[Operation] = []
        waits = self.takes and not self._owed
        with contextlib.suppress(Empty):
            found = self._operations.get(timeout=None if waits else _RETRY_SECONDS)
            while found is not None:
                batch += found
                if len(batch) >= _OPERATIONS_PER_COMMIT:
                    return batch
                found = self._operations.get_nowait()
            if not batch:
                return None
            self._operations.put(None)  # the end comes after this batch
        return batch

    def _write(self, database: sqlite3.Connection, batch: Sequence[Operation]) -> None:
        appends = [operation for operation in batch if isinstance(operation, Append)]
        self._owed += [op for op in batch if isinstance(op, Delete | NoteTries)]
        error = _commit(database, appends, self._owed)
        if error is None:
            self._paid()
            self.takes = self.takes or bool(appends) or (not batch and self._try(database))
            self._reserve.take()
        else:
            log.error("spool_write_failed", error=str(error), events=len(appends))
            self._failed(error)
            self.takes = self.takes and not appends
            self._settle_debts(database)
        self._tell(appends, error)
        for operation in batch:
            if isinstance(operation, Call):
                self._do(database, operation)

    def _try(self, database: sqlite3.Connection) -> bool:
        """Return whether the disk takes an event; none comes while nobody believes that it does.

        Only when there is nothing else to do: the deletions of a drain come first.
        """
        error = _commit(database, (_TRIAL,), (Delete(0),))
        if error is not None:
            self._failed(error)
        return error is None

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
            refusal = None if error is None else SpoolFull(f"the disk does not take it: {error}")
            self._loop.call_soon_threadsafe(self._settle, appends, refusal)

    def _settle(self, appends: Sequence[Append], refusal: SpoolFull | None) -> None:
        for append in appends:  # each in a call of its own: an error is of one, not of all
            self._loop.call_soon(append.stored, refusal)

    def _do(self, database: sqlite3.Connection, call: Call) -> None:
        if call.action == "compact":
            with contextlib.suppress(sqlite3.Error):  # tried again after the next drain
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._loop.call_soon_threadsafe(_resolve, call.done)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database for writing, in autocommit mode: transactions are spelled out."""
    database = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=30
    )
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = OFF")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _commit(
    database: sqlite3.Connection, appends: Sequence[Append], changes: Sequence[Delete | NoteTries]
) -> sqlite3.Error | None:
    """Do all of it in one transaction and return the error if none of it was done.

    Every statement waits for the interpreter once more, which the event loop seldom leaves alone.
    """
    if not appends and not changes:
        return None
    statements = [*_insertions(appends), *_changes(changes)]
    alone = len(statements) == 1  # a transaction by itself
    try:
        if not alone:
            database.execute("BEGIN IMMEDIATE")
        for sql, values in statements:
            database.execute(sql, values)
        if not alone:
            database.execute("COMMIT")
    except sqlite3.Error as error:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        return error
    return None


def _insertions(appends: Sequence[Append]) -> Iterator[tuple[str, Sequence[object]]]:
    for start in range(0, len(appends), _ROWS_PER_STATEMENT):
        rows = appends[start : start + _ROWS_PER_STATEMENT]
        yield insert(len(rows)), [value for row in rows for value in row.values]


def _changes(changes: Sequence[Delete | NoteTries]) -> Iterator[tuple[str, Sequence[object]]]:
    deleted = [change.seq for change in changes if isinstance(change, Delete)]
    if deleted:
        gone = orjson.dumps(deleted).decode()
        yield "DELETE FROM event WHERE seq IN (SELECT value FROM json_each(?))", (gone,)
    for change in changes:
        if isinstance(change, NoteTries):
            yield "UPDATE event SET tries = ? WHERE seq = ?", (change.tries, change.seq)


@lru_cache(maxsize=_ROWS_PER_STATEMENT)
def insert(rows: int, verb: str = "INSERT") -> str:
    """Return an INSERT of so many rows: a step of SQLite lets go of the interpreter only once."""
    one = f"({','.join('?' * _COLUMNS)})"
    return f"{verb} INTO event VALUES {','.join([one] * rows)}"  # placeholders only


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
