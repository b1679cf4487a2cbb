"""What is done at a start, when what is there may be large, or damaged."""

import asyncio
import errno
import os
import resource
import sqlite3
import threading
import time
from contextlib import closing, suppress

import pytest
from structlog.testing import capture_logs

from bridge.aio import watch_threads
from bridge.spool import (
    Spool,
    SpoolFull,
    SpoolHung,
    SpoolLocked,
    SpoolUnavailable,
    SpoolUnusable,
    commits,
    files,
    opened,
    opening,
    store,
    watch,
    writer,
)
from bridge.spool.commits import Append, Delete, commit, connect
from bridge.spool.files import Identity, is_damage, suspicion
from bridge.spool.reader import TOTALS
from tests.helpers import eventually, message
from tests.system.faults import damage, disks

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
            filled.append(message(number, exchange=exchange, body=b"x" * 500), on_written=stored)
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
    assert {"superoffice", "audit"} == set(again.exchanges)


def test_no_row_is_read_to_count(path):
    """Counting at a start reads the index alone, so that it takes no time when millions wait."""
    with closing(sqlite3.connect(path)) as database:
        plan = database.execute(f"EXPLAIN QUERY PLAN {TOTALS}").fetchall()

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
    monkeypatch.setattr(files, "RESERVE_BYTES", reserve.stat().st_size)

    with pytest.raises(SpoolUnavailable, match="disk I/O error"):
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

    assert (300, True, True, False) == (known, accepted, suspected, suspicion(path).exists())
    assert (len(rows), salvaged.events) == (300 - lost, 300 - lost)
    assert 0 < lost < 50


async def is_damaged(spool):
    """Wait until the spool knows that it is damaged; then it takes nothing more."""
    async with asyncio.timeout(10):
        await spool.damaged.wait()
    assert not spool.accepts
    with pytest.raises(SpoolFull, match="damaged"):
        spool.append(message(), on_written=stored)


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
        error = commit(writing, [Append((301, *values[1:]), print)], deletions)
        [(synchronous,)] = writing.execute("PRAGMA synchronous")
        [(journal,)] = writing.execute("PRAGMA journal_mode")
        found = other.execute("SELECT count(*) FROM event").fetchone()

    assert (None, FULL, "wal") == (error, synchronous, journal)
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


def database_error(code):
    """Return what SQLite raises for one of its codes."""
    error = sqlite3.OperationalError("of a code")
    error.sqlite_errorcode = code
    return error


@pytest.fixture
def reserve(tmp_path):
    """Return a reserve that is held."""
    (tmp_path / "spool.db").touch()
    files.Reserve(tmp_path / "spool.db").allocate()
    return files.Reserve(tmp_path / "spool.db")


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
    assert kept == ([] if given_up else [files.RESERVE_BYTES])


