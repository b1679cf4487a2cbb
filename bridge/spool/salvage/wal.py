"""What a write-ahead log holds that its database does not, on both sides of damage in it.

The format is that of https://www.sqlite.org/fileformat.html#walformat. A log that begins anew keeps
frames of the time before behind its own: they have other salts. The checksum of each frame goes on
from that of the frame before, so every frame tells whether the next one is whole.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from itertools import takewhile
from types import MappingProxyType
from typing import NamedTuple

from bridge.spool.salvage.bitflips import MASK, Flip, Sums, flips

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_LITTLE, _BIG = 0x377F0682, 0x377F0683
"""First number of a log whose checksums are of little-endian, or of big-endian words."""

_HEAD_BYTES = 8
"""Size of what a frame says of its page: the number, and the pages after a commit."""


class Committed(NamedTuple):
    """The pages of all commits that can be read.

    ``places`` says where the latest version of each page is in the log, by page number; None is one
    that cannot be read. ``pages`` is how many pages the database has, 0 if there is no commit.
    ``broken_at`` is the first place that SQLite would stop at though commits follow, 0 if there is
    none. Unless ``is_certain``, the last of them may be one that a loss of power has cut short. A
    page from before ``unsure_until`` may have a later version in a frame that does not tell its
    number. ``flips`` says which bit of the page at a place was flipped. All places are bytes.
    """

    places: dict[int, int | None]
    pages: int
    broken_at: int = 0
    is_certain: bool = True
    unsure_until: int = 0
    flips: Mapping[int, Flip] = MappingProxyType({})


class _Log(NamedTuple):
    """What the header says, or the frames; ``sums`` are the header's, None if it is damaged."""

    file: int
    size: int
    frames: int
    limit: int
    words: str
    salts: tuple[int, ...]
    sums: Sums | None


class _Frame(NamedTuple):
    """One frame: the number of its page is 0 if it cannot be told; ``place`` is that of the page.

    ``follows`` tells whether its checksum goes on from the frame before, as SQLite wants it;
    ``flip`` which bit of its page was flipped, if that is all that is wrong, and ``is_whole`` that
    some bit was, and that it was written to its end.
    """

    number: int
    after: int
    place: int
    is_readable: bool
    follows: bool
    flip: Flip | None = None
    is_whole: bool = False


def page_size_of(file: int | None) -> int:
    """Return the size in bytes of the pages in a log, 0 if it does not say."""
    header = _header(file)
    return header[2] if header else 0


def committed(
    file: int | None, size: int, pages: int, *, beyond: bool = True, sure: int | None = None
) -> Committed:
    """Return what is committed in the log of a database with so many pages of a size.

    Without ``beyond`` it goes, as SQLite does, only as far as every checksum is right. The first
    ``sure`` frames are known to be, None if that is not known of any: to sum them here takes long.
    """
    log = _log(file, size, pages) if file is not None else None
    if log and sure is not None and not beyond:
        log = log._replace(frames=min(sure, log.frames))
    frames = _Scan(log, range(sure or 0)).frames if log else []
    if not beyond:
        frames = list(takewhile(lambda frame: frame.follows, frames))
    return _sum_up(frames)


def behind(file: int, size: int, pages: int, sure: int) -> Committed:
    """Return the same of the last frame that is known to be right, and of all behind it."""
    log = _log(file, size, pages)
    return _sum_up(_Scan(log, range(sure)[-1:]).frames if log else [])


def _sum_up(frames: list[_Frame]) -> Committed:
    ends = [index for index, frame in enumerate(frames) if frame.after and _was_written(frame)]
    if not ends:
        return Committed({}, 0)
    frames = frames[: ends[-1] + 1]
    places = {frame.number: frame.place if frame.is_readable else None for frame in frames}
    places.pop(0, None)
    count = frames[-1].after
    broken = [index for index, frame in enumerate(frames) if not frame.follows]
    if not broken:
        return Committed(places, count)
    commits = sum(frame.after > 0 for frame in frames[broken[-1] :])
    unsure = max((frame.place for frame in frames if not frame.number), default=0)
    # A commit is synced before the next one begins: only the last can be incomplete.
    certain = commits > 1 or all(_was_written(frames[index]) for index in broken)
    flipped = {frame.place: frame.flip for frame in frames if frame.flip}
    return Committed(places, count, frames[broken[0]].place, certain, unsure, flipped)


