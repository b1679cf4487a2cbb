"""How much of a write-ahead log SQLite accepts: it sums a gigabyte of it in a second.

Its answer is in the index of the log, the file ``-shm``, whose format is that of
https://www.sqlite.org/walformat.html; its numbers are in the byte order of this machine.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path

_INDEX_HEADER = struct.Struct("=4x4x4xBBHI4x8x8s8x")
"""Whether it is set up, and of which byte order; the pages' size, the number of frames, salts."""

_BUSY_SECONDS = 0.3
"""How long it waits for another program that has locked the database."""

_SALTS = slice(16, 24)
"""Place of the salts in the header of a log."""


def accepted(path: Path) -> int | None:
    """Return how many frames of a database's log SQLite reads, None if that cannot be told.

    Writes nothing but the index. Nobody in this process may have the database open.
    """
    wal = Path(f"{path}-wal")
    if not wal.exists() or not path.exists() or not path.stat().st_size:
        return None  # SQLite removes the log of an empty database
    with suppress(sqlite3.Error, OSError):
        _have_it_read(path)
        with Path(f"{path}-shm").open("rb") as index, wal.open("rb") as log:
            return _frames(index.read(2 * _INDEX_HEADER.size), log.read(_SALTS.stop))
    return None


def _have_it_read(path: Path) -> None:
    """Have SQLite read the whole log; a connection that only reads leaves it where it is."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as database:
        database.execute("PRAGMA schema_version").fetchall()


def _frames(index: bytes, log: bytes) -> int | None:
    first, second = index[: _INDEX_HEADER.size], index[_INDEX_HEADER.size :]
    if len(second) < _INDEX_HEADER.size or first != second:
        return None
    is_set_up, _, _, frames, salts = _INDEX_HEADER.unpack(first)
    return int(frames) if is_set_up and salts == log[_SALTS] else None
