"""What can be read of a damaged database goes into a new one, which then takes its place.

The damaged one stays where it is until the new one is complete and on the disk: whoever is killed
before, or finds no room, has lost nothing, and the next start begins anew. All that is written to
it is a header that it has lost, and what SQLite takes over from its WAL when it closes it. Once
there is a file ``.salvaged``, only names are left to be changed, which every start goes on with.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from bridge.spool.errors import SpoolUnusable
from bridge.spool.files import suspicion, sync
from bridge.spool.schema import complete
from bridge.spool.store import SELECT
from bridge.spool.writer import insert

_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_IS_WAL = b"\2\2"

_FROM = f"{SELECT} WHERE seq >= ?"

_KEEP = insert(1, "INSERT OR IGNORE")
"""A row that lacks a value, or is met twice on damaged pages, is left out."""

_GIVE_UP_AFTER = 100_000
"""Numbers one after the other that cannot be read, until nothing more is expected."""

_OF_ROWS = {
    sqlite3.SQLITE_ERROR,  # the table is not there, or a text is not UTF-8
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,  # a bad sector
}
"""Errors that are those of a place in the file. No row may be left out for any other."""

log = structlog.get_logger()


def salvage(path: Path, damage: sqlite3.Error) -> None:
    """Replace a damaged database by what can be read of it.

    Raises ``SpoolUnusable``, with nothing lost, when that cannot be done, and OSError.
    """
    log.error("spool_corrupt", error=str(damage))
    copy = path.with_name(f"{path.name}.salvaging")
    try:
        suspicion(path).touch()  # a start that is killed leaves it to the next one
        copy.unlink(missing_ok=True)
        salvaged, unreadable = _copy(path, copy)
        sync(copy)
    except (sqlite3.Error, OSError) as error:
        copy.unlink(missing_ok=True)
        raise SpoolUnusable(_why_not(path, error)) from error
    aside = str(_aside(path, copy))
    log.warning("spool_salvaged", events=salvaged, unreadable=unreadable, set_aside=aside)
    copy.rename(_salvaged(path))
    sync(path.parent)
    put_in_place(path)


def put_in_place(path: Path) -> None:
    """Let what was salvaged take the place of the damaged database, if that is still to be done.

    The WAL of the old one must be gone, for good, before the new one has its name. All of it ends
    under the same name, however often this is begun.
    """
    salvaged = _salvaged(path)
    if not salvaged.exists():
        return
    aside = _aside(path, salvaged)
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    sync(path.parent)
    salvaged.rename(path)
    sync(path.parent)


def _salvaged(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")


def _aside(path: Path, salvaged: Path) -> Path:
    """Return the name to keep a damaged database under: when its salvage was complete (UTC)."""
    complete_at = datetime.fromtimestamp(salvaged.stat().st_mtime, UTC)
    return path.with_name(f"{path.name}.corrupt-{complete_at:%Y%m%dT%H%M%S.%f}")


def _why_not(path: Path, error: Exception) -> str:
    files = (path, Path(f"{path}-wal"))
    needed = sum(file.stat().st_size for file in files if file.exists())
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    return (
        f"{path} is damaged, and what can be read of it cannot be copied: {error}. Nothing of"
        f" it was lost by that. The copy takes up to {needed / 1e6:,.1f} MB of its disk, and"
        f" {free / 1e6:,.1f} MB are free: make room, or mend the disk, and start again"
    )


def _copy(path: Path, copy: Path) -> tuple[int, int]:
    """Copy every readable row; return how many, and how many could not be read.

    Without a journal: that would take as much room again, and an incomplete copy is thrown away.
    """
    found = 0
    with closing(sqlite3.connect(copy, isolation_level=None)) as target:
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        complete(target)
        _restore_header(path, copy)
        with closing(sqlite3.connect(path)) as source:
            target.execute("BEGIN")
            for row in _readable(source):
                found += 1
                if row is not None:
                    target.execute(_KEEP, row)
            target.execute("COMMIT")
        salvaged = target.total_changes
    return salvaged, found - salvaged


def _restore_header(damaged: Path, sound: Path) -> None:
    """Give a file that has lost its header that of a sound database: no row depends on it.

    Size and free pages are left out, then SQLite goes by the file
    (https://www.sqlite.org/fileformat.html#the_database_header).
    """
    header = bytearray(sound.read_bytes()[:_HEADER_BYTES])
    header[18:20] = _IS_WAL
    header[28:40] = bytes(12)
    with damaged.open("r+b") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            file.seek(0)
            file.write(header)


def _readable(source: sqlite3.Connection) -> Iterator[tuple[Any, ...] | None]:
    """Yield the rows, None for each that cannot be read; in order, but where pages are damaged.

    How many there were behind the last readable one nobody can tell: they are one None.
    """
    seq = 0
    while True:
        try:
            for row in source.execute(f"{_FROM} ORDER BY seq", (seq + 1,)):
                seq = max(seq, row[0])
                yield row
        except sqlite3.DatabaseError as error:
            _raise_unless_of_rows(error)
            unreadable, found = _next_readable(source, seq)
        else:
            return
        yield from [None] * unreadable
        if found is None:
            return
        seq = max(seq + unreadable + 1, found[0])  # never back, wherever a damaged page leads
        yield found


def _next_readable(source: sqlite3.Connection, seq: int) -> tuple[int, tuple[Any, ...] | None]:
    """Return how many numbers behind one cannot be read, and the first row behind them.

    One row at a time is asked for: a cursor reads ahead, and drops the row before an error.
    """
    for number in range(seq + 1, seq + 1 + _GIVE_UP_AFTER):
        try:
            row = source.execute(f"{_FROM} ORDER BY seq LIMIT 1", (number,)).fetchone()
        except sqlite3.DatabaseError as error:
            _raise_unless_of_rows(error)
        else:
            return number - seq - 1, row
    return 1, None


def _raise_unless_of_rows(error: sqlite3.DatabaseError) -> None:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if not {code, code & 0xFF} & _OF_ROWS:
        raise error
