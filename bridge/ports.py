"""What the pipeline asks of the world, as narrow as it can be."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from bridge.core.message import Message


class Outcome(Enum):
    """What became of one message."""

    CONFIRMED = "confirmed"
    """The broker has it: every queue took it, on disk where the queue is durable."""

    UNROUTED = "unrouted"
    """No queue was bound; the broker has confirmed the copy in ``superoffice.unrouted``."""

    REFUSED = "refused"
    """The broker said no (``basic.nack``): a queue is at its limit, or faulty."""

    UNKNOWN = "unknown"
    """Published, but neither confirmed nor refused in time; it may be in its queue."""

    AWAY = "away"
    """Not published: the broker, or the message's exchange, is not to be had now."""

    @property
    def accepted(self) -> bool:
        """Return whether the broker has taken responsibility for the event."""
        return self in (Outcome.CONFIRMED, Outcome.UNROUTED)


class Publisher(Protocol):
    """Takes messages to the broker."""

    async def publish(self, message: Message, *, deadline: float) -> Outcome:
        """Return what became of the message, ``UNKNOWN`` at the deadline (loop time) at the latest.

        Messages of one record are published one after another, in the order of the calls.
        """
        ...
