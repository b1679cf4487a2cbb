"""What a write-ahead log holds that its database does not, on both sides of damage in it.

SQLite reads a log up to the first frame with a wrong checksum, and drops all commits behind it. We
read on: a damaged frame spoils its own page, and no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from types import MappingProxyType
from typing import NamedTuple

from bridge.spool.salvage.bitflips import Flip
from bridge.spool.salvage.walframes import Frame, Scan, open_log, read_header


class Committed(NamedTuple):
    """The pages of all commits that can be read. All places are offsets in the log, in bytes.

    ``places`` says where the latest version of each page is, by page number; None is a version that
    cannot be read. ``pages`` is how many pages the database has, 0 if there is no commit.
    ``broken_at`` is the first place at which SQLite would stop although commits follow, 0 if there
    is none. Unless ``is_certain``, the last of these commits may be one that a loss of power cut
    short, and then nothing is wrong. A page from before ``unsure_until`` may have a later version,
    in a frame whose page number we cannot tell. ``flips`` has the wrong bit of the page at a place.
    """

    places: dict[int, int | None]
    pages: int
    broken_at: int = 0
    is_certain: bool = True
    unsure_until: int = 0
    flips: Mapping[int, Flip] = MappingProxyType({})


def page_size_of(file: int | None) -> int:
    """Return the size in bytes of the pages in a log, 0 if it does not say."""
    header = read_header(file)
    return header[2] if header else 0


def committed(
    file: int | None, size: int, pages: int, *, beyond: bool = True, sure: int | None = None
) -> Committed:
    """Return what is committed in the log of a database with so many pages of this size.

    Without ``beyond`` it stops where SQLite stops, at the first wrong checksum. The first ``sure``
    frames are known to be right, which saves their sums: Python takes thirty times as long for
    them as SQLite. None is not known.
    """
    log = open_log(file, size, pages) if file is not None else None
    if log and sure is not None and not beyond:
        log = log._replace(frames=min(sure, log.frames))
    frames = Scan(log, range(sure or 0)).frames if log else []
    if not beyond:
        frames = list(takewhile(lambda frame: frame.follows, frames))
    return _sum_up(frames)


def behind(file: int, size: int, pages: int, sure: int) -> Committed:
    """Return the same for the last frame that is known to be right, and all behind it."""
    log = open_log(file, size, pages)
    return _sum_up(Scan(log, range(sure)[-1:]).frames if log else [])


def _sum_up(frames: list[Frame]) -> Committed:
    # Frames behind the last commit belong to a transaction that never ended: drop them.
    ends = [index for index, frame in enumerate(frames) if frame.after and _was_written(frame)]
    if not ends:
        return Committed({}, 0)
    frames = frames[: ends[-1] + 1]
    places = {frame.number: frame.place if frame.is_readable else None for frame in frames}
    places.pop(0, None)  # frames whose page number we cannot tell
    count = frames[-1].after
    broken = [index for index, frame in enumerate(frames) if not frame.follows]
    if not broken:
        return Committed(places, count)
    commits = sum(frame.after > 0 for frame in frames[broken[-1] :])
    unsure = max((frame.place for frame in frames if not frame.number), default=0)
    # A commit is synced before the next one begins, so a loss of power can cut short only the last.
    certain = commits > 1 or all(_was_written(frames[index]) for index in broken)
    flipped = {frame.place: frame.flip for frame in frames if frame.flip}
    return Committed(places, count, frames[broken[0]].place, certain, unsure, flipped)


def _was_written(frame: Frame) -> bool:
    """Return whether a frame is sure to have been written to its end."""
    return frame.is_readable or frame.is_whole
