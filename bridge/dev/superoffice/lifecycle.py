"""The states of a webhook, and its counters. Pure.

``LIFECYCLE`` is the whole life: every state times everything that can happen to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final

LAST_ERROR_LIMIT: Final = 4000
"""Characters of ``last_error`` that are kept (tables: webhook-usage)."""


class State(StrEnum):
    """The states of OpenAPI, without Unknown; and the end, which no answer shows."""

    ACTIVE = "Active"
    STOPPED = "Stopped"
    TOO_MANY_ERRORS = "TooManyErrors"
    DELETED = "Deleted"


class Happening(Enum):
    """What can happen to a webhook: somebody saves or deletes it, or an attempt ends."""

    SAVED_ACTIVE = "saved with the state Active"
    SAVED_STOPPED = "saved with the state Stopped"
    SAVED_AS_FAULTY = "saved with the state TooManyErrors"
    REMOVED = "deleted"
    ANSWERED = "an attempt was answered 200"
    FAILED = "an attempt failed"
    FAILED_TOO_OFTEN = "the last failure in a row that is borne"
    GONE = "an attempt was answered 410"


SAVED_AS: Final[Mapping[State, Happening]] = MappingProxyType(
    {
        State.ACTIVE: Happening.SAVED_ACTIVE,
        State.STOPPED: Happening.SAVED_STOPPED,
        State.TOO_MANY_ERRORS: Happening.SAVED_AS_FAULTY,
    }
)
"""Happenings of a save, by its state."""

_SAVED: Final = {happening: state for state, happening in SAVED_AS.items()}
_LATE: Final = (Happening.ANSWERED, Happening.FAILED, Happening.FAILED_TOO_OFTEN, Happening.GONE)


def _row(state: State, **changes: State) -> dict[Happening, State]:
    """Return what follows a state: anyone may save or delete, and answers change what is named."""
    kept = dict.fromkeys(_LATE, state)
    named = {Happening[name]: after for name, after in changes.items()}
    return {**_SAVED, Happening.REMOVED: State.DELETED, **kept, **named}


LIFECYCLE: Final[Mapping[State, Mapping[Happening, State]]] = MappingProxyType(
    {
        # state-events: "disabled due to multiple errors or permanent failure (410 GONE)".
        State.ACTIVE: _row(
            State.ACTIVE,
            FAILED_TOO_OFTEN=State.TOO_MANY_ERRORS,
            GONE=State.TOO_MANY_ERRORS,
        ),
        # An attempt that had begun ends later, and changes nothing. Unproved.
        State.STOPPED: _row(State.STOPPED),
        # notification: "The receiver can reset the state to Active". Nothing else does.
        State.TOO_MANY_ERRORS: _row(State.TOO_MANY_ERRORS),
        State.DELETED: dict.fromkeys(Happening, State.DELETED),
    }
)
"""The state that follows a state."""

ANNOUNCED: Final[Mapping[State, str]] = MappingProxyType(
    {State.ACTIVE: "started", State.STOPPED: "stopped", State.TOO_MANY_ERRORS: "errors"}
)
"""The action of the event ``webhook{id}.action`` when a state is entered (state-events)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a webhook and its counters.

    ``failures`` are the failed attempts in a row, which decide. ``consecutive_errors`` are the
    discarded events since the last success (notification), which are only shown. ``total_calls``
    and ``total_errors`` count attempts: unproved, it could be events.
    """

    state: State = State.ACTIVE
    failures: int = 0
    consecutive_errors: int = 0
    total_calls: int = 0
    total_errors: int = 0
    last_error: str = ""

    def saved(self, state: State) -> Standing:
        """Return it after a save. One that is switched on may fail as often as a new one: unproved.

        The counter that is shown stays until the next success (tables: webhook-usage).
        """
        return replace(self, state=LIFECYCLE[self.state][SAVED_AS[state]], failures=0)

    def removed(self) -> Standing:
        """Return it after its deletion."""
        return replace(self, state=LIFECYCLE[self.state][Happening.REMOVED])

    def answered(self) -> Standing:
        """Return it after a 200, which ends every count of failures (notification)."""
        state = LIFECYCLE[self.state][Happening.ANSWERED]
        calls = self.total_calls + 1
        return replace(self, state=state, failures=0, consecutive_errors=0, total_calls=calls)

    def failed(self, error: str, *, limit: int, is_permanent: bool = False) -> Standing:
        """Return it after a failed attempt; ``limit`` failures in a row are one too many."""
        happening = Happening.FAILED if self.failures + 1 < limit else Happening.FAILED_TOO_OFTEN
        return replace(
            self,
            state=LIFECYCLE[self.state][Happening.GONE if is_permanent else happening],
            failures=self.failures + 1,
            total_calls=self.total_calls + 1,
            total_errors=self.total_errors + 1,
            last_error=error[:LAST_ERROR_LIMIT],
        )

    def discarded(self) -> Standing:
        """Return it after an event was given up because of its attempts."""
        return replace(self, consecutive_errors=self.consecutive_errors + 1)


def announcement(before: State, after: State) -> str | None:
    """Return the action to announce, if the state has changed into one that is announced."""
    return None if before is after else ANNOUNCED.get(after)