def test_the_reserve_is_given_up_where_more_is_refused(reserve):
    """SQLite says the same for bad sectors and for a quota, or a limit of the size of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (files.RESERVE_BYTES, hard))
    try:
        given_up = reserve.release(database_error(sqlite3.SQLITE_IOERR_WRITE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert given_up


async def test_commits_that_fail_are_sampled(spool, monkeypatch):
    """A disk that fails for hours fills no other disk with lines about it."""
    failing = database_error(sqlite3.SQLITE_IOERR_WRITE)
    with capture_logs() as log:
        async with spool() as used:
            with monkeypatch.context() as patch:
                patch.setattr(writer, "commit", lambda *_: failing)
                for number in range(150):
                    used.append(message(number), on_written=lambda row, refusal: None)
                    await used.flush()

    assert 100 == [line["event"] for line in log].count("spool_write_failed")


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


def gone(path):
    """Remove the database."""
    path.unlink()


def replaced(path):
    """Put another file in its place."""
    other = path.with_name("other")
    other.write_bytes(b"")
    other.rename(path)


def wal_gone(path):
    """Remove the write-ahead log."""
    path.with_name("spool.db-wal").unlink()


def moved(path):
    """Rename the database."""
    path.rename(path.with_name("elsewhere.db"))


@pytest.mark.parametrize("happen", [gone, replaced, wal_gone, moved])
async def test_files_that_are_gone(spool, path, happen, monkeypatch):
    """What the open file still has goes on at the next start; nothing more is taken meanwhile."""
    look, looks = Identity.what_is_wrong, []

    def counted(identity):
        found = look(identity)
        looks.append(found)
        return found

    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(Identity, "what_is_wrong", counted)
    async with spool() as losing:
        losing.append(message(1000), on_written=stored)
        await losing.flush()
        looks.clear()
        await eventually(lambda: len(looks) > 1)  # the watch has seen the log
        happen(path)
        await is_damaged(losing)
        with pytest.raises(SpoolFull):
            losing.append(message(1001), on_written=stored)
    async with spool() as rescued:
        rows = await rescued.read(after=0, limit=1000)

    assert 301 == losing.events == rescued.events
    assert [*range(1, 302)] == [row.seq for row in rows]


@pytest.mark.parametrize("content", [b"", b"something else"])
async def test_a_file_that_is_overwritten(spool, path, content):
    """Its name and its place are the same: it is damage, and what can be read goes on."""
    async with spool() as losing:
        for number in range(300, 310):
            losing.append(message(number), on_written=stored)
        await losing.flush()
        with path.open("r+b") as file:
            file.truncate(len(content))
            file.write(content)
        await is_damaged(losing)
    async with spool() as salvaged:
        rows = await all_rows(salvaged)

    assert [*range(301, 311)] == [row.seq for row in rows][-10:]


async def test_a_file_that_is_gone_and_held_nothing(spool, tmp_path):
    """An empty spool that was removed leaves nothing behind."""
    async with spool() as empty:
        (tmp_path / "spool.db").unlink()
        await is_damaged(empty)
    async with spool() as again:
        assert 0 == again.events
    assert not [file.name for file in tmp_path.iterdir() if ".corrupt" in file.name]


async def test_an_error_of_the_thread_is_answered(spool, monkeypatch):
    """Whatever a commit fails of, who waits for it is told, and the next one is tried."""
    refusals = []
    async with spool() as failing:
        with monkeypatch.context() as patch:
            patch.setattr(commits, "_insertions", raises(MemoryError("none left")))
            failing.append(message(1), on_written=lambda row, refusal: refusals.append(refusal))
            await eventually(lambda: refusals)
        await eventually(lambda: failing.accepts)
        failing.append(message(2), on_written=stored)
        await failing.flush()
        kept = (failing.events, failing.bytes > 0)

    assert "none left" in str(refusals[0])
    assert (1, True) == kept


async def test_a_thread_that_ends_is_no_secret(spool, monkeypatch):
    """A spool whose thread has died takes nothing more, and says so."""
    async with spool() as dying:
        monkeypatch.setattr(files.Reserve, "allocate", raises(RuntimeError("a defect")))
        dying.append(message(1), on_written=stored)
        await is_damaged(dying)
        with pytest.raises(SpoolFull):
            dying.append(message(2), on_written=stored)

    assert "its thread has ended: RuntimeError: a defect" == dying.damage


def raises(error):
    """Return a function that raises an error."""

    def fail(*arguments):
        raise error

    return fail


async def test_free_pages_are_given_back_in_steps(spool, tmp_path, monkeypatch):
    """The file shrinks after a drain, a few pages at a time, and events come in between."""
    steps = 0
    real = commits.shrink

    def counted(database):
        nonlocal steps
        steps += 1
        return real(database)

    monkeypatch.setattr(writer, "shrink", counted)
    file = tmp_path / "spool.db"
    async with spool() as drained:
        for number in range(300):
            drained.append(message(number, body=b"x" * 20_000), on_written=stored)
        await drained.flush()
        large = pages(file)
        for row in await all_rows(drained):
            drained.delete(row)
        await eventually(lambda: pages(file) <= commits._FREE_PAGES + 20)
        drained.append(message(1), on_written=stored)
        await drained.flush()

    assert large > 1400
    assert steps >= (large - commits._FREE_PAGES) // commits._STEP_PAGES
    assert steps <= large // commits._STEP_PAGES + 5


async def test_the_disk_is_tried_once_a_second_while_the_file_shrinks(spool, monkeypatch):
    """Steps of shrinking come a hundred times a second: not each brings an fsync for nothing."""
    tried, steps = [], 0
    shrink, attempt = commits.shrink, writer.Writer._probe

    def counted(database):
        nonlocal steps
        steps += 1
        return shrink(database)

    def noted(self, database):
        tried.append(time.monotonic())
        return attempt(self, database)

    monkeypatch.setattr(writer, "shrink", counted)
    monkeypatch.setattr(commits, "_STEP_PAGES", 8)
    monkeypatch.setattr(writer.Writer, "_probe", noted)
    async with spool() as drained:
        drained.is_needed = lambda: True
        for number in range(200):
            drained.append(message(number, body=b"x" * 20_000), on_written=stored)
        await drained.flush()
        for row in await all_rows(drained):
            drained.delete(row)
        await eventually(lambda: steps > 50 and tried)
        took = time.monotonic() - tried[0]

    assert len(tried) <= 2 + took / writer._PROBE_SECONDS


async def test_what_is_owed_is_paid_in_parts(spool, tmp_path, monkeypatch):
    """Deletions that a locked database did not take do not all hold up the next event."""
    parts, commit = [], commits.commit

    def noted(database, appends, changes):
        error = commit(database, appends, changes)
        if error is None:
            parts.append(sum(change.size for change in changes))
        return error

    async with spool() as locked:
        for number in range(60):
            locked.append(message(number, body=b"x" * 20_000), on_written=stored)
        await locked.flush()
        found = await all_rows(locked)
        monkeypatch.setattr(writer, "commit", noted)
        monkeypatch.setattr(commits, "_DELETED_BYTES", 100_000)
        with closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as tool:
            tool.execute("BEGIN IMMEDIATE")
            for row in found:
                locked.delete(row)
            await eventually(lambda: len(locked._writer._owed) == len(found))
            tool.execute("ROLLBACK")
        locked.append(message(1000), on_written=stored)
    async with spool() as again:
        left = await all_rows(again)

    assert 10 <= len(parts)
    assert max(parts) < 150_000
    assert sum(parts) == sum(row.size for row in found)
    assert [61] == [row.seq for row in left]


async def all_rows(spool):
    """Read all rows, however many reads that takes."""
    found, after = [], 0
    while rows := await spool.read(after=after, limit=1000):
        found += rows
        after = rows[-1].seq
    return found


def pages(file):
    """Return how many pages a database has."""
    with closing(sqlite3.connect(file)) as database:
        [(count,)] = database.execute("PRAGMA page_count")
    return count


@pytest.fixture
def freezable(tmp_path):
    """Mount a file system that can be frozen, or skip."""
    if not disks.can_freeze(tmp_path / "tried"):
        pytest.skip("may not mount and freeze a file system")
    with disks.freezable(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def given_up(monkeypatch):
    """Close the files of a spool that was given up, which would go with the process."""
    made, make = [], opening._Opening.__init__

    def note(self, *arguments):
        make(self, *arguments)
        made.append(self)

    monkeypatch.setattr(opening._Opening, "__init__", note)
    yield
    for one in made:
        one._is_at_work = False
        one.close()


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


async def test_an_idle_spool_whose_disk_hangs(freezable, monkeypatch):
    """While events need the disk it is tried; without, it is left alone."""
    monkeypatch.setattr(writer, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(writer, "HUNG_SECONDS", 0.3)
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.05)
    with capture_logs() as log:
        async with opened(
            freezable.directory / "spool.db", max_bytes=1 << 24, lock_wait=0
        ) as spool:
            await spool.flush()  # opening it needs the disk
            with freezable.frozen():
                await asyncio.sleep(0.4)  # four trials, if there were any
                alone = spool.accepts
                spool.is_needed = lambda: True
                await eventually(lambda: not spool.accepts)
                await eventually(lambda: log)
            await eventually(lambda: spool.accepts)
            await eventually(lambda: len(log) >= 2)

    assert alone
    assert ["spool_disk_hangs", "spool_disk_answers"] == [line["event"] for line in log][:2]


def no_thread(name):
    """Return whether no thread has this name."""
    return name not in {thread.name for thread in threading.enumerate()}


async def test_the_directory_is_renamed(tmp_path, monkeypatch):
    """What the open file holds is copied to where the next start looks for it."""
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.05)
    path = tmp_path / "here" / "spool.db"
    async with opened(path, max_bytes=1 << 24, lock_wait=0) as spool:
        spool.append(message(1), on_written=stored)
        await spool.flush()
        path.parent.rename(tmp_path / "elsewhere")
        await asyncio.wait_for(spool.damaged.wait(), 10)
    async with opened(path, max_bytes=1 << 24, lock_wait=0) as spool:
        assert 1 == spool.events


async def test_a_disk_that_is_slow_and_in_time(spool, monkeypatch):
    """As long as an answer can wait for two commits, the disk takes events, and is not given up."""

    def commits(database, appends, changes):
        time.sleep(1.05 if appends else 0)
        return commit(database, appends, changes)

    async with spool() as slow:
        slow.answer_within(2.5)
        await slow.flush()
        monkeypatch.setattr(writer, "commit", commits)
        slow.append(message(1), on_written=stored)
        flushed, accepted = asyncio.ensure_future(slow.flush()), []
        while not flushed.done():
            accepted.append(slow.accepts)
            await asyncio.sleep(0.02)
        accepted.append(slow.accepts)
        monkeypatch.undo()

    assert {True} == set(accepted)


async def test_a_disk_that_is_slow_now_and_then(tmp_path, monkeypatch):
    """It counts again when it was in time three times in a row: ready does not come and go."""
    monkeypatch.setattr(writer, "_RETRY_SECONDS", 30)
    pauses, counts = [0.3, 0, 0, 0.3, 0, 0, 0], []

    def commits(database, appends, changes):
        time.sleep(pauses.pop(0) if appends else 0)  # it is asked in vain, too
        return commit(database, appends, changes)

    monkeypatch.setattr(writer, "commit", commits)
    async with opened(tmp_path / "spool.db", max_bytes=1 << 24, lock_wait=0) as spool:
        spool.answer_within(0.4)
        while pauses:
            spool.append(message(1), on_written=stored)
            await spool.flush()
            await eventually(lambda: spool._writer._began is None)
            counts.append(spool.accepts)

    assert [False] * 6 + [True] == counts


async def test_a_disk_that_was_slow_is_proved_first(tmp_path, monkeypatch):
    """Between two commits that take too long nobody is told that the disk takes events in time."""
    monkeypatch.setattr(writer, "HUNG_SECONDS", 0.1)
    monkeypatch.setattr(writer, "_RETRY_SECONDS", 0.2)
    real, slow = commits.commit, threading.Event()

    def committing(*arguments):
        time.sleep(0.2 if slow.is_set() else 0)
        return real(*arguments)

    monkeypatch.setattr(writer, "commit", committing)
    async with opened(tmp_path / "spool.db", max_bytes=1 << 24, lock_wait=0) as spool:
        slow.set()
        spool.append(message(1), on_written=stored)
        await spool.flush()
        between = spool.accepts
        slow.clear()
        await eventually(lambda: spool.accepts)

    assert not between


@pytest.mark.usefixtures("given_up")
async def test_an_end_that_fails_is_no_secret(spool, monkeypatch):
    """Whatever the end fails of, its thread hands it over, and all is there afterwards."""
    with pytest.raises(SpoolUnavailable, match=r"closing it failed \(MemoryError: none left\)"):  # noqa: PT012
        async with spool() as failing:
            failing.append(message(1), on_written=stored)
            await failing.flush()
            monkeypatch.setattr(failing._writer, "close", raises(MemoryError("none left")))
    failing._writer._operations.put(None)
    failing._writer._thread.join()
    failing._reader.close()


async def test_any_thread_that_ends_is_no_secret(spool):
    """Whatever thread it was, and whoever started it: the process ends, and says why."""
    async with spool() as lacking:
        with watch_threads(lacking.give_up), capture_logs() as log:
            threading.Thread(target=raises(RuntimeError("a defect")), name="other").start()
            await is_damaged(lacking)

    assert "the thread other has ended: RuntimeError: a defect" == lacking.damage
    assert ["thread_failed"] == [line["event"] for line in log]


@pytest.mark.parametrize("ask", ["what_is_wrong", "is_slow"])
async def test_a_look_that_fails_is_not_the_last(spool, monkeypatch, ask):
    """What one look ends of is said once, and the next one finds what there is to be found."""
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.02)
    looks = 0

    def fail(_):
        nonlocal looks
        looks += 1
        raise MemoryError("none left")

    with capture_logs() as log:
        async with spool() as watched:
            with monkeypatch.context() as patch:
                if ask == "is_slow":
                    patch.setattr(Spool, ask, property(fail))
                else:
                    patch.setattr(files.Identity, ask, fail)
                await eventually(lambda: looks > 3)
            watched._path.unlink()
            monkeypatch.setattr(Spool, "is_slow", property(lambda _: True))
            await is_damaged(watched)
            await eventually(lambda: "spool_disk_hangs" in [line["event"] for line in log])

    said = [line["event"] for line in log]
    assert 1 == said.count("spool_unwatched")
    assert "spool_gone" in said


async def test_opening_the_writer_takes_the_disk_too(spool, monkeypatch):
    """A disk that hangs before the first commit is as slow as one that hangs in it."""
    monkeypatch.setattr(writer, "HUNG_SECONDS", 0.1)
    done, real = threading.Event(), commits.connect

    def slowly(path):
        assert done.wait(30)
        return real(path)

    monkeypatch.setattr(writer, "connect", slowly)
    async with spool() as waiting:
        await eventually(lambda: not waiting.accepts)
        done.set()
        await eventually(lambda: waiting.accepts)


async def test_an_end_that_takes_its_time(spool, monkeypatch):
    """As long as commits are done, the disk does something, and the end waits for the last."""
    monkeypatch.setattr(store, "_END_SECONDS", 0.5)
    monkeypatch.setattr(writer, "OPERATIONS_PER_COMMIT", 1)
    monkeypatch.setattr(writer, "_OPERATIONS_TO_GATHER", 1)
    real = commits.commit

    def slowly(*arguments):
        time.sleep(0.2)
        return real(*arguments)

    monkeypatch.setattr(writer, "commit", slowly)
    async with spool() as slow:
        for number in range(5):
            slow.append(message(number), on_written=stored)
    async with spool() as again:
        assert 5 == again.events
