"""Which events count as duplicates, and for how long."""

import pytest

from bridge.delivery.dedup import Dedup

KEY = b"digest"


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def dedup(clock, *, window=600.0, max_events=3):
    return Dedup(window=window, max_events=max_events, clock=clock)


def accept(dedup, key):
    dedup.claim(key).end(succeeded=True)


def test_accepted_event_is_remembered(clock):
    """After success the same key is a duplicate."""
    memory = dedup(clock)
    accept(memory, KEY)

    assert memory.was_accepted(KEY)


def test_failed_event_is_forgotten(clock):
    """A delivery that failed leaves the way open for the next attempt."""
    memory = dedup(clock)
    memory.claim(KEY).end(succeeded=False)

    assert not memory.was_accepted(KEY)
    assert memory.under_way(KEY) is None


def test_window_ends(clock):
    """After window_seconds the event is new again."""
    memory = dedup(clock)
    accept(memory, KEY)
    clock.now += 599.9
    assert memory.was_accepted(KEY)
    clock.now += 0.1

    assert not memory.was_accepted(KEY)


def test_window_of_zero_remembers_nothing(clock):
    """window_seconds = 0 switches the memory off, not the waiting."""
    memory = dedup(clock, window=0)
    accept(memory, KEY)

    assert not memory.was_accepted(KEY)
    assert 0 == len(memory)


def test_memory_is_bounded(clock):
    """Beyond max_events the oldest is forgotten first."""
    memory = dedup(clock, max_events=3)
    for number in range(5):
        accept(memory, b"%d" % number)

    assert 3 == len(memory)
    assert [
        False,
        False,
        True,
        True,
        True,
    ] == [memory.was_accepted(b"%d" % number) for number in range(5)]


def test_old_events_make_room(clock):
    """What is past the window does not stay in memory until the bound is reached."""
    memory = dedup(clock, max_events=100)
    for number in range(50):
        accept(memory, b"%d" % number)
    clock.now += 600
    accept(memory, KEY)

    assert 1 == len(memory)


@pytest.mark.parametrize("succeeded", [True, False])
def test_later_deliveries_wait_for_the_first(clock, succeeded):
    """Those that come while the first is under way get its result."""
    memory = dedup(clock)
    heard: list[bool] = []
    claim = memory.claim(KEY)
    first = memory.under_way(KEY)
    assert first is claim
    for _ in range(3):
        first.on_end(heard.append)
    assert [] == heard
    claim.end(succeeded=succeeded)

    assert [succeeded] * 3 == heard
