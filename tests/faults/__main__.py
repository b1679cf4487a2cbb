"""``python -m tests.faults`` prints the counts of the latest run of each row, as Markdown.

Of the short form, or of the long one with ``FAULTS=full`` in the environment.
"""

from __future__ import annotations

import json

from tests.faults.world import RESULTS

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
    rows = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    if not rows:
        print(f"{RESULTS} is empty: run `make faults`, or `make faults FAULTS=full`")
        return
    print("|", " | ".join(title for _, title in COLUMNS), "|")
    print("|", " | ".join("---" if name in ("row", "form") else "---:" for name, _ in COLUMNS), "|")
    for row in sorted(rows, key=lambda each: str(each["row"]).lower()):
        print("|", " | ".join(str(row[name]) for name, _ in COLUMNS), "|")


if __name__ == "__main__":
    main()
