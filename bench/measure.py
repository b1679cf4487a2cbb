"""One program under closed-loop load: rates, latencies, cost, and whether every event came out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from bench.consumer import Consumer
from bench.cost import cpu_seconds, peak_rss_mib
from bench.lab import Lab
from bench.load import Sequence as Sent
from bench.load import Shots, wrk
from bench.pool import Pool
from bench.process import Bridge, Program, ProgramFailed

Sample = dict[str, Any]
"""What one measurement found, ready for JSON; ``void`` says why it must not count."""

SETTLE_SECONDS = 15.0


class Judge:
    """Compares what was accepted with what came out."""

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self.accepted = 0
        self.failed = 0

    def note(self, shots: Shots) -> None:
        """Take what a run of the load generator saw."""
        self.accepted += shots.requests
        self.failed += shots.failed

    async def verdict(self) -> Sample:
        """Return ``accepted``, ``delivered`` and, if the measurement is void, ``void``."""
        return self._judged(delivered=None, twice=0)

    def _judged(self, *, delivered: int | None, twice: int) -> Sample:
        found: Sample = {"accepted": self.accepted, "delivered": delivered}
        # What was under way when the load generator stopped is sent, not accepted, and comes out.
        if self.failed:
            found["void"] = f"{self.failed} requests were not answered 200"
        elif delivered is not None and delivered < self.accepted:
            found["void"] = f"{self.accepted - delivered} accepted events were not delivered"
        elif twice:
            found["void"] = f"{twice} events were delivered more often than sent"
        return found


class BrokerJudge(Judge):
    """Counts what a consumer received."""

    def __init__(self, sent: Sent, consumer: Consumer) -> None:
        super().__init__(sent)
        self._consumer = consumer

    async def verdict(self) -> Sample:
        """Wait until everything is delivered, within a bound."""
        await self._consumer.until(self.accepted, seconds=SETTLE_SECONDS)
        pairs = list(zip(self._consumer.counts, self.sent.sent, strict=True))
        delivered = sum(min(pair) for pair in pairs)
        return self._judged(delivered=delivered, twice=self._consumer.total - delivered)


class SpoolJudge(Judge):
    """Counts what is on disk; ``before`` of it was there at the start."""

    def __init__(self, sent: Sent, bridge: Bridge, *, before: int = 0) -> None:
        super().__init__(sent)
        self._bridge = bridge
        self._before = before

    async def verdict(self) -> Sample:
        """Ask the bridge."""
        await asyncio.sleep(0.2)
        spooled = await self._bridge.metric("spool_events")
        return self._judged(delivered=int(spooled or 0) - self._before, twice=0)


@asynccontextmanager
async def running(program: Program) -> AsyncIterator[Program]:
    """Start a program and end it in any case."""
    try:
        await program.start()
        yield program
        with suppress(ProgramFailed):
            await asyncio.wait_for(program.terminate(), 30)
    finally:
        await asyncio.to_thread(program.close)


@asynccontextmanager
async def consuming(lab: Lab, events: int) -> AsyncIterator[Consumer]:
    """Drain the queue for the length of the block; events have numbers below ``events``."""
    consumer = await Consumer.start(lab.node.url, events)
    try:
        yield consumer
    finally:
        consumer.stop()


@asynccontextmanager
async def publishing(
    lab: Lab, program: Program, pool: Pool | None = None
) -> AsyncIterator[BrokerJudge]:
    """Run a program that publishes, and a consumer that counts, for the length of the block."""
    pool = pool or lab.pool()
    async with consuming(lab, pool.events) as consumer, running(program):
        if isinstance(program, Bridge):
            await until_publishing(program)
        yield BrokerJudge(Sent(pool), consumer)


async def measured(
    lab: Lab, program: Program, judge: Judge, connections: Sequence[int]
) -> dict[str, Sample]:
    """Warm a running program up and measure it with each number of connections."""
    await warm_up(program, judge, connections=connections[0], seconds=lab.length.warm_seconds)
    return {
        f"c{count}": await interval(lab, program, judge, connections=count) for count in connections
    }


async def warm_up(program: Program, judge: Judge, *, connections: int, seconds: float = 1) -> None:
    """Load a program without measuring it."""
    judge.note(await wrk(judge.sent, program.port, connections=connections, seconds=seconds))


async def interval(lab: Lab, program: Program, judge: Judge, *, connections: int) -> Sample:
    """Measure a warm program once."""
    await probe(program, judge)
    seconds = lab.length.seconds
    return await costed(
        program, judge, wrk(judge.sent, program.port, connections=connections, seconds=seconds)
    )


async def probe(program: Program, judge: Judge) -> None:
    """Send one request: ``wrk`` takes all that is below 400 for success, this only a 200."""
    reply = await program.send(judge.sent.pool.request(judge.sent.offset))
    status = reply.status if reply else 0
    if status != HTTPStatus.OK:
        raise ProgramFailed(f"{program.name} answered {status}")
    judge.sent.note(1)
    judge.accepted += 1


async def costed(program: Program, judge: Judge, load: Awaitable[Shots]) -> Sample:
    """Wait for a load and return what it and the program's process say about it."""
    pid = program.check().pid
    before = cpu_seconds(pid)
    shots = await load
    cpu = cpu_seconds(pid) - before
    judge.note(shots)
    return {
        **asdict(shots),
        "rate": shots.rate,
        "cpu_us": cpu / max(1, shots.requests) * 1e6,
        "rss_mib": peak_rss_mib(pid),
        **await judge.verdict(),
    }


async def until_publishing(bridge: Bridge, *, seconds: float = 20.0) -> None:
    """Wait until a bridge publishes directly."""
    async with asyncio.timeout(seconds):
        while not await bridge.is_publishing():  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.05)
