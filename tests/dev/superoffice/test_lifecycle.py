"""The states of a webhook: the table, and what holds in every history."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dev.superoffice.lifecycle import (
    ANNOUNCED,
    LIFECYCLE,
    Happening,
    Standing,
    State,
    announcement,
)

LIMIT = 9
SAVED = (State.ACTIVE, State.STOPPED, State.TOO_MANY_ERRORS)

STEPS: dict[str, Callable[[Standing], Standing]] = {
    "answered": lambda standing: standing.answered(),
    "failed": lambda standing: standing.failed("why", limit=LIMIT),
    "gone": lambda standing: standing.failed("gone", limit=LIMIT, is_permanent=True),
    "discarded": lambda standing: standing.discarded(),
    "removed": lambda standing: standing.removed(),
    **{state.value: partial(Standing.saved, state=state) for state in SAVED},
}
runs = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(1, 10))
histories = st.lists(runs, min_size=5, max_size=15).map(
    lambda chosen: [step for step, times in chosen for _ in range(times)]
)
"""Runs of the same step, so that nine failures in a row are no rarity."""


def play(history, standing=None):
    """Return every standing of a history, the first one too."""
    standings = [standing or Standing()]
    for step in history:
        standings.append(STEPS[step](standings[-1]))
    return standings


def test_the_table_is_whole():
    """Everything can happen in every state, and no state is missing."""
    assert set(State) == set(LIFECYCLE)
    assert all(set(Happening) == set(row) for row in LIFECYCLE.values())


@pytest.mark.parametrize("state", SAVED)
def test_a_save_decides(state):
    """Whoever saves a webhook that is not deleted gives it the state of the save."""
    assert {state} == {Standing(before).saved(state).state for before in SAVED}


def test_only_failures_of_an_active_one_switch_off():
    """Attempts that end after a webhook was stopped or switched off change nothing."""
    late = (Happening.ANSWERED, Happening.FAILED, Happening.FAILED_TOO_OFTEN, Happening.GONE)

    assert State.TOO_MANY_ERRORS is LIFECYCLE[State.ACTIVE][Happening.GONE]
    assert State.TOO_MANY_ERRORS is LIFECYCLE[State.ACTIVE][Happening.FAILED_TOO_OFTEN]
    for state in set(State) - {State.ACTIVE}:
        assert {state} == {LIFECYCLE[state][happening] for happening in late}


@given(histories)
def test_nothing_but_a_save_switches_on(history):
    """After TooManyErrors and Stopped only a save makes it active again, and nothing revives it."""
    standings = play(history)

    for step, before, after in zip(history, standings, standings[1:], strict=False):
        if after.state is State.ACTIVE and before.state is not State.ACTIVE:
            assert "Active" == step
        if before.state is State.DELETED:
            assert State.DELETED is after.state


@given(histories)
def test_nine_failures_in_a_row(history):
    """It is switched off by the ninth failure since the last success or save, or by a 410."""
    standings, row = play(history), 0

    for step, before, after in zip(history, standings, standings[1:], strict=False):
        row = row + 1 if step in ("failed", "gone") else 0 if step != "discarded" else row
        if step == "removed":
            row = before.failures
        assert row == after.failures
        if before.state is State.ACTIVE:
            is_off = after.state is State.TOO_MANY_ERRORS
            assert is_off == (step in ("gone", "TooManyErrors") or (step == "failed" and row >= 9))


@pytest.mark.parametrize("between", ["answered", "Active", "Stopped"])
def test_the_ninth_failure(between):
    """The ninth failure is one too many, and a success or a save begins the count anew."""
    eight, nine = ["failed"] * 8, ["failed"] * 9

    assert State.ACTIVE is play(eight)[-1].state
    assert State.TOO_MANY_ERRORS is play(nine)[-1].state
    assert State.ACTIVE is play([*eight, between, "Active", *eight])[-1].state
    assert State.TOO_MANY_ERRORS is play([*eight, between, "Active", *nine])[-1].state


def test_errors_that_are_shown():
    """Discarded events are counted until a success, also over a save."""
    shown = [one.consecutive_errors for one in play(["discarded", "discarded", "Active"])]

    assert [0, 1, 2, 2] == shown
    assert 0 == play(["discarded", "discarded", "Active", "answered"])[-1].consecutive_errors


@given(histories)
def test_counters(history):
    """Totals only grow, by one for an attempt; a success sets the shown count of errors to 0."""
    last = play(history)[-1]
    ends = [index for index, step in enumerate(history) if step == "answered"]
    since = history[ends[-1] + 1 :] if ends else history

    assert sum(step in ("answered", "failed", "gone") for step in history) == last.total_calls
    assert sum(step in ("failed", "gone") for step in history) == last.total_errors
    assert since.count("discarded") == last.consecutive_errors


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_announcements(before, after):
    """A state is announced when it is entered, and only then; a deletion never is."""
    expected = None if before is after else ANNOUNCED.get(after)

    assert expected == announcement(before, after)
    assert announcement(before, State.DELETED) is None


def test_the_last_error_is_cut():
    """Of an error 4,000 characters are kept."""
    assert 4000 == len(Standing().failed("x" * 5000, limit=9).last_error)
