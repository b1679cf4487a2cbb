"""Two bridges behind a balancer, each with its own spool: one of them dies, stops, or lags."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.system.faults.client import Connection
from tests.system.faults.process import until
from tests.system.faults.senders import ANSWER_SECONDS
from tests.system.faults.test_clients import in_turn, thrice
from tests.system.faults.webhooks import Webhooks
from tests.system.faults.world import ROW_LIMIT, size
from tests.system.scale.balancer import PATH, RECORD, ROUND_ROBIN, HAProxy, Nginx

pytestmark = ROW_LIMIT

both = pytest.mark.parametrize("kind", [HAProxy, Nginx])

CUSTOMERS = range(12)
"""Each with an endpoint of its own, where requests are spread by path."""


@asynccontextmanager
async def balanced(row, kind, directory, *, before=None, **options):
    """Put a balancer between senders and bridges, or what is before these, for the block."""
    balancer = kind(directory, before or row.bridges, **options)
    row.port = balancer.port
    async with balancer.running():
        yield


async def back(bridge):
    """Start a bridge again; return when the balancer sends it events."""
    await bridge.start()

    async def serves():
        return await bridge.metric("accepted_total") > 0

    await until(serves, what="the balancer sends events to the bridge again")


@both
async def test_killed(world, tmp_path, kind):
    """A replica that is killed costs no sender an attempt, and its record no order."""
    async with world(replicas=2) as row, balanced(row, kind, tmp_path):
        async with row.senders() as senders:
            for bridge in row.bridges * size(1, 10):
                await row.accepts(50)
                await bridge.kill()
                await row.accepts(50)
                await back(bridge)
        counts = await row.counts(f"a replica kill -9 under load, {kind.NAME}")

        assert 0 == counts.lost == counts.mixed
        assert counts.violations <= senders.statuses["spooled"]
        assert senders.never_failed


@both
async def test_killed_while_spooling(world, node, tmp_path, kind):
    """While the broker is away, too: what is on the dead one's disk arrives late, and arrives."""
    async with world(replicas=2) as row, balanced(row, kind, tmp_path):
        await asyncio.to_thread(node.freeze)
        async with row.senders() as senders:
            for bridge in row.bridges * size(1, 5):
                await row.accepts(50)
                await bridge.kill()
                assert bridge.waiting() > 0
                await row.accepts(50)
                await back(bridge)
            await asyncio.to_thread(node.thaw)
            await row.recovers()
        counts = await row.counts(f"a replica kill -9 while spooling, {kind.NAME}")

        assert 0 == counts.lost == counts.mixed
        assert senders.never_failed


@both
async def test_rolling_restart(world, tmp_path, kind):
    """Replicas that are restarted one after the other are noticed by no sender."""
    async with world(replicas=2) as row, balanced(row, kind, tmp_path):
        async with row.senders() as senders:
            for bridge in row.bridges * size(1, 10):
                await row.accepts(50)
                assert 0 == await bridge.terminate()
                await back(bridge)
        counts = await row.counts(f"replicas restarted in turn, SIGTERM, {kind.NAME}")

        assert 0 == counts.lost == counts.mixed
        assert counts.violations <= senders.statuses["spooled"]
        assert senders.never_failed


@both
async def test_frozen(world, tmp_path, kind):
    """A replica that holds its connections and says nothing costs time, and no attempt."""
    async with world(replicas=2) as row, balanced(row, kind, tmp_path):
        async with row.senders() as senders:
            await row.accepts(50)
            row.bridge.freeze()
            await row.accepts(500, 7500)  # many times as long as a balancer waits
            row.bridge.thaw()
            await row.accepts(200)
        counts = await row.counts(f"a replica frozen, {kind.NAME}")

        assert 0 == counts.lost == counts.mixed
        assert counts.violations <= senders.statuses["spooled"]
        assert senders.never_failed
        assert senders.slowest < ANSWER_SECONDS


@pytest.mark.parametrize(
    ("kind", "spread"),
    [(HAProxy, RECORD), (Nginx, RECORD), (HAProxy, PATH), (HAProxy, ROUND_ROBIN)],
)
async def test_order_in_an_outage(world, node, tmp_path, kind, spread):
    """Where a record stays with its replica it keeps its order, also through two spools."""
    customers = customers_of(spread)
    async with (
        world(replicas=2, **customers) as row,
        balanced(row, kind, tmp_path, spread=spread),
    ):
        async with AsyncExitStack() as stack:
            for traffic in traffics(spread):
                await stack.enter_async_context(row.senders(**traffic))
            await row.accepts(50)
            await asyncio.to_thread(node.freeze)
            await row.spools(size(200, 10_000))
            waiting = [await bridge.metric("spool_events") for bridge in row.bridges]
            await asyncio.to_thread(node.thaw)
            await row.recovers()
        counts = await row.counts(f"broker frozen, two replicas {spread}, {kind.NAME}")

        assert 0 == counts.lost == counts.mixed
        assert all(waiting)
        assert (counts.violations == 0) == (spread != ROUND_ROBIN)  # in turn the ledger sees some


def customers_of(spread):
    """Return the variables that give each customer an endpoint, where that is what spreads."""
    if spread != PATH:
        return {}
    secrets = [{"env": "SUPEROFFICE_SECRET"}]
    endpoints = [
        {"name": f"c{each}", "path": f"/c{each}", "source": f"/c{each}", "secrets": secrets}
        for each in CUSTOMERS
    ]
    return {"BRIDGE_ENDPOINTS": json.dumps(endpoints)}


def traffics(spread):
    """Return what is sent: by one customer, or by each of them."""
    if spread != PATH:
        return [{"concurrent": 0}]
    few = {"concurrent": 0, "sequential": 3, "rate": size(100, 500) / len(CUSTOMERS)}
    return [{**few, "path": f"/c{each}", "first_key": 10 * each + 1} for each in CUSTOMERS]


@pytest.mark.parametrize(
    ("kind", "spread"), [(HAProxy, RECORD), (Nginx, RECORD), (HAProxy, ROUND_ROBIN)]
)
async def test_three_attempts(world, tmp_path, kind, spread):
    """Repeats are recognized by the replica that had the first; else they are copies."""
    async with world(replicas=2) as row:
        async with balanced(row, kind, tmp_path, spread=spread):
            clients = [Connection(row.port, seconds=ANSWER_SECONDS) for _ in range(3)]
            for key in range(size(100, 1000)):
                await thrice(row, clients, key, in_turn)
            for client in clients:
                client.close()
        counts = await row.counts(f"one event three times, two replicas {spread}, {kind.NAME}")

        assert counts.is_clean
        if spread == RECORD:
            assert 0 == counts.duplicates
        else:
            assert 0 < counts.duplicates <= counts.sent


@both
async def test_strangers(world, tmp_path, kind):
    """All senders have the balancer's address: who cannot sign is limited, who can never is."""
    async with world(queue=False) as row, balanced(row, kind, tmp_path):
        connection = Connection(row.port, seconds=ANSWER_SECONDS)
        request = Webhooks().request("event", key=1, number=1)
        forged = [await connection.send(request.replace(b"Cust", b"Dust")) for _ in range(25)]
        signed = await connection.send(request)
        connection.close()

        statuses = [reply and reply.status for reply in (*forged, signed)]
        assert [401] * 20 + [429] * 5 + [200] == statuses
        await row.logs("source_limited")
        assert "127.0.0.1" == row.bridge.log.latest["source_limited"]["source"]
