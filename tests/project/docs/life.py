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
    for group in ("backlog", "held"):
        names = (state.name for state, to in MOVES.items() if to and group_of(state) == group)
        yield from [f"  state {group} {{", *(f"    {name}" for name in names), "  }"]


def _arrows() -> Iterator[str]:
    for group in ("backlog", "held"):
        yield from (f"  {group} --> {to.name}" for to in shared_moves(group))
    for state, moves in MOVES.items():
        drawn = shared_moves(group_of(state))
        yield from (f"  {state.name} --> {to.name}" for to in moves if to not in drawn)


def group_of(state: State) -> str:
    """Return which of the two kinds a state is of."""
    return "backlog" if state.backlog else "held"


def shared_moves(group: str) -> list[State]:
    """Return where all states of a kind may go, beyond their own kind: one arrow shows it."""
    of_it = [moves for state, moves in MOVES.items() if moves and group_of(state) == group]
    return [to for to in MOVES if all(to in moves for moves in of_it)]


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
