"""The broker dies, stands still, runs out of memory or cannot be reached."""

import asyncio

import pytest

from tests.system.faults.proxy import Proxy
from tests.system.faults.world import FULL, ROW_LIMIT, size

pytestmark = ROW_LIMIT


async def test_broker_killed(world, node):
    """What the broker had confirmed and what waited on disk is there when it comes back."""
    async with world() as row:
        await asyncio.to_thread(node.sync)
        async with row.senders() as senders:
            for _ in range(size(1, 5)):
                await row.accepts(200)
                await asyncio.to_thread(node.kill)
                await row.spools(100)
                await asyncio.to_thread(node.restart)
                await row.recovers()
        counts = await row.counts("broker kill -9 and restart under load")

        assert counts.is_clean
        assert senders.never_failed


@pytest.mark.parametrize("seconds", [20 if FULL else 3])
async def test_broker_frozen(world, node, seconds):
    """What a broker confirms when it goes on is not published again, unless it took too long."""
    async with world() as row:
        async with row.senders() as senders:
            await row.accepts(200)
            await asyncio.to_thread(node.freeze)
            await asyncio.gather(asyncio.sleep(seconds), row.spools(100))
            await asyncio.to_thread(node.thaw)
            await row.recovers()
        counts = await row.counts(f"broker frozen {seconds} s")

        assert counts.is_clean
        assert 0 == counts.duplicates or row.gave_up_a_connection
        assert senders.never_failed


async def test_tcp_reset(world, node):
    """A connection that is reset again and again is made again."""
    async with Proxy(node.port) as proxy, world(broker_url=proxy.url) as row:
        async with row.senders() as senders:
            for _ in range(size(2, 30)):
                await row.accepts(100)
                losses = row.bridge.log.counts["channel_closed"]
                proxy.reset()
                await row.logs("channel_closed", times=losses + 1)
                await row.recovers()
        counts = await row.counts("TCP reset between bridge and broker")

        assert counts.is_clean
        assert senders.never_failed


async def test_black_hole(world, node):
    """When the network swallows everything, the bridge gives the connection up by itself."""
    async with Proxy(node.port) as proxy, world(broker_url=proxy.url) as row:
        async with row.senders(rate=size(100, 1000)) as senders:
            await row.accepts(100)
            proxy.swallow()
            await row.spools(100)
            await row.logs("broker_silent")
            proxy.restore()
            await row.recovers()
        counts = await row.counts("black hole between bridge and broker")

        assert counts.is_clean
        assert senders.never_failed


async def test_memory_alarm(world, node):
    """While the broker blocks its publishers, the bridge says so and spools."""
    async with world() as row:
        async with row.senders() as senders:
            await row.accepts(200)
            await asyncio.to_thread(node.raise_alarm)
            await row.spools(100)
            blocked = await row.bridge.status()
            await asyncio.to_thread(node.clear_alarm)
            await row.recovers()
        counts = await row.counts("memory alarm raised and cleared under load")

        assert counts.is_clean
        assert (True, "blocked") == (blocked["ready"], blocked["broker"])
        assert senders.never_failed


async def test_no_broker_at_start(world, node):
    """A bridge that finds no broker starts, says so, accepts, and keeps it all over a restart."""
    async with world() as row:
        await row.bridge.kill()
        await asyncio.to_thread(node.sync)
        await asyncio.to_thread(node.kill)
        await row.bridge.start()
        async with row.senders() as alone:
            await row.spools(100)
            status = await row.bridge.status()
        assert 0 == await row.bridge.terminate()
        assert row.bridge.waiting() == row.ledger.accepted
        assert row.bridge.log.counts["broker_unreachable"] > 0
        await row.bridge.start()
        async with row.senders() as senders:
            await row.spools(row.ledger.accepted + 100)
            await asyncio.to_thread(node.restart)
            await row.recovers()
        counts = await row.counts("no broker at start")

        assert counts.is_clean
        assert (True, "down") == (status["ready"], status["broker"])
        assert {"spooled"} == set(alone.statuses)
        assert senders.never_failed
