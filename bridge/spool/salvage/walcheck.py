"""Would SQLite drop commits of a write-ahead log? It does so without an error."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from bridge.disk.schema import INDEX
from bridge.spool.salvage.cells import HEADER_BYTES
from bridge.spool.salvage.pages import DEFAULT_PAGE_BYTES, Pages, page_bytes
from bridge.spool.salvage.wal import Committed, behind, page_size_of
from bridge.spool.salvage.walindex import accepted


def what_is_wrong(path: Path) -> str:
    """Return what is wrong with the log of a database, or ""."""
    wal = Path(f"{path}-wal")
    if not wal.is_file() or not wal.stat().st_size:
        return ""
    if not path.stat().st_size:
        return "it is empty, and its write-ahead log is not" if _has_rows(path) else ""
    found = _committed(path, wal)
    if not found.broken_at:
        return ""
    damage = f"its write-ahead log is damaged at byte {found.broken_at}"
    if found.is_certain:
        return damage
    return (
        f"{damage}, in its last commit: if a loss of power has cut that short, none of it was"
        " answered 200"
    )


def _has_rows(path: Path) -> bool:
    """Return whether the log of an empty database has rows, or had some."""
    with closing(Pages(path, index=INDEX)) as pages:
        return bool(pages.numbers) or any(True for _ in pages.rows())


def _committed(path: Path, wal: Path) -> Committed:
    sure = accepted(path)
    with path.open("rb") as file, wal.open("rb") as newer:
        log = newer.fileno()
        size = page_bytes(file.read(HEADER_BYTES)) or page_size_of(log) or DEFAULT_PAGE_BYTES
        return behind(log, size, path.stat().st_size // size, sure or 0)
