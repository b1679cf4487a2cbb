"""What is written in one transaction, and how: statements of SQLite, and no thread."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import orjson

from bridge.spool.errors import SpoolFull
from bridge.spool.schema import SHRINKS

_COLUMNS = 9
_ROWS_PER_STATEMENT = 256

OPERATIONS_PER_COMMIT = 1024
"""Maximum number of operations in one transaction."""

_DELETED_BYTES = 16 * 1024 * 1024
"""Size of the rows that one commit deletes, but for the last: events that wait for it wait for all.

What a disk would not take for a while is owed, and is more than a commit can do in no time.
"""

_BUSY_SECONDS = 0.3
"""How long a commit waits for another program that has locked the database."""

_STEP_PAGES = 64
"""How many free pages are given back to the disk at a time: some milliseconds of work."""

_WAL_BYTES = 8 * 1024 * 1024
"""Size that the write-ahead log is cut to, after it was larger."""

_FREE_PAGES = 256
"""How many free pages are kept for the next events."""


class Append(NamedTuple):
    """Store a row. ``on_written`` is called on the loop: with None, or why it is not stored."""

    values: tuple[object, ...]
    on_written: Callable[[SpoolFull | None], None]


class Delete(NamedTuple):
    """Delete a row; ``size`` is what it counts, in bytes."""

    seq: int
    size: int = 0


class NoteTries(NamedTuple):
    """Remember how often a row was retried."""

    seq: int
    tries: int


def connect(path: Path) -> sqlite3.Connection:
    """Open the database for writing, in autocommit mode: transactions are spelled out."""
    database = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        timeout=_BUSY_SECONDS,
    )
    try:
        # Before anything else: only a database that is empty still takes it.
        database.execute(SHRINKS)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = OFF")
        database.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    except sqlite3.Error:
        database.close()
        raise
    return database


def commit(
    database: sqlite3.Connection, appends: Sequence[Append], changes: Sequence[Delete | NoteTries]
) -> Exception | None:
    """Do all of it in one transaction and return the error, of whatever kind, if none was done.

    Every statement waits for the interpreter once more, which the event loop seldom leaves alone.
    """
    if not appends and not changes:
        return None
    try:
        statements = [*_insertions(appends), *_changes(changes)]
        alone = len(statements) == 1  # a transaction by itself
        if not alone:
            database.execute("BEGIN IMMEDIATE")
        for sql, values in statements:
            database.execute(sql, values)
        if not alone:
            database.execute("COMMIT")
    except Exception as error:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        return error
    return None


def due(owed: Sequence[Delete | NoteTries]) -> Sequence[Delete | NoteTries]:
    """Return the first of what is owed, as much as one commit is to do."""
    left = _DELETED_BYTES
    for index, change in enumerate(owed[:OPERATIONS_PER_COMMIT]):
        if left < 0:
            return owed[:index]
        left -= change.size if isinstance(change, Delete) else 0
    return owed[:OPERATIONS_PER_COMMIT]


def shrink(database: sqlite3.Connection) -> bool:
    """Give some free pages back to the disk; return whether there are more.

    Events may come at any time, and must not wait for it.
    """
    with contextlib.suppress(sqlite3.Error):
        [(free,)] = database.execute("PRAGMA freelist_count")
        if free > _FREE_PAGES:
            # One page for each row without columns: only a script asks for all of them.
            database.executescript(f"PRAGMA incremental_vacuum({_STEP_PAGES})")
            [(left,)] = database.execute("PRAGMA freelist_count")
            return bool(_FREE_PAGES < left < free)
    return False


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
