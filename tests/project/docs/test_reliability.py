"""docs/reliability.md has the tables that ``python -m tests.system.faults.page`` writes."""

from __future__ import annotations

import pytest

from tests.project.docs.documents import document
from tests.system.faults.page import TABLES, Table, rewritten

PAGE = "reliability.md"

COUNTS = {"accepted": 2, "lost": 0, "duplicates": 1, "violations": 0, "redelivered": 0}

each_table = pytest.mark.parametrize("table", TABLES, ids=[table.head for table in TABLES])


@each_table
def test_a_table_is_found_and_keeps_its_place(table: Table) -> None:
    """The page has each of them once; what is around it stays."""
    text = document(PAGE)
    before, _, rest = text.partition(table.head + "\n")
    _, *lines = rest.split("\n")
    names = [table.name_in(line) for line in lines[: lines.index("")]]
    columns = dict(table.columns)
    prefix = "cluster: " if "redelivered" in columns else ""
    found = [COUNTS | {"row": prefix + name, "lost": int("lost" in columns)} for name in names]

    written = rewritten(text, table, found)

    assert 1 == text.count(table.head + "\n")
    assert before == written.partition(table.head)[0]
    assert written.endswith("\n".join(lines[lines.index("") :]))
    assert written != text


@each_table
def test_a_table_is_left_without_the_counts_of_a_row(table: Table) -> None:
    """A part of the matrix does not take the place of the whole of it."""
    with pytest.raises(LookupError):
        rewritten(document(PAGE), table, [])
