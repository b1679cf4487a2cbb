"""Opening and closing a spool, which may be large, damaged, locked, or not ours."""

import asyncio
import os
import sqlite3
import threading
import time
from contextlib import closing, suppress

import pytest
from structlog.testing import capture_logs

from bridge.aio import watch_threads
from bridge.disk import commits
from bridge.disk.beside import suspicion
from bridge.spool import (
    Spool,
    SpoolHung,
    SpoolLocked,
    SpoolUnavailable,
    SpoolUnusable,
    counting,
    opened,
    opening,
    operations,
    store,
    writer,
)
from bridge.spool.counting import BYTES, TOTALS
from tests.helpers import eventually, message
from tests.spool.support import is_damaged, raises, stored
from tests.system.faults import damage


async def test_counted_at_the_start(spool, path):
    """Number, bytes, latest number and exchanges are those of the rows, also after deletions."""
    async with spool() as first:
        rows = await first.read(after=0, limit=1000)
        for row in rows[:100]:
            first.delete(row)
        await first.flush()
        before = (first.events, first.bytes, first.last_seq)
    async with spool() as again:
        await eventually(lambda: again.bytes == before[1])
        after = (again.events, again.bytes, again.last_seq)

    assert before == after == (200, sum(row.size for row in rows[100:]), 300)
    assert ("audit", "superoffice") == again.exchanges


async def test_the_bytes_of_a_large_file_are_estimated_at_first(spool, path, monkeypatch):
    """By a few rows; then they are added up, and what has changed meanwhile counts."""
    async with spool() as first:
        one, *rest = await first.read(after=0, limit=1000)
    exact = sum(row.size for row in rest)
    may_add, add = threading.Event(), counting.bytes_of
    monkeypatch.setattr(counting, "_SAMPLE_ROWS", 1)
    monkeypatch.setattr(counting, "bytes_of", lambda database: may_add.wait(30) and add(database))
    async with spool() as again:
        estimated = again.bytes
        new = again.append(message(301), on_written=stored)
        again.delete(one)
        await again.flush()
        may_add.set()
        await eventually(lambda: again.bytes == exact + new.size)

    assert 300 * one.size == estimated != exact + one.size


@pytest.mark.parametrize("events", [0, 300])
async def test_a_small_file_is_counted_at_once(tmp_path, path, monkeypatch, events):
    """It knows its bytes to the byte as soon as it is open."""
    monkeypatch.undo()
    file = path if events else tmp_path / "new.db"
    async with opened(file, max_bytes=1 << 24, lock_wait=0) as spool:
        found = (spool.events, spool.bytes)
        rows = await spool.read(after=0, limit=1000)

    assert (events, sum(row.size for row in rows)) == found


@pytest.mark.parametrize("query", [TOTALS, BYTES])
def test_no_row_is_read_to_count(path, query):
    """Counting reads the index alone, so that it takes no time when millions wait."""
    with closing(sqlite3.connect(path)) as database:
        plan = database.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()

    assert ["SCAN event USING COVERING INDEX event_totals"] == [detail for *_, detail in plan]


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


async def test_damage_that_is_met_later(spool, path, monkeypatch):
    """A large file is opened unchecked; damage that reading meets makes the next start salvage."""
    monkeypatch.setattr(opening, "look_beside", lambda *_: None)
    lost = damage.overwrite(path, damage.middle(path))
    async with spool() as damaged:
        known, accepted = damaged.events, damaged.accepts
        with pytest.raises(sqlite3.DatabaseError):
            await damaged.read(after=0, limit=1000)
        await is_damaged(damaged)
        suspected = suspicion(path).exists()
    async with spool() as salvaged:
        rows = await salvaged.read(after=0, limit=1000)

    assert (300, True, True, False) == (known, accepted, suspected, suspicion(path).exists())
    assert (len(rows), salvaged.events) == (300 - lost, 300 - lost)
    assert 0 < lost < 50


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


async def test_private_files(spool, path):
    """Nobody but the owner reads customers' data; what was open to others is closed to them."""
    path.chmod(0o644)
    async with spool() as opened_again:
        opened_again.append(message(1), on_written=stored)
        await opened_again.flush()
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.glob("spool.db*")}

    assert {"spool.db", "spool.db-wal", "spool.db-shm", "spool.db.lock", "spool.db.reserve"} == set(
        modes
    )
    assert {0o600} == set(modes.values())


async def test_a_directory_of_its_own_is_private(tmp_path):
    """A directory that is made for the spool lets nobody else in."""
    path = tmp_path / "new" / "spool.db"
    async with opened(path, max_bytes=1 << 20, lock_wait=0):
        assert 0o700 == path.parent.stat().st_mode & 0o777


@pytest.mark.parametrize("suffix", ["", "-wal", ".lock", ".damaged", ".reserve", ".salvaging"])
async def test_links_are_not_followed(spool, path, suffix, tmp_path):
    """What another user of the machine has linked to is neither written to nor made."""
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / f"spool.db{suffix}").unlink(missing_ok=True)
    (tmp_path / f"spool.db{suffix}").symlink_to(elsewhere)
    with suppress(SpoolUnusable):
        async with spool() as linked:
            linked.note_error(sqlite3.DatabaseError("damage"))

    assert not elsewhere.exists()


async def test_a_link_is_refused(spool, path, tmp_path):
    """Two names of one file would be two locks, and two write-ahead logs."""
    path.rename(tmp_path / "real.db")
    path.symlink_to("real.db")

    with pytest.raises(SpoolUnusable, match="is a link: name the file itself"):
        async with spool():
            pass


