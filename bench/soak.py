"""Steady load and random faults for as long as you like: what was accepted must come out.

    python -m bench.soak --minutes 20 --seed 7

One RabbitMQ, one bridge, a proxy between them, senders that behave like SuperOffice, and consumers
that keep a ledger. The same seed gives the same faults in the same order. Ends with status 1 if an
event is lost, out of order or parked, and then leaves the bridge's log in ``var/``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench.chaos import QUEUE, Chaos, UvloopProxy, bind, now
from bench.process import ROOT, Bridge
from bridge.core.message import PARKED, UNROUTED
from bridge.dev.rabbitmq import RabbitMQNode
from tests.helpers import amqp
from tests.system.faults.client import Connection
from tests.system.faults.consumer import Consumer
from tests.system.faults.ledger import SEQUENTIAL, Ledger
from tests.system.faults.senders import Senders, Traffic

RATE = 1500
"""Events a second, while the bridge is there."""

TRAFFIC = Traffic(rate=RATE, sequential=64, concurrent=2, at_once=2, pace=1)
RECORDS_PER_SENDER = 32
PROGRESS_SECONDS = 10.0
SETTLE_SECONDS = 180.0
RESULT = ROOT / "var" / "soak.json"
LOG = ROOT / "var" / "soak.log"


class SoakLedger(Ledger):
    """Judges the order of accepted events only.

    An event that its sender gave up may still sit in a connection of a dead bridge, and come out
    after its successors: nobody promised anything about it. It is counted as ``late``.
    """

    late = 0

    def _note_first(self, queue: str, record: str, number: int, redelivered: bool) -> None:
        overtaken = number < self._latest.get((queue, record), -1)
        if overtaken and record.startswith(SEQUENTIAL) and not self._accepted[number]:
            self.late += 1
        else:
            super()._note_first(queue, record, number, redelivered)


class SoakSenders(Senders):
    """Each sender has records of its own, in no particular order, and one event at a time."""

    async def _send(self, connection: Connection, kind: str, record: int) -> None:
        if kind == SEQUENTIAL:
            record += 1000 * random.randrange(RECORDS_PER_SENDER)
        await super()._send(connection, kind, record)


@dataclass
class Soak:
    """One run: what takes part in it, and what was found."""

    node: RabbitMQNode
    bridge: Bridge
    chaos: Chaos
    ledger: SoakLedger
    senders: Senders
    consumers: list[Consumer]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    begun: float = field(default_factory=time.monotonic)
    rss: dict[str, float] = field(default_factory=dict)
    failure: str = ""

    async def run(self, seconds: float) -> None:
        """Send and break things for so long, then wait until everything has come out."""
        progress = asyncio.create_task(self._progress())
        self.rss = {"start": self.bridge.rss()}
        try:
            async with self.senders:
                await self.chaos.run(self.stopping, seconds)
        except Exception as error:  # the accounting is wanted all the more
            self.failure = f"{type(error).__name__}: {error}"
            await self.chaos.repair()
        await self._settle()
        progress.cancel()
        self.rss["end"] = self.bridge.rss()

    async def _progress(self) -> None:
        before, accepted = self.begun, 0
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            counts = self.ledger.counts()
            spooled = await self.bridge.metric("spool_events")
            at = time.monotonic()
            rate = (counts.accepted - accepted) / (at - before)
            before, accepted = at, counts.accepted
            self._note_rss(at - self.begun)
            waiting = "-" if spooled is None else f"{spooled:.0f}"
            print(
                f"{now()}  {at - self.begun:5.0f} s  sent {counts.sent}  "
                f"accepted {counts.accepted} ({rate:.0f}/s)  delivered {counts.delivered}  "
                f"spooled {waiting}  given up {self.senders.given_up}  "
                f"duplicates {counts.duplicates}  "
                f"violations {counts.violations}  {self.chaos.current}",
                flush=True,
            )

    def _note_rss(self, elapsed: float) -> None:
        rss = self.bridge.rss()
        if elapsed >= 60:
            self.rss.setdefault("after 1 min", rss)
        self.rss["highest"] = max(self.rss.get("highest", 0), rss)

    async def _settle(self) -> None:
        """Wait until the spool is empty and everything accepted came out, within a bound."""
        print(f"{now()}  no more faults and events; waiting for what is under way", flush=True)
        if not await _until(self._is_settled):
            self.failure = self.failure or f"not all came out within {SETTLE_SECONDS:.0f} s"
        finishing = [asyncio.to_thread(consumer.finish) for consumer in self.consumers]
        try:
            await asyncio.wait_for(asyncio.gather(*finishing), SETTLE_SECONDS)
        except TimeoutError:
            self.failure = self.failure or f"the queues are not empty after {SETTLE_SECONDS:.0f} s"

    async def _is_settled(self) -> bool:
        waiting = [await self.bridge.metric(name) for name in ("spool_events", "in_flight")]
        return waiting == [0, 0] and self.ledger.counts().lost == 0

    def result(self, *, seed: int, minutes: float) -> dict[str, Any]:
        """Return what was found, ready for JSON."""
        counts = asdict(self.ledger.counts())
        elapsed = time.monotonic() - self.begun
        return {
            "command": f"make soak MINUTES={minutes:g} SEED={seed}",
            "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, "
            f"RabbitMQ {self.node.version}",
            "duration_seconds": round(elapsed, 1),
            "accepted_per_second": round(counts["accepted"] / elapsed, 1),
            "faults": dict(sorted(self.chaos.counts.items())),
            **counts,
            "answers": dict(self.senders.statuses.most_common()),
            "slowest_answer_seconds": round(self.senders.slowest, 2),
            "given_up": self.senders.given_up,
            "late_and_not_accepted": self.ledger.late,
            "parked": _waiting_in(self.node, PARKED),
            "unrouted": self.consumers[1].taken,
            "rss_mib": self.rss,
            "failure": self.failure,
        }

    def explain(self) -> None:
        """Print what is wrong in detail, and keep the log."""
        lost = self.ledger.lost(20)
        print("\n".join([f"lost: {lost}", *self.ledger.examples]))
        told = [f'-{number}"' for number in lost]
        told += [
            word for example in self.ledger.examples for word in example.split() if "-" in word
        ]
        for _, line in zip(range(200), self.bridge.mentions(told) if told else (), strict=False):
            print(line)
        print(f"\nend of the bridge's log, all of which is in {LOG}:\n{self.bridge.tail()}")
        shutil.copyfile(self.bridge.log, LOG)


@asynccontextmanager
async def prepared(seed: int, directory: Path) -> AsyncIterator[Soak]:
    """Start everything that takes part."""
    with RabbitMQNode.start(directory) as node:
        async with UvloopProxy(node.port) as proxy:
            bridge = Bridge(directory, proxy.url)
            ledger, consumers = SoakLedger(), []
            try:
                await asyncio.to_thread(bind, node)
                await bridge.start()
                await _until(bridge.is_publishing)
                consumers = [Consumer(node.url, queue, ledger) for queue in (QUEUE, UNROUTED)]
                chaos = Chaos(random.Random(seed), node, proxy, bridge)
                senders = SoakSenders(bridge.port, ledger, TRAFFIC)
                yield Soak(node, bridge, chaos, ledger, senders, consumers)
            finally:
                bridge.close()
                for consumer in consumers:
                    await asyncio.to_thread(consumer.stop)


async def soak(minutes: float, seed: int) -> int:
    """Run, report, and return the exit status."""
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        async with prepared(seed, Path(directory)) as run:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, run.stopping.set)
            await run.run(minutes * 60)
            result = await asyncio.to_thread(run.result, seed=seed, minutes=minutes)
            bad = any(result[name] for name in ("lost", "violations", "mixed", "parked", "failure"))
            _report(result)
            if bad:
                run.explain()
    print("FAILED" if bad else "passed")
    return int(bad)


async def _until(condition: Callable[[], Awaitable[bool]]) -> bool:
    """Return whether a condition holds within a bound."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not (holds := await condition()) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    return holds


def _report(result: dict[str, Any]) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    print()
    for name, value in result.items():
        label = name.replace("_", " ")
        if isinstance(value, dict):
            print(label)
            for key, each in value.items():
                print(f"  {key:<34}{each:>12}")
        else:
            print(f"{label:<24}{value}")


def _waiting_in(node: RabbitMQNode, queue: str) -> int:
    with amqp(node.url) as channel:
        frame: Any = channel.queue_declare(queue, passive=True)
        return int(frame.method.message_count)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="how long faults are made")
    parser.add_argument("--seed", type=int, help="of the faults (default: a random one)")
    options = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    return uvloop.run(soak(options.minutes, seed))


if __name__ == "__main__":
    sys.exit(main())
