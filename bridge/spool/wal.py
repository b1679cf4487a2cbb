"""What a write-ahead log holds that its database does not.

The format is that of https://www.sqlite.org/fileformat.html#walformat.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_LITTLE, _BIG = 0x377F0682, 0x377F0683
"""First number of a log whose checksums are of little-endian, or of big-endian words."""


def page_size_of(file: int | None) -> int:
    """Return the size in bytes of the pages in a log, 0 if it does not say."""
    header = _header(file)
    return header[2] if header else 0


def committed_pages(file: int | None, size: int) -> tuple[dict[int, int], int]:
    """Return where the latest committed version of each page is in the log, by page number.

    The second value is how many pages the database has after the last commit, 0 if there is none.
    As SQLite does, it goes as far as every checksum is right.
    """
    header = _header(file)
    if file is None or header is None or header[2] != size:
        return {}, 0
    words = "<" if header[0] == _LITTLE else ">"
    sums = (header[6], header[7])
    committed: dict[int, int] = {}
    open_ones: dict[int, int] = {}
    pages, place = 0, _HEADER.size
    while len(frame := _read(file, place, _FRAME.size + size)) == _FRAME.size + size:
        number, after, *salts_and_sums = _FRAME.unpack_from(frame)
        sums = _checksum(frame[:8] + frame[_FRAME.size :], sums, words)
        if (*header[4:6], *sums) != tuple(salts_and_sums):
            break
        open_ones[number] = place + _FRAME.size
        if after:
            committed |= open_ones
            open_ones, pages = {}, after
        place += _FRAME.size + size
    return committed, pages


def _header(file: int | None) -> tuple[int, ...] | None:
    content = _read(file, 0, _HEADER.size) if file is not None else b""
    if len(content) < _HEADER.size:
        return None
    header: tuple[int, ...] = _HEADER.unpack(content)
    if header[0] not in (_LITTLE, _BIG):
        return None
    words = "<" if header[0] == _LITTLE else ">"
    return header if _checksum(content[:24], (0, 0), words) == header[6:8] else None


def _checksum(data: bytes, sums: tuple[int, int], words: str) -> tuple[int, int]:
    first, second = sums
    numbers = struct.unpack(f"{words}{len(data) // 4}I", data)
    for left, right in zip(numbers[::2], numbers[1::2], strict=True):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return first, second


def _read(file: int, offset: int, length: int) -> bytes:
    with suppress(OSError):  # a bad sector
        return os.pread(file, length, offset)
    return b""
