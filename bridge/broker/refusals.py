"""Which places refuse on one channel: a queue that is full, or a channel that is no good."""

from __future__ import annotations

from bridge.core.message import UNROUTED
from bridge.core.publish import Outcome, Publish

_PLACES = 10_000
"""Maximum number of pairs of exchange and routing key that are remembered: a sender picks keys."""


class Refusals:
    """Notes for how long a place has refused all, from the first message on."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()
        self._since: dict[tuple[str, str], float] = {}
        self.seconds = 0.0
        """How long all was refused that has one exchange and key; the longest of them."""

    def note(self, publish: Publish, outcome: Outcome, now: float) -> None:
        """Note what the broker said; a place that took something is a good one from then on.

        What is on trial is expected to be refused.

        A channel that took more kinds than are remembered is good too: no new kind is judged.
        """
        message = publish.message
        place = (UNROUTED, "") if publish.stage.is_copy else (message.exchange, message.routing_key)
        if place in self._taken or publish.suspect:
            return
        if outcome is Outcome.CONFIRMED:
            self._since.pop(place, None)
            if len(self._taken) < _PLACES:
                self._taken.add(place)
        elif place in self._since:
            self.seconds = max(self.seconds, now - self._since[place])
        elif max(len(self._taken), len(self._since)) < _PLACES:
            self._since[place] = now
