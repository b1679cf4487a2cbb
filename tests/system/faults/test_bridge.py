"""The bridge itself is killed or stopped."""

import asyncio

from tests.system.faults.activated import ActivatedBridge
from tests.system.faults.proxy import Proxy
from tests.system.faults.world import ROW_LIMIT, size

pytestmark = ROW_LIMIT

RATION_BYTES = 200_000
"""Of a drain, until the network holds it up: more than 50 events, and not nearly all of them."""


async def test_killed_while_publishing(world):
    """What is in flight when the bridge is killed was not answered, and is sent again."""
    async with world() as row:
        async with row.senders():
            for _ in range(size(1, 20)):
                await row.accepts(100)
                await row.bridge.kill()
                await row.bridge.start()
        counts = await row.counts("bridge kill -9 while publishing")

        assert counts.is_clean


async def test_killed_while_spooling(world, node):
    """What is on disk when the bridge is killed is published by the next one."""
    async with world() as row:
        await asyncio.to_thread(node.freeze)
        async with row.senders():
            for _ in range(size(1, 20)):
                await row.accepts(100)
                await row.bridge.kill()
                assert row.bridge.waiting() >= row.ledger.accepted
                await row.bridge.start()
            await asyncio.to_thread(node.thaw)
            await row.recovers()
        counts = await row.counts("bridge kill -9 while spooling")

        assert counts.is_clean


async def test_killed_while_draining(world, node):
    """A drain that is cut off goes on where it was, with at most some events once more."""
    async with Proxy(node.port) as proxy, world(broker_url=proxy.url) as row:
        proxy.swallow()
        async with row.senders(rate=500):
            await row.spools(size(400, 20_000))
        await row.bridge.kill()
        proxy.restore()
        for _ in range(size(1, 10)):
            proxy.ration(RATION_BYTES)
            await row.bridge.start()
            await row.counts_to("drained_total", 50)
            await row.bridge.kill()
            assert row.bridge.waiting() > 0
            proxy.reset()
        proxy.restore()
        await row.bridge.start()
        counts = await row.counts("bridge kill -9 while draining")

        assert counts.is_clean


async def test_terminated_under_load(world):
    """On SIGTERM the bridge finishes what it has begun and ends well."""
    async with world() as row:
        async with row.senders() as senders:
            for _ in range(size(1, 10)):
                await row.accepts(100)
                assert 0 == await row.bridge.terminate()
                await row.bridge.start()
        counts = await row.counts("SIGTERM under load")

        assert counts.is_clean
        # Only what was answered from disk may be published again by the next one.
        assert counts.duplicates <= senders.statuses["spooled"]


async def test_restarted_on_sockets_that_stay_open(world):
    """Who connects meanwhile waits: nobody is refused, and every request is answered 200."""
    async with world(make=ActivatedBridge) as row:
        async with row.senders(rate=size(400, 1000), races=True) as senders:
            for number in range(size(4, 20)):
                await row.accepts(100)
                await (row.bridge.hand_over() if number % 2 else row.bridge.restart())
        row.figures["slowest"] = [senders.slowest]
        row.figures["raced"] = [senders.raced]
        counts = await row.counts("restart on shared sockets")

        assert counts.is_clean
        assert senders.never_failed, f"{senders.statuses}"
