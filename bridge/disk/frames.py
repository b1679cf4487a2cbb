"""What the bridge and the process that writes tell each other, as frames on a socket pair.

Both ends are the same Python, so ``marshal`` does: it is the fastest there is.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

READ_BYTES = 1 << 20
"""Maximum size of one read."""

_LENGTH = struct.Struct("<I")


class Job(NamedTuple):
    """What the process shall do; the first member names the method of ``Disk`` that does it."""

    name: str
    rows: Sequence[tuple[object, ...]] = ()
    """Rows to store, in the order of the table's columns."""
    deleted: Sequence[int] = ()
    """Numbers of rows to delete."""
    tries: Sequence[tuple[int, int]] = ()
    """Pairs of how often a row was retried, and its number."""
    is_repeat: bool = False
    """Whether an earlier process got it too, and may have done it."""


class Answer(NamedTuple):
    """What became of so many ``jobs`` together.

    ``error`` says why their rows are not stored, "" if they are. ``is_done`` is whether
    their deletions and tries are. ``is_damage`` is whether the error means a damaged file.
    ``is_released`` is whether the reserve was given up. ``has_more`` is whether there are more free
    pages to give back.
    """

    error: str = ""
    is_done: bool = True
    is_damage: bool = False
    is_released: bool = False
    has_more: bool = False
    jobs: int = 1


def merged(jobs: Sequence[Job]) -> Iterator[tuple[Job, int]]:
    """Make one job of all commits in a row: yield jobs, each with how many it was made of."""
    for name, group in groupby(jobs, lambda job: job.name):
        same = [*group]
        if name == "commit" and len(same) > 1:
            yield _merge(same), len(same)
        else:
            yield from ((job, 1) for job in same)


def _merge(commits: Sequence[Job]) -> Job:
    return Job(
        "commit",
        rows=[row for job in commits for row in job.rows],
        deleted=[seq for job in commits for seq in job.deleted],
        tries=[pair for job in commits for pair in job.tries],
        is_repeat=any(job.is_repeat for job in commits),
    )


def frame(members: tuple[Any, ...]) -> bytes:
    """Return a message as it goes on the wire. Raises ValueError for what is no plain value."""
    content = marshal.dumps(tuple(members))
    return _LENGTH.pack(len(content)) + content


class Frames:
    """Takes the bytes of a stream, and gives the messages in it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Any, ...]]:
        """Yield the messages that are complete with these bytes.

        Raises ValueError, EOFError or TypeError for what no frame has.
        """
        self._data += data
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            end = _LENGTH.size + length
            if len(self._data) < end:
                return
            content = bytes(memoryview(self._data)[_LENGTH.size : end])
            del self._data[:end]
            yield marshal.loads(content)  # noqa: S302  # from our own process
