"""One transaction: the statements that write to the database."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from bridge.disk.schema import SHRINKS

_COLUMNS = 9
_ROWS_PER_STATEMENT = 256

_BUSY_SECONDS = 0.3
"""How long SQLite waits for another program that has locked the database."""

_STEP_PAGES = 64
"""How many free pages one step gives back to the disk: some milliseconds of work."""

_WAL_BYTES = 8 * 1024 * 1024
"""Size to which SQLite truncates a log that was larger."""

_FREE_PAGES = 256
"""How many free pages we keep for the next events."""


Row = tuple[object, ...]
"""Values of a row, in the order of the table's columns."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, which is there, for writing.

    There is no transaction but those that we begin ourselves. Raises ``sqlite3.Error``.
    """
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
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
    database: sqlite3.Connection,
    rows: Sequence[Row],
    deleted: Sequence[int] = (),
    tries: Sequence[tuple[int, int]] = (),
    *,
    verb: str = "INSERT",
) -> Exception | None:
    """Do everything in one transaction. Return the error, of whatever kind, if nothing was done.

    ``deleted`` has numbers of rows; ``tries`` has how often a row was retried, and its number.
    """
    try:
        statements = [*_insertions(rows, verb), *_changes(deleted, tries)]
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


def _insertions(rows: Sequence[Row], verb: str) -> Iterator[tuple[str, Sequence[object]]]:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        some = rows[start : start + _ROWS_PER_STATEMENT]
        yield insert(len(some), verb), [value for row in some for value in row]


def _changes(
    deleted: Sequence[int], tries: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, Sequence[object]]]:
    if deleted:
        gone = str(list(deleted))  # as JSON has it
        yield "DELETE FROM event WHERE seq IN (SELECT value FROM json_each(?))", (gone,)
    for change in tries:
        yield "UPDATE event SET tries = ? WHERE seq = ?", change


@lru_cache(maxsize=_ROWS_PER_STATEMENT)
def insert(rows: int, verb: str = "INSERT") -> str:
    """Return an INSERT of so many rows: one statement for many of them is faster."""
    one = f"({','.join('?' * _COLUMNS)})"
    return f"{verb} INTO event VALUES {','.join([one] * rows)}"  # placeholders only
