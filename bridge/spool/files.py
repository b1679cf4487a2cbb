"""The lock, and whether the database is the file that was opened."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import structlog

from bridge.disk.beside import private
from bridge.spool.errors import SpoolLocked

MAGIC = b"SQLite format 3\0"
"""First bytes of every SQLite database."""

_LOOK_SECONDS = 0.02
"""Pause between two looks at a lock that another process has: senders may be waiting for it."""

log = structlog.get_logger()


class Lock:
    """The right of one process to use a spool. The kernel ends it with the process."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.lock")
        self._file: IO[str] | None = None
        self._stopped = threading.Event()

    def acquire(self, *, wait_seconds: float) -> None:
        """Take the lock; raises ``SpoolLocked`` naming the holder, and OSError."""
        file = private(self._path, "a+")
        deadline = time.monotonic() + wait_seconds
        told = False
        while not _try_lock(file):
            holder = self._path.read_text(errors="replace") or "another process"
            if time.monotonic() >= deadline or self._stopped.is_set():
                file.close()
                raise SpoolLocked(
                    f"the spool is in use by {holder}: stop it, or set another spool.path here"
                )
            if not told:
                log.warning("spool_locked", holder=holder, waiting_seconds=wait_seconds)
            told = True
            self._stopped.wait(_LOOK_SECONDS)
        _sign(file)
        self._file = file

    @property
    def number(self) -> int | None:
        """Return the descriptor of the file that is locked."""
        return self._file.fileno() if self._file else None

    def stop_waiting(self) -> None:
        """Let ``acquire`` give up instead of waiting; callable from any thread."""
        self._stopped.set()

    def release(self) -> None:
        """Let others have the spool."""
        if self._file is not None:
            self._file.close()


def _try_lock(file: IO[Any]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Identity:
    """The database file itself: it is locked, and compared with the file that has its name now.

    ``Lock`` alone is not enough. Its file can be removed, and a database can have a second name,
    under which another process would find another lock.
    """

    def __init__(self, path: Path) -> None:
        """Lock the file; raises ``SpoolLocked`` and OSError."""
        self._path = path
        self._file = private(path, "rb")
        if not _try_lock(self._file):
            self._file.close()
            raise SpoolLocked(
                f"{path} is in use by another process, under this name or another one: stop it,"
                " or set another spool.path here"
            )
        self._beside: dict[str, tuple[int, int]] = {}

    def close(self) -> None:
        """Let others have the file.

        Not while SQLite has it open: when a process closes any descriptor of a file, the kernel
        drops all fcntl locks of this process on the file, and SQLite uses such locks.
        """
        self._file.close()

    def is_overwritten(self) -> bool:
        """Return whether the file is not a database any more: it was emptied, say."""
        return os.pread(self._file.fileno(), len(MAGIC), 0) != MAGIC

    def what_is_wrong(self) -> str:
        """Return what has happened to the database's files, "" if they are where they were.

        SQLite goes on writing to a file that was removed or replaced, and does not notice. All of
        that is gone when the process ends.
        """
        if _identity(self._path) != _identity(self._file.fileno()):
            return f"{self._path} was removed, replaced or unmounted"
        for suffix in ("-wal", "-shm"):
            beside = self._path.with_name(f"{self._path.name}{suffix}")
            found = _identity(beside)
            if suffix not in self._beside and found is not None:
                self._beside[suffix] = found
            elif self._beside.get(suffix) != found:
                return f"{beside} was removed or replaced"
        return ""


def _identity(file: Path | int) -> tuple[int, int] | None:
    """Return the device and the inode of a file, which identify it; None if there is no file."""
    try:
        found = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _sign(file: IO[str]) -> None:
    """Write into the file who has the lock, for people; a full disk may have no room for it."""
    with suppress(OSError):  # unbuffered: a buffer would write again when the file is closed
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())


def sync(path: Path) -> None:
    """Make the content of a file durable, or the names in a directory."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
