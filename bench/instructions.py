"""Count the instructions of an event, and compare them with the last count in `bench/cost.toml`.

    make check-cost                 # fails if an event costs 2 % more than the last time, or less
    make check-cost ARGS=--write    # writes the present count down

The builds that are in the tree are counted: the interpreted one, and the compiled one if there is
one. Another Python, C library or valgrind counts otherwise: each has a section of its own in the
file, and where there is none, nothing is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from bench.builds import COMPILED, INTERPRETED, interpreted_copy
from bench.callgrind import instructions
from bench.lab import VAR
from bench.process import ProgramFailed
from bridge.build import build

COST = Path(__file__).with_name("cost.toml")
BOUND = 0.02
"""Part by which a count may differ from the last one; without any change they differ by 0.003."""

EXIT_CHANGED = 1
Costs = Mapping[str, Mapping[str, int]]
"""Instructions of an event, by where they were counted and by build."""


def place() -> str:
    """Return what a count depends on beside the project's own code and its locked libraries."""
    python = f"Python {platform.python_version()} ({platform.python_compiler()})"
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    profiled = "optimized" if "--enable-optimizations" in options else "not optimized"
    libc = " ".join(platform.libc_ver())
    return f"{python}, {profiled}, {libc}, {_valgrind()}, {platform.machine()} {_vectors()}"


def _valgrind() -> str:
    try:
        asked = ["valgrind", "--version"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except OSError:
        return "no valgrind"


def _vectors() -> str:
    """Return which vectors valgrind offers: it has no wider ones than AVX2, and no SHA."""
    return "avx2" if " avx2" in Path("/proc/cpuinfo").read_text() else "no avx2"


def read(path: Path = COST) -> Costs:
    """Return the last counts."""
    return tomllib.loads(path.read_text())


def written(text: str, where: str, counts: Mapping[str, int]) -> str:
    """Return the file's text with the counts of this place; those of others stay as they are."""
    comment, _, _ = text.partition("\n[")
    costs = {**tomllib.loads(text)}
    costs[where] = {**costs.get(where, {}), **counts}
    parts = [f'["{name}"]\n{_lines(builds)}' for name, builds in sorted(costs.items())]
    return "\n".join([comment.rstrip("\n") + "\n", *parts])


def _lines(builds: Mapping[str, int]) -> str:
    return "".join(f"{name} = {count:_}\n" for name, count in sorted(builds.items()))


def verdict(name: str, count: int, last: int | None) -> str | None:
    """Return what is wrong with a count of a build, None if nothing is."""
    if last is None or abs(count / last - 1) <= BOUND:
        return None
    if count > last:
        return f"{name}: an event costs {count / last - 1:.1%} more than the last time"
    return f"{name}: an event costs {1 - count / last:.1%} less: write it down with ARGS=--write"


def samples() -> dict[str, dict[str, list[dict[str, float]]]]:
    """Return the last counts of this place, as results of a benchmark have their samples."""
    counts = read().get(place(), {})
    return {"instructions": {name: [{"count": count}] for name, count in counts.items()}}


async def counted() -> dict[str, int]:
    """Return the instructions of an event in each build that is in the tree."""
    VAR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=VAR) as directory:
        copy = interpreted_copy(Path(directory))
        found = {INTERPRETED: await instructions(PYTHONPATH=str(copy))}
    return found | ({COMPILED: await instructions()} if build() == COMPILED else {})


def main() -> int:
    """Count, and compare or write."""
    parser = argparse.ArgumentParser(
        prog="make check-cost", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the counts down")
    options = parser.parse_args()
    where = place()
    last = read().get(where)
    if last is None and not options.write:
        print(f"skipped: {COST.name} has no counts of {where}")
        return 0
    try:
        counts = asyncio.run(counted())
    except ProgramFailed as error:
        print(error, file=sys.stderr)
        return EXIT_CHANGED
    for name, count in counts.items():
        print(f"{name}: {count:,} instructions per event, {(last or {}).get(name, 0):,} last time")
    if options.write:
        COST.write_text(written(COST.read_text(), where, counts))
        return 0
    wrong = [verdict(name, count, (last or {}).get(name)) for name, count in counts.items()]
    print("\n".join(filter(None, wrong)), end="\n" if any(wrong) else "", file=sys.stderr)
    return EXIT_CHANGED if any(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
