"""Which bit of a frame was flipped: its checksum says so, because it is linear.

Each pair of words (a, b) makes the sums (s, t) to (s + t + a, s + 2t + a + b), modulo 2**32: so
what a change of one word has become at the end can be followed backwards. Of the upper eight bits
of a word the checksum does not tell one place from some others. A frame that was not written to its
end looks by chance like one with a flipped bit once in 2**48 times.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

MASK = 0xFFFFFFFF

Sums = tuple[int, int]


class Flip(NamedTuple):
    """One bit, by the place of its byte and the mask in it; a mask of 0 is one of the checksum."""

    byte: int
    mask: int


def flips(data: bytes, wrong: Sums, right: Sums, words: str) -> Iterator[Flip]:
    """Yield every bit that can be all that is wrong with data, or with what should be their sums.

    ``wrong`` are the sums that the data have, ``right`` those that they should have; ``words`` is
    the byte order of the words that are summed, as ``struct`` names it.
    """
    if _is_one((wrong[0] ^ right[0]) << 32 | wrong[1] ^ right[1]):
        yield Flip(0, 0)
    numbers = struct.unpack(f"{words}{len(data) // 4}I", data)
    first, second = (right[0] - wrong[0]) & MASK, (right[1] - wrong[1]) & MASK
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
