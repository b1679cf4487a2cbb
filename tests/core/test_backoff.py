"""The pause before the next attempt."""

import pytest

from bridge.core.backoff import delay


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 0.25), (2, 0.5), (3, 1.0), (6, 8.0), (7, 15.0), (10_000, 15.0)]
)
def test_doubles_up_to_the_cap(attempt, seconds):
    """Each failure doubles the pause until the cap, however long the night."""
    assert seconds == delay(attempt, base=0.25, cap=15, spread=0)


@pytest.mark.parametrize(("spread", "seconds"), [(0, 8.0), (0.5, 6.0), (0.999, 4.004)])
def test_spread_takes_up_to_half(spread, seconds):
    """Jitter shortens the pause, by half at the most."""
    assert seconds == pytest.approx(delay(6, base=0.25, cap=15, spread=spread))
