"""Damage to the file of a spool, of which is known beforehand what it costs.

Pages as in https://www.sqlite.org/fileformat.html#b_tree_pages; numbers are big-endian.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

_LEAVES = (10, 13)  # of an index, of a table
_ABOVE = (2, 5)  # interior pages of an index, of a table: no row is on them
_HEADER_BYTES = 100
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24

LARGE = 80 * 1024 * 1024


class Part(NamedTuple):
    """A part of the file, and how many rows are lost with it."""

    offset: int
    length: int
    rows: int


def middle(path: Path) -> list[Part]:
    """Return pages from the middle of the table."""
    leaves = _leaves(path)
    return leaves[len(leaves) // 2 :][:3]


def end(path: Path) -> list[Part]:
    """Return the pages with the latest rows."""
    return _leaves(path)[-2:]


def index(path: Path) -> list[Part]:
    """Return pages of what is counted at a start; no row depends on it."""
    return _leaves(path, "event_totals")[-1:]


def header(path: Path) -> list[Part]:
    """Return what makes the file a database; no row depends on it."""
    return [Part(0, _HEADER_BYTES, 0)]


def root(path: Path) -> list[Part]:
    """Return the page that leads to all rows; none is on it."""
    number, size = _root(path, "event")
    return [Part((number - 1) * size, size, 0)]


def rows_on(path: Path, pages: list[int]) -> set[int]:
    """Return the rows with something on one of these pages, which are counted from 0.

    SQLite itself says so: each page is taken away in turn, and each row is asked for.
    """
    _, size = _root(path, "event")
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT * FROM event").fetchall()
    lost: set[int] = set()
    for page in pages:
        with TemporaryDirectory() as directory:
            copy = Path(directory) / "copy.db"
            content = bytearray(path.read_bytes())
            kind = content[page * size]
            if kind not in _ABOVE:
                content[page * size : (page + 1) * size] = b"\xa5" * size
            copy.write_bytes(content)
            with closing(sqlite3.connect(copy)) as database:
                lost |= {row[0] for row in rows if not _is_there(database, row)}
    return lost


def _is_there(database: sqlite3.Connection, row: tuple[Any, ...]) -> bool:
    try:
        found = database.execute("SELECT * FROM event NOT INDEXED WHERE seq = ?", row[:1])
        return bool(found.fetchone() == row)
    except sqlite3.DatabaseError:
        return False


def overwrite(path: Path, parts: list[Part]) -> int:
    """Overwrite parts of a file with what SQLite never writes; return how many rows that costs."""
    with path.open("r+b") as file:
        for part in parts:
            file.seek(part.offset)
            file.write(b"\xa5" * part.length)
    return sum(part.rows for part in parts)


def close_wal(path: Path) -> None:
    """Put everything into the database file; nobody may have it open."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def enlarge(path: Path) -> None:
    """Make the file larger than what is checked at every start."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE filler (bytes BLOB)")
        database.execute("INSERT INTO filler VALUES (zeroblob(?))", (LARGE,))


def flip_in_log(path: Path, place: float) -> None:
    """Flip one bit of the write-ahead log, from its start (0) to the end of its last commit (1).

    SQLite does not read that commit any more, nor any behind it.
    """
    file = path.with_name(f"{path.name}-wal")
    content = bytearray(file.read_bytes())
    bit = int(place * (8 * _log_end(bytes(content)) - 1))
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def _log_end(log: bytes) -> int:
    """Return where the last commit of a log ends; frames with other salts are of an old one."""
    [size], salts, end = struct.unpack_from(">I", log, 8), log[16:24], _LOG_HEADER_BYTES
    for at in range(_LOG_HEADER_BYTES, len(log) - size, _FRAME_HEADER_BYTES + size):
        if log[at + 8 : at + 16] != salts:
            break
        if log[at + 4 : at + 8] != bytes(4):
            end = at + _FRAME_HEADER_BYTES + size
    return end


def spoil_metadata(path: Path) -> None:
    """Make the metadata of one row, in the middle, something else than JSON."""
    half = "(SELECT count(*) FROM event) / 2"
    row = f"SELECT seq FROM event ORDER BY seq LIMIT 1 OFFSET {half}"  # noqa: S608
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE event SET meta = x'a5a5' WHERE seq = ({row})")  # noqa: S608


def _leaves(path: Path, name: str = "event") -> list[Part]:
    """Return the pages that hold the rows of a table or an index, in their order."""
    root, size = _root(path, name)
    return list(_leaves_below(path.read_bytes(), root, size))


def _root(path: Path, name: str) -> tuple[int, int]:
    """Return the first page of a table or an index, counted from 1, and the size of pages."""
    with closing(sqlite3.connect(path)) as database:
        [(root,)] = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,))
        [(size,)] = database.execute("PRAGMA page_size")
    return root, size


def _leaves_below(file: bytes, number: int, size: int) -> Iterator[Part]:
    offset = (number - 1) * size
    kind, cells, right = struct.unpack_from(">B2xH3xI", file, offset)
    if kind in _LEAVES:
        yield Part(offset, size, cells)
        return
    for pointer in struct.unpack_from(f">{cells}H", file, offset + 12):
        [child] = struct.unpack_from(">I", file, offset + pointer)
        yield from _leaves_below(file, child, size)
    yield from _leaves_below(file, right, size)
