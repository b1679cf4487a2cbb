"""Measure the bridge and its peers: `make bench`, or `make bench QUICK=1`."""

from __future__ import annotations

import argparse
import sys

import uvloop

from bench.lab import FULL, QUICK, Length, laboratory
from bench.rows import ROWS, Row
from bench.runner import Samples, rounds


async def bench(rows: list[Row], length: Length) -> int:
    samples: Samples = {}
    with laboratory(length) as lab:
        await rounds(lab, rows, length.rounds, samples)
    for key, parts in samples.items():
        for part, found in parts.items():
            from bench.stats import spread

            print(
                f"{key:<20}{part:<6}",
                *(
                    f"{n} {spread([f[n] for f in found]).median:,.1f}"
                    for n in ("rate", "p50_us", "p99_us", "p999_us", "cpu_us", "rss_mib")
                ),
            )
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-k", "--rows", action="append", default=[])
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    length = QUICK if options.quick else FULL
    from dataclasses import replace

    if options.rounds:
        length = replace(length, rounds=options.rounds)
    rows = [r for r in ROWS if not options.rows or r.key in options.rows]
    return uvloop.run(bench(rows, length))


if __name__ == "__main__":
    sys.exit(main())
