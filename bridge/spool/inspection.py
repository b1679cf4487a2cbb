"""Reading a spool for people, whether a service has it open or not. Nothing here writes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge.spool.errors import SpoolUnusable
from bridge.spool.rowcodec import SELECT, Row, row_of

_PAGE = 500
_PAGE_BYTES = 8 * 1024 * 1024
"""Size of bodies at which a page ends; the last body may go beyond it."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The content of a spool in figures; ``file_bytes`` is the size of its files on the disk."""

    events: int
    bytes: int
    oldest_seconds: float
    refused: int
    file_bytes: int


def totals(path: Path) -> Totals:
    """Count the events that wait; raises ``SpoolUnusable`` when there is no spool."""
    query = """SELECT count(*), coalesce(sum(size), 0), min(accepted_at),
        coalesce(sum(tries > 0), 0) FROM event"""
    with _reading(path) as database:
        [(events, size, oldest, refused)] = database.execute(query)
    age = max(0.0, time.time() - oldest) if oldest is not None else 0.0
    files = (path, Path(f"{path}-wal"))
    on_disk = sum(file.stat().st_size for file in files if file.exists())
    return Totals(events, size, round(age, 1), refused, on_disk)


def rows(path: Path, *, after: int = 0, limit: int | None = None) -> Iterator[Row]:
    """Yield the rows behind ``after`` in the order of acceptance; each page is read by itself.

    So no read lasts long: while one lasts, the service cannot empty its write-ahead log.
    """
    left = limit
    while left is None or left > 0:
        page = _page(path, after, _PAGE if left is None else min(_PAGE, left))
        yield from page
        if not page:
            return
        after = page[-1].seq
        left = None if left is None else left - len(page)


def _page(path: Path, after: int, limit: int) -> list[Row]:
    with _reading(path) as database:
        query = f"{SELECT} WHERE seq > ? ORDER BY seq LIMIT ?"
        page: list[Row] = []
        room = _PAGE_BYTES
        for columns in database.execute(query, (after, limit)):
            page.append(row_of(columns))
            room -= len(page[-1].message.body)
            if room < 0:
                break
        return page


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise SpoolUnusable(
            f"there is no spool at {path}: nothing was ever spooled, or it belongs to another"
            " working directory or configuration"
        )
    try:
        with closing(_open(path)) as database:
            yield database
    except sqlite3.Error as error:
        raise SpoolUnusable(f"{path}: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    """Open the database for reading.

    A reader of a log writes to its index. Where we may not write, only a database without a log can
    be read, and SQLite must be told that nothing writes to it meanwhile.
    """
    uri = path.absolute().as_uri()
    database = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=10)
    try:
        database.execute("SELECT 1 FROM event LIMIT 1")
    except sqlite3.Error as error:
        database.close()
        if Path(f"{path}-wal").exists() or not isinstance(error, sqlite3.OperationalError):
            raise
        database = sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return database
