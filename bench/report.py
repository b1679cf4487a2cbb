"""Write `docs/performance.md` and its chart anew from the latest results.

    python -m bench.report [RESULTS]

The page is its own template: only what stands between the markers is replaced, the prose around
them is for people to edit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.chart import chart
from bench.lab import VAR
from bench.process import ROOT
from bench.results import Results
from bench.tables import tables

RESULTS = VAR / "results.json"
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"

HEADINGS = {
    "bars": "Claims",
    "closed-64": "64 connections",
    "closed-256": "256 connections",
    "broker": "RabbitMQ alone",
    "open": "Open loop",
    "drain": "Draining",
    "growth": "Growth",
    "bodies": "Bodies",
    "void": "Not counted",
    "machine": "Machine",
}
OF_OTHERS = ("faults",)
"""Blocks that another run writes: ``bench.faults``."""

_BLOCK = re.compile(r"(<!-- bench:([a-z0-9-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def render(page: str, blocks: Mapping[str, str]) -> str:
    """Return the page with each marked block replaced; one that was not measured says so.

    Blocks that another run writes stay.
    """

    def block(match: re.Match[str]) -> str:
        if match[2] in OF_OTHERS and match[2] not in blocks:
            return match[0]
        text = blocks.get(match[2], "Nothing." if match[2] == "void" else "Not measured.")
        return f"{match[1]}\n{text}\n\n{match[3]}"

    return _BLOCK.sub(block, page)


def printed(results: Results) -> str:
    """Return all tables for a terminal."""
    found = tables(results)
    return "\n\n".join(f"{HEADINGS[name]}\n\n{text}" for name, text in found.items())


def write(results: Results) -> None:
    """Write page and chart."""
    PAGE.write_text(render(PAGE.read_text(), tables(results)))
    CHART.write_text(chart(results))


def write_block(name: str, text: str) -> None:
    """Write one block of the page, and leave the others as they are."""
    found = {match[2]: match[0] for match in _BLOCK.finditer(PAGE.read_text())}
    new = render(found[name], {name: text})
    PAGE.write_text(PAGE.read_text().replace(found[name], new))


def main() -> int:
    """Read results and write."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    if not path.exists():
        print(f"{path} is not there: run make bench", file=sys.stderr)
        return 1
    write(Results.load(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
