"""A copy of what can be read of a damaged database, which then takes the database's place.

The damaged file stays where it is, and nothing is written to it, until the copy is complete and on
the disk. A process that is killed before, or finds no room, has lost nothing: the next start begins
again. A complete copy is called ``.salvaged``. From then on only names have to be changed, and the
next start goes on with that.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import structlog

from bridge.disk.beside import private, suspect
from bridge.disk.commits import insert
from bridge.disk.schema import INDEX, SHRINKS, complete
from bridge.spool.errors import SpoolUnavailable
from bridge.spool.files import sync
from bridge.spool.salvage.pages import Columns, Pages

_KEEP = insert(1, "INSERT OR IGNORE")
"""Statement that skips a row with a missing value, and a row that is there already."""

log = structlog.get_logger()


def salvage(path: Path, damage: sqlite3.Error) -> None:
    """Replace a damaged database by a copy of what can be read of it.

    Raises ``SpoolUnavailable``, with nothing lost, when that cannot be done, and OSError.
    """
    log.error("spool_corrupt", error=str(damage))
    copy = _copy_of(path)
    try:
        suspect(path)  # so that the next start checks all of it, if this one is killed
        salvaged, unreadable, uncounted = _copy(path, copy)
        sync(copy)
    except (sqlite3.Error, OSError, MemoryError) as error:
        with suppress(OSError):
            copy.unlink(missing_ok=True)
        raise SpoolUnavailable(_why_not(path, error)) from error
    aside = str(_aside(path, copy))
    log.warning(
        "spool_salvaged",
        events=salvaged,
        unreadable=unreadable,
        at_least=uncounted,
        set_aside=aside,
    )
    copy.rename(_salvaged(path))
    sync(path.parent)
    put_in_place(path)


def rescue(path: Path, rows: Iterable[Columns]) -> int:
    """Copy the rows of an open database whose files were removed; the next start finds the copy.

    Return how many rows there are. If they cannot be copied they are lost, and the log says so.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may be gone with the file
        copy = _copy_of(path)
        with _filling(copy) as target:
            kept = sum(target.execute(_KEEP, row).rowcount for row in rows)
        sync(copy)
        if kept:
            copy.rename(_salvaged(path))
        else:
            copy.unlink()
        sync(path.parent)
    except Exception as error:
        log.error("spool_lost", error=f"{type(error).__name__}: {error}")
        return 0
    log.warning("spool_rescued", events=kept)
    return kept


def put_in_place(path: Path) -> None:
    """Let a complete copy take the place of the damaged database, if there is one.

    The log of the old database must be gone, and that must be on the disk, before the copy gets the
    name: SQLite would apply an old log to it. However often this is interrupted, the old files end
    under the same name.
    """
    salvaged = _salvaged(path)
    if not salvaged.exists():
        return
    aside = _aside(path, salvaged)
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    sync(path.parent)
    salvaged.rename(path)
    sync(path.parent)


def _salvaged(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")


def _aside(path: Path, salvaged: Path) -> Path:
    """Return the name under which to keep a damaged database, with the time of its copy (UTC)."""
    complete_at = datetime.fromtimestamp(salvaged.stat().st_mtime, UTC)
    return path.with_name(f"{path.name}.corrupt-{complete_at:%Y%m%dT%H%M%S.%f}")


def _why_not(path: Path, error: Exception) -> str:
    files = (path, Path(f"{path}-wal"))
    needed = sum(file.stat().st_size for file in files if file.exists())
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    why = str(error) or type(error).__name__
    return (
        f"{path} is damaged, and what can be read of it cannot be copied: {why}. Nothing of"
        f" it was lost by that. The copy takes up to {needed / 1e6:,.1f} MB of its disk, and"
        f" {free / 1e6:,.1f} MB are free: make room, or mend the disk, and start again"
    )


def _copy(path: Path, copy: Path) -> tuple[int, int, bool]:
    """Copy every row that can be read.

    Return how many there are, how many are missing, and whether more may be missing than we know.
    """
    kept: set[int] = set()
    with _filling(copy) as target, closing(Pages(path, index=INDEX)) as pages:
        for row in chain(pages.rows(), _rows_before(path, pages)):
            target.execute(_KEEP, row)
            kept.add(row[0])
    if pages.error is not None and not kept:
        raise pages.error
    return len(kept), len(pages.numbers - kept), not pages.is_whole


def _rows_before(path: Path, pages: Pages) -> Iterator[Columns]:
    """Yield the rows as they were before the damage in a log, unless they were deleted behind it.

    The latest version of their page may be one that cannot be read.
    """
    if pages.newer.broken_at:
        with closing(Pages(path, index=INDEX, beyond=False)) as before:
            for row in before.rows():
                if row[0] in pages.numbers or not pages.is_whole:
                    yield row


def _copy_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaging")


@contextmanager
def _filling(copy: Path) -> Iterator[sqlite3.Connection]:
    """Make a new database for the copy, in the place of an incomplete one.

    It has no journal, which would take as much room again: an incomplete copy is never used.
    """
    copy.unlink(missing_ok=True)
    private(copy, "xb").close()
    with closing(sqlite3.connect(copy, isolation_level=None)) as target:
        target.execute(SHRINKS)
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        complete(target)
        target.execute("BEGIN")
        yield target
        target.execute("COMMIT")
