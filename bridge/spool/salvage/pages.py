"""The rows on the pages of a damaged database, read without SQLite and without writing to it.

SQLite finds a row through the pages above it in a b-tree, and loses a whole branch when one of them
is damaged. We read every page of the file, and take the rows of each page that is a leaf of a
table: there is only one table with such rows.

A page of deleted rows may still be full of them. The index ``event_totals`` knows every row, so
where all of the index can be read, rows that are not in it stay deleted, and rows that are on no
page are counted as missing. Where it cannot, only the list of free pages tells what was deleted.

The format is https://www.sqlite.org/fileformat.html; its numbers are big-endian.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bridge.spool.files import MAGIC
from bridge.spool.salvage.cells import (
    HEADER_BYTES,
    INDEX_INTERIOR,
    INDEX_LEAF,
    TABLE_LEAF,
    Damaged,
    cells_on,
    cut,
    fits,
    number_at,
    values,
    varint,
)
from bridge.spool.salvage.wal import Committed, committed, page_size_of
from bridge.spool.salvage.walindex import accepted

DEFAULT_PAGE_BYTES = 4096

_MAX_DEPTH = 20
"""Maximum depth of a b-tree, as in SQLite: a damaged one could go down for ever."""

_COLUMNS = (type(None), float, int, int, str, str, str, bytes, bytes)
"""Types of a row's stored values. ``seq`` is the row's key, and NULL among them (section 2.3)."""

Columns = tuple[Any, ...]


class Pages:
    """The pages of one database: the version in its log if there is one, else that in its file.

    ``numbers`` are the rows that the index named ``index`` knows, and ``is_whole`` tells whether
    all of the index could be read. ``beyond`` includes what the log has behind damage. Raises
    OSError when a file cannot be read; a bad sector is only a page that cannot be read.
    """

    def __init__(self, path: Path, *, index: str, beyond: bool = True) -> None:
        self.error: OSError | None = None
        """Latest error of a bad sector."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        wal = Path(f"{path}-wal")
        self._wal = os.open(wal, os.O_RDONLY | os.O_CLOEXEC) if wal.exists() else None
        header = self._read(self._file, 0, HEADER_BYTES)
        sound = header.startswith(MAGIC)
        self.size = page_bytes(header) or page_size_of(self._wal) or DEFAULT_PAGE_BYTES
        # Byte 20 of the header is the space that SQLite leaves unused at the end of each page.
        self._usable = self.size - (header[20] if sound else 0)
        pages = os.fstat(self._file).st_size // self.size
        sure = accepted(path)
        self.newer = committed(self._wal, self.size, pages, beyond=beyond, sure=sure)
        self._count = self.newer.pages or pages
        self._free = set(self._free_pages())
        self.numbers, self.is_whole = self._numbers(index)
        if not _is_sure(self.newer):
            # The index may be older or newer than the rows. And a page that the log holds may be in
            # use again, whatever an older list of free pages says.
            self.is_whole = False
            self._free.difference_update(self.newer.places)

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        if self._wal is not None:
            os.close(self._wal)

    def rows(self) -> Iterator[Columns]:
        """Yield every row that can be read and was not deleted, in the order of the file."""
        for number in range(1, self._count + 1):
            if number not in self._free:
                yield from self._rows_on(number)

    def _rows_on(self, number: int) -> Iterator[Columns]:
        with suppress(Damaged):
            page = self._page(number)
            cells = cells_on(page, number)
            if cells.kind != TABLE_LEAF:
                return
            for offset in cells.offsets:
                with suppress(Damaged):
                    row = self._row(page, offset)
                    if row[0] in self.numbers or not self.is_whole:
                        yield row

    def _row(self, page: bytes, offset: int) -> Columns:
        """Return the row in a cell: its payload's size, its key, its payload (section 1.6)."""
        length, offset = varint(page, offset)
        key, offset = varint(page, offset)
        found = values(self._payload(page, offset, length, most=self._usable - 35))
        fitting = len(found) == len(_COLUMNS) and key > 0
        if not fitting or not all(map(fits, found, _COLUMNS)):
            raise Damaged("no row of this table")
        return (key, *found[1:])

    def _numbers(self, index: str) -> tuple[set[int], bool]:
        """Return the rows that the index knows, and whether all of it could be read."""
        try:
            return set(self._below(self._root(index), set())), True
        except Damaged:
            return set(self._on_index_leaves()), False

    def _below(self, number: int, seen: set[int], depth: int = 1) -> Iterator[int]:
        """Yield the rows that an index knows on a page and below it; raises ``Damaged``."""
        if number in seen or depth > _MAX_DEPTH:
            raise Damaged("a page is below itself, or too far down")
        seen.add(number)
        page = self._page(number)
        cells = cells_on(page, number)
        if cells.kind not in (INDEX_LEAF, INDEX_INTERIOR):
            raise Damaged("no page of an index")
        for offset in cells.offsets:
            if cells.kind == INDEX_INTERIOR:
                # Such a cell begins with the page to its left. It is an entry itself, too.
                yield from self._below(number_at(page, offset), seen, depth + 1)
                offset += 4
            yield self._indexed(page, offset)
        if cells.kind == INDEX_INTERIOR:
            yield from self._below(cells.right, seen, depth + 1)

    def _on_index_leaves(self) -> Iterator[int]:
        """Yield the rows on all leaves of an index that can be read."""
        for number in range(1, self._count + 1):
            with suppress(Damaged):
                page = self._page(number) if number not in self._free else b""
                cells = cells_on(page, number)
                for offset in cells.offsets if cells.kind == INDEX_LEAF else ():
                    with suppress(Damaged):
                        yield self._indexed(page, offset)

    def _indexed(self, page: bytes, offset: int) -> int:
        """Return the row of an entry: the last value of an entry is the key of its row."""
        length, offset = varint(page, offset)
        most = (self._usable - 12) * 64 // 255 - 23
        found = values(self._payload(page, offset, length, most=most))
        if len(found) < 2 or not isinstance(found[-1], int):
            raise Damaged("no entry of this index")
        return found[-1]

    def _root(self, name: str) -> int:
        """Return the root page of an index.

        The schema is a table with the columns type, name, tbl_name, rootpage and sql (section 2.6).
        It begins on page 1, and ours is so small that it ends there too.
        """
        page = self._page(1)
        for offset in cells_on(page, 1).offsets:
            length, offset = varint(page, offset)
            _, offset = varint(page, offset)
            found = values(self._payload(page, offset, length, most=self._usable - 35))
            if len(found) == 5 and found[:2] == ["index", name] and isinstance(found[3], int):
                return found[3]
        raise Damaged("the schema does not name the index")

    def _payload(self, page: bytes, offset: int, length: int, *, most: int) -> bytes:
        """Return the payload of a cell, of which at most ``most`` bytes are on the cell's own page.

        The rest is in a chain of overflow pages; each begins with the number of the next (section
        1.7). The formulas for how much stays on the page are those of section 1.6.
        """
        if length <= most:
            return cut(page, offset, length)
        if length > self._count * self.size:
            raise Damaged("a row is larger than its file")
        room = self._usable - 4
        least = (self._usable - 12) * 32 // 255 - 23
        local = least + (length - least) % room
        local = local if local <= most else least
        parts, left = [cut(page, offset, local)], length - local
        following = number_at(page, offset + local)
        seen: set[int] = set()
        while left > 0:
            if following in seen:
                raise Damaged("a chain of pages goes on with itself")
            seen.add(following)
            page = self._continued(following)
            following, part = number_at(page, 0), cut(page, 4, min(left, room))
            parts.append(part)
            left -= len(part)
        if following:
            raise Damaged("a chain of pages goes on behind its end")
        return b"".join(parts)

    def _free_pages(self) -> Iterator[int]:
        """Yield the pages that are free, as far as their list can be read (section 1.5).

        The list is a chain of trunk pages: the next trunk, a count, and so many free pages.
        """
        seen: set[int] = set()
        with suppress(Damaged):
            first = self._page(1)
            trunk = number_at(first, 32) if first.startswith(MAGIC) else 0
            while trunk and trunk not in seen:
                seen.add(trunk)
                page = self._page(trunk)
                count = min(number_at(page, 4), self._usable // 4 - 2)
                yield trunk
                yield from struct.unpack_from(f">{count}I", page, 8)
                trunk = number_at(page, 0)

    def _page(self, number: int) -> bytes:
        """Return the latest version of a page; raises ``Damaged`` if it cannot be read."""
        if not 0 < number <= self._count:
            raise Damaged("there is no such page")
        if number not in self.newer.places:
            page = self._read(self._file, (number - 1) * self.size, self.size)
        elif (place := self.newer.places[number]) is None or self._wal is None:
            raise Damaged("the latest version of a page cannot be read")
        else:
            page = self._mended(self._read(self._wal, place, self.size), place)
        if len(page) < self.size:
            raise Damaged("a page is cut off, or cannot be read")
        return page

    def _mended(self, page: bytes, place: int) -> bytes:
        """Return a page of the log, with its one wrong bit put right if we know it."""
        if place not in self.newer.flips or len(page) < self.size:
            return page
        byte, mask = self.newer.flips[place]
        return page[:byte] + bytes([page[byte] ^ mask]) + page[byte + 1 :]

    def _continued(self, number: int) -> bytes:
        """Return an overflow page; raises ``Damaged`` if it may be older than its row."""
        if (self.newer.places.get(number) or 0) < self.newer.unsure_until:
            raise Damaged("a page may be older than the row that goes on with it")
        return self._page(number)

    def _read(self, file: int, offset: int, length: int) -> bytes:
        """Return what is at a place in a file, or nothing if that is a bad sector."""
        try:
            return os.pread(file, length, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.error = error
            return b""


def _is_sure(newer: Committed) -> bool:
    return newer.is_certain and not newer.unsure_until


def page_bytes(header: bytes) -> int:
    """Return the size of a database's pages, 0 if its header does not say."""
    if not header.startswith(MAGIC):
        return 0
    size = int.from_bytes(header[16:18], "big")
    size = 65536 if size == 1 else size  # which two bytes cannot hold
    return size if size >= 512 and not size & (size - 1) else 0
