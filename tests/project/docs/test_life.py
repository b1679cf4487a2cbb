"""docs/life-of-an-event.md shows the states and moves that the code has."""

from __future__ import annotations

import re

from bridge.delivery.rows import MOVES
from tests.project.docs.life import PAGE, diagram, group_of, redrawn


def test_page_is_drawn_from_the_table() -> None:
    """If it is not: ``python -m tests.project.docs.life`` draws it anew."""
    page = PAGE.read_text(encoding="utf-8")

    assert redrawn(page) == page


def test_every_move_is_an_arrow() -> None:
    """The diagram has each move once: from its beginning, or from the group around it."""
    arrows = re.findall(r"^  (\w+) --> ([A-Z_]+)$", diagram(), re.MULTILINE)
    moves = {(was, to.name) for was, moves in MOVES.items() for to in moves}
    drawn = [
        (was, to)
        for begin, to in arrows
        for was in MOVES
        if begin == was.name or (begin == group_of(was) and MOVES[was])
    ]

    assert moves == set(drawn)
    assert len(moves) == len(drawn) > len(arrows)
