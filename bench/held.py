"""What very many events cost that wait for a queue which refuses them: memory, CPU, log.

    python -m bench.held EVENTS [SECONDS]

A spool with so many small events is made, all for one queue that is full. A bridge is started on
it, beside one with an empty spool, and watched for so many seconds from when it has read all. From
its start on it is sent events of other records for another queue, until one goes directly.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.process import ROOT, Bridge
from bridge.dev.rabbitmq import RabbitMQNode
from tests.helpers import consumer_queue
from tests.system.faults.webhooks import Webhooks

FULL: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
MEMORY_AT_MOST = 1.3
CPU_AT_MOST = 0.05
DIRECT_SECONDS_AT_MOST = 10.0
LOG_AT_MOST = 1_000_000
"""Bytes of the whole run."""


@dataclass(frozen=True, slots=True)
class Cost:
    """``memory`` and ``log`` in bytes, ``cpu`` as a part of one core.

    In seconds from the start: ``direct`` until a new event was published, ``slowest`` the longest
    answer up to then; ``read`` from there on, until all was read.
    """

    memory: float
    cpu: float
    log: int
    direct: float
    slowest: float
    read: float

    def __str__(self) -> str:
        """Show it in a line."""
        return (
            f"{self.memory / 1e6:.0f} MB, {self.cpu:.1%} of a core, {self.log / 1e3:.0f} kB of log,"
            f" a new event was published after {self.direct:.1f} s (slowest answer"
            f" {self.slowest * 1e3:.0f} ms), all was read {self.read:.1f} s later"
        )


async def watched(directory: Path, url: str, *, events: int, seconds: float) -> Cost:
    """Run a bridge on a spool with so many events, and return what it costs."""
    bridge = Bridge(directory, url, BRIDGE_SPOOL__MAX_BYTES=f"{1 << 40}")
    if events:
        made = [sys.executable, "-m", "bench.spools", str(bridge.spool), f"{events}", "0"]
        await asyncio.to_thread(subprocess.run, made, cwd=ROOT, check=True)
    begun = time.monotonic()
    await bridge.start()
    try:
        slowest = await _until_one_is_published(bridge)
        direct = time.monotonic() - begun
        read = await _everything_is_read(bridge)
        before, begun = await _cpu(bridge), time.monotonic()
        await asyncio.sleep(seconds)
        cpu = (await _cpu(bridge) - before) / (time.monotonic() - begun)
        log = bridge.log.stat().st_size
        memory = await _process(bridge, "resident_memory_bytes")
        return Cost(memory, cpu, log, direct, slowest, read)
    finally:
        await bridge.kill()


async def _until_one_is_published(bridge: Bridge) -> float:
    """Send an event of another record each moment; return the seconds of the slowest answer."""
    webhooks, slowest, answer = Webhooks("project.changed"), 0.0, b""
    for number in range(10**6):
        begun = time.monotonic()
        reply = await bridge.send(webhooks.request(f"new-{number}", key=number, number=number))
        answer = reply.body if reply else b""
        slowest = max(slowest, time.monotonic() - begun)
        if b'"published"' in answer:
            break
        await asyncio.sleep(0.1)
    return slowest


async def _everything_is_read(bridge: Bridge) -> float:
    """Return after how many seconds the CPU has come to rest."""
    begun, cpu = time.monotonic(), -1.0
    while await _cpu(bridge) - cpu > 0.1:
        cpu = await _cpu(bridge)
        await asyncio.sleep(2)
    return time.monotonic() - begun


async def _cpu(bridge: Bridge) -> float:
    return await _process(bridge, "cpu_seconds_total")


async def _process(bridge: Bridge, name: str) -> float:
    reply = await bridge._ask("/metrics") or b""
    found = (line.split() for line in reply.decode().splitlines())
    return next(float(line[1]) for line in found if line[:1] == [f"process_{name}"])


async def main(events: str, seconds: str = "60") -> int:
    """Measure both, print them, and return 1 if a bar is not met."""
    with tempfile.TemporaryDirectory(dir=ROOT / "var") as place, RabbitMQNode.start() as node:
        consumer_queue(node.url, "full", "contact.#", **FULL)
        consumer_queue(node.url, "well", "project.#")
        costs = []
        for number in (0, int(events)):
            directory = Path(place, f"{number}")
            directory.mkdir()  # noqa: ASYNC240  # nobody else waits
            costs.append(await watched(directory, node.url, events=number, seconds=float(seconds)))
            print(f"{number:>9,} held: {costs[-1]}", flush=True)
    none, many = costs
    ratio = many.memory / none.memory
    print(f"memory {ratio:.2f} of none")
    good = ratio <= MEMORY_AT_MOST and many.cpu <= CPU_AT_MOST and many.log <= LOG_AT_MOST
    return 0 if good and many.direct <= DIRECT_SECONDS_AT_MOST else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
