"""What is written: commits, errors, and a disk that is full or slow."""

import asyncio
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from bridge.disk import commits, work
from bridge.disk.commits import commit, connect
from bridge.spool import SpoolFull, health, opened, operations, watch, writer
from bridge.spool.operations import Append
from tests.helpers import eventually, message
from tests.spool.support import all_rows, database_error, raises, stored

FULL = 2
"""Of PRAGMA synchronous: in WAL mode a commit returns after its fsync, which NORMAL leaves out."""


@pytest.mark.parametrize("deletions", [(), (1,)])
def test_a_commit_is_on_the_disk(path, deletions):
    """A row that is reported as stored is committed, and each commit waits for its fsync."""
    with closing(connect(path)) as writing, closing(sqlite3.connect(path)) as other:
        values = other.execute("SELECT * FROM event WHERE seq = 300").fetchone()
        error = commit(writing, [(301, *values[1:])], deletions)
        [(synchronous,)] = writing.execute("PRAGMA synchronous")
        [(journal,)] = writing.execute("PRAGMA journal_mode")
        found = other.execute("SELECT count(*) FROM event").fetchone()

    assert (None, FULL, "wal") == (error, synchronous, journal)
    assert found == (301 - len(deletions),)


async def test_commits_that_fail_are_sampled(spool, monkeypatch):
    """A disk that fails for hours fills no other disk with lines about it."""
    failing = database_error(sqlite3.SQLITE_IOERR_WRITE)
    with capture_logs() as log:
        async with spool() as used:
            with monkeypatch.context() as patch:
                patch.setattr(commits, "commit", lambda *_, **__: failing)
                for number in range(150):
                    used.append(message(number), on_written=lambda row, refusal: None)
                    await used.flush()

    assert 100 == [line["event"] for line in log].count("spool_write_failed")


async def test_an_error_of_a_commit_is_answered(spool, monkeypatch):
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


async def test_free_pages_are_given_back_in_steps(spool, tmp_path, monkeypatch):
    """The file shrinks after a drain, a few pages at a time, and events come in between."""
    steps = 0
    real = commits.shrink

    def counted(database):
        nonlocal steps
        steps += 1
        return real(database)

    monkeypatch.setattr(commits, "shrink", counted)
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
    shrink, attempt = commits.shrink, work.Disk._probe

    def counted(database):
        nonlocal steps
        steps += 1
        return shrink(database)

    def noted(self, job):
        tried.append(time.monotonic())
        return attempt(self, job)

    monkeypatch.setattr(commits, "shrink", counted)
    monkeypatch.setattr(commits, "_STEP_PAGES", 8)
    monkeypatch.setattr(work.Disk, "_probe", noted)
    async with spool() as drained:
        drained.is_needed = lambda: True
        for number in range(200):
            drained.append(message(number, body=b"x" * 20_000), on_written=stored)
        await drained.flush()
        for row in await all_rows(drained):
            drained.delete(row)
        await eventually(lambda: steps > 50 and tried)
        took = time.monotonic() - tried[0]

    assert len(tried) <= 2 + took / health.PROBE_SECONDS


async def test_what_is_owed_is_paid_in_parts(spool, tmp_path, monkeypatch):
    """Deletions that a locked database did not take do not all hold up the next event."""
    parts, commit = [], commits.commit
    sizes: dict[int, int] = {}

    def noted(database, rows, deleted, *more, **options):
        error = commit(database, rows, deleted, *more, **options)
        if error is None:
            parts.append(sum(sizes[seq] for seq in deleted))
        return error

    async with spool() as locked:
        for number in range(60):
            locked.append(message(number, body=b"x" * 20_000), on_written=stored)
        await locked.flush()
        found = await all_rows(locked)
        sizes = {row.seq: row.size for row in found}
        monkeypatch.setattr(commits, "commit", noted)
        monkeypatch.setattr(operations, "DELETED_BYTES", 100_000)
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


