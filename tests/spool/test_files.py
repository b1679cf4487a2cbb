"""The files beside the database: locks, the reserve, and what counts as damage."""

import errno
import os
import resource
import sqlite3

import pytest

from bridge.disk import beside
from bridge.disk.beside import is_damage
from bridge.spool import SpoolLocked, SpoolUnavailable, files, opened
from tests.spool.support import database_error


def test_a_lock_that_cannot_be_signed(tmp_path):
    """Who has it is told to people only: a full disk that does not take that keeps nobody out."""
    lock = files.Lock(tmp_path / "spool.db")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        lock.acquire(wait_seconds=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    held = (tmp_path / "spool.db.lock").read_text()
    lock.release()

    assert "" == held


async def test_a_reserve_that_cannot_be_given_up(spool, tmp_path, monkeypatch):
    """A spool that cannot be opened is not tried again for room that was not made."""
    (tmp_path / "spool.db-wal").mkdir()
    reserve = tmp_path / "spool.db.reserve"
    reserve.mkdir()
    monkeypatch.setattr(beside, "RESERVE_BYTES", reserve.stat().st_size)

    with pytest.raises(SpoolUnavailable, match="disk I/O error"):
        async with spool():
            pass


@pytest.mark.parametrize(
    ("error", "damaged"),
    [
        (sqlite3.DatabaseError("database disk image is malformed"), True),
        (sqlite3.DatabaseError("file is not a database"), True),
        (sqlite3.OperationalError("database or disk is full"), False),
        (sqlite3.OperationalError("disk I/O error"), False),
    ],
)
def test_what_counts_as_damage(error, damaged):
    """A disk that is full, or gone, says nothing about the file."""
    assert is_damage(error) is damaged


@pytest.fixture
def reserve(tmp_path):
    """Return a reserve that is held."""
    (tmp_path / "spool.db").touch()
    beside.Reserve(tmp_path / "spool.db").allocate()
    return beside.Reserve(tmp_path / "spool.db")


@pytest.mark.parametrize(
    ("error", "given_up"),
    [
        (database_error(sqlite3.SQLITE_FULL), True),
        (database_error(sqlite3.SQLITE_CANTOPEN), True),
        (OSError(errno.EDQUOT, "over quota"), True),
        (OSError(errno.ENOSPC, "no room"), True),
        (database_error(sqlite3.SQLITE_IOERR_FSYNC), False),
        (database_error(sqlite3.SQLITE_BUSY), False),
        (OSError(errno.EIO, "bad sector"), False),
        (MemoryError(), False),
    ],
)
def test_the_reserve_is_given_up_for_room(reserve, tmp_path, error, given_up):
    """Against a lock and bad sectors it does not help, and is kept."""
    assert given_up == reserve.release(error)
    kept = [file.stat().st_size for file in tmp_path.glob("*.reserve")]
    assert kept == ([] if given_up else [beside.RESERVE_BYTES])


def test_the_reserve_is_given_up_where_more_is_refused(reserve):
    """SQLite says the same for bad sectors and for a quota, or a limit of the size of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (beside.RESERVE_BYTES, hard))
    try:
        given_up = reserve.release(database_error(sqlite3.SQLITE_IOERR_WRITE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert given_up


async def test_another_name_of_the_same_file(spool, path, tmp_path):
    """A second name of the file does not let a second process in."""
    os.link(path, tmp_path / "other.db")
    async with spool():
        with pytest.raises(SpoolLocked, match="under this name or another one"):
            async with opened(tmp_path / "other.db", max_bytes=1 << 20, lock_wait=0):
                pass


async def test_a_lock_whose_file_was_removed(spool, path):
    """The database is locked itself: without the lock file, too, nobody else gets in."""
    async with spool():
        path.with_name("spool.db.lock").unlink()
        with pytest.raises(SpoolLocked, match="in use by another process"):
            async with spool():
                pass
