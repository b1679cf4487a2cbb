"""The bridge itself is killed, stopped, or finds its disk full or its spool corrupt."""

import asyncio
import os
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults import disks
from tests.faults.world import FULL, size

PAGE = 4096
"""Bytes of a page of SQLite."""

pytestmark = pytest.mark.timeout(900 if FULL else 120)


async def test_killed_while_publishing(world):
    """What is in flight when the bridge is killed was not answered, and is sent again."""
    async with world() as row:
        async with row.senders():
            for _ in range(size(2, 20)):
                await row.accepts(100)
                await row.bridge.kill()
                await row.bridge.start()
        counts = await row.counts("bridge kill -9 while publishing")

        assert counts.is_clean


async def test_killed_while_spooling(world, node):
    """What is on disk when the bridge is killed is published by the next one."""
    async with world() as row:
        await asyncio.to_thread(node.sync)
        await asyncio.to_thread(node.kill)
        async with row.senders():
            for _ in range(size(2, 20)):
                await row.accepts(100)
                await row.bridge.kill()
                assert row.bridge.waiting() >= 100
                await row.bridge.start()
            await asyncio.to_thread(node.restart)
            await row.recovers()
        counts = await row.counts("bridge kill -9 while spooling")

        assert counts.is_clean


async def test_killed_while_draining(world, node):
    """A drain that is cut off goes on where it was, with at most some events once more."""
    async with world() as row:
        await asyncio.to_thread(node.freeze)
        async with row.senders(rate=500):
            await row.spools(size(600, 20_000))
        await row.bridge.kill()
        await asyncio.to_thread(node.thaw)
        for _ in range(size(2, 10)):
            await row.bridge.start()
            await row.counts_to("drained_total", 50)
            await row.bridge.kill()
            assert row.bridge.waiting() > 0
        await row.bridge.start()
        counts = await row.counts("bridge kill -9 while draining")

        assert counts.is_clean


async def test_terminated_under_load(world):
    """On SIGTERM the bridge finishes what it has begun and ends well."""
    async with world() as row:
        async with row.senders():
            for _ in range(size(2, 10)):
                await row.accepts(100)
                assert 0 == await row.bridge.terminate()
                await row.bridge.start()
        counts = await row.counts("SIGTERM under load")

        assert counts.is_clean
        assert 0 == counts.duplicates


@contextmanager
def tmpfs(directory):
    """Give the spool a file system of its own."""
    with disks.mounted(directory / "disk") as mounted:
        yield mounted, disks.Tmpfs(mounted)


@contextmanager
def rlimit(directory):
    """Limit the size of the spool's files."""
    yield directory, disks.FileSizeLimit()


def possible_disks():
    """Return the real thing where it is permitted, and in the long form both."""
    with tempfile.TemporaryDirectory() as directory:
        real = [tmpfs] if disks.can_mount(Path(directory)) else []
    return real + [rlimit] * (FULL or not real)


@pytest.mark.parametrize("disk", possible_disks())
async def test_disk_full(world, node, tmp_path, disk):
    """While the disk is full the sender is told to try again; the drain empties it all the same."""
    with disk(tmp_path) as (directory, full):
        async with world(BRIDGE_SPOOL__PATH=f"{directory / 'spool.db'}") as row:
            await asyncio.to_thread(node.freeze)
            async with row.senders() as senders:
                await row.spools(100)
                full.fill(row.bridge.pid)
                await row.logs("spool_write_failed")
                await row.counts_to("rejected_total", 20)
                refusing = await row.bridge.status()
                await asyncio.to_thread(node.thaw)
                drained = await row.bridge.metric("drained_total")
                await row.counts_to("drained_total", drained + 100)
            counts = await row.counts(f"disk full in an outage, drained on it, {disk.__name__}")
            full.empty(row.bridge.pid)

            assert counts.is_clean
            assert not refusing["ready"]
            assert senders.statuses["503"] >= 20


def damage_middle(path):
    """Overwrite pages in the middle of the file."""
    return os.path.getsize(path) // PAGE // 2 * PAGE, 3 * PAGE


def damage_end(path):
    """Overwrite the last pages."""
    return os.path.getsize(path) - 2 * PAGE, 2 * PAGE


def damage_header(path):
    """Overwrite what makes the file a database."""
    return 0, 100


def damage(path, where):
    """Put everything into the database, no WAL, and overwrite a part of it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    offset, length = where(path)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(os.urandom(length))


@pytest.mark.parametrize("where", [damage_middle, damage_end, damage_header])
async def test_corrupt_spool(world, node, where):
    """The bridge starts with what can be read of a corrupt spool, and says how much cannot."""
    async with world() as row:
        await asyncio.to_thread(node.freeze)
        async with row.senders():
            await row.spools(150)
        await row.bridge.kill()
        waiting = row.bridge.waiting()
        damage(row.bridge.spool, where)
        await asyncio.to_thread(node.thaw)
        await row.bridge.start()
        await row.logs("spool_salvaged")
        async with row.senders() as senders:
            await row.accepts(50)
        counts = await row.counts(f"corrupt spool at start, {where.__name__}")

        found = row.bridge.log.latest["spool_salvaged"]
        assert found["set_aside"] in map(str, row.bridge.spool.parent.iterdir())
        assert (0, 0) == (counts.violations, counts.mixed)
        missing = waiting - found["events"]
        assert counts.lost <= missing <= 20
        assert bool(missing) == bool(found["unreadable"])
        assert senders.never_failed
