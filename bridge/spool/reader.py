"""The one thread that reads from the open spool."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from bridge.spool.rowcodec import SELECT

_READ_ROWS = 64
_READ_BYTES = 4 * 1024 * 1024
"""Size of bodies at which a read ends early: memory must not grow with what waits."""


class Reader:
    """A connection that only reads, and its thread."""

    def __init__(self, path: Path, *, failed: Callable[[sqlite3.Error], None]) -> None:
        """Open the file, on any thread. ``failed`` is called on the reader's thread.

        Raises ``sqlite3.Error``.
        """
        self._failed = failed
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # SQLite opens the log at the first read. By the time of a later one it may be gone.
        self._database.execute("SELECT 1 FROM event LIMIT 1").fetchall()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")

    async def fetch(self, sql: str, *parameters: int | str) -> list[Any]:
        """Return what a query finds, or only its beginning when the bodies are large."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._fetch, sql, parameters)
        except sqlite3.Error as error:
            await loop.run_in_executor(self._thread, self._failed, error)
            raise

    def stop(self) -> None:
        """Wait until the thread has ended."""
        self._thread.shutdown()

    def all_rows(self) -> Iterator[Any]:
        """Yield every row, on the calling thread; only after ``stop``."""
        yield from self._database.execute(f"{SELECT} ORDER BY seq")

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):  # all is written; the next start does what is left to do
            self._database.close()

    def _fetch(self, sql: str, parameters: tuple[int | str, ...]) -> list[Any]:
        cursor, found, size = self._database.execute(sql, parameters), [], 0
        while size < _READ_BYTES and (page := cursor.fetchmany(_READ_ROWS)):
            found += page
            size += sum(len(columns[-1] or b"") for columns in page)
        return found
