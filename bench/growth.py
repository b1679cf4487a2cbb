"""Does an event cost more when there is more of something? The near and the far end of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench import measure
from bench.lab import POOL_EVENTS, Lab, nobody_listens
from bench.load import Sequence, wrk
from bench.measure import Sample, SpoolJudge
from bench.scenarios import Run

CONNECTIONS = 64
FEW_CONNECTIONS = 8
"""For large bodies: no more may be under way than the pool has events."""

FILL_SECONDS = 90.0
GIB = 2**30
SIZES = {"1 kB": (0, POOL_EVENTS), "100 kB": (100_000, 600), "1 MB": (1_000_000, 80)}


def routes(count: int) -> dict[str, str]:
    """Return so many routes, of which the last one matches."""
    others = [{"match": f"other{number}.*", "exchange": "superoffice"} for number in range(count)]
    others[-1]["match"] = "contact.*"
    return {"BRIDGE_ROUTES": json.dumps(others)}


def endpoints(count: int) -> dict[str, str]:
    """Return so many endpoints, of which the last one is called."""
    found: list[dict[str, Any]] = [
        {
            "name": f"endpoint{number}",
            "path": f"/webhook{number}",
            "secrets": [{"env": "SUPEROFFICE_SECRET"}],
            "source": f"/superoffice/{number}",
        }
        for number in range(count)
    ]
    found[-1]["path"] = "/webhook"
    return {"BRIDGE_ENDPOINTS": json.dumps(found)}


def configured(settings: Callable[[int], Mapping[str, str]], few: int, many: int) -> Run:
    """Measure two configurations, in turns of who is first."""

    async def run(lab: Lab) -> dict[str, Sample]:
        ends = [("near", settings(few)), ("far", settings(many))]
        return {name: await _direct(lab, env) for name, env in _turned(lab, ends)}

    return run


async def _direct(lab: Lab, environ: Mapping[str, str]) -> Sample:
    lab.clear_spool()
    bridge = lab.ours(**environ)
    async with measure.publishing(lab, bridge) as judge:
        await measure.warm_up(bridge, judge, connections=CONNECTIONS)
        return await measure.interval(lab, bridge, judge, connections=CONNECTIONS)


async def window(lab: Lab) -> dict[str, Sample]:
    """Measure a bridge that remembers little, then the same one when its memory is full."""
    events = lab.length.window_events
    pool = lab.pool(events + events // 4)
    lab.clear_spool()
    bridge = lab.ours(BRIDGE_DEDUP__MAX_EVENTS=str(events))
    async with measure.publishing(lab, bridge, pool) as judge:
        await measure.warm_up(bridge, judge, connections=CONNECTIONS)
        near = await measure.interval(lab, bridge, judge, connections=CONNECTIONS)
        spent = 0.0
        while judge.accepted < events and spent < FILL_SECONDS:
            judge.note(await wrk(judge.sent, bridge.port, connections=CONNECTIONS, seconds=2))
            spent += 2
        far = await measure.interval(lab, bridge, judge, connections=CONNECTIONS)
        far["remembered"] = await bridge.metric("dedup_events")
    return {"near": near, "far": far}


async def prepare(lab: Lab) -> None:
    """Make the spool behind which events are spooled."""
    await lab.prepared_spool(lab.length.spooled_events)


async def spooled(lab: Lab) -> dict[str, Sample]:
    """Measure spooling into an empty spool, and behind very many events."""
    prepared = await lab.prepared_spool(lab.length.spooled_events)
    lab.clear_spool()
    ends = [("near", lab.directory / "spool.db"), ("far", prepared)]
    found = {name: await _spooling(lab, path) for name, path in _turned(lab, ends)}
    lab.clear_spool()
    return found


async def _spooling(lab: Lab, path: Path) -> Sample:
    room = {"BRIDGE_SPOOL__PATH": str(path), "BRIDGE_SPOOL__MAX_BYTES": str(8 * GIB)}
    with nobody_listens() as url:
        bridge = lab.ours(broker=url, **room)
        async with measure.running(bridge):
            before = int(await bridge.metric("spool_events") or 0)
            judge = SpoolJudge(Sequence(lab.pool()), bridge, before=before)
            await measure.warm_up(bridge, judge, connections=CONNECTIONS)
            sample = await measure.interval(lab, bridge, judge, connections=CONNECTIONS)
    return {**sample, "spooled_before": before}


async def bodies(lab: Lab) -> dict[str, Sample]:
    """Measure bodies of several sizes."""
    return {name: await _sized(lab, *SIZES[name]) for name in SIZES}


async def _sized(lab: Lab, size: int, events: int) -> Sample:
    pool = lab.pool(events, size=size)
    lab.clear_spool()
    bridge = lab.ours(BRIDGE_DEDUP__MAX_EVENTS=str(min(events // 4, 8_000)))
    async with measure.publishing(lab, bridge, pool) as judge:
        await measure.warm_up(bridge, judge, connections=FEW_CONNECTIONS)
        sample = await measure.interval(lab, bridge, judge, connections=FEW_CONNECTIONS)
    return {**sample, "body_bytes": pool.body_bytes}


def _turned(lab: Lab, ends: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return ends if lab.round % 2 == 0 else ends[::-1]