@pytest.mark.parametrize(
    "suffix", ["", "-wal", "-shm", ".lock", ".reserve", ".damaged", ".salvaging", ".salvaged"]
)
async def test_a_pipe_is_refused(spool, tmp_path, suffix):
    """No start waits for its other end, and what is wrong is named."""
    os.mkfifo(tmp_path / f"spool.db{suffix}")

    with pytest.raises(SpoolUnusable, match=f"spool.db{suffix} is a pipe, a socket or a device"):
        async with asyncio.timeout(5), spool():
            pass


async def test_a_pipe_that_comes_later(spool, tmp_path):
    """The mark of damage is written while events wait for it: it waits for nobody."""
    async with spool() as used:
        os.mkfifo(suspicion(tmp_path / "spool.db"))
        await asyncio.wait_for(
            asyncio.to_thread(used.note_error, sqlite3.DatabaseError("damage")), 5
        )


async def test_a_directory_that_is_a_file(tmp_path):
    """No later start can mend that."""
    (tmp_path / "file").touch()

    with pytest.raises(SpoolUnusable, match="File exists: choose a writable"):
        async with opened(tmp_path / "file" / "spool.db", max_bytes=1 << 24, lock_wait=0):
            pass


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE event ADD COLUMN more TEXT", "ALTER TABLE event DROP COLUMN tries"],
)
async def test_another_schema_of_the_same_version(spool, path, change):
    """A table with other columns is refused at the start, not with the first event."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(change)

    with pytest.raises(SpoolUnusable, match="its table has other columns"):
        async with spool():
            pass


async def test_the_database_of_another_program(spool, tmp_path):
    """A database that is no spool gets no table of ours."""
    with closing(sqlite3.connect(tmp_path / "spool.db")) as database:
        database.execute("CREATE TABLE customer (name TEXT)")

    with pytest.raises(SpoolUnusable, match="it has a table 'customer'"):
        async with spool():
            pass


@pytest.mark.usefixtures("given_up")
async def test_closed_while_the_disk_hangs(freezable, monkeypatch):
    """The end does not wait for it, also when nothing is being written; all is there afterwards."""
    monkeypatch.setattr(store, "_END_SECONDS", 0.5)
    path = freezable.directory / "spool.db"
    with pytest.raises(SpoolHung, match="has not answered"):  # noqa: PT012
        async with opened(path, max_bytes=1 << 24, lock_wait=0) as spool:
            spool.append(message(1), on_written=stored)
            await spool.flush()
            freeze = freezable.frozen()
            freeze.__enter__()
    freeze.__exit__(None, None, None)

    await eventually(lambda: no_thread("spool-end"))
    with closing(sqlite3.connect(path)) as database:
        assert [(1,)] == database.execute("SELECT count(*) FROM event").fetchall()


@pytest.mark.usefixtures("given_up")
async def test_opened_while_the_disk_hangs(freezable, monkeypatch):
    """A start that waits for the disk says so, and ends when it is told to."""
    monkeypatch.setattr(opening, "_SLOW_SECONDS", 0.2)
    monkeypatch.setattr(opening, "_HURRY_SECONDS", 0.2)

    async def start():
        async with opened(freezable.directory / "spool.db", max_bytes=1 << 24, lock_wait=0):
            pass

    with capture_logs() as log, freezable.frozen():
        starting = asyncio.create_task(start())
        await eventually(lambda: "spool_slow" in [line["event"] for line in log])
        starting.cancel()
        with pytest.raises(SpoolHung, match="did not end within"):
            await starting
    await eventually(lambda: no_thread("spool-open"))


def no_thread(name):
    """Return whether no thread has this name."""
    return name not in {thread.name for thread in threading.enumerate()}


@pytest.mark.usefixtures("given_up")
async def test_an_end_that_fails_is_no_secret(spool, monkeypatch):
    """Whatever the end fails of, its thread hands it over, and all is there afterwards."""
    with pytest.raises(SpoolUnavailable, match=r"closing it failed \(MemoryError: none left\)"):  # noqa: PT012
        async with spool() as failing:
            failing.append(message(1), on_written=stored)
            await failing.flush()
            close = failing._writer.close
            monkeypatch.setattr(failing._writer, "close", raises(MemoryError("none left")))
    await asyncio.to_thread(close)
    failing._reader.close()


async def test_any_thread_that_ends_is_no_secret(spool):
    """Whatever thread it was, and whoever started it: the process ends, and says why."""
    async with spool() as lacking:
        with watch_threads(lacking.give_up), capture_logs() as log:
            threading.Thread(target=raises(RuntimeError("a defect")), name="other").start()
            await is_damaged(lacking)

    assert "the thread other has ended: RuntimeError: a defect" == lacking.damage
    assert ["thread_failed"] == [line["event"] for line in log]


async def test_an_end_that_takes_its_time(spool, monkeypatch):
    """As long as commits are done, the disk does something, and the end waits for the last."""
    monkeypatch.setattr(store, "_END_SECONDS", 0.5)
    monkeypatch.setattr(operations, "OPERATIONS_PER_COMMIT", 1)
    monkeypatch.setattr(writer, "_ORDERS_AT_ONCE", 1)
    real = commits.commit

    def slowly(*arguments, **options):
        time.sleep(0.2)
        return real(*arguments, **options)

    monkeypatch.setattr(commits, "commit", slowly)
    async with spool() as slow:
        for number in range(5):
            slow.append(message(number), on_written=stored)
    async with spool() as again:
        assert 5 == again.events
