"""One row with a cluster: who leads its queues, and how long the bridge takes to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge.dev.rabbitmq import RabbitMQNode
from tests.helpers import wipe
from tests.system.faults.consumer import Consumer
from tests.system.faults.process import BridgeProcess, until
from tests.system.faults.world import DEADLINE, FULL, QUEUES, QUORUM, SCALE_RESULTS, World
from tests.system.scale.cluster.rabbitmq import RabbitMQCluster

ONE_AT_A_TIME = {"x-single-active-consumer": True}
"""A consumer that has gone to another node is two for a moment: without this the queue gives the
new one later events than those that the old one has not acknowledged."""


class ClusterWorld(World):
    """What a row acts on; made by ``running``."""

    def __init__(self, cluster: RabbitMQCluster, bridge: BridgeProcess) -> None:
        super().__init__(cluster.nodes[0], [bridge], SCALE_RESULTS)
        self.cluster = cluster

    @property
    def connected(self) -> RabbitMQNode:
        """Return the node that the bridge publishes to, or did so last."""
        url = str(self.bridge.log.latest["broker_connected"]["url"])
        return next(node for node in self.cluster.nodes if f":{node.port}/" in url)

    def consume(self, queue: str, *, may_take: Callable[[], bool] | None = None) -> Consumer:
        """Start a consumer that goes to another node when its own is not to be had."""
        first, *others = reversed(self.cluster.urls)  # not where the bridge begins
        consumer = Consumer(first, queue, self.ledger, may_take=may_take, others=others)
        self.consumers[queue] = consumer
        return consumer

    async def measure(self, what: str, condition: Callable[[], Any], *, since: float) -> None:
        """Wait for a condition and note how many seconds after a moment it held."""
        await until(condition, what=what)
        self.figures.setdefault(what, []).append(round(now() - since, 2))

    async def goes_on(self, *, since: float) -> None:
        """Note when the broker confirms again, and when nothing waits any more."""
        before = await self._confirmed()

        async def confirms() -> bool:
            return await self._confirmed() > before

        await self.measure("confirmed", confirms, since=since)
        await self.measure("drained", self.is_drained, since=since)

    async def _confirmed(self) -> float:
        published = await self.bridge.metric("published_total")
        return published + await self.bridge.metric("drained_total")


def now() -> float:
    """Return the time of the event loop."""
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def running(
    cluster: RabbitMQCluster, directory: Path, *, queue: bool = True, **environ: str
) -> AsyncIterator[ClusterWorld]:
    """Run a bridge that knows all nodes for the length of the block, on an empty cluster."""
    settings = {DEADLINE: "2" if FULL else "0.5", **environ}
    bridge = BridgeProcess(directory, ",".join(cluster.urls), **settings)
    world = ClusterWorld(cluster, bridge)
    try:
        await asyncio.to_thread(wipe, cluster.urls[0], queues=QUEUES)
        if queue:
            await world.bind("everything", "#", **QUORUM, **ONE_AT_A_TIME)
            world.consume("everything")
        await bridge.start()
        await until(world.is_up, what="the bridge has found the broker")
        await world.logs("broker_connected")  # the log is read later than the answer
        yield world
    except BaseException:
        print(f"{bridge.log}\n{world.ledger}")
        await asyncio.to_thread(cluster.restart)  # for the next row
        raise
    finally:
        bridge.close()
        for consumer in world.consumers.values():
            await asyncio.to_thread(consumer.stop)
