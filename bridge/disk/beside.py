"""The files beside the database that its writer needs: the reserve, and the mark of damage."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

RESERVE_BYTES = 4 * 1024 * 1024
"""Room for one commit of deletions in the log, and for the checkpoint that follows."""

_SPARE_FACTOR = 4
"""The reserve is allocated again when this many times its size is free."""

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN}
"""Codes of SQLite for a full disk, and for a file that cannot be made because no inode is left."""

_NO_ROOM_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def private(path: Path, mode: str) -> IO[Any]:
    """Open a file that only its owner can read; raises OSError, also for a link.

    A pipe does not block it: O_NONBLOCK does not wait for the other end.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)

    return open(path, mode, opener=opener)


class Reserve:
    """Blocks of the disk that we keep for the day it is full."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.reserve")
        self._is_allocated = self._path.exists() and self._path.stat().st_size == RESERVE_BYTES

    def allocate(self) -> None:
        """Allocate the blocks if we do not have them and the disk has plenty."""
        if self._is_allocated:
            return
        with suppress(OSError):
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < _SPARE_FACTOR * RESERVE_BYTES:
                return
            with private(self._path, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            self._is_allocated = True

    def release(self, error: Exception) -> bool:
        """Give up the blocks if the error means a full disk; return whether there were any."""
        if not self._is_allocated or not self._helps(error):
            return False
        self._is_allocated = False
        try:
            self._path.unlink(missing_ok=True)
        except OSError:  # the caller would try again for ever
            return False
        return True

    def _helps(self, error: Exception) -> bool:
        """Return whether the error means a full disk.

        SQLite reports an exceeded quota as it reports a bad sector, so we ask the disk itself.
        """
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_IOERR:
            return self._is_refused_more()
        return code in _NO_ROOM or getattr(error, "errno", 0) in _NO_ROOM_ERRNO

    def _is_refused_more(self) -> bool:
        """Return whether the disk has no room to make the reserve larger."""
        try:
            with private(self._path, "r+b") as file:
                os.posix_fallocate(file.fileno(), RESERVE_BYTES, RESERVE_BYTES)
                os.truncate(file.fileno(), RESERVE_BYTES)
        except OSError as error:
            return error.errno in _NO_ROOM_ERRNO
        return False


def suspicion(database: Path) -> Path:
    """Return the file whose presence says that the database is damaged."""
    return database.with_name(f"{database.name}.damaged")


def suspect(database: Path) -> None:
    """Leave the mark of damage for the next start, if the disk has room for it."""
    with suppress(OSError):
        private(suspicion(database), "ab").close()


def is_damage(error: Exception) -> bool:
    """Return whether an error means a damaged file, not a full disk, a lock, or the system."""
    operational = isinstance(error, sqlite3.OperationalError)
    return isinstance(error, sqlite3.DatabaseError) and (
        not operational or "malformed" in str(error)
    )
