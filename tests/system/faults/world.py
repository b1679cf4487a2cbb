"""One row of the fault matrix: a broker, bridges, senders and consumers, and the counts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bridge.core.message import PARKED, UNROUTED
from bridge.dev.rabbitmq import RabbitMQNode
from tests.helpers import consumer_queue, wipe
from tests.system.faults.consumer import Consumer
from tests.system.faults.ledger import Counts, Ledger
from tests.system.faults.process import ROOT, BridgeProcess, until
from tests.system.faults.senders import Senders, Traffic

FULL = os.environ.get("FAULTS") == "full"
"""The long form: longer outages, more repetitions, the settings of production."""

FORM = "full" if FULL else "short"
RESULTS = ROOT / "var" / "faults" / FORM
"""One file per row, with the counts of its latest run; ``python -m tests.system.faults``
prints them."""

SCALE_RESULTS = ROOT / "var" / "scale" / FORM
"""Of rows with more than one bridge or broker; ``python -m
tests.system.faults var/scale`` prints them."""

DEADLINE = "BRIDGE_BROKER__CONFIRM_DEADLINE_SECONDS"
DEADLINE_SECONDS = 2.0 if FULL else 0.5
"""How long the broker may take to confirm, where a row says nothing else."""

PATIENT = {DEADLINE: "4.9"}
"""For rows in which nothing slow may be taken for an outage: as patient as the sender is."""

SLOWER_EVERY_SECONDS = 2.0

ROW_LIMIT = pytest.mark.timeout(1800 if FULL else 400)
"""Of a row, with its share of a busy machine; conditions have their own limits."""

QUORUM = {"x-queue-type": "quorum"}
QUEUES = ("everything", "contacts", "sales")


def size(short: int, full: int) -> int:
    """Return a number for the form that runs."""
    return full if FULL else short


class World:
    """What a row acts on; made by ``running``.

    ``port`` is where senders send to: the first bridge, unless a row puts something in front.
    Its counts go to ``results``, with ``figures``: what it has measured, in seconds, by name.
    """

    def __init__(self, node: RabbitMQNode, bridges: Sequence[BridgeProcess], results: Path) -> None:
        self.node = node
        self.results = results
        self.bridges = bridges
        self.port = self.bridge.port
        self.ledger = Ledger()
        self.consumers: dict[str, Consumer] = {}
        self.figures: dict[str, list[float]] = {}
        self._senders: list[Senders] = []
        self._begun = time.monotonic()

    @property
    def bridge(self) -> BridgeProcess:
        """Return the bridge, the first if there are several."""
        return self.bridges[0]

    async def is_ready(self) -> bool:
        """Return whether the (first) bridge says that it takes events."""
        return bool((await self.bridge.status())["ready"])

    async def bind(self, queue: str, *keys: str, **arguments: Any) -> None:
        """Declare a consumer's queue and bind it to ``superoffice``."""
        await asyncio.to_thread(consumer_queue, self.node.url, queue, *keys, **arguments)

    def consume(self, queue: str, *, may_take: Callable[[], bool] | None = None) -> Consumer:
        """Start a consumer of a queue; with a condition, which it waits for, a slow one."""
        consumer = Consumer(self.node.url, queue, self.ledger, may_take=may_take)
        self.consumers[queue] = consumer
        return consumer

    def senders(self, **traffic: Any) -> Senders:
        """Return senders, to be started with ``async with``."""
        defaults = {"rate": size(100, 500), "pace": 1 if FULL else 0.25}
        senders = Senders(self.port, self.ledger, Traffic(**{**defaults, **traffic}))
        self._senders.append(senders)
        return senders

    @property
    def gave_up_a_connection(self) -> bool:
        """Return whether a bridge thought the broker deaf: only then it may publish twice."""
        return any(bridge.log.counts["broker_silent"] for bridge in self.bridges)

    async def is_up(self) -> bool:
        """Return whether the bridges publish directly."""
        found = [await bridge.status() for bridge in self.bridges]
        return all(each["broker"] == "up" and each["topology"] == "verified" for each in found)

    async def total(self, metric: str) -> float:
        """Return the sum of a metric over all bridges, NaN if one does not say."""
        return sum([await bridge.metric(metric) for bridge in self.bridges])

    async def accepts(self, short: int, full: int = 0) -> None:
        """Return when so many more events were accepted."""
        wanted = self.ledger.accepted + size(short, full or 10 * short)
        await until(lambda: self.ledger.accepted >= wanted, what=f"{wanted} events accepted")

    async def spools(self, events: int) -> None:
        """Return when so many events wait on disk."""
        await self.counts_to("spool_events", events)

    async def counts_to(self, metric: str, value: float) -> None:
        """Return when a metric, summed over all bridges, is at least so much."""

        async def holds() -> bool:
            return await self.total(metric) >= value

        await until(holds, what=f"{metric} is {value}")

    async def recovers(self) -> None:
        """Return when the spool is drained under load and events go to the broker directly."""
        async with self.less_and_less_load():
            await until(self.is_drained, what="the spool is drained under load")
        published = await self.total("published_total")
        await self.counts_to("published_total", published + size(20, 50))

    async def logs(self, action: str, *, times: int = 1) -> None:
        """Return when the (first) bridge has logged an action so often."""
        await until(lambda: self.bridge.log.counts[action] >= times, what=f"log of {action}")

    async def counts(self, row: str) -> Counts:
        """Wait until everything has come out; note the counts under the row's name."""
        for consumer in self.consumers.values():
            consumer.hurry()
        await until(self._is_idle, what="the spool is empty", seconds=size(120, 600))
        for queue in (PARKED, UNROUTED):
            self.consume(queue)
        with suppress(AssertionError):  # what is lost in the end is counted below
            await until(self._is_complete, what="everything came out", seconds=2)
        finishing = (asyncio.to_thread(each.finish) for each in self.consumers.values())
        await asyncio.gather(*finishing)
        counts = self.ledger.counts()
        seconds = round(time.monotonic() - self._begun, 1)
        found = {"form": FORM, "seconds": seconds, **asdict(counts), "figures": self.figures}
        _note(self.results, row, found)
        return counts

    @asynccontextmanager
    async def less_and_less_load(self) -> AsyncIterator[None]:
        """Halve the load again and again for the length of the block, until the drain wins.

        How much this machine can bear beside everything else nobody knows.
        """
        slowing = asyncio.create_task(self._slow_down())
        try:
            yield
        finally:
            slowing.cancel()
            for senders in self._senders:
                senders.speed = 1.0

    async def _slow_down(self) -> None:
        while True:
            await asyncio.sleep(SLOWER_EVERY_SECONDS)
            for senders in self._senders:
                senders.speed /= 2

    def _is_complete(self) -> bool:
        return self.ledger.counts().lost == 0

    async def is_drained(self) -> bool:
        """Return whether nothing waits on disk."""
        return await self.total("spool_events") == 0

    async def _is_idle(self) -> bool:
        return await self.is_drained() and await self.total("in_flight") == 0


