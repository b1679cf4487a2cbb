"""Reading the documents: their sections, tables, code spans and blocks of code."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    if "node_modules" not in page.parts  # of a consumer, once it is installed
)

Row = dict[str, str]

_BLOCK = re.MULTILINE | re.DOTALL


def document(name: str) -> str:
    """Return the text of a document, by its path below docs."""
    return (DOCS / name).read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """Return what stands between a heading and the next one, of whatever level."""
    parts = re.split(r"^#+ (.+)$", document(name), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert title in found, f"{name} has no heading {title!r}"
    return found[title]


def tables(text: str) -> list[list[Row]]:
    """Return the tables of a text, each row by the names of its columns."""
    lines = groupby(text.splitlines(), key=lambda line: line.startswith("|"))
    return [_table(list(group)) for is_table, group in lines if is_table]


def table(name: str, title: str, *, number: int = 0) -> list[Row]:
    """Return one table of a section, the first unless told otherwise."""
    return tables(section(name, title))[number]


def items(text: str) -> dict[str, str]:
    """Return the items of a list, ``- name: meaning``, by name as it is written."""
    return dict(re.findall(r"^- (.+?): (.+)$", text, flags=re.MULTILINE))


def _table(lines: list[str]) -> list[Row]:
    head, _, *rows = map(_cells, lines)
    return [dict(zip(head, row, strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def spans(text: str) -> list[str]:
    """Return what is written as code within the lines of a text, blocks of code left out."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=_BLOCK))


def span(text: str) -> str:
    """Return the only piece of code within a cell, or nothing if it is empty."""
    found = spans(text)
    assert len(found) <= 1, f"one piece of code is expected in {text!r}"
    return found[0] if found else ""


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=_BLOCK)
