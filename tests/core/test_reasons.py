"""Words that several rooms agree on: each of them is used by the code that decides."""

import re
from pathlib import Path

import pytest

from bridge.core.reasons import RejectReason, Status, Undelivered, Unreadable

PACKAGE = Path(__file__).parents[2] / "bridge"
DECIDING = (
    "pipeline.py",
    "web/receiver.py",
    "web/responder.py",
    "superoffice/*.py",
    "delivery/*.py",
)
BY_OUTCOME = {RejectReason.UNAVAILABLE}
"""The pipeline takes its text from the outcome of the outbox."""

SOURCE = "".join(path.read_text() for each in DECIDING for path in PACKAGE.glob(each))


@pytest.mark.parametrize("word", [*Status, *Unreadable, *Undelivered, *RejectReason], ids=repr)
def test_each_word_is_used_where_it_is_decided(word):
    """So the documents, which list all of them, promise none that never comes."""
    named = rf"\b{type(word).__name__}\.{word.name}\b"

    assert word in BY_OUTCOME or re.search(named, SOURCE)


def test_no_word_means_two_things_to_a_client():
    """A reason is found in one table of answers, whatever kind it is."""
    assert set() == set(Unreadable) & set(RejectReason)
