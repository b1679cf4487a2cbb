"""``python -m tests.system.faults.page`` writes the counts in docs/reliability.md anew.

From the counts of the latest long forms: ``make faults FAULTS=full``, ``make test-scale
FAULTS=full``. A list is left as it is when one of its rows has no counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reliability.md"

Counts = Mapping[str, Any]

_CLUSTER = "cluster: "
"""Beginning of the names of rows of the cluster; on the page its heading says so."""


@dataclass(frozen=True)
class Listing:
    """One list of the page, below a line of its own: where its counts are, and which rows it has.

    A line has the row's name, what was accepted and in parentheses the duplicates; then ``more``,
    the name of one more count and the words behind it. A count of 0 is left out.
    """

    results: str
    title: str
    has: Callable[[Counts], bool]
    more: tuple[str, str] | None = None

    def lines(self, found: Iterable[Counts]) -> list[str]:
        """Return its lines by name."""
        rows = sorted(filter(self.has, found), key=lambda counts: counts["row"].lower())
        return [self._line_of(counts) for counts in rows]

    def _line_of(self, counts: Counts) -> str:
        line = f"- {counts['row'].removeprefix(_CLUSTER)}: {counts['accepted']}"
        if duplicates := counts["duplicates"]:
            line += f" ({duplicates})"
        if self.more and counts[self.more[0]]:
            line += f", {counts[self.more[0]]} {self.more[1]}"
        return line


LISTINGS = (
    Listing(
        "faults",
        "Nothing was lost. How many events were accepted (and how many duplicates came):",
        lambda counts: not counts["lost"],
    ),
    Listing(
        "faults",
        "Only damage to the file itself (random bytes in its pages, a flipped bit in its log) costs"
        " events, exactly those that stood there:",
        lambda counts: bool(counts["lost"]),
        ("lost", "lost"),
    ),
    Listing(
        "scale",
        "How many events were sent, accepted and delivered (and how many duplicates came):",
        lambda counts: not counts["row"].startswith(_CLUSTER),
        ("violations", "out of order"),
    ),
    Listing(
        "scale",
        "How many events were sent, accepted at the first attempt and delivered in order (and how"
        " many duplicates came):",
        lambda counts: bool(counts["row"].startswith(_CLUSTER)),
        ("redelivered", "redelivered"),
    ),
)


def name_in(line: str) -> str:
    """Return the name of the row that a line shows."""
    return line.removeprefix("- ").rpartition(": ")[0]


def parted(text: str, listing: Listing) -> tuple[str, list[str], str]:
    """Return what stands before a list, its lines, and the rest of the page."""
    before, title, rest = text.partition(f"\n{listing.title}\n\n")
    lines, end, after = rest.partition("\n\n")
    return before + title, lines.split("\n"), end + after


def rewritten(text: str, listing: Listing, found: Iterable[Counts]) -> str:
    """Return the page with one list made of these counts.

    Raises ``LookupError`` when the page has a row of which there are none.
    """
    before, old, after = parted(text, listing)
    new = listing.lines(found)
    if absent := set(map(name_in, old)) - set(map(name_in, new)):
        raise LookupError(", ".join(sorted(absent)))
    return before + "\n".join(new) + after


def main() -> None:
    """Write the page."""
    for listing in LISTINGS:
        results = (ROOT / "var" / listing.results / "full").glob("*.json")
        found = [json.loads(path.read_text()) for path in results]
        try:
            PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), listing, found))
        except LookupError as absent:
            print(f"{listing.title}\nis left as it is: without counts are {absent}")


if __name__ == "__main__":
    main()
