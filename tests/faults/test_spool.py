"""The disk of the spool is full, or what is on it is damaged."""

import asyncio
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.core.message import PARKED
from tests.faults import damage, disks
from tests.faults.world import FULL, ROW_LIMIT, size

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
                drained = await row.bridge.metric("drained_total")
                await asyncio.to_thread(node.thaw)
                await row.counts_to("drained_total", drained + 100)
            counts = await row.counts(f"disk full in an outage, drained on it, {disk.__name__}")
            full.empty(row.bridge.pid)

            assert counts.is_clean
            assert not refusing["ready"]
            assert senders.statuses["503"] >= 20


@pytest.mark.parametrize("where", [damage.middle, damage.end, damage.header])
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
        assert bool(missing) == bool(found["unreadable"])
        assert counts.lost <= missing
        assert (0, 0) == (counts.violations, counts.mixed)
        assert senders.never_failed


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


def untouched(spool):
    """Leave the file as it is."""


async def damaged_spool(row, node, where, prepare=untouched):
    """Leave events in the spool and damage it; return how many waited, and how many are lost."""
    await asyncio.to_thread(node.freeze)
    async with row.senders():
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
