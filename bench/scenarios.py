"""How each kind of row is measured."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench import measure
from bench.lab import BENTO_CONFIG, POOL_EVENTS, Lab, nobody_listens
from bench.load import Sequence
from bench.load import open_loop as load_at
from bench.measure import Judge, Sample, SpoolJudge
from bench.process import Program, last_line, output

CONNECTIONS = (64, 256)
SLOW_FSYNC = Path(__file__).with_name("slow_fsync.c")

Made = Callable[[Lab], Program]
Samples = dict[str, Sample]
"""By part of a row."""

Run = Callable[[Lab], Awaitable[Samples]]


def ours(lab: Lab) -> Program:
    """Return the bridge with an empty spool."""
    lab.clear_spool()
    return lab.ours()


def python(name: str) -> Made:
    """Return what makes a peer in Python."""
    return lambda lab: lab.python_peer(name)


def node(name: str) -> Made:
    """Return what makes a peer on Node."""
    return lambda lab: lab.node_peer(name)


def built(name: str) -> Made:
    """Return what makes a peer that is a binary."""
    return lambda lab: lab.built_peer(name)


def bento(lab: Lab) -> Program:
    """Return Bento, which answers after the confirm."""
    return lab.built_peer("bento", "--config", str(BENTO_CONFIG))


def bento_buffered(lab: Lab) -> Program:
    """Return Bento with a buffer on disk, which answers when an event is in it."""
    lab.clear_spool()
    buffer = "buffer.sqlite.path=spool.db"
    return lab.built_peer("bento", "--config", str(BENTO_CONFIG), "--set", buffer)


def interpreted(lab: Lab) -> Program:
    """Return the bridge with an empty spool and nothing compiled."""
    lab.clear_spool()
    return lab.interpreted()


async def answering(lab: Lab) -> Samples:
    """Measure the floor: nothing comes out of it."""
    program = lab.python_peer("floor")
    async with measure.running(program):
        return await measure.measured(lab, program, Judge(Sequence(lab.pool())), CONNECTIONS)


async def broker_alone(lab: Lab) -> Samples:
    """Measure how much RabbitMQ takes from one channel."""
    async with measure.consuming(lab, POOL_EVENTS) as consumer:
        seconds, events = str(lab.length.seconds), str(POOL_EVENTS)
        command = [sys.executable, "-m", "bench.flood", lab.node.url, seconds, events]
        sample: Sample = json.loads(last_line(await output(command)))
        await consumer.until(sample["accepted"], seconds=measure.SETTLE_SECONDS)
        sample["delivered"] = consumer.total
        if consumer.total < sample["accepted"]:
            sample["void"] = f"{sample['accepted'] - consumer.total} messages were not delivered"
    return {"w256": sample}


def publishing(made: Made) -> Run:
    """Measure what publishes to the broker, with 64 and 256 connections."""

    async def run(lab: Lab) -> Samples:
        program = made(lab)
        async with measure.publishing(lab, program) as judge:
            return await measure.measured(lab, program, judge, CONNECTIONS)

    return run


async def spooling(lab: Lab, environ: Mapping[str, str] | None = None) -> Samples:
    """Measure ours while the broker is down."""
    lab.clear_spool()
    with nobody_listens() as url:
        bridge = lab.ours(broker=url, **(environ or {}))
        async with measure.running(bridge):
            judge = SpoolJudge(Sequence(lab.pool()), bridge)
            samples = await measure.measured(lab, bridge, judge, CONNECTIONS)
    lab.clear_spool()
    return samples


async def spooling_slowly(lab: Lab) -> Samples:
    """Measure ours while the broker is down and the disk is slow."""
    library = lab.directory / "slow_fsync.so"
    if not library.exists():
        await output(["cc", "-shared", "-fPIC", "-o", str(library), str(SLOW_FSYNC), "-ldl"])
    return await spooling(lab, {"LD_PRELOAD": str(library)})


def has_compiler() -> str | None:
    """Say what is missing for the slow disk."""
    return None if shutil.which("cc") else "there is no C compiler: apt-get install gcc libc6-dev"


def open_loop(made: Made, rate: float) -> Run:
    """Measure latency at a rate that does not depend on the answers."""

    async def run(lab: Lab) -> Samples:
        program = made(lab)
        length = lab.length
        async with measure.publishing(lab, program) as judge:
            load = load_at(
                judge.sent,
                program.port,
                rate=rate,
                warm=length.warm_seconds,
                seconds=length.seconds,
            )
            return {f"r{rate:.0f}": await measure.costed(program, judge, load)}

    return run
