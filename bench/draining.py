"""How fast ours publishes what an outage has left on its disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bench import measure
from bench.consumer import Consumer
from bench.lab import POOL_EVENTS, Lab
from bench.load import Sequence, Shots, open_loop
from bench.measure import Sample
from bench.process import Bridge

LIGHT_RATE = 500.0
PATIENCE_SECONDS = 180.0


async def prepare(lab: Lab) -> None:
    """Make the spool that is drained in every round."""
    await lab.prepared_spool(lab.length.drained_events)


async def idle(lab: Lab) -> dict[str, Sample]:
    """Measure a bridge that has nothing else to do."""
    async with _draining(lab) as (_, consumer):
        return {"drain": await _drained(lab, consumer)}


async def loaded(lab: Lab) -> dict[str, Sample]:
    """Measure one that gets 500 new events a second meanwhile."""
    async with _draining(lab) as (bridge, consumer), _load(lab, bridge) as load:
        sample = await _drained(lab, consumer)
    shots = load.result()
    sample |= {"answered": shots.requests, "failed": shots.failed, "p99_us": shots.p99_us}
    if shots.failed:
        sample["void"] = f"{shots.failed} requests were not answered 200"
    return {"drain": sample}


@asynccontextmanager
async def _draining(lab: Lab) -> AsyncIterator[tuple[Bridge, Consumer]]:
    """Start a bridge on a full spool; the consumer is there first."""
    events = lab.length.drained_events
    lab.copy_spool(await lab.prepared_spool(events))
    async with measure.consuming(lab, POOL_EVENTS + events) as consumer:
        bridge = lab.ours()
        async with measure.running(bridge):
            yield bridge, consumer
    lab.clear_spool()


@asynccontextmanager
async def _load(lab: Lab, bridge: Bridge) -> AsyncIterator[asyncio.Task[Shots]]:
    """Send for as long as a drain takes at least; it may go on afterwards."""
    seconds = lab.length.seconds
    load = open_loop(Sequence(lab.pool()), bridge.port, rate=LIGHT_RATE, warm=0, seconds=seconds)
    task = asyncio.create_task(load)
    try:
        yield task
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _drained(lab: Lab, consumer: Consumer) -> Sample:
    """Wait until all that was spooled has arrived; the time is from the first to the last."""
    events = lab.length.drained_events
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _complete(consumer) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    seconds = consumer.last_at - consumer.first_at
    arrived = sum(1 for count in consumer.counts[POOL_EVENTS:] if count)
    found: Sample = {
        "requests": arrived,
        "seconds": seconds,
        "rate": arrived / max(seconds, 1e-9),
        "twice": sum(count - 1 for count in consumer.counts[POOL_EVENTS:] if count > 1),
    }
    if arrived < events:
        found["void"] = f"{events - arrived} of {events} did not arrive"
    return found


def _complete(consumer: Consumer) -> bool:
    events = len(consumer.counts) - POOL_EVENTS
    return consumer.total >= events and min(consumer.counts[POOL_EVENTS:]) > 0
