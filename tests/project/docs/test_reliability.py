"""docs/reliability.md has the lists that ``python -m tests.system.faults.page`` writes."""

from __future__ import annotations

import pytest

from tests.project.docs.documents import document
from tests.system.faults.page import LISTINGS, Listing, name_in, parted, rewritten

PAGE = "reliability.md"

COUNTS = {"accepted": 2, "duplicates": 1, "violations": 0, "redelivered": 0}

each_listing = pytest.mark.parametrize("listing", LISTINGS, ids=[each.title for each in LISTINGS])


@each_listing
def test_a_list_is_found_and_keeps_its_place(listing: Listing) -> None:
    """The page has each of them once; what is around it stays."""
    text = document(PAGE)
    before, lines, after = parted(text, listing)
    more, _ = listing.more or ("", "")
    prefix = "cluster: " if more == "redelivered" else ""
    lost = int(more == "lost")
    found = [COUNTS | {"row": prefix + name_in(line), "lost": lost} for line in lines]

    written = rewritten(text, listing, found)

    assert 1 == text.count(f"\n{listing.title}\n")
    end = ", 1 lost" if lost else ""
    assert [f"- {name_in(line)}: 2 (1){end}" for line in lines] == parted(written, listing)[1]
    assert (before, after) == (parted(written, listing)[0], parted(written, listing)[2])


@each_listing
def test_a_list_is_left_without_the_counts_of_a_row(listing: Listing) -> None:
    """A part of the matrix does not take the place of the whole of it."""
    with pytest.raises(LookupError):
        rewritten(document(PAGE), listing, [])
