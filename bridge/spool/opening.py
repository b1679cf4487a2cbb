"""Opening a spool: the lock, the schema, and what to do with a corrupt one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from bridge.spool.errors import SpoolUnusable
from bridge.spool.files import Lock, Reserve, is_damage, suspicion, sync
from bridge.spool.salvage import put_in_place, salvage
from bridge.spool.schema import VERSION, complete, version_of
from bridge.spool.store import TOTALS, Spool
from bridge.spool.writer import connect

_Result = TypeVar("_Result")

_CHECKED_BYTES = 64 * 1024 * 1024
"""A larger file is checked while it is in use: a start must not wait for that."""


@asynccontextmanager
async def opened(path: Path, *, max_bytes: int, lock_wait: float) -> AsyncIterator[Spool]:
    """Open the spool for the length of the block.

    Raises ``SpoolLocked`` when another process has it for longer than ``lock_wait`` seconds, and
    ``SpoolUnusable`` when there can be no spool at this path.
    """
    lock = Lock(path)
    try:
        preparing = partial(_prepare, path, lock, lock_wait)
        checked = await _on_a_thread(preparing, hurry=lock.stop_waiting)
        spool = Spool(path, max_bytes=max_bytes)
        if not checked:
            _check_beside(spool, path)
        try:
            yield spool
        finally:
            await _on_a_thread(spool.close)
    finally:
        lock.release()


async def _on_a_thread(
    work: Callable[[], _Result], *, hurry: Callable[[], None] = lambda: None
) -> _Result:
    """Do something on a thread; whoever is cancelled hurries it, and waits for it all the same.

    The lock must not be given up while the thread is at work on the file, nor taken after that.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    finally:
        hurry()
        await asyncio.gather(working, return_exceptions=True)


def _prepare(path: Path, lock: Lock, lock_wait: float) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(wait_seconds=lock_wait)
    except OSError as error:
        raise SpoolUnusable(f"{path}: {error.strerror}: choose a writable spool.path") from error
    return prepare(path)


def prepare(path: Path) -> bool:
    """Make sure that there is a sound database; salvage what can be read of a corrupt one.

    Return whether all of it was checked. Raises ``SpoolUnusable``.
    """
    try:
        put_in_place(path)  # of a salvage that was killed at its end
        checked = _check_or_salvage(path)
        suspicion(path).unlink(missing_ok=True)
        sync(path.parent)
    except (sqlite3.Error, OSError) as error:
        raise SpoolUnusable(f"{path}: {error}") from error
    return checked


def _check_or_salvage(path: Path) -> bool:
    try:
        return _check(path)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            salvage(path, error)
        elif not Reserve(path).release():  # opening takes some room, and the disk may be full
            raise
        else:
            return _check_or_salvage(path)
    return _check(path)


def _check(path: Path) -> bool:
    """Make the schema sure and check the database, if it is small or damage was met in it.

    Return whether all of it was checked; raises ``sqlite3.DatabaseError`` for damage.
    """
    whole = not path.exists() or path.stat().st_size <= _CHECKED_BYTES or suspicion(path).exists()
    with closing(connect(path)) as database:
        version = version_of(database)
        if version > VERSION:
            raise SpoolUnusable(f"{path}: written by a newer bridge (schema {version})")
        if whole:
            _check_pages(database)
        complete(database)
        database.execute(TOTALS).fetchall()  # the service cannot do without them
    return whole


def _check_pages(database: sqlite3.Connection) -> None:
    [(verdict,)] = database.execute("PRAGMA quick_check(1)")
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _check_beside(spool: Spool, path: Path) -> None:
    """Check all of a large file while it is in use, on a thread that nobody has to wait for."""

    def check() -> None:
        try:
            with closing(sqlite3.connect(path)) as database:
                _check_pages(database)
        except sqlite3.Error as error:
            spool.note_error(error)

    threading.Thread(target=check, name="spool-check", daemon=True).start()
