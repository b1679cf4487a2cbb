"""Rounds: every row once, in an order that moves on, so that noise hits all rows alike."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from bench.lab import Lab
from bench.measure import Sample
from bench.process import ProgramFailed
from bench.results import Samples
from bench.rows import Row
from bench.stats import rotated


@dataclass
class Progress:
    """Tells how long it still takes, by how long each row took so far."""

    rows: Sequence[Row]
    rounds: int
    begun: float
    took: dict[str, float] = field(default_factory=dict)
    done: int = 0

    def note(self, row: Row, seconds: float) -> None:
        """Take how long a row was measured."""
        self.done += 1
        self.took[row.key] = seconds

    @property
    def round_seconds(self) -> float:
        """Return how long a round is; rows not seen yet are taken for average ones."""
        return sum(self.took.values()) / max(1, len(self.took)) * len(self.rows)

    def left(self) -> str:
        """Return the time left in words."""
        share = 1 - self.done / (self.rounds * len(self.rows))
        seconds = self.round_seconds * self.rounds * share
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"

    def fits(self, most_seconds: float) -> bool:
        """Return whether another round will be over in time."""
        return time.monotonic() - self.begun + self.round_seconds <= most_seconds


async def prepare(lab: Lab, rows: Sequence[Row]) -> None:
    """Make what takes long to make, and let the disk come to rest."""
    for row in rows:
        if row.prepare is not None:
            print(f"preparing {row.key} ...", flush=True)
            await row.prepare(lab)
    await asyncio.to_thread(os.sync)


async def rounds(lab: Lab, rows: Sequence[Row], samples: Samples) -> AsyncIterator[int]:
    """Measure, and yield after each round how many there were; fewer than wanted if time runs out.

    Fills ``samples`` as it goes, so that an interrupt loses one row only.
    """
    progress = Progress(rows, lab.length.rounds, lab.begun)
    for number in range(lab.length.rounds):
        if number and not progress.fits(lab.length.most_seconds):
            print(f"no time for more than {number} rounds on this machine", flush=True)
            return
        lab.round = number
        for row in rotated(rows, number * max(1, len(rows) // lab.length.rounds)):
            await _one(lab, row, progress, samples)
        yield number + 1


async def _one(lab: Lab, row: Row, progress: Progress, samples: Samples) -> None:
    print(f"round {lab.round + 1}/{progress.rounds}  {row.key:<18} ", end="", flush=True)
    started = time.monotonic()
    found = await _measured(lab, row)
    seconds = time.monotonic() - started
    progress.note(row, seconds)
    for part, sample in found.items():
        samples.setdefault(row.key, {}).setdefault(part, []).append(sample)
    print(f"{_line(found)}   ({seconds:.0f} s; {progress.left()})", flush=True)


async def _measured(lab: Lab, row: Row) -> dict[str, Sample]:
    try:
        return await row.run(lab)
    except (ProgramFailed, OSError, TimeoutError) as error:  # the other rows are still wanted
        print(f"{type(error).__name__}: {error}", flush=True)
        return {"all": {"void": f"{type(error).__name__}, see above"}}


def _line(found: dict[str, Sample]) -> str:
    return "  ".join(f"{part} {_brief(sample)}" for part, sample in found.items())


def _brief(sample: Sample) -> str:
    if "void" in sample:
        return f"VOID: {sample['void']}"
    figures = [
        ("rate", "{:,.0f}/s", 1),
        ("cpu_us", "{:.0f} us", 1),
        ("p99_us", "p99 {:.1f} ms", 1000),
    ]
    return " ".join(
        text.format(sample[name] / unit) for name, text, unit in figures if name in sample
    )
