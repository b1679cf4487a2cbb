"""Opening a spool: locks, access rights, the schema, and salvage of a damaged file."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TypeVar

import structlog

from bridge.aio import run_in_thread
from bridge.disk.beside import RESERVE_BYTES, Reserve, is_damage, private, suspicion
from bridge.disk.commits import connect
from bridge.disk.schema import VERSION, complete, foreign, let_it_shrink, version_of
from bridge.spool import counting
from bridge.spool.counting import Count
from bridge.spool.errors import SpoolHung, SpoolUnavailable, SpoolUnusable
from bridge.spool.files import Identity, Lock, sync
from bridge.spool.salvage.copying import put_in_place, salvage
from bridge.spool.salvage.walcheck import what_is_wrong
from bridge.spool.soundness import check_pages, look_beside
from bridge.spool.store import Spool
from bridge.spool.watch import watching

_Result = TypeVar("_Result")

_CHECKED_BYTES = 64 * 1024 * 1024
"""Size above which a file is checked and counted while it is in use: a start does not wait."""

_SLOW_SECONDS = 1.0
"""How long opening or closing may take before we log that it is slow."""

_TOLD_SECONDS = 10.0
"""How long before we log it again."""

_HURRY_SECONDS = 5.0
"""How long a cancelled start waits for the disk."""

_BESIDE = ("-wal", "-shm", "-journal", ".lock", ".reserve", ".damaged", ".salvaging", ".salvaged")
"""Suffixes of the files beside the database."""

_NEEDS_ANOTHER_PATH = {
    errno.EACCES,
    errno.EPERM,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}
"""Errors that a later start meets again: the path itself has to be changed, or its rights."""

log = structlog.get_logger()


@asynccontextmanager
async def opened(
    path: Path,
    *,
    max_bytes: int,
    lock_wait: float,
    meanwhile: Callable[[], object] = lambda: None,
) -> AsyncIterator[Spool]:
    """Open the spool for the length of the block; call ``meanwhile`` as soon as the disk works.

    Raises ``SpoolLocked`` when another process has it for longer than ``lock_wait`` seconds,
    ``SpoolUnavailable`` when the disk has trouble now, and ``SpoolUnusable`` when no later start
    could open a spool at this path either.
    """
    lock = Lock(path)
    opening = _Opening(path, lock, lock_wait, max_bytes)
    try:
        what = f"{path}: opening it"
        spool = await _on_a_thread(opening.prepare, what, lock.stop_waiting, meanwhile)
        with watching(spool, opening.identity):
            yield spool
    finally:
        try:
            await _on_a_thread(opening.end, f"{path}: closing it")
        finally:
            opening.close()


async def _on_a_thread(
    work: Callable[[], _Result],
    what: str,
    hurry: Callable[[], None] = lambda: None,
    meanwhile: Callable[[], object] = lambda: None,
) -> _Result:
    """Run ``work`` on a thread and ``meanwhile`` on this one, and log when the thread is slow.

    A cancellation calls ``hurry`` and still waits for the thread, which must not work on the file
    when we have given up the lock, nor take the lock later. Raises ``SpoolHung`` when that takes
    too long: then the lock ends with the process.
    """
    working = run_in_thread(work, name="spool-open")
    meanwhile()
    try:
        seconds, more = 0.0, _SLOW_SECONDS
        while not (await asyncio.wait({working}, timeout=more))[0]:
            seconds, more = seconds + more, _TOLD_SECONDS
            log.warning("spool_slow", detail=what, seconds=seconds)
    except asyncio.CancelledError:
        hurry()
        if not (await asyncio.wait({working}, timeout=_HURRY_SECONDS))[0]:
            raise SpoolHung(
                f"{what} did not end within {_HURRY_SECONDS:g} s: see whether the disk answers, and"
                " start again: it begins anew then"
            ) from None
        working.exception()  # asyncio logs an error that was never looked at
        raise
    return working.result()


class _Opening:
    """The work on a thread that opens a spool, and later closes it."""

    def __init__(self, path: Path, lock: Lock, lock_wait: float, max_bytes: int) -> None:
        self._path = path
        self._lock = lock
        self._lock_wait = lock_wait
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._is_at_work = False
        self._identity: Identity | None = None
        self.spool: Spool | None = None

    @property
    def identity(self) -> Identity:
        """Return the locked database file."""
        assert self._identity is not None  # noqa: S101  # prepare() came first
        return self._identity

    def prepare(self) -> Spool:
        """Lock and check the spool, or make a new one, and open it."""
        path = self._path
        self._is_at_work = True
        try:
            _refuse_links(path)
            _refuse_no_files(path)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire(wait_seconds=self._lock_wait)
            if path.exists():
                self._identity = Identity(path)
            count = prepare(path)
            if self._identity is None or self._identity.what_is_wrong():  # it was salvaged
                if self._identity is not None:
                    self._identity.close()
                self._identity = Identity(path)
            self.spool = Spool(
                path,
                count,
                max_bytes=self._max_bytes,
                loop=self._loop,
                what_is_wrong=self._identity.what_is_wrong,
                lock=self._lock.number,
            )
            if not count.is_exact:
                look_beside(self.spool, path, count, self._loop)
        except (sqlite3.Error, OSError) as error:
            raise _refusal(path, error) from error
        finally:
            self._is_at_work = False
        return self.spool

    def end(self) -> None:
        """Close the spool, if it was opened; raises ``SpoolHung``."""
        if self.spool is not None:
            self._is_at_work = True
            self.spool.close()
            self._is_at_work = False

    def close(self) -> None:
        """Let others have the spool, unless a disk that hangs still holds our thread."""
        if self._is_at_work:
            return
        if self._identity is not None:
            self._identity.close()
        self._lock.release()


def _refusal(path: Path, error: OSError | sqlite3.Error) -> SpoolUnusable | SpoolUnavailable:
    """Return the error to raise, which tells whether another start may help."""
    if isinstance(error, OSError):
        if error.errno in _NEEDS_ANOTHER_PATH:
            return SpoolUnusable(f"{path}: {error.strerror}: choose a writable spool.path")
        why = error.strerror or error
        return SpoolUnavailable(f"{path}: {why}: mend the disk, and start again")
    return SpoolUnavailable(f"{path}: {error}: mend the disk, and start again")


def _refuse_links(path: Path) -> None:
    """Raise ``SpoolUnusable`` for a link: with two names, one file would have two locks."""
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(f"{path.name}{suffix}")
        if file.is_symlink():
            raise SpoolUnusable(f"{file} is a link: name the file itself in spool.path")


def _refuse_no_files(path: Path) -> None:
    """Raise ``SpoolUnusable`` for a pipe, a socket or a device: none of them is a file of ours."""
    for suffix in ("", *_BESIDE):
        file = path.with_name(f"{path.name}{suffix}")
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise SpoolUnusable(
                f"{file} is a pipe, a socket or a device, no file: remove it, or choose another"
                " spool.path"
            )


def _make_private(path: Path) -> None:
    """Let only the owner read the spool: it holds customers' data."""
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


