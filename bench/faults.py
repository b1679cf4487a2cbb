"""Put the bridge and its peers through five faults: `make bench-faults`.

Each gets 200 posts a second that do not wait for each other and are not repeated, on a fresh broker
with a queue that nobody reads meanwhile. A program that ends is started again at once.
Afterwards all queues are emptied, and what came out is compared with what was answered 200.

Prints the tables, writes var/bench/faults.json and, if nothing was left out, docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from bench import report, tables
from bench.lab import QUICK, Lab, laboratory
from bench.ordeal import Counts, Ordeal
from bench.process import ProgramFailed
from bench.rows import CONTENDERS, Contender

BEFORE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens while posts are sent, which go on for some seconds after it."""

    key: str
    title: str
    after: float
    happens: Callable[[Ordeal], Coroutine[Any, Any, object]]
    bound: bool = True


async def _broker_killed(ordeal: Ordeal) -> None:
    await ordeal.at(BEFORE_SECONDS)
    await asyncio.to_thread(ordeal.node.kill)
    await ordeal.at(BEFORE_SECONDS + 6)
    await asyncio.to_thread(ordeal.node.restart)


async def _broker_frozen(ordeal: Ordeal) -> None:
    await ordeal.at(BEFORE_SECONDS)
    await asyncio.to_thread(ordeal.node.freeze)
    await ordeal.at(BEFORE_SECONDS + 8)
    await asyncio.to_thread(ordeal.node.thaw)


async def _memory_alarm(ordeal: Ordeal) -> None:
    await ordeal.at(BEFORE_SECONDS)
    await asyncio.to_thread(ordeal.node.raise_alarm)
    await ordeal.at(BEFORE_SECONDS + 8)
    await asyncio.to_thread(ordeal.node.clear_alarm)


async def _killed_twice(ordeal: Ordeal) -> None:
    for seconds in (BEFORE_SECONDS, 2 * BEFORE_SECONDS):
        await ordeal.at(seconds)
        ordeal.program.end()


async def _nothing(ordeal: Ordeal) -> None:
    """Nobody is bound: that is the fault."""


FAULTS = (
    Fault("killed", "the broker is killed, and back after 6 s", 6, _broker_killed),
    Fault("frozen", "the broker is frozen for 8 s", 6, _broker_frozen),
    Fault("unbound", "no queue is bound", 4, _nothing, bound=False),
    Fault("alarm", "a memory alarm for 8 s", 7, _memory_alarm),
    Fault("restarts", "the program itself is killed twice", 4, _killed_twice),
)

Found = dict[str, dict[str, Counts | None]]
"""By fault and contender."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="make bench-faults",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("-k", "--rows", action="append", default=[], help="only these programs")
    parser.add_argument("--fault", action="append", default=[], help="only these faults",
                        choices=[fault.key for fault in FAULTS])  # fmt: skip
    options = parser.parse_args(arguments)
    there = []
    for contender in CONTENDERS:
        if reason := contender.missing():
            print(f"skipped: {contender.key}: {reason}")
        elif not options.rows or contender.key in options.rows:
            there.append(contender)
    faults = [fault for fault in FAULTS if not options.fault or fault.key in options.fault]
    found = uvloop.run(_run(there, faults))
    text = tables.faults({fault.key: fault.title for fault in faults}, found)
    print(f"\n{text}\n")
    path = report.RESULTS.with_name("faults.json")
    path.write_text(json.dumps(found, default=asdict, indent=1) + "\n")
    if len(there) == len(CONTENDERS) and len(faults) == len(FAULTS):
        report.write_block("faults", text)
        print(f"wrote {report.PAGE.name}")
    return 0


async def _run(contenders: Sequence[Contender], faults: Sequence[Fault]) -> Found:
    found: Found = {}
    with laboratory(QUICK) as lab:
        for fault in faults:
            for contender in contenders:
                counts = await _one(lab, contender, fault)
                print(f"{fault.key:<9} {contender.key:<15} {counts}", flush=True)
                found.setdefault(fault.key, {})[contender.title] = counts
    return found


async def _one(lab: Lab, contender: Contender, fault: Fault) -> Counts | None:
    """Return what became of the posts; None if the program did not even start."""
    try:
        async with Ordeal(lab.node, contender.made(lab), bound=fault.bound) as ordeal:
            return await ordeal.run(fault.after, fault.happens(ordeal))
    except ProgramFailed as error:
        print(error, file=sys.stderr)
        return None
    finally:
        lab.clear_spool()


if __name__ == "__main__":
    sys.exit(main())
