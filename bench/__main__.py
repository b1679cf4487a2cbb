"""Measure the bridge and its peers: `make bench`, or in short `make bench QUICK=1`.

Prints tables and writes var/bench/results.json. A run that leaves nothing out also writes
docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bench import instructions, parity, report
from bench.lab import CATALOGUE, FULL, NODE_PEERS, QUICK, Lab, Length, laboratory
from bench.machine import facts
from bench.pool import Bodies
from bench.results import Results
from bench.rows import ROWS, Row, chosen, rows_of
from bench.runner import prepare, rounds
from bridge.build import build

EXIT_NOT_EQUAL = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
BUSY = 0.5
"""Average number of running processes, above which somebody else uses the cores."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter, under 10 minutes")
    parser.add_argument("-k", "--rows", action="append", default=[], metavar="TEXT",
                        help="only rows whose key contains this; may be repeated")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--seconds", type=int, help="how long each measurement is")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT",
                        help="another checkout, whose bridge drains a spool too")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the keys of all rows")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{row.key:<20}{row.title}" for row in ROWS))
        return 0
    return run(options)


def run(options: argparse.Namespace) -> int:
    """Measure what the options ask for and return the exit status."""
    whole = rows_of(build=build(), against=options.against)
    length, rows = length_of(options), chosen(options.rows, whole)
    skipped = {row.key: reason for row in rows if (reason := row.missing())}
    if not rows:
        print(f"no row is called {' or '.join(options.rows)}: see --list", file=sys.stderr)
        return EXIT_USAGE
    for reason in dict.fromkeys(skipped.values()):
        print(f"skipped: {', '.join(k for k, why in skipped.items() if why == reason)}: {reason}")
    results = Results(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        command=f"make bench{command_of(options)}",
        rounds=length.rounds,
        seconds=length.seconds,
        complete=length == FULL and rows == whole and not skipped,
        build=build(),
        skipped=skipped,
        rows=instructions.samples(),
    )
    wanted = [row for row in rows if row.key not in skipped]
    try:
        uvloop.run(measured(results, wanted, length, options.against))
    except (KeyboardInterrupt, asyncio.CancelledError):
        results.complete = False
        published(results)
        return EXIT_INTERRUPTED
    except NotEqual as error:
        print(error, file=sys.stderr)
        return EXIT_NOT_EQUAL
    return published(results)


def length_of(options: argparse.Namespace) -> Length:
    """Return how long to measure."""
    length = QUICK if options.quick else FULL
    given = {name: getattr(options, name) for name in ("rounds", "seconds")}
    return replace(length, **{name: value for name, value in given.items() if value})


def command_of(options: argparse.Namespace) -> str:
    """Return the options as they are given to make."""
    words = [f"-k {name}" for name in options.rows]
    words += [
        f"--{name} {value:g}" for name in ("rounds", "seconds") if (value := getattr(options, name))
    ]
    words += ["--against ..."] if options.against else []
    return (" QUICK=1" if options.quick else "") + (f" ARGS='{' '.join(words)}'" if words else "")


class NotEqual(Exception):
    """A peer of equal work does not do equal work: nothing was measured."""


async def measured(
    results: Results, rows: list[Row], length: Length, against: Path | None = None
) -> None:
    """Fill the results; SIGTERM ends it as Ctrl-C does, so that nothing is left running."""
    this = asyncio.current_task()
    assert this is not None  # noqa: S101  # we are in it
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"this machine is busy (load {load:.1f}): expect noise instead of figures")
    with laboratory(length, against) as lab:
        check_equality(lab, rows)
        results.machine = {"load before": f"{load:.1f}", **facts(lab)}
        pool = lab.pool()
        results.notes = {
            "date": results.date,
            "command": results.command,
            "build": results.build,
            "rounds": "less than one",
            "events": f"{pool.events:,} of contact.created, {pool.body_bytes} bytes each, signed",
        }
        await prepare(lab, rows)
        done = 0
        async for done in rounds(lab, rows, results.rows):
            results.notes["rounds"] = f"{done}, each measurement {results.seconds:g} s"
        results.complete &= done == results.rounds


def check_equality(lab: Lab, rows: list[Row]) -> None:
    """Raise ``NotEqual`` unless Node's peer builds our messages from the pool's bodies."""
    if not any(row.key.startswith("fastify-equal") for row in rows):
        return
    made = Bodies()
    bodies = [made(number) for number in range(0, lab.pool().events, 1000)]
    theirs = parity.node_messages(NODE_PEERS, lab.directory / CATALOGUE, bodies)
    for body, message in zip(bodies, theirs, strict=True):
        if different := parity.difference(message, parity.as_json(parity.our_message(body))):
            raise NotEqual(f"Fastify's message of equal work is another one: {different}")


def published(results: Results) -> int:
    """Save, print, and write the page if the run was a whole one."""
    results.save(report.RESULTS)
    print(f"\n{report.printed(results)}\n")
    if results.complete:
        report.write(results)
        print(f"wrote {report.PAGE.name} and {report.CHART.name} in {report.PAGE.parent}")
    else:
        print("docs/performance.md is left as it is: this was not a whole run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