@asynccontextmanager
async def running(
    node: RabbitMQNode,
    directory: Path,
    *,
    broker_url: str | None = None,
    queue: bool = True,
    replicas: int = 1,
    results: Path = RESULTS,
    make: type[BridgeProcess] = BridgeProcess,
    **environ: str,
) -> AsyncIterator[World]:
    """Run a bridge, or several, for the length of the block, on an empty broker; they are ready.

    Each has a spool of its own. Unless ``queue`` is false, there is a queue ``everything``, bound
    with ``#`` and consumed. ``make`` says what kind of bridges, ``environ`` are settings of them.
    """
    settings = {DEADLINE: f"{DEADLINE_SECONDS}", **environ}
    homes = [directory / f"bridge-{number}" for number in range(1, replicas + 1)]
    for home in homes:
        home.mkdir(exist_ok=True)
    bridges = [make(home, broker_url or node.url, **settings) for home in homes]
    world = World(node, bridges, results)
    try:
        await asyncio.to_thread(wipe, node.url, queues=QUEUES)
        if queue:
            await world.bind("everything", "#", **QUORUM)
            world.consume("everything")
        await asyncio.gather(*(bridge.start() for bridge in bridges))
        await until(world.is_up, what="the bridges have found the broker")
        yield world
    except BaseException:
        print(*(bridge.log for bridge in bridges), world.ledger, sep="\n")
        await asyncio.to_thread(node.restart)  # for the next row
        raise
    finally:
        for bridge in bridges:
            bridge.close()
        for consumer in world.consumers.values():
            await asyncio.to_thread(consumer.stop)


def _note(results: Path, row: str, found: dict[str, Any]) -> None:
    results.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", row.lower()).strip("-")
    (results / f"{name}.json").write_text(json.dumps({"row": row, **found}) + "\n")
