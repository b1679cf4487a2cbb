"""What is on a page of a database: its cells, and the values of a row.

A page of a b-tree begins with a header: the kind of page, how many cells it has, and where each of
them is (section 1.6 of https://www.sqlite.org/fileformat.html). The payload of a cell is a record
(section 2.1): first the types of its values, then the values. All numbers are big-endian.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR = 13, 10, 2

HEADER_BYTES = 100
"""Size of the database's header, with which page 1 begins."""


class Damaged(ValueError):
    """A page, or something on it, cannot be what SQLite wrote."""


class Cells(NamedTuple):
    """A b-tree page: its kind, the offsets of its cells, and the page right of the last cell."""

    kind: int
    offsets: tuple[int, ...]
    right: int


def cells_on(page: bytes, number: int) -> Cells:
    """Return the cells of a page; raises ``Damaged`` if they cannot be there."""
    start = HEADER_BYTES if number == 1 else 0
    if len(page) < start + 12:
        raise Damaged("no page")
    kind = page[start]
    count = int.from_bytes(page[start + 3 : start + 5], "big")
    interior = kind == INDEX_INTERIOR
    begin = start + (12 if interior else 8)
    if begin + 2 * count > len(page):
        raise Damaged("more cells than a page can hold")
    right = number_at(page, start + 8) if interior else 0
    return Cells(kind, struct.unpack_from(f">{count}H", page, begin), right)


def number_at(page: bytes, offset: int) -> int:
    """Return a number of four bytes."""
    return int.from_bytes(cut(page, offset, 4), "big")


def cut(page: bytes, offset: int, length: int) -> bytes:
    """Return a part of a page; raises ``Damaged`` if the page is too short."""
    part = page[offset : offset + length]
    if len(part) < length:
        raise Damaged("something reaches over the end of its page")
    return part


def varint(data: bytes, offset: int) -> tuple[int, int]:
    """Return a number of one to nine bytes, and the offset behind it.

    Each byte holds seven bits of the number, and its highest bit tells that another byte follows.
    The ninth byte, if there is one, holds eight bits. So only such a number can be negative.
    """
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
"""Size of an integer by its type; 0 is NULL, 7 a float, 8 and 9 the integers 0 and 1 themselves.

A type from 12 on is a text if odd, else a blob, and also says how long that is.
"""


def values(record: bytes) -> list[Any]:
    """Return the values of a record; raises ``Damaged``."""
    end, offset = varint(record, 0)
    if not offset <= end <= len(record):
        raise Damaged("the head of a record is longer than the record")
    found, at = [], end
    while offset < end:
        kind, offset = varint(record, offset)
        value, at = _value(record, at, kind)
        found.append(value)
    if offset != end or at != len(record):
        raise Damaged("a record is longer or shorter than it says")
    return found


def _value(record: bytes, at: int, kind: int) -> tuple[Any, int]:
    """Return a value of this type, and the offset behind it."""
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], at
    if kind == 7:
        return struct.unpack(">d", cut(record, at, 8))[0], at + 8
    if kind in _INTEGER_BYTES:
        length = _INTEGER_BYTES[kind]
        return int.from_bytes(cut(record, at, length), "big", signed=True), at + length
    if kind < 12:
        raise Damaged("no such type of a value")
    length = (kind - 12) // 2
    content = cut(record, at, length)
    try:
        return (content.decode() if kind % 2 else content), at + length
    except UnicodeDecodeError as error:
        raise Damaged("a text is not UTF-8") from error


def fits(value: Any, wanted: type) -> bool:
    """Return whether a value has its column's type; SQLite stores a whole float as an integer."""
    return isinstance(value, wanted) or (wanted is float and isinstance(value, int))
