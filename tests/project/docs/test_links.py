"""What the documents refer to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.project.docs.documents import DOCS, PAGES, ROOT, document, spans


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link leads to a file, and to a heading of it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_has_every_page() -> None:
    """The README of the reference links each of its pages."""
    text = document("reference/README.md")
    pages = {page.name for page in DOCS.glob("reference/*.md")} - {"README.md"}

    assert pages == set(re.findall(r"\[(\w+\.md)\]\(\1\)", text))


def test_oddities_are_shown_by_samples() -> None:
    """Each golden sample that is named exists: code in the parentheses that end a line."""
    page = document("superoffice-oddities.md")
    named = {name for shown in re.findall(r"\(([^()]+)\)$", page, re.M) for name in spans(shown)}

    assert len(named) > 30
    assert set() == {name for name in named if not (ROOT / "tests" / "samples" / name).is_dir()}


def modules(page: Path) -> list[str]:
    """Return the Python files that a page names by folder and file."""
    text = page.read_text(encoding="utf-8")
    return [name for name in spans(text) if re.fullmatch(r"(\w+/)+\w+\.py", name)]


@pytest.mark.parametrize(
    "page", [*DOCS.glob("*.md"), *DOCS.glob("decisions/*.md")], ids=lambda page: page.name
)
def test_modules_that_are_named_exist(page: Path) -> None:
    """A file that was moved or renamed is found under its new name."""
    for name in modules(page):
        assert any((folder / name).is_file() for folder in (ROOT, ROOT / "bridge")), name


def test_the_glossary_names_modules() -> None:
    """The test above has something to look at."""
    assert "core/publish.py" in modules(DOCS / "glossary.md")
