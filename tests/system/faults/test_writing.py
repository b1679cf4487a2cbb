"""The process that writes to the spool is killed, frozen, or out of memory."""

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from tests.system.faults.process import until
from tests.system.faults.world import DEADLINE, DEADLINE_SECONDS, PATIENT, ROW_LIMIT, size
from tests.writing import frozen, writing_process

pytestmark = ROW_LIMIT

LARGE = 20_000
"""Bytes of a body with which a few events are more than a socket pair takes."""


async def kill(row, *, times):
    """Kill it so often, each time when the one before it has stored something."""
    for _ in range(times):
        deaths = row.bridge.log.counts["spool_process_ended"] + 1  # before: a thread reads the log
        os.kill(row.bridge.writing, signal.SIGKILL)
        await row.logs("spool_process_ended", times=deaths)
        await row.accepts(10)


async def test_killed(world, node):
    """Whatever it was doing, the next one does it: nobody is refused."""
    async with world(**{DEADLINE: "2.0"}) as row:
        await asyncio.to_thread(node.freeze)
        async with row.senders() as senders:
            await row.spools(50)
            await kill(row, times=size(5, 30))
            await asyncio.to_thread(node.thaw)
            await kill(row, times=size(2, 10))
            await row.accepts(50)
        counts = await row.counts("the process that writes: kill -9 in an outage, and in the drain")

    assert counts.is_clean
    assert senders.never_failed, senders.statuses
    assert size(7, 40) == row.bridge.log.counts["spool_process_ended"]


@pytest.mark.parametrize("padding", [0, LARGE], ids=["small", "large"])
async def test_frozen(world, node, padding):
    """It is as a disk that hangs, also when its socket pair is full: refused in time."""
    async with world() as row:
        await asyncio.to_thread(node.freeze)
        async with row.senders(padding=padding) as senders:
            await row.spools(50)
            with frozen(row.bridge.writing):
                await row.counts_to("rejected_total", 20)
                await until(lambda: is_not_ready(row), what="not ready", seconds=5)
            await until(row.is_ready, what="the bridge is ready")
            await row.accepts(50)
            await asyncio.to_thread(node.thaw)
        bodies = "socket pair full" if padding else "small events"
        counts = await row.counts(f"the process that writes: frozen in an outage, {bodies}")

    assert counts.is_clean
    assert senders.statuses["503"] >= 20
    assert 0 == senders.statuses["0"]
    assert senders.slowest < DEADLINE_SECONDS + 1


async def is_not_ready(row):
    """Return whether the bridge says that it takes no events."""
    return not await row.is_ready()


async def test_frozen_and_the_broker_is_up(world):
    """It does not concern what goes to RabbitMQ directly."""
    async with world(**PATIENT) as row:
        with frozen(row.bridge.writing):
            async with row.senders() as senders:
                await row.accepts(200)
        counts = await row.counts("the process that writes: frozen while the broker is up")

    assert counts.is_clean
    assert {"published"} == set(senders.statuses)


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_frozen_when_the_bridge_ends(world, node, end):
    """It goes with its bridge, and the next bridge has the spool to itself."""
    async with world() as row:
        await asyncio.to_thread(node.freeze)
        async with row.senders():
            await row.spools(50)
            os.kill(row.bridge.writing, signal.SIGSTOP)
            code = await getattr(row.bridge, end)()
            await row.bridge.start()
            await row.accepts(50)
            await asyncio.to_thread(node.thaw)
        counts = await row.counts(f"the process that writes: frozen, and then bridge {end}")

    assert (0, 0) == (counts.lost, counts.violations)
    assert {"kill": None, "terminate": 75}[end] == code


def leave_no_memory(pid):
    """Let a process have hardly more memory than it has, until it ends."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize() + 64 * 1024, -1))


async def test_memory_ends(world, node):
    """What it has no memory for is refused, or it dies and is replaced: the rest is stored."""
    async with world() as row:
        await asyncio.to_thread(node.freeze)
        async with row.senders(padding=LARGE):
            await row.spools(50)
            for _ in range(size(3, 10)):
                await until(lambda: writing_process(row.bridge.pid), what="a process writes")
                leave_no_memory(row.bridge.writing)
                await row.accepts(20)
            await row.accepts(50)
            await asyncio.to_thread(node.thaw)
        counts = await row.counts("the process that writes: memory that ends")

    assert (0, 0) == (counts.lost, counts.violations)
