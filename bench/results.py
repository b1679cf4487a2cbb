"""What a run has found, as it is kept in ``results.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.builds import INTERPRETED
from bench.stats import Spread, spread

Samples = dict[str, dict[str, list[dict[str, Any]]]]
"""By row and part: one sample for each round, ``void`` in those that must not count."""


@dataclass
class Results:
    """One run of one ``build`` of the bridge.

    ``complete`` if nothing was left out or shortened: only that may be published.
    """

    date: str
    command: str
    rounds: int
    seconds: float
    complete: bool
    build: str = INTERPRETED
    machine: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    rows: Samples = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` has written."""
        return cls(**json.loads(path.read_text()))

    def save(self, path: Path) -> None:
        """Write the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def samples(self, row: str, part: str) -> Sequence[dict[str, Any]]:
        """Return the samples of a part that count."""
        return [each for each in self.rows.get(row, {}).get(part, []) if "void" not in each]

    def spread(self, row: str, part: str, figure: str) -> Spread | None:
        """Return median, lowest and highest of a figure; None if there is none."""
        found = [each[figure] for each in self.samples(row, part) if each.get(figure) is not None]
        return spread(found) if found else None

    def median(self, row: str, part: str, figure: str) -> float | None:
        """Return the median of a figure; None if there is none."""
        found = self.spread(row, part, figure)
        return found.median if found else None

    def void(self, row: str) -> list[str]:
        """Return why measurements of a row do not count, one text for each."""
        parts = self.rows.get(row, {}).items()
        return [
            f"{part}: {each['void']}" for part, some in parts for each in some if "void" in each
        ]
