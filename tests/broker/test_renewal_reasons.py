"""When a connection is replaced, decided without a clock or a broker."""

from dataclasses import replace

import pytest

from bridge.broker import renewal
from bridge.broker.renewal import Look, Reason, Renewal

CALM = Look(
    now=1000.0,
    age=0.0,
    is_up=True,
    is_blocked=False,
    refused_for=0.0,
    overdue=0,
    oldest=0,
    is_check_waiting=False,
)
STUCK = replace(CALM, overdue=16, oldest=1)
LOST = replace(CALM, overdue=1, oldest=7)


def renewed(times):
    """Return what remembers so many renewals in a row."""
    watch = Renewal()
    for _ in range(times):
        watch.begin()
        watch.end(is_renewed=True)
    watch.begin()
    return watch


def after(look, seconds, **changes):
    """Return what is seen some seconds later."""
    return replace(look, now=look.now + seconds, **changes)


def test_a_calm_connection_is_kept():
    """Also for ever."""
    watch = renewed(0)

    assert {None} == {watch.reason(after(CALM, hours * 3600)) for hours in range(48)}


@pytest.mark.parametrize(("times", "seconds"), [(0, 2), (1, 4), (4, 32), (8, 512), (9, 600)])
def test_refusals_are_borne_longer_each_time(times, seconds):
    """A queue that stays full costs ever fewer connections."""
    watch = renewed(times)

    assert watch.reason(replace(CALM, refused_for=seconds - 0.1)) is None
    assert Reason.REFUSING is watch.reason(replace(CALM, refused_for=seconds))


def test_a_connection_that_ends_of_itself_makes_the_next_impatient_again():
    """Only renewals that follow each other make the bridge patient."""
    watch = renewed(4)
    watch.end(is_renewed=False)

    assert renewal.REFUSING_SECONDS == watch.patience


def test_too_many_overdue():
    """At the second look without a confirm, and not below the maximum."""
    watch = renewed(0)

    assert [None, None] == [watch.reason(replace(STUCK, overdue=15)) for _ in range(2)]
    assert [Reason.OVERDUE] == [watch.reason(STUCK)]


@pytest.mark.parametrize("second", [replace(STUCK, overdue=14), replace(STUCK, is_up=False)])
def test_overdue_publishes_that_are_being_confirmed(second):
    """A broker that goes on after a pause is not left, nor one that is not up."""
    watch = renewed(0)

    assert [None, None] == [watch.reason(STUCK), watch.reason(second)]


@pytest.mark.parametrize(("times", "seconds"), [(0, 600), (1, 1200), (3, 3600)])
def test_one_confirm_that_never_comes(times, seconds):
    """Its publish is given up after ten minutes, later after an hour at most."""
    watch = renewed(times)

    assert watch.reason(LOST) is None
    assert watch.reason(after(LOST, seconds - 1)) is None
    assert Reason.OVERDUE is watch.reason(after(LOST, seconds))


@pytest.mark.parametrize("change", [{"is_blocked": True, "is_up": False}, {"oldest": 8}])
def test_what_does_not_count_as_waiting(change):
    """The time of an alarm, and the time before another publish became the oldest."""
    watch = renewed(0)
    watch.reason(LOST)
    watch.reason(after(LOST, 599, **change))

    assert watch.reason(after(LOST, 1198, **change)) is None


def test_a_check_that_needs_the_connection():
    """A young connection is kept a while, so that events get through in between."""
    watch = renewed(0)
    waiting = replace(CALM, is_check_waiting=True)

    assert watch.reason(replace(waiting, age=1.9)) is None
    assert Reason.CHECK is watch.reason(replace(waiting, age=2.0))