def prepare(path: Path) -> Count:
    """Make sure that there is a sound database; salvage what can be read of a damaged one.

    Return its rows; if their count is not exact, the file was not checked as a whole either. Raises
    ``SpoolUnusable`` and ``SpoolUnavailable``.
    """
    try:
        put_in_place(path)  # finish a salvage that was killed at its end
        _make_private(path)
        count = _check_or_salvage(path)
        suspicion(path).unlink(missing_ok=True)
        sync(path.parent)
    except (sqlite3.Error, OSError) as error:
        raise _refusal(path, error) from error
    return count


def _check_or_salvage(path: Path) -> Count:
    try:
        return _check(path)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            salvage(path, error)
        elif not Reserve(path).release(error):  # opening writes, and the disk may be full
            raise
        else:
            log.warning("spool_reserve_released", bytes=RESERVE_BYTES)
            return _check_or_salvage(path)
    return _check(path)


def _check(path: Path) -> Count:
    """Complete the schema, and check the database if it is small or has the mark of damage.

    Return its rows; raises ``sqlite3.DatabaseError`` for damage.
    """
    if wrong := what_is_wrong(path):  # SQLite would drop the commits behind it without an error
        with suppress(sqlite3.Error), closing(_as_it_is(path)) as database:
            _refuse_foreign(path, database)
        raise sqlite3.DatabaseError(wrong)
    whole = path.stat().st_size <= _CHECKED_BYTES or suspicion(path).exists()
    with closing(connect(path)) as database:
        _refuse_foreign(path, database)
        if whole:
            check_pages(database)
        complete(database)
        # Here, where damage is noticed. A count of a damaged index is of no use to anybody.
        count = counting.exact(database) if whole else counting.quick(database)
        if not count.events:
            let_it_shrink(database)
    return count


def _as_it_is(path: Path) -> sqlite3.Connection:
    """Open the database without its log, and without changing either of them."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)


def _refuse_foreign(path: Path, database: sqlite3.Connection) -> None:
    """Raise ``SpoolUnusable`` for a database that no bridge of this version has written."""
    version = version_of(database)
    if version > VERSION:
        raise SpoolUnusable(f"{path}: written by a newer bridge (schema {version})")
    if (found := foreign(database)) is not None:
        raise SpoolUnusable(
            f"{path} is no spool of this version ({found}): empty it with the program that"
            " wrote it, or choose another spool.path"
        )
