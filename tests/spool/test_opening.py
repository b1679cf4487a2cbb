"""What is done at a start, when what is there may be large, or damaged."""

import asyncio
import sqlite3
import threading
from contextlib import closing

import pytest

from bridge.spool import Spool, SpoolFull, SpoolLocked, SpoolUnusable, files, opened, opening
from bridge.spool.files import is_damage, suspicion
from bridge.spool.store import TOTALS
from bridge.spool.writer import Append, Delete, _commit, connect
from tests.faults import damage
from tests.helpers import eventually, message

FULL = 2
"""Of PRAGMA synchronous: in WAL mode a commit returns after its fsync, which NORMAL leaves out."""


@pytest.fixture
def spool(tmp_path, monkeypatch):
    """Return what opens one spool; its file is too large to be checked at every start."""
    monkeypatch.setattr(opening, "_CHECKED_BYTES", 0)
    return lambda: opened(tmp_path / "spool.db", max_bytes=1 << 24, lock_wait=0)


@pytest.fixture
async def path(spool, tmp_path):
    """Fill the spool with 300 events of two exchanges, and return its path."""
    async with spool() as filled:
        for number in range(300):
            exchange = "superoffice" if number % 3 else "audit"
            filled.append(message(number, exchange=exchange, body=b"x" * 500), stored=stored)
    damage.close_wal(tmp_path / "spool.db")
    return tmp_path / "spool.db"


def stored(row, refusal):
    """Take note that a row is on disk."""
    assert refusal is None, row


async def test_counted_at_the_start(spool, path):
    """Number, bytes, latest number and exchanges are those of the rows, also after deletions."""
    async with spool() as first:
        rows = await first.read(after=0, limit=1000)
        for row in rows[:100]:
            first.delete(row)
        await first.flush()
        before = (first.events, first.bytes, first.last_seq)
    async with spool() as again:
        after = (again.events, again.bytes, again.last_seq)

    assert before == after == (200, sum(row.size for row in rows[100:]), 300)
    assert set(again.exchanges) == {"superoffice", "audit"}


def test_no_row_is_read_to_count(path):
    """Counting at a start reads the index alone, so that it takes no time when millions wait."""
    with closing(sqlite3.connect(path)) as database:
        plan = database.execute(f"EXPLAIN QUERY PLAN {TOTALS}").fetchall()

    assert [detail for *_, detail in plan] == ["SCAN event USING COVERING INDEX event_totals"]


@pytest.mark.parametrize(
    ("owner", "name"), [(opening, "prepare"), (Spool, "close")], ids=["start", "end"]
)
async def test_who_is_cancelled_keeps_the_lock_to_the_end(spool, monkeypatch, owner, name):
    """The thread goes on, to salvage or to write what is left: nobody else may have the file."""
    at_work, done, real = threading.Event(), threading.Event(), getattr(owner, name)

    def slowly(*arguments):
        at_work.set()
        assert done.wait(30)
        return real(*arguments)

    async def use():
        async with spool():
            pass

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, slowly)
        first = asyncio.create_task(use())
        await eventually(at_work.is_set)
    first.cancel()
    await asyncio.sleep(0)
    with pytest.raises(SpoolLocked):
        await use()
    done.set()
    await asyncio.wait({first})
    await use()

    assert first.cancelled()


async def test_a_lock_that_cannot_be_signed(spool, tmp_path):
    """Who has it is told to people only: a full disk that does not take that keeps nobody out."""
    (tmp_path / "spool.db.lock").symlink_to("/dev/full")

    async with spool() as opened_all_the_same:
        assert 0 == opened_all_the_same.events


async def test_a_reserve_that_cannot_be_given_up(spool, tmp_path, monkeypatch):
    """A spool that cannot be opened is not tried again for room that was not made."""
    (tmp_path / "spool.db").mkdir()
    reserve = tmp_path / "spool.db.reserve"
    reserve.mkdir()
    monkeypatch.setattr(files, "RESERVE_BYTES", reserve.stat().st_size)

    with pytest.raises(SpoolUnusable, match="unable to open"):
        async with spool():
            pass


async def test_damage_that_is_met_later(spool, path, monkeypatch):
    """A large file is opened unchecked; damage that reading meets makes the next start salvage."""
    monkeypatch.setattr(opening, "_check_beside", lambda spool, path: None)
    lost = damage.overwrite(path, damage.middle(path))
    async with spool() as damaged:
        known, accepted = damaged.events, damaged.accepts
        with pytest.raises(sqlite3.DatabaseError):
            await damaged.read(after=0, limit=1000)
        await is_damaged(damaged)
        suspected = suspicion(path).exists()
    async with spool() as salvaged:
        rows = await salvaged.read(after=0, limit=1000)

    assert (known, accepted, suspected, suspicion(path).exists()) == (300, True, True, False)
    assert (len(rows), salvaged.events) == (300 - lost, 300 - lost)
    assert 0 < lost < 50


async def is_damaged(spool):
    """Wait until the spool knows that it is damaged; then it takes nothing more."""
    async with asyncio.timeout(10):
        await spool.damaged.wait()
    assert not spool.accepts
    with pytest.raises(SpoolFull, match="damaged"):
        spool.append(message(), stored=stored)


async def test_a_large_file_is_checked_in_use(spool, path):
    """Damage is found soon after the start, whether or not anybody comes across it."""
    damage.overwrite(path, damage.middle(path))
    async with spool() as damaged:
        await is_damaged(damaged)

    assert suspicion(path).exists()


async def test_damage_in_what_is_counted(spool, path):
    """A start whose counting fails salvages at once, and loses no row."""
    damage.overwrite(path, damage.index(path))
    async with spool() as salvaged:
        rows = await salvaged.read(after=0, limit=1000)

    assert len(rows) == salvaged.events == 300


@pytest.mark.parametrize("deletions", [(), (Delete(1),)])
def test_a_commit_is_on_the_disk(path, deletions):
    """A row that is reported as stored is committed, and each commit waits for its fsync."""
    with closing(connect(path)) as writing, closing(sqlite3.connect(path)) as other:
        values = other.execute("SELECT * FROM event WHERE seq = 300").fetchone()
        error = _commit(writing, [Append((301, *values[1:]), print)], deletions)
        [(synchronous,)] = writing.execute("PRAGMA synchronous")
        [(journal,)] = writing.execute("PRAGMA journal_mode")
        found = other.execute("SELECT count(*) FROM event").fetchone()

    assert (error, synchronous, journal) == (None, FULL, "wal")
    assert found == (301 - len(deletions),)


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
