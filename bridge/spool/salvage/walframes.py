"""The frames of a write-ahead log: which can be read, and which were written whole.

The format is section 4 of https://www.sqlite.org/fileformat.html. A log is a header of 32 bytes and
then frames. A frame is a header of 24 bytes and one page:

    header  magic  version  page size  checkpoints  salt 1  salt 2  checksum 1  checksum 2
    frame   page number   pages after a commit, else 0      salt 1  salt 2  checksum 1  checksum 2

When SQLite begins a log anew, it writes from the start with new salts. Frames of the time before
stay behind the new ones; their old salts tell them apart.

The checksum of a frame goes on from the checksum of the frame before (section 4.2). So the checksum
that is stored in a frame lets us check the next one, even if the page between them is damaged.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import NamedTuple

from bridge.spool.salvage.bitflips import MASK, Flip, Sums, flips

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_LITTLE, _BIG = 0x377F0682, 0x377F0683
"""Magic numbers of a log whose checksums sum little-endian, or big-endian words."""

_HEAD_BYTES = 8
"""Size of the part of a frame's header that the checksum covers; it does not cover the salts."""


class Log(NamedTuple):
    """A log, as its header describes it, or its frames where the header is damaged.

    ``size`` is the size of a page, ``frames`` how many frames the file has room for, ``limit`` the
    highest possible page number. ``words`` is the byte order of the checksums, as ``struct`` has
    it. ``sums`` is the checksum of the header, None if the header is damaged.
    """

    file: int
    size: int
    frames: int
    limit: int
    words: str
    salts: tuple[int, ...]
    sums: Sums | None


class Frame(NamedTuple):
    """One frame.

    ``number`` is the number of its page, 0 if we cannot tell; ``place`` is where the page begins.
    ``after`` is how many pages the database has after this frame if it ends a commit, else 0.
    ``follows`` tells whether SQLite accepts the frame: its checksum goes on from the frame before.
    ``flip`` is the one bit of its page that is wrong. ``is_whole`` tells that some single bit is
    wrong, so that the frame was at least written to its end.
    """

    number: int
    after: int
    place: int
    is_readable: bool
    follows: bool
    flip: Flip | None = None
    is_whole: bool = False


class Scan:
    """Reads all frames, in the order of the file.

    Two checksums lead from one frame to the next. Where a frame is damaged they differ: the stored
    one says what comes next if the damage is in the page, the right one if it is in the checksum.
    """

    def __init__(self, log: Log, sure: range) -> None:
        """Read the frames. Those in ``sure`` are known to be right, and are not summed again."""
        self._log = log
        self._stored = log.sums
        """Checksum that the frame before has, None if it cannot be read."""
        self._right = log.sums
        """Checksum that the frame before should have, None if we cannot tell."""
        self.frames: list[Frame] = []
        for index in range(sure.start, log.frames):
            at = _HEADER.size + index * (_FRAME.size + log.size)
            if index not in sure or not self._add_known(at):
                self._add(at)

    def _add_known(self, at: int) -> bool:
        """Add a frame whose checksum is known to be right; return whether it could be read."""
        head = _read(self._log.file, at, _FRAME.size)
        if self._right is None or len(head) < _FRAME.size:
            return False
        number, after, _, self._stored = _parts(head)
        self._right = self._stored
        self.frames.append(Frame(number, after, at + _FRAME.size, True, True))
        return True

    def _add(self, at: int) -> None:
        length, place = _FRAME.size + self._log.size, at + _FRAME.size
        content = b"" if self._is_outdated(at) else _read(self._log.file, at, length)
        if len(content) < length:
            self.frames.append(Frame(0, 0, place, False, False))
            self._stored = self._right = None  # the chain is broken: nothing leads to the next
        else:
            self.frames.append(self._frame(content, place))

    def _is_outdated(self, at: int) -> bool:
        """Return whether a frame is left from before the log began anew, by its salts.

        A frame that follows a good one is read in any case: its salts may be what is damaged. This
        saves the sum of each of the thousands of outdated frames that a log may have.
        """
        if not self.frames or self.frames[-1].follows:
            return False
        head = _read(self._log.file, at, _FRAME.size)
        return len(head) == _FRAME.size and _parts(head)[2] != self._log.salts

    def _frame(self, content: bytes, place: int) -> Frame:
        number, after, salts, stored = _parts(content)
        data = content[:_HEAD_BYTES] + content[_FRAME.size :]
        before, self._stored = self._stored, stored
        right, self._right = self._right, stored
        if self._leads(before, data, stored):
            # The checksum does not cover the salts, so they alone may be wrong. SQLite stops there.
            return Frame(number, after, place, True, salts == self._log.salts)
        if right != before and self._leads(right, data, stored):
            # This frame goes on from what the checksum before should be: only that was damaged.
            self.frames[-1] = self.frames[-1]._replace(is_readable=True)
            return Frame(number, after, place, True, True)
        if salts != self._log.salts:
            self._stored = self._right = None
            return Frame(0, 0, place, False, False)
        # The frame is damaged. The next one shows whether its checksum or something else is.
        self._right = before and checksum(data, before, self._log.words)
        return self._flipped(data, place, stored) or self._damaged(data, place, before, stored)

    def _flipped(self, data: bytes, place: int, stored: Sums) -> Frame | None:
        """Return a frame that was written whole and has one wrong bit since; None for another."""
        number, after = struct.unpack_from(">2I", data)
        if self._right is None or not _is_possible(number, after, self._log.limit):
            return None
        found = list(flips(data, self._right, stored, self._log.words))
        if not found:
            return None
        if len(found) > 1:
            # One of several bits, and we cannot tell which. If one of them is in the page number,
            # we do not even know whose page this is.
            is_told = all(flip.byte >= _HEAD_BYTES or not flip.mask for flip in found)
            return Frame(number if is_told else 0, after, place, False, False, is_whole=True)
        [flip] = found
        if flip.mask and flip.byte < _HEAD_BYTES:
            return None  # the head is wrong and the page is whole: see _damaged
        in_page = flip._replace(byte=flip.byte - _HEAD_BYTES) if flip.mask else None
        return Frame(number, after, place, True, False, in_page, is_whole=True)

    def _damaged(self, data: bytes, place: int, before: Sums | None, stored: Sums) -> Frame:
        """Return what is left of a damaged frame.

        If its page is whole, the head follows from the page and both checksums. Else the head has
        to be believed, as far as it is possible.
        """
        head = before and _head(data[_HEAD_BYTES:], before, stored, self._log.words)
        if head and _is_possible(*head, self._log.limit):
            return Frame(*head, place, True, False)
        number, after = struct.unpack_from(">2I", data)
        if not _is_possible(number, after, self._log.limit):
            return Frame(0, 0, place, False, False)
        # The first frame behind a damaged header: no checksum leads to it, so it is believed.
        is_first = not self.frames and self._log.sums is None
        return Frame(number, after, place, is_first, False)

    def _leads(self, before: Sums | None, data: bytes, stored: Sums) -> bool:
        return before is not None and checksum(data, before, self._log.words) == stored


