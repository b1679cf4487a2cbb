"""Opening a spool: the lock, the schema, and what to do with a corrupt one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import structlog

from bridge.spool.errors import SpoolUnusable
from bridge.spool.files import Lock, is_damage, set_aside, suspicion, sync_directory
from bridge.spool.store import SELECT, TOTALS, Spool
from bridge.spool.writer import connect, insert

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY,   -- the order of acceptance
    accepted_at REAL NOT NULL, -- Unix time, seconds
    size INTEGER NOT NULL,     -- bytes that it counts against max_bytes
    tries INTEGER NOT NULL,    -- how often it was retried after a refusal
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    message_id TEXT NOT NULL,
    meta BLOB NOT NULL,        -- JSON: the other properties, and the record
    body BLOB NOT NULL
);
-- All that is counted at a start: reading every row for it would take minutes when many wait.
CREATE INDEX IF NOT EXISTS event_totals ON event (exchange, seq, size)"""

_VERSION = 1
"""Of the schema, kept as ``user_version``."""

_CHECKED_BYTES = 64 * 1024 * 1024
"""A larger file is checked while it is in use: a start must not wait for that."""

_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"

_FROM = f"{SELECT} WHERE seq >= ?"

_GIVE_UP_AFTER = 100_000
"""Numbers one after the other that cannot be read, until nothing more is expected."""

log = structlog.get_logger()


@asynccontextmanager
async def opened(path: Path, *, max_bytes: int, lock_wait: float) -> AsyncIterator[Spool]:
    """Open the spool for the length of the block.

    Raises ``SpoolLocked`` when another process has it for longer than ``lock_wait`` seconds, and
    ``SpoolUnusable`` when there can be no spool at this path.
    """
    lock = Lock(path)
    try:
        checked = await _prepared(path, lock, lock_wait)
        spool = Spool(path, max_bytes=max_bytes)
        if not checked:
            _check_beside(spool, path)
        try:
            yield spool
        finally:
            await asyncio.to_thread(spool.close)
    finally:
        lock.release()


async def _prepared(path: Path, lock: Lock, lock_wait: float) -> bool:
    """Prepare on a thread; whoever is cancelled still waits for it, as it cannot be.

    The lock must not be given up while the thread is at work on the file, nor taken after that.
    """
    preparing = asyncio.ensure_future(asyncio.to_thread(_prepare, path, lock, lock_wait))
    try:
        return await asyncio.shield(preparing)
    finally:
        lock.stop_waiting()
        await asyncio.gather(preparing, return_exceptions=True)


def _prepare(path: Path, lock: Lock, lock_wait: float) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(wait_seconds=lock_wait)
    except OSError as error:
        raise SpoolUnusable(f"{path}: {error.strerror}: choose a writable spool.path") from error
    return prepare(path)


def prepare(path: Path) -> bool:
    """Make sure that there is a sound database; salvage what can be read of a corrupt one.

    Return whether all of it was checked.
    """
    try:
        checked = _check(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise SpoolUnusable(f"{path}: {error}") from error
        aside = set_aside(path)
        log.error("spool_corrupt", error=str(error), set_aside=str(aside))
        checked = _check(path)
        salvaged, unreadable = _salvage(aside, path)
        log.warning("spool_salvaged", events=salvaged, unreadable=unreadable, set_aside=str(aside))
    suspicion(path).unlink(missing_ok=True)
    sync_directory(path.parent)
    return checked


def _check(path: Path) -> bool:
    """Make the schema sure and check the database, if it is small or damage was met in it.

    Return whether all of it was checked; raises ``sqlite3.DatabaseError`` for damage.
    """
    whole = not path.exists() or path.stat().st_size <= _CHECKED_BYTES or suspicion(path).exists()
    with closing(connect(path)) as database:
        [(version,)] = database.execute("PRAGMA user_version")
        if version > _VERSION:
            raise SpoolUnusable(f"{path}: written by a newer bridge (schema {version})")
        if whole:
            _check_pages(database)
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute(TOTALS).fetchall()  # the service cannot do without them
    return whole


def _check_pages(database: sqlite3.Connection) -> None:
    [(verdict,)] = database.execute("PRAGMA quick_check(1)")
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _check_beside(spool: Spool, path: Path) -> None:
    """Check all of a large file while it is in use, on a thread that nobody has to wait for."""

    def check() -> None:
        try:
            with closing(sqlite3.connect(path)) as database:
                _check_pages(database)
        except sqlite3.Error as error:
            spool.note_error(error)

    threading.Thread(target=check, name="spool-check", daemon=True).start()


def _salvage(aside: Path, path: Path) -> tuple[int, int]:
    """Copy every readable row, in order; return how many, and how many could not be read."""
    salvaged = unreadable = 0
    _restore_header(aside, path)
    with closing(sqlite3.connect(aside)) as source, closing(connect(path)) as target:
        target.execute("BEGIN")
        for row in _readable(source):
            if row is None:
                unreadable += 1
            else:
                target.execute(insert(1), row)
                salvaged += 1
        target.execute("COMMIT")
    return salvaged, unreadable


def _restore_header(aside: Path, sound: Path) -> None:
    """Give a file that has lost its header that of a sound database: no row depends on it.

    Size and free pages are left out, then SQLite goes by the file
    (https://www.sqlite.org/fileformat.html#the_database_header).
    """
    header = bytearray(sound.read_bytes()[:_HEADER_BYTES])
    header[28:40] = bytes(12)
    with suppress(FileNotFoundError), aside.open("r+b") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            file.seek(0)
            file.write(header)


def _readable(source: sqlite3.Connection) -> Iterator[tuple[Any, ...] | None]:
    """Yield the rows in order, None for each that cannot be read.

    How many there were behind the last readable one nobody can tell: they are one None.
    """
    seq = 0
    while True:
        try:
            for row in source.execute(f"{_FROM} ORDER BY seq", (seq + 1,)):
                seq = row[0]
                yield row
        except sqlite3.DatabaseError:
            unreadable, found = _next_readable(source, seq)
        else:
            return
        yield from [None] * unreadable
        if found is None:
            return
        seq = found[0]
        yield found


def _next_readable(source: sqlite3.Connection, seq: int) -> tuple[int, tuple[Any, ...] | None]:
    """Return how many numbers behind one cannot be read, and the first row behind them.

    One row at a time is asked for: a cursor reads ahead, and drops the row before an error.
    """
    for number in range(seq + 1, seq + 1 + _GIVE_UP_AFTER):
        with suppress(sqlite3.DatabaseError):
            row = source.execute(f"{_FROM} ORDER BY seq LIMIT 1", (number,)).fetchone()
            return number - seq - 1, row
    return 1, None
