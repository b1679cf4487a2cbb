"""Watches for a channel that only refuses: every message to one place is nacked.

A place is an exchange with a routing key. RabbitMQ (3.10 at least) remembers for each channel where
the leader of a quorum queue is. A channel that was opened before a new leader was elected nacks
every message for that queue, as long as the channel lives. So it has to be replaced.

A queue that is full looks the same, if it was full when the channel was opened. ``renewal`` decides
how often the bridge tries again.
"""

from __future__ import annotations

from bridge.core.publish import Outcome

Place = tuple[str, str]
"""An exchange and a routing key."""

_PLACES = 10_000
"""Maximum number of places to remember. It is bounded because events choose the routing keys."""


class RefusalWatch:
    """Notes since when each place has refused everything, on one channel."""

    def __init__(self) -> None:
        self._good: set[Place] = set()
        """Places that have confirmed a message: the channel is no obstacle to them."""
        self._since: dict[Place, float] = {}
        """Places that have only refused, and the time of their first refusal."""
        self.seconds = 0.0
        """Longest time for which a place has refused everything."""

    def note(self, place: Place, outcome: Outcome, now: float) -> None:
        """Note what the broker said of one message to a place.

        Places beyond the maximum are ignored: those that are remembered show what the channel is.
        """
        if place in self._good:
            return
        if outcome is Outcome.CONFIRMED:
            self._since.pop(place, None)
            if len(self._good) < _PLACES:
                self._good.add(place)
        elif place in self._since:
            self.seconds = max(self.seconds, now - self._since[place])
        elif max(len(self._good), len(self._since)) < _PLACES:
            self._since[place] = now
