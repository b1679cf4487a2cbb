"""Which bit of a frame was flipped. The frame's checksum tells, because it is linear.

A checksum is two sums (s, t). Each pair of words (a, b) makes them (s + t + a, s + 2t + a + b),
modulo 2**32. So the difference that one wrong word makes at the end can be followed backwards, pair
by pair, until it is the difference of a single bit of the word that is there.

A wrong bit among the upper eight of a word can fit several places. A frame that was not written to
its end looks like one with a wrong bit by chance once in 2**48 times.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

MASK = 0xFFFFFFFF

Sums = tuple[int, int]


class Flip(NamedTuple):
    """One wrong bit: the offset of its byte, and its mask. A mask of 0 is a bit of the checksum."""

    byte: int
    mask: int


def flips(data: bytes, wrong: Sums, right: Sums, words: str) -> Iterator[Flip]:
    """Yield every single bit that explains why data have wrong sums.

    ``wrong`` are the sums of the data as they are, ``right`` those that are stored for them.
    ``words`` is the byte order of the words, as ``struct`` has it.
    """
    if _is_one((wrong[0] ^ right[0]) << 32 | wrong[1] ^ right[1]):
        yield Flip(0, 0)
    numbers = struct.unpack(f"{words}{len(data) // 4}I", data)
    first, second = (right[0] - wrong[0]) & MASK, (right[1] - wrong[1]) & MASK
    # (first, second) is the difference that a wrong word must have made right behind this pair. The
    # first word of a pair adds its difference to both sums, the second word to the second sum only.
    for index in range(len(numbers) - 2, -2, -2):
        if first in (0, second):
            at = index if first else index + 1
            bit = numbers[at] ^ (numbers[at] + second & MASK)
            if _is_one(bit):
                yield _flip(at, bit, words)
        first, second = (2 * first - second) & MASK, (second - first) & MASK


def _is_one(bits: int) -> bool:
    return bits > 0 and not bits & (bits - 1)


def _flip(word: int, bit: int, words: str) -> Flip:
    byte, place = divmod(bit.bit_length() - 1, 8)
    return Flip(4 * word + (byte if words == "<" else 3 - byte), 1 << place)
