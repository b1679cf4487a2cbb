"""Points in time as text."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.times import rfc3339

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (SECOND, "1970-01-01T00:00:01Z"),
        (1_500_000_000, "1970-01-01T00:00:01.500000Z"),
        (999, "1970-01-01T00:00:00Z"),
        (1_772_442_927 * SECOND + 123_456_789, "2026-03-02T09:15:27.123456Z"),
    ],
)
def test_a_moment_is_text_in_utc(nanoseconds, expected):
    """A whole second has no fraction; nanoseconds are cut off."""
    assert expected == rfc3339(nanoseconds)


@given(st.integers(0, 2**63 - 1))
def test_microseconds_are_always_there_where_they_are_wanted(nanoseconds):
    """The text has one length, and says what was counted."""
    text = rfc3339(nanoseconds, timespec="microseconds")

    assert len("2026-03-02T09:15:27.123456Z") == len(text)
    moment = datetime.fromisoformat(text)
    assert nanoseconds // 1000 == (moment - EPOCH) // timedelta(microseconds=1)
    assert moment == datetime.fromisoformat(rfc3339(nanoseconds))
