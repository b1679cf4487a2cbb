"""Nodes of a RabbitMQ cluster die, stand still or are upgraded: accepted is delivered."""

import asyncio

import pytest

from bridge.core.message import PARKED, UNROUTED
from bridge.dev.rabbitmq import RabbitMQNode
from tests.system.faults.world import FULL, ROW_LIMIT, size
from tests.system.scale.cluster.rabbitmq import in_parallel
from tests.system.scale.cluster.world import now

pytestmark = ROW_LIMIT


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "elsewhere"])
async def test_leader_killed(world, cluster, connected):
    """When the node that leads the queue dies, another one goes on: its data are on a majority."""
    async with world() as row:
        async with row.senders() as senders:
            for _ in range(size(1, 5)):
                await row.accepts(100, 500)
                at = cluster.nodes.index(row.connected)
                victim = cluster.nodes[at if connected else at - 1]
                await asyncio.to_thread(cluster.lead, "everything", victim)
                times = row.bridge.log.counts["broker_connected"] + connected
                await asyncio.to_thread(victim.kill)
                killed = now()
                await row.logs("broker_connected", times=times)
                await row.goes_on(since=killed)
                await asyncio.to_thread(victim.restart)
                await row.recovers()
        where = "to it" if connected else "to another"
        counts = await row.counts(f"cluster: leader's node killed, the bridge connected {where}")

        assert counts.is_clean
        assert senders.never_failed


@pytest.mark.parametrize("handling", ["pause_minority", "ignore"])
async def test_majority_lost(world, cluster, handling):
    """A minority confirms nothing, paused or not: events wait on disk until there is a majority."""
    survivor, *others = cluster.nodes
    async with world() as row:
        await asyncio.to_thread(set_partition_handling, survivor, handling)
        async with row.senders() as senders:
            await row.accepts(100)
            await asyncio.to_thread(in_parallel, RabbitMQNode.kill, others)
            killed = now()
            await row.measure("spooled", lambda: senders.statuses["spooled"] > 0, since=killed)
            await asyncio.gather(asyncio.sleep(size(15, 40)), row.spools(100))
            await asyncio.to_thread(in_parallel, RabbitMQNode.restart, others)
            back = now()
            await row.goes_on(since=back)
            await row.recovers()
        counts = await row.counts(f"cluster: majority lost, {handling}")

        assert counts.is_clean
        assert senders.never_failed
        assert senders.slowest < size(4, 6)


def set_partition_handling(node, handling):
    """Change what a node does that sees no majority; a restarted one has the usual setting."""
    key = "rabbit, cluster_partition_handling"
    node.ctl("eval", f"application:set_env({key}, {handling}).")


async def test_rolling_restart(world, cluster):
    """Every node is drained, stopped and started in turn, as for an upgrade."""
    async with world() as row:
        async with row.senders() as senders:
            await row.accepts(100)
            for node in cluster.nodes:
                await asyncio.to_thread(upgrade, node)
            await row.recovers()
        counts = await row.counts("cluster: rolling restart of the three nodes")

        assert counts.is_clean
        assert senders.never_failed


def upgrade(node):
    """Do with a node what its operator does for an upgrade, once the others can do without it."""
    node.ctl("await_online_quorum_plus_one", "-t", "60", tool="rabbitmq-upgrade")
    node.ctl("drain", tool="rabbitmq-upgrade")
    node.shut_down()
    node.restart()


async def test_leader_frozen(world, cluster):
    """A node that stands still is left for the next one, and is not waited for again."""
    async with world() as row:
        frozen = row.connected
        async with row.senders() as senders:
            await row.accepts(100)
            await asyncio.to_thread(cluster.lead, "everything", frozen)
            await asyncio.to_thread(frozen.freeze)
            begun = now()
            await row.measure("spooled", lambda: senders.statuses["spooled"] > 0, since=begun)
            await row.logs("broker_connected", times=2)
            await row.goes_on(since=begun)
            assert row.connected is not frozen
            await asyncio.to_thread(frozen.thaw)
            await row.accepts(100)
            await row.recovers()
        counts = await row.counts("cluster: the leader's node frozen")
        await asyncio.to_thread(frozen.restart)

        assert counts.is_clean
        assert senders.never_failed


NOT_ADVISED = pytest.mark.skipif(not FULL, reason="not what operations.md advises: FAULTS=full")


@pytest.mark.parametrize("handling", ["pause_minority", pytest.param("ignore", marks=NOT_ADVISED)])
async def test_leader_cut_off(world, cluster, handling):
    """A leader that no longer sees its followers confirms nothing: the majority has another."""
    async with world() as row:
        alone = row.connected
        await asyncio.to_thread(set_partition_handling, alone, handling)
        async with row.senders() as senders:
            await row.accepts(100)
            await asyncio.to_thread(cluster.lead, "everything", alone)
            await asyncio.to_thread(cluster.cut_off, alone)
            cut = now()
            await row.goes_on(since=cut)
            assert row.connected is not alone
            await row.accepts(100)
            await asyncio.to_thread(cluster.reunite, alone)
            await row.accepts(100)
            await asyncio.to_thread(alone.restart)  # with ``ignore`` it stays apart until then
            await row.recovers()
        counts = await row.counts(f"cluster: the leader's node cut off, {handling}")

        assert counts.is_clean
        assert senders.never_failed


FULL_QUEUE = {"x-overflow": "reject-publish", "x-max-length": 1}


async def test_quarantines_led_by_a_killed_node(world, cluster):
    """What was parked or unrouted is kept by a majority, too."""
    async with world(queue=False, BRIDGE_SPOOL__REFUSED_TRIES="1") as row:
        victim = row.connected
        await row.bind("sales", "sale.#", **FULL_QUEUE, **{"x-queue-type": "quorum"})
        sales = row.senders(event="sale.changed", first_key=1000, sequential=20, most=2)
        async with row.senders() as contacts, sales:
            await row.counts_to("parked_total", 5)
            for queue in (PARKED, UNROUTED, "sales"):
                await asyncio.to_thread(cluster.lead, queue, victim)
            await asyncio.to_thread(victim.kill)
            await row.logs("broker_connected", times=2)
            await row.accepts(100)
            await asyncio.to_thread(victim.restart)
            await row.accepts(100)
        row.consume("sales")
        counts = await row.counts("cluster: the node killed that leads what is parked and unrouted")

        assert counts.is_clean
        assert contacts.never_failed
        assert sales.never_failed
        assert row.consumers[UNROUTED].taken > 0
        assert row.consumers[PARKED].taken > 0
