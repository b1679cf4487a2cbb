"""Rounds: every row once, in an order that moves on, so that noise hits all rows alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.lab import Lab
from bench.measure import Sample
from bench.rows import Row
from bench.stats import rotated

Samples = dict[str, dict[str, list[Sample]]]
"""By row and part: one sample for each round."""


@dataclass
class Progress:
    """Tells where we are and how long it still takes."""

    steps: int
    begun: float = field(default_factory=time.monotonic)
    done: int = 0
    took: dict[str, float] = field(default_factory=dict)

    def note(self, key: str, seconds: float) -> None:
        """Take how long a step was."""
        self.done += 1
        self.took[key] = seconds

    def left(self) -> str:
        """Return the time left, from the steps so far."""
        known = sum(self.took.values()) / max(1, len(self.took))
        seconds = known * (self.steps - self.done)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"


async def rounds(lab: Lab, rows: Sequence[Row], count: int, samples: Samples) -> None:
    """Fill ``samples``, so that what is there already is not lost to an interrupt."""
    progress = Progress(count * len(rows))
    for number in range(count):
        for row in rotated(rows, number * max(1, len(rows) // count)):
            print(f"round {number + 1}/{count}  {row.key:<22} ", end="", flush=True)
            started = time.monotonic()
            found = await row.run(lab)
            progress.note(row.key, time.monotonic() - started)
            for part, sample in found.items():
                samples.setdefault(row.key, {}).setdefault(part, []).append(sample)
            print(f"{_line(found)}   {progress.left()}", flush=True)


def _line(found: dict[str, Sample]) -> str:
    return "  ".join(f"{part} {_brief(sample)}" for part, sample in found.items())


def _brief(sample: Sample) -> str:
    if "void" in sample:
        return f"VOID: {sample['void']}"
    figures = [("rate", "{:,.0f}/s"), ("cpu_us", "{:.0f} us"), ("p99_ms", "p99 {:.2f} ms")]
    return " ".join(text.format(sample[name]) for name, text in figures if name in sample)
