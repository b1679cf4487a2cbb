"""How much of a write-ahead log SQLite accepts. It sums a gigabyte in a second, Python in thirty.

SQLite writes its answer to the index of the log, the file ``-shm``. The format is
https://www.sqlite.org/walformat.html; its numbers have the byte order of this machine.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path

_INDEX_HEADER = struct.Struct("=4x4x4xBBHI4x8x8s8x")
"""Is it initialized, byte order of checksums, page size, number of frames, salts."""

_BUSY_SECONDS = 0.3
"""How long SQLite waits for another program that has locked the database."""

_SALTS = slice(16, 24)
"""Place of the salts in the header of a log."""


def accepted(path: Path) -> int | None:
    """Return how many frames of a database's log SQLite accepts, None if we cannot tell.

    Nothing but the index is written. This process must not have the database open: when
    we close a file of it, the kernel drops the locks that SQLite has on that file.
    """
    wal = Path(f"{path}-wal")
    if not wal.exists() or not path.exists() or not path.stat().st_size:
        return None  # SQLite removes the log of an empty database
    with suppress(sqlite3.Error, OSError):
        _let_sqlite_read(path)
        with Path(f"{path}-shm").open("rb") as index, wal.open("rb") as log:
            return _frames(index.read(2 * _INDEX_HEADER.size), log.read(_SALTS.stop))
    return None


def _let_sqlite_read(path: Path) -> None:
    """Let SQLite read the whole log. A read-only connection does not move it to the database."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as database:
        database.execute("PRAGMA schema_version").fetchall()


def _frames(index: bytes, log: bytes) -> int | None:
    # The index begins with two copies of its header, and only equal ones are valid. Other salts
    # than those of the log mean that it is the index of an earlier log.
    first, second = index[: _INDEX_HEADER.size], index[_INDEX_HEADER.size :]
    if len(second) < _INDEX_HEADER.size or first != second:
        return None
    is_set_up, _, _, frames, salts = _INDEX_HEADER.unpack(first)
    return int(frames) if is_set_up and salts == log[_SALTS] else None
