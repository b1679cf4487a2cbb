"""``python -m tests.system.faults`` prints the counts of the latest run of each row, as Markdown.

Of the short form, or of the long one with ``FAULTS=full`` in the environment; with ``var/scale`` as
its argument those of ``make test-scale``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

from tests.system.faults.world import FORM, RESULTS

COLUMNS = (
    ("row", "what happened"),
    ("form", "form"),
    ("sent", "sent"),
    ("accepted", "accepted (200)"),
    ("delivered", "delivered"),
    ("lost", "lost"),
    ("duplicates", "duplicates"),
    ("redelivered", "redelivered"),
    ("violations", "order violations"),
    ("seconds", "seconds"),
)


def main() -> None:
    """Print the table."""
    results = Path(sys.argv[1]) / FORM if sys.argv[1:] else RESULTS
    rows = [json.loads(path.read_text()) for path in results.glob("*.json")]
    if not rows:
        print(f"{results} is empty: run `make faults`, or `make faults FAULTS=full`")
        return
    print("|", " | ".join(title for _, title in COLUMNS), "|")
    print("|", " | ".join("---" if name in ("row", "form") else "---:" for name, _ in COLUMNS), "|")
    for row in sorted(rows, key=lambda each: str(each["row"]).lower()):
        print("|", " | ".join(str(row[name]) for name, _ in COLUMNS), "|")
    for row in rows:
        for what, seconds in row.get("figures", {}).items():
            spread = f"{min(seconds)} to {max(seconds)} s, {len(seconds)} times"
            print(f"- {row['row']}: {what} after {median(seconds):.2f} s ({spread})")


if __name__ == "__main__":
    main()