def open_log(file: int, size: int, pages: int) -> Log | None:
    """Return the log of a database with so many pages of this size; None if it is no such log."""
    frames = max(0, os.fstat(file).st_size - _HEADER.size) // (_FRAME.size + size)
    header = read_header(file)
    if header is None:
        return _log_without_header(file, size, frames, pages + frames)
    if header[2] != size:
        return None
    words = "<" if header[0] == _LITTLE else ">"
    sums = (header[6], header[7])
    return Log(file, size, frames, pages + frames, words, header[4:6], sums)


def _log_without_header(file: int, size: int, frames: int, limit: int) -> Log | None:
    """Return what the first two frames tell that follow one another.

    Both have the salts of the log, and only the right byte order makes the checksum go on.
    """
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
            if checksum(data, sums, words) == stored:
                return Log(file, size, frames, limit, words, salts, None)
    return None


def _parts(frame: bytes) -> tuple[int, int, tuple[int, ...], Sums]:
    number, after, *salts, first, second = _FRAME.unpack_from(frame)
    return number, after, tuple(salts), (first, second)


def _is_possible(number: int, after: int, limit: int) -> bool:
    return 0 < number <= limit and after <= limit


def read_header(file: int | None) -> tuple[int, ...] | None:
    """Return the numbers of a log's header, None unless its checksum is right."""
    content = _read(file, 0, _HEADER.size) if file is not None else b""
    if len(content) < _HEADER.size:
        return None
    header: tuple[int, ...] = _HEADER.unpack(content)
    if header[0] not in (_LITTLE, _BIG):
        return None
    words = "<" if header[0] == _LITTLE else ">"
    return header if checksum(content[:24], (0, 0), words) == header[6:8] else None


def checksum(data: bytes, sums: Sums, words: str) -> Sums:
    """Return the checksum of data that goes on from another one, as section 4.2 has it."""
    first, second = sums
    numbers = struct.unpack(f"{words}{len(data) // 4}I", data)
    for left, right in zip(numbers[::2], numbers[1::2], strict=True):
        first = (first + left + second) & MASK
        second = (second + right + first) & MASK
    return first, second


def _head(page: bytes, before: Sums, sums: Sums, words: str) -> tuple[int, int]:
    """Return the head that a frame with this page must have.

    The checksum is linear. So we undo it word by word, from the end of the page back to its start,
    and what is left is the sum of the head alone.
    """
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
