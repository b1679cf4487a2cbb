"""Opening a spool: the lock, the schema, and what to do with a corrupt one."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

import structlog

from bridge.spool.errors import SpoolUnavailable, SpoolUnusable
from bridge.spool.files import Identity, Lock, Reserve, is_damage, private, suspicion, sync
from bridge.spool.salvage import put_in_place, salvage
from bridge.spool.schema import VERSION, complete, foreign, let_it_shrink, version_of
from bridge.spool.store import TOTALS, Spool
from bridge.spool.watch import watching
from bridge.spool.writer import connect

_Result = TypeVar("_Result")

_CHECKED_BYTES = 64 * 1024 * 1024
"""A larger file is checked while it is in use: a start must not wait for that."""


_NEEDS_ANOTHER_PATH = {
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}
"""Errors that no later start can mend: the path itself has to be changed, or its rights."""

log = structlog.get_logger()


@asynccontextmanager
async def opened(path: Path, *, max_bytes: int, lock_wait: float) -> AsyncIterator[Spool]:
    """Open the spool for the length of the block.

    Raises ``SpoolLocked`` when another process has it for longer than ``lock_wait`` seconds,
    ``SpoolUnavailable`` when its disk does not allow it now, and ``SpoolUnusable`` when there can
    be no spool at this path.
    """
    lock = Lock(path)
    opening = _Opening(path, lock, lock_wait)
    try:
        checked = await _on_a_thread(opening.prepare, hurry=lock.stop_waiting)
        spool = Spool(path, max_bytes=max_bytes)
        if not checked:
            _check_beside(spool, path)
        try:
            with watching(opening.identity, gone=spool.note_gone):
                yield spool
        finally:
            await _on_a_thread(spool.close)
    finally:
        opening.close()
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


class _Opening:
    """What is done on a thread before there is a spool: locks, rights, schema, salvage."""

    def __init__(self, path: Path, lock: Lock, lock_wait: float) -> None:
        self._path = path
        self._lock = lock
        self._lock_wait = lock_wait
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """Return the database file, which is locked."""
        assert self._identity is not None  # noqa: S101  # prepare() came first
        return self._identity

    def prepare(self) -> bool:
        """Lock and check what is there, or make it; return whether all of it was checked."""
        path = self._path
        try:
            _refuse_links(path)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire(wait_seconds=self._lock_wait)
            if path.exists():
                self._identity = Identity(path)
            checked = prepare(path)
            if self._identity is None or self._identity.what_is_wrong():  # it was salvaged
                self.close()
                self._identity = Identity(path)
        except OSError as error:
            raise _refusal(path, error) from error
        return checked

    def close(self) -> None:
        """Let others have the file."""
        if self._identity is not None:
            self._identity.close()


def _refusal(path: Path, error: OSError | sqlite3.Error) -> SpoolUnusable | SpoolUnavailable:
    """Return the error that says whether it is worth a later try."""
    if isinstance(error, OSError):
        if error.errno in _NEEDS_ANOTHER_PATH:
            return SpoolUnusable(f"{path}: {error.strerror}: choose a writable spool.path")
        return SpoolUnavailable(f"{path}: {error.strerror}: mend the disk, and start again")
    return SpoolUnavailable(f"{path}: {error}: mend the disk, and start again")


def _refuse_links(path: Path) -> None:
    """Raise ``SpoolUnusable`` for a link: two names of one file are two locks."""
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(f"{path.name}{suffix}")
        if file.is_symlink():
            raise SpoolUnusable(f"{file} is a link: name the file itself in spool.path")


def _make_private(path: Path) -> None:
    """Let nobody but its owner read the spool: it holds customers' data."""
    private(path, "ab").close()
    open_to_others = [
        file
        for file in path.parent.glob(f"{path.name}*")
        if file.is_file() and not file.is_symlink() and file.stat().st_mode & 0o077
    ]
    for file in open_to_others:
        file.chmod(0o600)
    if open_to_others:
        log.warning("spool_made_private", files=[file.name for file in open_to_others])


def prepare(path: Path) -> bool:
    """Make sure that there is a sound database; salvage what can be read of a corrupt one.

    Return whether all of it was checked. Raises ``SpoolUnusable`` and ``SpoolUnavailable``.
    """
    try:
        put_in_place(path)  # of a salvage that was killed at its end
        _make_private(path)
        checked = _check_or_salvage(path)
        suspicion(path).unlink(missing_ok=True)
        sync(path.parent)
    except (sqlite3.Error, OSError) as error:
        raise _refusal(path, error) from error
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
    whole = path.stat().st_size <= _CHECKED_BYTES or suspicion(path).exists()
    with closing(connect(path)) as database:
        version = version_of(database)
        if version > VERSION:
            raise SpoolUnusable(f"{path}: written by a newer bridge (schema {version})")
        if (found := foreign(database)) is not None:
            raise SpoolUnusable(
                f"{path} is no spool of this version ({found}): empty it with the program that"
                " wrote it, or choose another spool.path"
            )
        if whole:
            _check_pages(database)
        complete(database)
        if not database.execute(TOTALS).fetchall():  # the service cannot do without them
            let_it_shrink(database)
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
        except Exception as error:
            log.warning("spool_unchecked", error=f"{type(error).__name__}: {error}")
            spool.note_error(error)

    threading.Thread(target=check, name="spool-check", daemon=True).start()
