"""A text is a date-time of RFC 3339 or it is none, however its parts are cut."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.superoffice.datetimes import in_utc, is_date_time
from tests.strategies import oracles
from tests.strategies.json_texts import texts
from tests.strategies.webhooks import date_times

OFTEN = settings(max_examples=5 * settings().max_examples)
"""For what is cheap to try."""

CUT = st.builds(
    lambda text, start, end: text[:start] + text[end:],
    date_times(), st.integers(0, 35), st.integers(0, 35),
)  # fmt: skip
"""Parts of it are missing, or are there twice."""


@OFTEN
@given(date_times() | CUT | texts())
@example("2026-03-02T10:15:27")
@example("2026-03-02T10:15:2Z")
@example("2026-03-02T10:15+01:00")
@example("2026-03-02T10:15:27+0Z")
@example("2026-03-02T10:15:27Z+01:00")
@example("2026-03-02T10:15:27.\u0661Z")
@example("2026-03-02T10:15:2\u0667Z")
@example("2026-03-02T10:15:27.Z")
@example("2026-03-02T10:15:27.5.5Z")
def test_is_date_time(text):
    """Only what has the form of RFC 3339, of a day and a time that exist."""
    assert (oracles.date_time(text) is not None) == is_date_time(text)


@OFTEN
@given(date_times() | CUT | texts())
@example("2026-03-02T10:15:27.+01:00")
@example("2026-03-02T10:15:27.\u0661+01:00")
@example("2026-03-02T10:15:27.1.2+01:00")
@example("0001-01-01T00:00:00.5+01:00")
def test_in_utc(text):
    """An offset is taken off, no digit is lost, and any other text stays."""
    assert oracles.utc(text) == in_utc(text)
