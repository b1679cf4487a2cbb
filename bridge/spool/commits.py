"""One transaction: the statements that write to the database, without a thread."""

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
"""Size of the rows that one commit deletes, not counting the last: new events wait for all of it.

After a time with a full disk the deletions that we owe can be too many for a quick commit.
"""

_BUSY_SECONDS = 0.3
"""How long SQLite waits for another program that has locked the database."""

_STEP_PAGES = 64
"""How many free pages one step gives back to the disk: some milliseconds of work."""

_WAL_BYTES = 8 * 1024 * 1024
"""Size to which SQLite truncates a log that was larger."""

_FREE_PAGES = 256
"""How many free pages we keep for the next events."""


class Append(NamedTuple):
    """Store a row. ``on_written`` is called on the loop: with None, or why it is not stored."""

    values: tuple[object, ...]
    on_written: Callable[[SpoolFull | None], None]


class Delete(NamedTuple):
    """Delete a row; ``size`` is how many bytes of ``max_bytes`` it takes."""

    seq: int
    size: int = 0


class NoteTries(NamedTuple):
    """Remember how often a row was retried."""

    seq: int
    tries: int


def connect(path: Path) -> sqlite3.Connection:
    """Open the database for writing. There is no transaction but those that we begin ourselves."""
    database = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        timeout=_BUSY_SECONDS,
    )
    try:
        # Before anything else: SQLite changes this only in an empty database.
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
    """Do everything in one transaction. Return the error, of whatever kind, if nothing was done.

    The fewer statements the better: after each of them the thread waits for the interpreter, which
    the event loop holds most of the time.
    """
    if not appends and not changes:
        return None
    try:
        statements = [*_insertions(appends), *_changes(changes)]
        alone = len(statements) == 1  # SQLite makes a transaction of a single statement
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
    """Return the first changes of those we owe, as many as one commit should do."""
    left = _DELETED_BYTES
    for index, change in enumerate(owed[:OPERATIONS_PER_COMMIT]):
        if left < 0:
            return owed[:index]
        left -= change.size if isinstance(change, Delete) else 0
    return owed[:OPERATIONS_PER_COMMIT]


def shrink(database: sqlite3.Connection) -> bool:
    """Give some free pages back to the disk; return whether there are more.

    A step is short, because events may come at any time and must not wait for it.
    """
    with contextlib.suppress(sqlite3.Error):
        [(free,)] = database.execute("PRAGMA freelist_count")
        if free > _FREE_PAGES:
            # The pragma frees one page for each row that is fetched from it, and these rows have no
            # columns. executescript fetches them all.
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
    """Return an INSERT of so many rows: one statement for many of them, see ``commit``."""
    one = f"({','.join('?' * _COLUMNS)})"
    return f"{verb} INTO event VALUES {','.join([one] * rows)}"  # placeholders only
