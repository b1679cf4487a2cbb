"""Decides when a connection that still works is replaced by a new one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bridge.core.backoff import delay

REFUSING_SECONDS = 2.0
"""How long one place may refuse everything until the connection is renewed."""

_REFUSING_LONGEST = 600.0

OVERDUE_SECONDS = 600.0
"""How long one publish may be overdue until its confirm counts as lost."""

_OVERDUE_LONGEST = 3600.0

_OVERDUE_AT_MOST = 16
"""Maximum number of overdue publishes on a channel that confirms nothing any more.

A quorum queue without a majority never confirms. From 32 unconfirmed messages on, RabbitMQ does not
read their connection any more, and the other queues would get nothing either.
"""


class Reason(Enum):
    """Why a connection is replaced."""

    REFUSING = "refusing"
    """A place has refused everything for too long: the channel may be at fault (``refusals``)."""

    OVERDUE = "overdue"
    """Confirms do not come: too many are missing, or one for too long."""

    CHECK = "check"
    """The topology is to be checked, and the broker allows no second connection for it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the publisher sees when it looks at its connection.

    ``overdue`` is the number of overdue publishes, ``oldest`` the delivery tag of the oldest one
    that is unconfirmed. All times are in seconds.
    """

    now: float
    age: float
    is_up: bool
    is_blocked: bool
    refused_for: float
    overdue: int
    oldest: int
    is_check_waiting: bool


class Renewal:
    """Counts renewals that came one after the other: each makes the next one wait longer.

    A queue that stays full, or that never confirms, is no reason to renew for ever.
    """

    def __init__(self) -> None:
        self._renewals = 0
        self._overdue = 0
        """How many were overdue at the latest look, if the broker was up."""
        self._oldest = (0, 0.0)
        """The delivery tag of the oldest unconfirmed publish, and since when it is the oldest."""

    @property
    def patience(self) -> float:
        """Return for how many seconds a connection is kept in spite of refusals."""
        return delay(self._renewals + 1, base=REFUSING_SECONDS, cap=_REFUSING_LONGEST, spread=0)

    def begin(self) -> None:
        """Forget what was seen of the connection before."""
        self._overdue, self._oldest = 0, (0, 0.0)

    def end(self, *, is_renewed: bool) -> None:
        """Note the end of a connection, and whether it was left for one of the reasons."""
        self._renewals = self._renewals + 1 if is_renewed else 0

    def reason(self, look: Look) -> Reason | None:
        """Return why the connection is to be replaced now; None if it is not."""
        if look.refused_for >= self.patience:
            return Reason.REFUSING
        if self._is_stuck(look) or self._has_lost(look):
            return Reason.OVERDUE
        if look.is_check_waiting and look.age >= self.patience:
            return Reason.CHECK
        return None

    def _is_stuck(self, look: Look) -> bool:
        """Return whether too many are overdue, and none of them has been confirmed meanwhile.

        A broker that goes on after a pause is up with its first answer. Then it confirms them all.
        """
        before, self._overdue = self._overdue, look.overdue if look.is_up else 0
        return 0 < before <= self._overdue >= _OVERDUE_AT_MOST

    def _has_lost(self, look: Look) -> bool:
        """Return whether one is overdue for so long that its confirm will hardly come.

        The time of an alarm does not count: nothing is confirmed then.
        """
        if look.is_blocked or look.oldest != self._oldest[0]:
            self._oldest = (look.oldest, look.now)
        patience = delay(self._renewals + 1, base=OVERDUE_SECONDS, cap=_OVERDUE_LONGEST, spread=0)
        return look.overdue > 0 and look.is_up and look.now - self._oldest[1] >= patience
