"""How fast ours publishes what an outage has left on its disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bench import measure
from bench.consumer import Consumer
from bench.lab import POOL_EVENTS, Lab
from bench.load import Sequence, Shots, open_loop
from bench.measure import Sample
from bench.process import ROOT, Bridge, ProgramFailed

LIGHT_RATE = 500.0
PATIENCE_SECONDS = 180.0


async def prepare(lab: Lab) -> None:
    """Make the spool that is drained in every round."""
    await lab.prepared_spool(lab.length.drained_events)


async def prepare_before(lab: Lab) -> Path:
    """Make the spool that the other checkout drains."""
    return await lab.prepared_spool(lab.length.drained_events, checkout=lab.against or ROOT)


async def before(lab: Lab) -> dict[str, Sample]:
    """Measure the bridge of the other checkout, which has nothing else to do."""
    lab.copy_spool(await prepare_before(lab))
    return {"drain": await _drained(lab, lab.before())}


async def idle(lab: Lab) -> dict[str, Sample]:
    """Measure a bridge that has nothing else to do."""
    lab.copy_spool(await lab.prepared_spool(lab.length.drained_events))
    return {"drain": await _drained(lab, lab.ours())}


async def loaded(lab: Lab) -> dict[str, Sample]:
    """Measure one that gets 500 new events a second meanwhile, from its first moment on."""
    lab.copy_spool(await lab.prepared_spool(lab.length.drained_events))
    bridge = lab.ours()
    async with _loading(lab, bridge) as stop:
        sample = await _drained(lab, bridge, stop)
        shots = await stop()
    sample |= {"answered": shots.requests, "failed": shots.failed, "p99_us": shots.p99_us}
    if shots.failed:
        sample["void"] = f"{shots.failed} requests were not answered 200"
    return {"drain": sample}


@asynccontextmanager
async def _loading(lab: Lab, bridge: Bridge) -> AsyncIterator[Callable[[], Awaitable[Shots]]]:
    """Send new events from when the bridge listens; yields what stops it."""
    enough = asyncio.Event()
    load = open_loop(
        Sequence(lab.pool()),
        bridge.port,
        rate=LIGHT_RATE,
        warm=0,
        seconds=PATIENCE_SECONDS,
        enough=enough,
    )
    task = asyncio.create_task(load)

    async def stop() -> Shots:
        enough.set()
        return await task

    try:
        yield stop
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ProgramFailed):
            await task


async def _drained(
    lab: Lab, bridge: Bridge, afterwards: Callable[[], Awaitable[object]] | None = None
) -> Sample:
    """Start the bridge on its full spool, with the consumer there first."""
    events = lab.length.drained_events
    async with measure.consuming(lab, POOL_EVENTS + events) as consumer, measure.running(bridge):
        sample = await _awaited(consumer, events)
        if afterwards is not None:
            await afterwards()
    lab.clear_spool()
    return sample


async def _awaited(consumer: Consumer, events: int) -> Sample:
    """Wait until all that was spooled has arrived; the time is from the first to the last."""
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
