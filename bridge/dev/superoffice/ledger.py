"""What the twin sent, what was answered, and what it gave up: the truth that tests compare with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bridge.dev.superoffice.lifecycle import State


class Fate(StrEnum):
    """What became of one event for one webhook."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    DISCARDED = "discarded"


class Cause(StrEnum):
    """Why an event was discarded."""

    FAILED = "failed"
    """No attempt was answered 200."""
    GONE = "gone"
    """It was answered 410."""
    OFF = "webhook_off"
    """The webhook was not active when it happened, or not any more at its next attempt."""
    DELETED = "webhook_deleted"
    """The webhook was deleted before its next attempt."""
    NO_WEBHOOK = "no_webhook"
    """No webhook subscribed to it."""
    RECYCLED = "recycled"
    """The sender's queue, which is in memory, was lost. Nothing counts that."""


@dataclass(slots=True)
class Attempt:
    """One POST: when it began and ended, and its status, or the error if no answer came."""

    begun: datetime
    ended: datetime
    status: int | None
    error: str = ""


@dataclass(slots=True)
class Entry:
    """One event for one webhook, whose number is None for an event that no webhook wants.

    ``event`` is the name that webhooks subscribe to. Times are real, in UTC.
    """

    event_id: str
    event: str
    primary_key: int
    webhook_id: int | None
    raised: datetime
    attempts: list[Attempt] = field(default_factory=list)
    fate: Fate = Fate.WAITING
    cause: Cause | None = None
    settled: datetime | None = None

    def settle(self, fate: Fate, at: datetime, cause: Cause | None = None) -> None:
        """Write down its end."""
        self.fate, self.settled, self.cause = fate, at, cause


@dataclass(frozen=True, slots=True)
class Change:
    """A webhook's new state; the first is ``before`` None, the last one ``after`` Deleted."""

    at: datetime
    webhook_id: int
    before: State | None
    after: State


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the twin, without its query and its credentials: only the scheme of those."""

    at: datetime
    method: str
    path: str
    scheme: str
    status: int | None


@dataclass(slots=True)
class Ledger:
    """Everything that the twin did: events, ``test`` events, changes of state, answered calls."""

    entries: list[Entry] = field(default_factory=list)
    tests: list[Entry] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def accepted(self) -> Iterator[Entry]:
        """Yield what was answered 200."""
        return (entry for entry in self.entries if entry.fate is Fate.ACCEPTED)

    def discarded(self, *causes: Cause) -> Iterator[Entry]:
        """Yield what was discarded, of all causes or of some."""
        found = (entry for entry in self.entries if entry.fate is Fate.DISCARDED)
        return (entry for entry in found if not causes or entry.cause in causes)

    def waiting(self) -> Iterator[Entry]:
        """Yield what has no end yet."""
        return (entry for entry in self.entries if entry.fate is Fate.WAITING)

    def as_data(self) -> dict[str, Any]:
        """Return all of it as plain objects; orjson writes the times and names."""
        return asdict(self)
