"""``python -m tests.system.faults.page`` writes the counts in docs/reliability.md anew.

From the counts of the latest long forms: ``make faults FAULTS=full``, ``make test-scale
FAULTS=full``. A table or list is left as it is when one of its rows has no counts.
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

ACCEPTED, DUPLICATES = ("accepted", "accepted (200)"), ("duplicates", "duplicates")


_CLUSTER = "cluster: "
"""Beginning of the names of rows of the cluster; on the page its heading says so."""


@dataclass(frozen=True)
class Table:
    """One table: where its counts are, which rows it has, and the columns after the row's name."""

    results: str
    title: str
    columns: tuple[tuple[str, str], ...]
    has: Callable[[Counts], bool]

    @property
    def head(self) -> str:
        """Return the line that begins the table, and no other one. One more line follows."""
        return _line([self.title, *(title for _, title in self.columns)])

    def body(self, found: Iterable[Counts]) -> list[str]:
        """Return its rows by name."""
        rows = sorted(filter(self.has, found), key=lambda counts: counts["row"].lower())
        return [self.line_of(counts) for counts in rows]

    def line_of(self, counts: Counts) -> str:
        """Return the line of a row."""
        name = counts["row"].removeprefix(_CLUSTER)
        return _line([name, *(str(counts[column]) for column, _ in self.columns)])

    def name_in(self, line: str) -> str:
        """Return the name of the row that a line shows."""
        return line.split(" | ")[0].removeprefix("| ")


@dataclass(frozen=True)
class Listing(Table):
    """A list: of each row the first column, and the second one in parentheses unless it is 0."""

    @property
    def head(self) -> str:
        """Return the line above the list."""
        return self.title

    def line_of(self, counts: Counts) -> str:
        """Return the line of a row."""
        (first, _), (second, _) = self.columns
        more = f" ({counts[second]})" if counts[second] else ""
        return f"- {counts['row']}: {counts[first]}{more}"

    def name_in(self, line: str) -> str:
        """Return the name of the row that a line shows."""
        return line.removeprefix("- ").rpartition(": ")[0]


TABLES = (
    Listing(
        "faults",
        "Nothing was lost. How many events were accepted (and how many duplicates came):",
        (ACCEPTED, DUPLICATES),
        lambda counts: not counts["lost"],
    ),
    Table(
        "faults",
        "what happened",
        (ACCEPTED, ("lost", "lost"), DUPLICATES),
        lambda counts: bool(counts["lost"]),
    ),
    Table(
        "scale",
        "what happened",
        (ACCEPTED, DUPLICATES, ("violations", "order violations")),
        lambda counts: not counts["row"].startswith(_CLUSTER),
    ),
    Table(
        "scale",
        "what happened",
        (ACCEPTED, DUPLICATES, ("redelivered", "redelivered")),
        lambda counts: bool(counts["row"].startswith(_CLUSTER)),
    ),
)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rewritten(text: str, table: Table, found: Iterable[Counts]) -> str:
    """Return the page with one table made of these counts.

    Raises ``LookupError`` when the page has a row of which there are none.
    """
    before, head, rest = text.partition(table.head + "\n")
    rule, *lines = rest.split("\n")
    length = lines.index("")
    rows = table.body(found)
    if absent := set(map(table.name_in, lines[:length])) - set(map(table.name_in, rows)):
        raise LookupError(", ".join(sorted(absent)))
    return before + head + "\n".join([rule, *rows, *lines[length:]])


def main() -> None:
    """Write the page."""
    for table in TABLES:
        results = (ROOT / "var" / table.results / "full").glob("*.json")
        found = [json.loads(path.read_text()) for path in results]
        try:
            PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), table, found))
        except LookupError as absent:
            print(f"{table.head}\nis left as it is: without counts are {absent}")


if __name__ == "__main__":
    main()
