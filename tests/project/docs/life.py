"""Draws the states of a row in docs/life-of-an-event.md from the table in the code.

``python -m tests.project.docs.life`` writes the marked part of the page anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from bridge.delivery.rows import MOVES, State
from tests.project.docs.documents import DOCS

PAGE = DOCS / "life-of-an-event.md"
BEGIN = "<!-- Drawn from bridge/delivery/rows.py by: python -m tests.project.docs.life -->"
END = "<!-- End of what is drawn -->"


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(redrawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def redrawn(page: str) -> str:
    """Return a page with its marked part drawn from the table."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{diagram()}\n\n{table()}\n\n{END}{after}"


def diagram() -> str:
    """Return all states and moves as a Mermaid diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "  [*] --> UNREAD", *_groups(), *_arrows()]
    return "\n".join([*lines, "  GONE --> [*]", "```"])


def _groups() -> Iterator[str]:
    """Yield the two kinds of states, each as a state of its own."""
    yield from ["  state backlog {", *_names(backlog=True), "  }"]
    yield from ["  state held {", *_names(backlog=False), "  }"]


def _names(*, backlog: bool) -> list[str]:
    return [f"    {state.name}" for state, to in MOVES.items() if to and state.backlog is backlog]


def _arrows() -> Iterator[str]:
    for state, moves in MOVES.items():
        yield from (f"  {state.name} --> {to.name}" for to in moves)


def table() -> str:
    """Return what each state means, and what moves a row on from it."""
    rows = [f"| `{state.name}` | {_meaning(state)} | {_causes(state)} |" for state in MOVES]
    return "\n".join(["| State | Meaning | What moves a row on |", "|---|---|---|", *rows])


def _meaning(state: State) -> str:
    return state.meaning.replace("``", "`")


def _causes(state: State) -> str:
    return "<br>".join(f"`{to.name}`: {cause}" for to, cause in MOVES[state].items()) or "nothing"


if __name__ == "__main__":
    main()
