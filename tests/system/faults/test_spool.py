"""The disk of the spool is full, or what is on it is damaged."""

import asyncio
import random
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import ANY

import pytest

from bridge.core.message import PARKED
from tests.system.faults import damage, disks
from tests.system.faults.process import until
from tests.system.faults.world import DEADLINE_SECONDS, FULL, PATIENT, ROW_LIMIT, size

pytestmark = ROW_LIMIT


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


LARGE = 200_000
"""Bytes of a body with which a salvage takes some tenths of a second."""

ONLY_REAL = pytest.mark.skipif(tmpfs not in possible_disks(), reason="may not mount a tmpfs")


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
                # A small commit may still find room where a large one has not.
                await until(lambda: is_not_ready(row), what="not ready", seconds=2)
                drained = await row.bridge.metric("drained_total")
                await asyncio.to_thread(node.thaw)
                await row.counts_to("drained_total", drained + 100)
            counts = await row.counts(f"disk full in an outage, drained on it, {disk.__name__}")
            full.empty(row.bridge.pid)

            assert counts.is_clean
            assert senders.statuses["503"] >= 20


@pytest.mark.parametrize("disk", possible_disks())
async def test_disk_has_room_again(world, node, tmp_path, disk):
    """Nobody sends to a bridge that is not ready: it finds out by itself that the disk has room."""
    with disk(tmp_path) as (directory, full):
        async with world(BRIDGE_SPOOL__PATH=f"{directory / 'spool.db'}") as row:
            await asyncio.to_thread(node.freeze)
            async with row.senders():
                await row.spools(100)
                full.fill(row.bridge.pid)
                await row.counts_to("rejected_total", 20)
            answered, waiting = datetime.now(UTC), row.bridge.waiting()
            await asyncio.sleep(1.2)  # two trials
            refusing = await row.bridge.status()
            full.empty(row.bridge.pid)
            await until(row.is_ready, what="the bridge is ready")
            tried = row.bridge.waiting()
            async with row.senders() as senders:
                await row.accepts(50)
            await asyncio.to_thread(node.thaw)
            counts = await row.counts(f"disk full in an outage, and emptied in it, {disk.__name__}")

            assert counts.is_clean
            assert not refusing["ready"]
            assert (waiting, refusing["spool"]["events"]) == (tried, waiting)
            # By its time, for a thread reads the log, and may be behind: no trial has its line.
            failed = row.bridge.log.latest["spool_write_failed"]["timestamp"]
            assert answered > datetime.fromisoformat(failed)
            assert senders.never_failed


@ONLY_REAL
@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_start_on_a_full_disk(world, node, tmp_path, end):
    """A disk without a single block left keeps no bridge from starting, nor from draining."""
    with tmpfs(tmp_path) as (directory, disk):
        async with world(BRIDGE_SPOOL__PATH=f"{directory / 'spool.db'}") as row:
            await asyncio.to_thread(node.freeze)
            async with row.senders():
                await row.spools(100)
            await getattr(row.bridge, end)()
            waiting = row.bridge.waiting() if end == "terminate" else 100
            disk.leave(0)
            await row.bridge.start()
            await asyncio.to_thread(node.thaw)
            await row.counts_to("drained_total", waiting)
            counts = await row.counts(f"start on a full disk, after {end}")

        assert counts.is_clean


@pytest.mark.parametrize("where", [damage.middle, damage.end, damage.header, damage.root])
async def test_corrupt_spool(world, node, where):
    """The bridge starts with what can be read of a corrupt spool, and says how much cannot."""
    async with world() as row:
        waiting, cost = await damaged_spool(row, node, where)
        await row.bridge.start()
        await row.logs("spool_salvaged")
        async with row.senders() as senders:
            await row.accepts(50)
        counts = await row.counts(f"corrupt spool at start, {where.__name__}")

        found = row.bridge.log.latest["spool_salvaged"]
        assert found["set_aside"] in map(str, row.bridge.spool.parent.iterdir())
        missing = waiting - found["events"]
        assert cost == missing
        assert (missing, False) == (found["unreadable"], found["at_least"])
        assert counts.lost <= missing
        assert (0, 0) == (counts.violations, counts.mixed)
        assert senders.never_failed


async def test_a_bit_of_the_log(world, node):
    """One bit flipped anywhere in the write-ahead log costs no more than what the start says."""
    places, said = random.Random(1), []
    async with world() as row:
        for time in range(1, size(1, 20) + 1):
            await asyncio.to_thread(node.freeze)
            async with row.senders():
                await row.spools(100)
            await row.bridge.kill()
            damage.flip_in_log(row.bridge.spool, places.random())
            await asyncio.to_thread(node.thaw)
            await row.bridge.start()
            await row.logs("spool_salvaged", times=time)
            said.append(row.bridge.log.latest["spool_salvaged"])
            await until(row.is_drained, what="the spool is drained")
        async with row.senders() as senders:
            await row.accepts(50)
        counts = await row.counts("bridge kill -9 and a bit flipped in the write-ahead log")

        assert (0, False) == (said[0]["unreadable"], said[0]["at_least"])
        assert counts.lost <= sum(each["unreadable"] for each in said)
        assert (0, 0) == (counts.violations, counts.mixed)
        assert senders.never_failed


