"""The rows on the pages of a damaged database, read without SQLite and without writing to it.

SQLite finds a row by the pages above its own, and so loses whole branches with one of them. Here
every page that holds rows is read for itself. The index knows which rows there were: where it is
whole, what was deleted stays deleted, and what is missing is counted.

The format is that of https://www.sqlite.org/fileformat.html; its numbers are big-endian.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bridge.spool.wal import Committed, committed, page_size_of

_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 13, 10, 2

_HEADER_BYTES = 100
"""Size of the database's header, which the first page begins with."""

_DEFAULT_PAGE_BYTES = 4096

_MAGIC = b"SQLite format 3\0"
_COLUMNS = (type(None), float, int, int, str, str, str, bytes, bytes)
"""Types of a row's values as they are stored: its number is its key, and not among them."""

Columns = tuple[Any, ...]


class Damaged(ValueError):
    """A page, or something on it, is not what it must be."""


class _Cells(NamedTuple):
    """What a b-tree page holds: its kind, its cells, and the page to the right of the last one."""

    kind: int
    offsets: tuple[int, ...]
    right: int


class Pages:
    """The pages of one database, those of its WAL before those of its file.

    ``numbers`` are those of the rows that the index named ``index`` knows; ``is_whole`` tells
    whether all of it could be read. What the WAL has behind damage in it counts if ``beyond``.
    Raises OSError when a file cannot be read, but for bad sectors.
    """

    def __init__(self, path: Path, *, index: str, beyond: bool = True) -> None:
        self.error: OSError | None = None
        """Latest error of a disk that could not read a place in a file."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        wal = Path(f"{path}-wal")
        self._wal = os.open(wal, os.O_RDONLY | os.O_CLOEXEC) if wal.exists() else None
        header = self._read(self._file, 0, _HEADER_BYTES)
        sound = header.startswith(_MAGIC)
        self.size = (_page_bytes(header) if sound else 0) or self._size_by_wal()
        self._usable = self.size - (header[20] if sound else 0)
        pages = os.fstat(self._file).st_size // self.size
        self.newer = committed(self._wal, self.size, pages, beyond=beyond)
        self._count = self.newer.pages or pages
        self._free = set(self._free_pages())
        self.numbers, self.is_whole = self._numbers(index)
        if not _is_sure(self.newer):
            self.is_whole = False
            self._free.difference_update(self.newer.places)

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        if self._wal is not None:
            os.close(self._wal)

    def rows(self) -> Iterator[Columns]:
        """Yield every row that can be read, in the order of the file; leaves out deleted ones."""
        for number in range(1, self._count + 1):
            if number not in self._free:
                yield from self._rows_on(number)

    def _rows_on(self, number: int) -> Iterator[Columns]:
        with suppress(Damaged):
            page = self._page(number)
            cells = _cells(page, number)
            if cells.kind != _TABLE_LEAF:
                return
            for offset in cells.offsets:
                with suppress(Damaged):
                    row = self._row(page, offset)
                    if row[0] in self.numbers or not self.is_whole:
                        yield row

    def _row(self, page: bytes, offset: int) -> Columns:
        length, offset = _varint(page, offset)
        key, offset = _varint(page, offset)
        values = _values(self._payload(page, offset, length, most=self._usable - 35))
        fitting = len(values) == len(_COLUMNS) and key > 0
        if not fitting or not all(map(_fits, values, _COLUMNS)):
            raise Damaged("no row of this table")
        return (key, *values[1:])

    def _numbers(self, index: str) -> tuple[set[int], bool]:
        """Return the rows that the index knows, and whether it is whole."""
        try:
            return set(self._below(self._root(index), set())), True
        except Damaged:
            return set(self._on_index_leaves()), False

    def _below(self, number: int, seen: set[int]) -> Iterator[int]:
        """Yield the rows that an index knows below a page; raises ``Damaged``."""
        if number in seen:
            raise Damaged("a page is below itself")
        seen.add(number)
        page = self._page(number)
        cells = _cells(page, number)
        if cells.kind not in (_INDEX_LEAF, _INDEX_INTERIOR):
            raise Damaged("no page of an index")
        for offset in cells.offsets:
            if cells.kind == _INDEX_INTERIOR:
                yield from self._below(_number(page, offset), seen)
                offset += 4
            yield self._indexed(page, offset)
        if cells.kind == _INDEX_INTERIOR:
            yield from self._below(cells.right, seen)

    def _on_index_leaves(self) -> Iterator[int]:
        """Yield the rows that what is left of an index knows."""
        for number in range(1, self._count + 1):
            with suppress(Damaged):
                page = self._page(number) if number not in self._free else b""
                cells = _cells(page, number)
                for offset in cells.offsets if cells.kind == _INDEX_LEAF else ():
                    with suppress(Damaged):
                        yield self._indexed(page, offset)

    def _indexed(self, page: bytes, offset: int) -> int:
        length, offset = _varint(page, offset)
        most = (self._usable - 12) * 64 // 255 - 23
        values = _values(self._payload(page, offset, length, most=most))
        if len(values) < 2 or not isinstance(values[-1], int):
            raise Damaged("no entry of this index")
        return values[-1]

    def _root(self, name: str) -> int:
        """Return the first page of an index; the schema is the table on page 1."""
        page = self._page(1)
        for offset in _cells(page, 1).offsets:
            length, offset = _varint(page, offset)
            _, offset = _varint(page, offset)
            values = _values(self._payload(page, offset, length, most=self._usable - 35))
            if len(values) == 5 and values[:2] == ["index", name] and isinstance(values[3], int):
                return values[3]
        raise Damaged("the schema does not name the index")

    def _payload(self, page: bytes, offset: int, length: int, *, most: int) -> bytes:
        """Return the content of a cell, of which so much at the most is on its own page."""
        if length <= most:
            return _cut(page, offset, length)
        room = self._usable - 4
        least = (self._usable - 12) * 32 // 255 - 23
        local = least + (length - least) % room
        local = local if local <= most else least
        parts, left = [_cut(page, offset, local)], length - local
        following = _number(page, offset + local)
        while left > 0:
            page = self._continued(following)
            following, part = _number(page, 0), _cut(page, 4, min(left, room))
            parts.append(part)
            left -= len(part)
        if following:
            raise Damaged("a chain of pages goes on behind its end")
        return b"".join(parts)

    def _free_pages(self) -> Iterator[int]:
        """Yield the pages that hold what was deleted, as far as their list can be read."""
        seen: set[int] = set()
        with suppress(Damaged):
            first = self._page(1)
            trunk = _number(first, 32) if first.startswith(_MAGIC) else 0
            while trunk and trunk not in seen:
                seen.add(trunk)
                page = self._page(trunk)
                count = min(_number(page, 4), self._usable // 4 - 2)
                yield trunk
                yield from struct.unpack_from(f">{count}I", page, 8)
                trunk = _number(page, 0)

    def _page(self, number: int) -> bytes:
        if not 0 < number <= self._count:
            raise Damaged("there is no such page")
        if number not in self.newer.places:
            page = self._read(self._file, (number - 1) * self.size, self.size)
        elif (place := self.newer.places[number]) is None or self._wal is None:
            raise Damaged("the latest version of a page cannot be read")
        else:
            page = self._read(self._wal, place, self.size)
        if len(page) < self.size:
            raise Damaged("a page is cut off, or cannot be read")
        return page

    def _continued(self, number: int) -> bytes:
        """Return a page that a row goes on with, if it is sure to be of the same time."""
        if (self.newer.places.get(number) or 0) < self.newer.unsure_until:
            raise Damaged("a page may be older than the row that goes on with it")
        return self._page(number)

    def _size_by_wal(self) -> int:
        return page_size_of(self._wal) or _DEFAULT_PAGE_BYTES

    def _read(self, file: int, offset: int, length: int) -> bytes:
        """Return what is at a place of a file, nothing of a bad sector."""
        try:
            return os.pread(file, length, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.error = error
            return b""


def broken_at(path: Path) -> int:
    """Return where the WAL of a database is damaged though commits follow, 0 for nowhere."""
    wal = Path(f"{path}-wal")
    if not wal.is_file() or not wal.stat().st_size:
        return 0
    with path.open("rb") as file, wal.open("rb") as newer:
        header = file.read(_HEADER_BYTES)
        size = (_page_bytes(header) if header.startswith(_MAGIC) else 0) or _DEFAULT_PAGE_BYTES
        pages = path.stat().st_size // size
        return committed(newer.fileno(), size, pages).broken_at


def _is_sure(newer: Committed) -> bool:
    return newer.is_certain and not newer.unsure_until


def _page_bytes(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big")
    size = 65536 if size == 1 else size
    return size if size >= 512 and not size & (size - 1) else 0


def _cells(page: bytes, number: int) -> _Cells:
    """Return what a page says of its cells; raises ``Damaged`` if they cannot be there."""
    start = _HEADER_BYTES if number == 1 else 0
    if len(page) < start + 12:
        raise Damaged("no page")
    kind = page[start]
    count = int.from_bytes(page[start + 3 : start + 5], "big")
    interior = kind == _INDEX_INTERIOR
    begin = start + (12 if interior else 8)
    if begin + 2 * count > len(page):
        raise Damaged("more cells than a page can hold")
    right = _number(page, start + 8) if interior else 0
    return _Cells(kind, struct.unpack_from(f">{count}H", page, begin), right)


def _number(page: bytes, offset: int) -> int:
    return int.from_bytes(_cut(page, offset, 4), "big")


def _cut(page: bytes, offset: int, length: int) -> bytes:
    part = page[offset : offset + length]
    if len(part) < length:
        raise Damaged("something reaches over the end of its page")
    return part


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """Return a number of one to nine bytes, and the offset behind it."""
    value = 0
    for index, byte in enumerate(data[offset : offset + 9]):
        if index == 8:
            value = value << 8 | byte
            return (value - (1 << 64) if value >> 63 else value), offset + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + index + 1
    raise Damaged("a number is cut off")


_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _values(record: bytes) -> list[Any]:
    """Return the values of a record; raises ``Damaged``."""
    end, offset = _varint(record, 0)
    if not offset <= end <= len(record):
        raise Damaged("the head of a record is longer than the record")
    values, at = [], end
    while offset < end:
        kind, offset = _varint(record, offset)
        value, at = _value(record, at, kind)
        values.append(value)
    if offset != end or at != len(record):
        raise Damaged("a record is longer or shorter than it says")
    return values


def _value(record: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], at
    if kind == 7:
        return struct.unpack(">d", _cut(record, at, 8))[0], at + 8
    if kind in _INTEGER_BYTES:
        length = _INTEGER_BYTES[kind]
        return int.from_bytes(_cut(record, at, length), "big", signed=True), at + length
    if kind < 12:
        raise Damaged("no such type of a value")
    length = (kind - 12) // 2
    content = _cut(record, at, length)
    try:
        return (content.decode() if kind % 2 else content), at + length
    except UnicodeDecodeError as error:
        raise Damaged("a text is not UTF-8") from error


def _fits(value: Any, wanted: type) -> bool:
    return isinstance(value, wanted) or (wanted is float and isinstance(value, int))
