"""How long a place has refused everything, on one channel."""

import pytest

from bridge.broker import refusals
from bridge.broker.refusals import RefusalWatch
from bridge.core.publish import Outcome

FULL = ("superoffice", "contact.created")
GOOD = ("superoffice", "sale.sold")
YES, NO = Outcome.CONFIRMED, Outcome.REFUSED


@pytest.mark.parametrize(
    ("notes", "seconds"),
    [
        ([], 0.0),
        ([(FULL, NO, 10.0)], 0.0),
        ([(FULL, NO, 10.0), (FULL, NO, 12.5)], 2.5),
        ([(FULL, NO, 10.0), (GOOD, YES, 11.0), (FULL, NO, 13.0)], 3.0),
        ([(FULL, NO, 10.0), (FULL, NO, 14.0), (GOOD, NO, 14.0), (GOOD, NO, 15.0)], 4.0),
    ],
)
def test_time_from_the_first_refusal_to_the_last(notes, seconds):
    """It counts from the first message to a place on, and the longest of the places counts."""
    watch = RefusalWatch()
    for note in notes:
        watch.note(*note)

    assert seconds == watch.seconds


def test_a_place_that_confirmed_something_is_good():
    """A queue that is full now, but was not before, is no fault of the channel."""
    watch = RefusalWatch()
    watch.note(FULL, YES, 1.0)
    for second in range(10):
        watch.note(FULL, NO, 2.0 + second)

    assert 0.0 == watch.seconds


def test_a_confirm_ends_the_refusals_of_its_place():
    """What was refused before does not count any more, and nothing later does."""
    watch = RefusalWatch()
    watch.note(FULL, NO, 1.0)
    watch.note(FULL, YES, 2.0)
    watch.note(FULL, NO, 60.0)

    assert 0.0 == watch.seconds


def test_refusals_beyond_the_places_that_are_remembered(monkeypatch):
    """The first ones still show what the channel is; the memory stays bounded."""
    monkeypatch.setattr(refusals, "_PLACES", 2)
    watch = RefusalWatch()
    for second in range(5):
        for number in range(4):
            watch.note(("superoffice", f"full.{number}"), NO, float(second))

    assert 4.0 == watch.seconds
    assert 2 == len(watch._since)


def test_a_channel_that_confirmed_more_places_than_are_remembered(monkeypatch):
    """It is a good one: no new place is judged."""
    monkeypatch.setattr(refusals, "_PLACES", 2)
    watch = RefusalWatch()
    for number in range(3):
        watch.note(("superoffice", f"contact.{number}"), YES, 1.0)
    watch.note(FULL, NO, 2.0)
    watch.note(FULL, NO, 99.0)

    assert 0.0 == watch.seconds