async def test_no_memory_for_a_job(spool, monkeypatch):
    """Nothing of it is forgotten: it is done when there is memory."""
    real, fails = operations.Order.commit, [1]

    def commit(appends, changes):
        if fails and (appends or changes):
            fails.pop()
            raise MemoryError
        return real(appends, changes)

    async with spool() as used:
        used.append(message(1), on_written=stored)
        await used.flush()
        [row] = await all_rows(used)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        monkeypatch.setattr(operations.Order, "commit", commit)
        used.append(message(2), on_written=stored)
        used.delete(row)
        await eventually(lambda: not fails)
        await used.flush()
        left = await all_rows(used)

    assert ["event-2"] == [row.message.message_id for row in left]


def pages(file):
    """Return how many pages a database has."""
    with closing(sqlite3.connect(file)) as database:
        [(count,)] = database.execute("PRAGMA page_count")
    return count


async def test_an_idle_spool_whose_disk_hangs(freezable, monkeypatch):
    """While events need the disk it is tried; without, it is left alone."""
    for module in (health, writer):
        monkeypatch.setattr(module, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(health, "HUNG_SECONDS", 0.3)
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


async def test_a_disk_that_is_slow_and_in_time(spool, monkeypatch):
    """As long as an answer can wait for two commits, the disk takes events, and is not given up."""

    def slowly(database, rows, *changes, **options):
        time.sleep(1.05 if rows else 0)
        return commit(database, rows, *changes, **options)

    async with spool() as slow:
        slow.answer_within(2.5)
        await slow.flush()
        monkeypatch.setattr(commits, "commit", slowly)
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
    for module in (health, writer):
        monkeypatch.setattr(module, "RETRY_SECONDS", 30)
    pauses, counts = [0.3, 0, 0, 0.3, 0, 0, 0], []

    def slowly(database, rows, *changes, **options):
        time.sleep(pauses.pop(0) if rows else 0)
        return commit(database, rows, *changes, **options)

    monkeypatch.setattr(commits, "commit", slowly)
    async with opened(tmp_path / "spool.db", max_bytes=1 << 24, lock_wait=0) as spool:
        spool.answer_within(0.4)
        while pauses:
            spool.append(message(1), on_written=stored)
            await spool.flush()
            await eventually(lambda: spool._writer.health._began is None)
            counts.append(spool.accepts)

    assert [False] * 6 + [True] == counts


async def test_a_disk_that_was_slow_is_proved_first(tmp_path, monkeypatch):
    """Between two commits that take too long nobody is told that the disk takes events in time."""
    monkeypatch.setattr(health, "HUNG_SECONDS", 0.1)
    for module in (health, writer):
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.2)
    real, slow = commits.commit, threading.Event()

    def committing(*arguments, **options):
        time.sleep(0.2 if slow.is_set() else 0)
        return real(*arguments, **options)

    monkeypatch.setattr(commits, "commit", committing)
    async with opened(tmp_path / "spool.db", max_bytes=1 << 24, lock_wait=0) as spool:
        slow.set()
        spool.append(message(1), on_written=stored)
        await spool.flush()
        between = spool.accepts
        slow.clear()
        await eventually(lambda: spool.accepts)

    assert not between


async def test_opening_the_writer_takes_the_disk_too(spool, monkeypatch):
    """A disk that hangs before the first commit is as slow as one that hangs in it."""
    monkeypatch.setattr(health, "HUNG_SECONDS", 0.1)
    done, real = threading.Event(), commits.connect

    def slowly(path):
        assert done.wait(30)
        return real(path)

    monkeypatch.setattr(work, "connect", slowly)
    async with spool() as waiting:
        await eventually(lambda: not waiting.accepts)
        done.set()
        await eventually(lambda: waiting.accepts)


async def test_a_row_that_cannot_be_sent(spool):
    """It is refused, and the disk is as well as before: the next one is stored."""
    refusals: list[SpoolFull | None] = []
    async with spool() as used:
        await used.flush()
        odd = used._writer
        odd.put(Append(0, 1, (object(),), refusals.append))
        await eventually(lambda: refusals)
        await asyncio.sleep(0)
        is_idle = odd.health._began is None
        used.append(message(1), on_written=stored)
        await used.flush()
        kept = used.events

    assert "unmarshallable" in str(refusals[0])
    assert (True, 1) == (is_idle, kept)
