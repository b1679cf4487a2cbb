"""What is asked of the world, as narrow as it can be, and what it can answer."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from bridge.core.message import Message

WINDOW = 256
"""Maximum number of unconfirmed messages. A larger window adds latency without throughput."""

WINDOW_BYTES = 16 * 1024 * 1024
"""Maximum number of bytes of their bodies."""


class Outcome(Enum):
    """What became of one message."""

    CONFIRMED = "confirmed"
    """The broker has it: every queue took it, on disk where the queue is durable."""

    UNROUTED = "unrouted"
    """No queue was bound; the broker has confirmed the copy in ``superoffice.unrouted``."""

    SPOOLED = "spooled"
    """On disk, fsynced; the drain takes it to the broker."""

    REFUSED = "refused"
    """The broker said no (``basic.nack``): a queue is at its limit, or faulty."""

    UNKNOWN = "unknown"
    """Published, but neither confirmed nor refused in time; it may be in its queue."""

    NOT_SENT = "unavailable"
    """Not published: the broker, or the message's exchange, is not to be had now."""

    @property
    def is_with_broker(self) -> bool:
        """Return whether the broker has taken responsibility for the message."""
        return self in (Outcome.CONFIRMED, Outcome.UNROUTED)


class Stage(Enum):
    """How far a publish has come. One that no queue is bound for passes through several stages."""

    SENT = "sent"
    """On its way to its exchange. The broker's confirm settles it."""

    RETURNED = "returned"
    """The broker has returned it (``basic.return``). When that is confirmed, a copy is sent."""

    COPY = "copy"
    """The copy is on its way to ``superoffice.unrouted``. The confirm of the copy settles it."""

    COPY_RETURNED = "copy returned"
    """The broker has returned the copy as well. When that is confirmed, it is refused."""

    @property
    def is_returned(self) -> bool:
        """Return whether the broker has returned what was sent last."""
        return self in (Stage.RETURNED, Stage.COPY_RETURNED)

    @property
    def is_copy(self) -> bool:
        """Return whether the copy was sent."""
        return self in (Stage.COPY, Stage.COPY_RETURNED)

    def when_returned(self) -> Stage:
        """Return the next stage when the broker returns what was sent."""
        return {Stage.SENT: Stage.RETURNED, Stage.COPY: Stage.COPY_RETURNED}[self]


# Python 3.11 calls a function to look up a member of an enum: too slow for every event.
_SENT = Stage.SENT


class Publish:
    """One message on its way: settled once, by the broker or by the loss of the channel.

    ``suspect``: it was in flight with others when the broker closed the channel, and may be why;
    or it is on trial, and is to blame before others.
    ``culprit``: it was alone then, and is why.
    ``straggler``: what went among the others in its stead, was given up, and may still be settled.
    """

    __slots__ = (
        "_settled",
        "culprit",
        "message",
        "outcome",
        "stage",
        "straggler",
        "suspect",
    )

    def __init__(self, message: Message) -> None:
        self.message = message
        self.outcome: Outcome | None = None
        self.stage = _SENT
        self.suspect = False
        self.culprit = False
        self.straggler: Publish | None = None
        self._settled: Callable[[Publish], None] | None = None

    def __repr__(self) -> str:
        """Show the id and the state."""
        state = self.outcome.value if self.outcome else "unresolved"
        return f"<Publish {self.message.message_id} {state}>"

    def settle(self, outcome: Outcome) -> None:
        """Record the final outcome and tell who asked."""
        self.outcome = outcome
        # Who asked often holds this: letting go of them frees both at once, without the collector.
        settled, self._settled = self._settled, None
        if settled is not None:
            settled(self)

    def on_settled(self, callback: Callable[[Publish], None] | None) -> None:
        """Call back inline when the outcome is final, at once if it is; replaces an earlier one."""
        if self.outcome is None:
            self._settled = callback
        elif callback is not None:
            callback(self)


class Publisher(Protocol):
    """Publishes to the broker, or says at once that it cannot."""

    @property
    def is_up(self) -> bool:
        """Return whether messages are taken now."""
        ...

    @property
    def connection(self) -> int:
        """Return the number of the connection, which every new one raises."""
        ...

    def can_publish_to(self, exchange: str) -> bool:
        """Return whether an exchange may be published to."""
        ...

    def submit(self, message: Message) -> Publish:
        """Put a message on the wire; one that cannot go now is settled as ``NOT_SENT`` at once."""
        ...

    def try_alone(self, message: Message, *, apart: bool = False) -> Publish:
        """Put a message under suspicion on a channel of its own, where it harms no other one.

        ``apart``: on a connection of its own, for it may be why one was closed. Settled as
        ``REFUSED`` also when the channel, or that connection, is closed because of it, and as
        ``UNKNOWN`` when it is not confirmed in time.
        """
        ...


class Outbox(Protocol):
    """Takes responsibility for messages."""

    async def deliver(self, message: Message) -> Outcome:
        """Return ``CONFIRMED``, ``UNROUTED`` or ``SPOOLED``, or ``NOT_SENT`` if nobody takes it."""
        ...