@pytest.mark.parametrize("after", [0, 0.05, 0.2, 0.5] if FULL else [0, 0.2])
async def test_killed_while_it_salvages(world, node, after):
    """A bridge that is killed in its salvage begins anew: what it could read is there, once."""
    async with world() as row:
        waiting, cost = await damaged_spool(row, node, damage.middle, padding=LARGE)
        await row.bridge.start_and_kill("spool_corrupt", after=after)
        await row.bridge.start()
        async with row.senders() as senders:
            await row.accepts(50)
        counts = await row.counts(f"bridge kill -9 {after:g} s after it began to salvage")

        assert 0 < cost < waiting / 4
        assert counts.lost <= cost
        assert (0, 0) == (counts.violations, counts.mixed)
        assert senders.never_failed


@ONLY_REAL
async def test_no_room_to_salvage(world, node, tmp_path):
    """The bridge says how much room it needs, and loses nothing for want of it."""
    with tmpfs(tmp_path) as (directory, disk):
        async with world(BRIDGE_SPOOL__PATH=f"{directory / 'spool.db'}") as row:
            waiting, cost = await damaged_spool(row, node, damage.middle)
            found = files(directory)
            disk.leave(found["spool.db"] // 2)
            code = await row.bridge.run_to_the_end()
            said, left = row.bridge.log.tail[-1], files(directory)
            disk.empty(0)
            await row.bridge.start()
            await row.logs("spool_salvaged")
            async with row.senders():
                await row.accepts(50)
            counts = await row.counts("no room to salvage, then some")

        assert 75 == code
        assert "full" in said
        assert f"takes up to {found['spool.db'] / 1e6:,.1f} MB" in said
        assert (left.pop("filler"), left.pop("spool.db.damaged"), left) == (ANY, 0, found)
        assert waiting - cost == row.bridge.log.latest["spool_salvaged"]["events"]
        assert counts.lost <= cost
        assert (0, 0) == (counts.violations, counts.mixed)


def files(directory):
    """Return the sizes of the files that outlive a bridge."""
    return {file.name: file.stat().st_size for file in directory.iterdir()}


async def test_damage_in_a_large_spool(world, node):
    """A file too large to be checked at the start: the bridge ends, and salvages when it starts."""
    async with world() as row:
        _, cost = await damaged_spool(row, node, damage.middle, prepare=damage.enlarge)
        code = await row.bridge.run_to_the_end()
        salvaged = row.bridge.log.counts["spool_salvaged"]
        await row.bridge.start()
        await row.logs("spool_salvaged")
        async with row.senders() as senders:
            await row.accepts(50)
        counts = await row.counts("damage in a large spool")

        assert (75, 0, 1) == (code, salvaged, row.bridge.log.counts["spool_damaged"])
        assert counts.lost <= cost
        assert (0, 0) == (counts.violations, counts.mixed)
        assert senders.never_failed


def can_freeze():
    """Return whether a file system can be frozen here."""
    with tempfile.TemporaryDirectory() as directory:
        return disks.can_freeze(Path(directory) / "disk")


@pytest.mark.skipif(not can_freeze(), reason="may not mount and freeze a file system")
async def test_disk_hangs(world, node, tmp_path):
    """While a commit does not return, the sender is told to try again within its time."""
    with disks.freezable(tmp_path / "disk") as disk:
        async with world(BRIDGE_SPOOL__PATH=f"{disk.directory / 'spool.db'}") as row:
            await asyncio.to_thread(node.freeze)
            async with row.senders() as senders:
                await row.spools(50)
                with disk.frozen():
                    await row.counts_to("rejected_total", 20)
                    await until(lambda: is_not_ready(row), what="not ready", seconds=2)
                    on_disk = await row.total("spool_events")
                    await asyncio.sleep(0.5)
                    still_on_disk = await row.total("spool_events")
                await until(row.is_ready, what="the bridge is ready")
                await row.accepts(50)
                await asyncio.to_thread(node.thaw)
            counts = await row.counts("a disk that hangs in an outage")

        assert counts.is_clean
        assert senders.statuses["503"] >= 20
        assert 0 == senders.statuses["0"]
        assert on_disk == still_on_disk
        assert senders.slowest < DEADLINE_SECONDS + 1


@pytest.mark.skipif(not can_freeze(), reason="may not mount and freeze a file system")
async def test_disk_hangs_and_the_broker_is_up(world, tmp_path):
    """A disk that hangs does not concern what goes to RabbitMQ directly."""
    with disks.freezable(tmp_path / "disk") as disk:
        async with world(BRIDGE_SPOOL__PATH=f"{disk.directory / 'spool.db'}", **PATIENT) as row:
            with disk.frozen():
                async with row.senders() as senders:
                    await row.accepts(200)
            counts = await row.counts("a disk that hangs while the broker is up")

        assert counts.is_clean
        assert {"published"} == set(senders.statuses)


async def is_not_ready(row):
    """Return whether the bridge says that it takes no events."""
    return not await row.is_ready()


async def test_locked_by_another_program(world, node):
    """Who writes to the database with a tool keeps nobody waiting for an answer."""
    async with world() as row:
        await asyncio.to_thread(node.freeze)
        async with row.senders() as senders:
            await row.spools(50)
            with closing(sqlite3.connect(row.bridge.spool, isolation_level=None)) as tool:
                tool.execute("BEGIN IMMEDIATE")
                await row.counts_to("rejected_total", 20)
                refusing = await row.bridge.status()
                tool.execute("ROLLBACK")
            await until(row.is_ready, what="the bridge is ready")
            await row.accepts(50)
            await asyncio.to_thread(node.thaw)
        counts = await row.counts("the spool locked by another program in an outage")

        assert counts.is_clean
        assert not refusing["ready"]
        assert 0 == senders.statuses["0"]
        assert senders.slowest < DEADLINE_SECONDS + 1


async def test_locked_and_the_broker_is_back(world, node):
    """What RabbitMQ confirms is answered 200, although events wait for a disk that takes none."""
    async with world(**PATIENT) as row:
        async with row.senders() as senders:
            await asyncio.to_thread(node.raise_alarm)
            await row.spools(50)
            with closing(sqlite3.connect(row.bridge.spool, isolation_level=None)) as tool:
                tool.execute("BEGIN EXCLUSIVE")
                await row.counts_to("rejected_total", 5)
                await asyncio.to_thread(node.clear_alarm)
                await until(row.is_up, what="the bridge publishes again")
                async with row.senders(first_key=1000, most=size(1, 100)) as others:
                    ready = await row.is_ready()
                tool.execute("ROLLBACK")
        counts = await row.counts("the spool locked in an outage, and until long after it")

        assert counts.is_clean
        assert ready
        assert {"published"} == set(others.statuses)
        assert senders.statuses["503"] >= 5


def removed(spool):
    """Remove the database."""
    spool.unlink()


def replaced(spool):
    """Put an older copy of the database in its place."""
    copy = spool.with_name("copy")
    shutil.copy(spool, copy)
    copy.rename(spool)


def log_removed(spool):
    """Remove the write-ahead log."""
    spool.with_name(f"{spool.name}-wal").unlink()


def unmounted(spool):
    """Take away the file system."""
    disks.unmount(spool.parent)


@ONLY_REAL
@pytest.mark.parametrize("happens", [removed, replaced, log_removed, unmounted])
async def test_spool_is_gone(world, node, tmp_path, happens):
    """A bridge whose spool is gone takes nothing more; its next start has all that was there."""
    with tmpfs(tmp_path) as (directory, _):
        async with world(BRIDGE_SPOOL__PATH=f"{directory / 'spool.db'}") as row:
            await asyncio.to_thread(node.freeze)
            async with row.senders():
                await row.spools(100)
                await asyncio.to_thread(happens, row.bridge.spool)
                code = await row.bridge.ended()
                await row.bridge.start()
                await row.accepts(50)
                await asyncio.to_thread(node.thaw)
            counts = await row.counts(f"spool {happens.__name__.replace('_', ' ')} while running")

        assert 75 == code
        assert counts.is_clean
        assert 1 == row.bridge.log.counts["spool_gone"]
        assert row.bridge.log.latest["spool_rescued"]["events"] >= 100


def untouched(spool):
    """Leave the file as it is."""


async def damaged_spool(row, node, where, *, prepare=untouched, padding=0):
    """Leave events in the spool and damage it; return how many waited, and how many are lost."""
    await asyncio.to_thread(node.freeze)
    async with row.senders(padding=padding):
        await row.spools(150)
    await row.bridge.kill()
    waiting = row.bridge.waiting()
    prepare(row.bridge.spool)
    damage.close_wal(row.bridge.spool)
    cost = damage.overwrite(row.bridge.spool, where(row.bridge.spool))
    await asyncio.to_thread(node.thaw)
    return waiting, cost


async def test_unreadable_row(world, node):
    """A row whose metadata are not JSON is parked with its body, and holds up nobody else."""
    async with world() as row:
        await asyncio.to_thread(node.freeze)
        async with row.senders():
            await row.spools(size(150, 5000))
        await row.bridge.kill()
        damage.spoil_metadata(row.bridge.spool)
        await asyncio.to_thread(node.thaw)
        await row.bridge.start()
        async with row.senders() as senders:
            await row.recovers()
        counts = await row.counts("a row in the spool whose metadata are not JSON")

        assert counts.is_clean
        assert 1 == row.bridge.log.counts["spool_row_unreadable"]
        assert {"spool_unreadable": 1} == row.consumers[PARKED].reasons
        assert senders.never_failed