def _was_written(frame: _Frame) -> bool:
    return frame.is_readable or frame.is_whole


class _Scan:
    """Reads all frames, in the order of the file."""

    def __init__(self, log: _Log, sure: range) -> None:
        """Read the frames from the first of those whose checksum is known to be right."""
        self._log = log
        self._stored = log.sums
        """Checksum that the frame before has."""
        self._right = log.sums
        """Checksum that it should have."""
        self.frames: list[_Frame] = []
        for index in range(sure.start, log.frames):
            at = _HEADER.size + index * (_FRAME.size + log.size)
            if index not in sure or not self._believe(at):
                self._take(at)

    def _believe(self, at: int) -> bool:
        """Take a frame whose checksum is known to be right; return whether it could be read."""
        head = _read(self._log.file, at, _FRAME.size)
        if self._right is None or len(head) < _FRAME.size:
            return False
        number, after, _, self._stored = _parts(head)
        self._right = self._stored
        self.frames.append(_Frame(number, after, at + _FRAME.size, True, True))
        return True

    def _take(self, at: int) -> None:
        length, place = _FRAME.size + self._log.size, at + _FRAME.size
        content = b"" if self._is_of_before(at) else _read(self._log.file, at, length)
        if len(content) < length:
            self.frames.append(_Frame(0, 0, place, False, False))
            self._stored = self._right = None
        else:
            self.frames.append(self._frame(content, place))

    def _is_of_before(self, at: int) -> bool:
        """Return whether a frame has other salts, and does not follow another one either."""
        if not self.frames or self.frames[-1].follows:
            return False
        head = _read(self._log.file, at, _FRAME.size)
        return len(head) == _FRAME.size and _parts(head)[2] != self._log.salts

    def _frame(self, content: bytes, place: int) -> _Frame:
        number, after, salts, stored = _parts(content)
        data = content[:_HEAD_BYTES] + content[_FRAME.size :]
        before, self._stored = self._stored, stored
        right, self._right = self._right, stored
        if self._leads(before, data, stored):  # of the salts the checksum knows nothing
            return _Frame(number, after, place, True, salts == self._log.salts)
        if right != before and self._leads(right, data, stored):
            # Only the checksum of the frame before is damaged.
            self.frames[-1] = self.frames[-1]._replace(is_readable=True)
            return _Frame(number, after, place, True, True)
        if salts != self._log.salts:
            self._stored = self._right = None
            return _Frame(0, 0, place, False, False)
        self._right = before and _checksum(data, before, self._log.words)
        return self._flipped(data, place, stored) or self._damaged(data, place, before, stored)

    def _flipped(self, data: bytes, place: int, stored: Sums) -> _Frame | None:
        """Return a frame that was written whole, and of which one bit was flipped since."""
        number, after = struct.unpack_from(">2I", data)
        if self._right is None or not _is_possible(number, after, self._log.limit):
            return None
        found = list(flips(data, self._right, stored, self._log.words))
        if not found:
            return None
        if len(found) > 1:  # one of these bits, and perhaps it is in the number of the page
            is_told = all(flip.byte >= _HEAD_BYTES or not flip.mask for flip in found)
            return _Frame(number if is_told else 0, after, place, False, False, is_whole=True)
        [flip] = found
        if flip.mask and flip.byte < _HEAD_BYTES:
            return None
        in_page = flip._replace(byte=flip.byte - _HEAD_BYTES) if flip.mask else None
        return _Frame(number, after, place, True, False, in_page, is_whole=True)

    def _damaged(self, data: bytes, place: int, before: Sums | None, stored: Sums) -> _Frame:
        """Return what is left of a frame: if its page is whole, the head follows from the sums."""
        head = before and _head(data[_HEAD_BYTES:], before, stored, self._log.words)
        if head and _is_possible(*head, self._log.limit):
            return _Frame(*head, place, True, False)
        number, after = struct.unpack_from(">2I", data)
        if not _is_possible(number, after, self._log.limit):
            return _Frame(0, 0, place, False, False)
        is_first = not self.frames and self._log.sums is None  # nothing tells, and it is believed
        return _Frame(number, after, place, is_first, False)

    def _leads(self, before: Sums | None, data: bytes, stored: Sums) -> bool:
        return before is not None and _checksum(data, before, self._log.words) == stored


