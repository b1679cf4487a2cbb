"""Whether the database is sound: asked before it is opened, or beside its use where it is large."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

import structlog

from bridge.spool import counting
from bridge.spool.counting import Count
from bridge.spool.store import Spool

log = structlog.get_logger()


def check_pages(database: sqlite3.Connection) -> None:
    """Check every page; raises ``sqlite3.DatabaseError`` for damage."""
    [(verdict,)] = database.execute("PRAGMA quick_check(1)")
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def look_beside(spool: Spool, path: Path, count: Count, loop: asyncio.AbstractEventLoop) -> None:
    """Add up the sizes, and check the whole of a large file, while it is in use, on a thread."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    counting.snapshot(database)  # now, as nothing is written yet

    def look() -> None:
        try:
            with closing(database):
                surplus = count.bytes - counting.bytes_of(database)
                with suppress(RuntimeError):  # the loop is closed already
                    loop.call_soon_threadsafe(spool.correct, surplus)
                check_pages(database)
        except Exception as error:
            log.warning("spool_unchecked", error=f"{type(error).__name__}: {error}")
            spool.note_error(error)

    threading.Thread(target=look, name="spool-check", daemon=True).start()
