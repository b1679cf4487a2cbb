"""The files around the database: the lock, the reserve, and the mark of damage."""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import structlog

from bridge.spool.errors import SpoolLocked

RESERVE_BYTES = 4 * 1024 * 1024
"""Room for the WAL of one commit of deletions and the checkpoint that follows it."""

_SPARE_FACTOR = 4
"""The reserve is taken again when this many times its size is free."""

log = structlog.get_logger()


class Reserve:
    """Blocks that are kept on the disk for the day it is full."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.reserve")
        self._held = self._path.exists() and self._path.stat().st_size == RESERVE_BYTES

    def take(self) -> None:
        """Allocate the reserve if it is not held and the disk has plenty."""
        if self._held:
            return
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize < _SPARE_FACTOR * RESERVE_BYTES:
            return
        with suppress(OSError), self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            self._held = True

    def release(self) -> bool:
        """Give the blocks up; return whether there were any."""
        held, self._held = self._held, False
        try:
            self._path.unlink(missing_ok=True)
        except OSError:  # whoever tries again because of it would do so for ever
            return False
        if held:
            log.warning("spool_reserve_released", bytes=RESERVE_BYTES)
        return held


class Lock:
    """The right of one process to use a spool; it ends with the process, however that ends."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.lock")
        self._file: IO[str] | None = None
        self._stopped = threading.Event()

    def acquire(self, *, wait_seconds: float) -> None:
        """Take the lock; raises ``SpoolLocked`` naming the holder, and OSError."""
        file = self._path.open("a+")
        deadline = time.monotonic() + wait_seconds
        told = False
        while not _try_lock(file):
            holder = self._path.read_text() or "another process"
            if time.monotonic() >= deadline or self._stopped.is_set():
                file.close()
                raise SpoolLocked(
                    f"the spool is in use by {holder}: stop it, or set another spool.path here"
                )
            if not told:
                log.warning("spool_locked", holder=holder, waiting_seconds=wait_seconds)
            told = True
            self._stopped.wait(0.1)
        _sign(file)
        self._file = file

    def stop_waiting(self) -> None:
        """Have ``acquire``, on whatever thread, give up if it has to wait."""
        self._stopped.set()

    def release(self) -> None:
        """Let others have the spool."""
        if self._file is not None:
            self._file.close()


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sign(file: IO[str]) -> None:
    """Say who has the lock. It is for people only, and a full disk may have no room for it."""
    with suppress(OSError):  # not through the buffer, which would try again when it is closed
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())


def suspicion(database: Path) -> Path:
    """Return the file whose presence says that damage was met in the database."""
    return database.with_name(f"{database.name}.damaged")


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether the file is to blame, not the disk's room, a lock, or the system."""
    operational = isinstance(error, sqlite3.OperationalError)
    return isinstance(error, sqlite3.DatabaseError) and (
        not operational or "malformed" in str(error)
    )


def sync(path: Path) -> None:
    """Make durable what is in a file, or the names in a directory."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