def _log(file: int, size: int, pages: int) -> _Log | None:
    frames = max(0, os.fstat(file).st_size - _HEADER.size) // (_FRAME.size + size)
    header = _header(file)
    if header is None:
        return _log_without_header(file, size, frames, pages + frames)
    if header[2] != size:
        return None
    words = "<" if header[0] == _LITTLE else ">"
    sums = (header[6], header[7])
    return _Log(file, size, frames, pages + frames, words, header[4:6], sums)


def _log_without_header(file: int, size: int, frames: int, limit: int) -> _Log | None:
    """Return what the first two frames tell of which one follows the other."""
    length = _FRAME.size + size
    for index in range(frames - 1):
        both = _read(file, _HEADER.size + index * length, 2 * length)
        if len(both) < 2 * length:
            continue
        number, after, salts, sums = _parts(both)
        _, _, same, stored = _parts(both[length:])
        if salts != same or not _is_possible(number, after, limit):
            continue
        data = both[length : length + _HEAD_BYTES] + both[length + _FRAME.size :]
        for words in "<>":
            if _checksum(data, sums, words) == stored:
                return _Log(file, size, frames, limit, words, salts, None)
    return None


def _parts(frame: bytes) -> tuple[int, int, tuple[int, ...], Sums]:
    number, after, *salts, first, second = _FRAME.unpack_from(frame)
    return number, after, tuple(salts), (first, second)


def _is_possible(number: int, after: int, limit: int) -> bool:
    return 0 < number <= limit and after <= limit


def _header(file: int | None) -> tuple[int, ...] | None:
    content = _read(file, 0, _HEADER.size) if file is not None else b""
    if len(content) < _HEADER.size:
        return None
    header: tuple[int, ...] = _HEADER.unpack(content)
    if header[0] not in (_LITTLE, _BIG):
        return None
    words = "<" if header[0] == _LITTLE else ">"
    return header if _checksum(content[:24], (0, 0), words) == header[6:8] else None


def _checksum(data: bytes, sums: Sums, words: str) -> Sums:
    first, second = sums
    numbers = struct.unpack(f"{words}{len(data) // 4}I", data)
    for left, right in zip(numbers[::2], numbers[1::2], strict=True):
        first = (first + left + second) & MASK
        second = (second + right + first) & MASK
    return first, second


def _head(page: bytes, before: Sums, sums: Sums, words: str) -> tuple[int, int]:
    """Return the head that a frame with this page must have: the checksum, calculated backwards."""
    first, second = sums
    numbers = struct.unpack(f"{words}{len(page) // 4}I", page)
    for left, right in zip(numbers[-2::-2], numbers[::-2], strict=True):
        second = (second - right - first) & MASK
        first = (first - left - second) & MASK
    left = (first - before[0] - before[1]) & MASK
    right = (second - before[1] - first) & MASK
    number, after = struct.unpack(">2I", struct.pack(f"{words}2I", left, right))
    return number, after


def _read(file: int, offset: int, length: int) -> bytes:
    with suppress(OSError):  # a bad sector
        return os.pread(file, length, offset)
    return b""
