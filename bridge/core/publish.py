"""The ports: the few things the bridge needs of a broker and of an outbox, and their outcomes."""

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
    """What became of a publish."""

    CONFIRMED = "confirmed"
    """The broker has it: every queue took it, on disk where the queue is durable."""

    UNROUTED = "unrouted"
    """No queue was bound; the broker has confirmed the copy in ``superoffice.unrouted``."""

    SPOOLED = "spooled"
    """On disk, fsynced; the drain publishes it later."""

    REFUSED = "refused"
    """The broker nacked it: a queue is at its limit, or faulty."""

    UNKNOWN = "unknown"
    """Published, but neither confirmed nor nacked in time; it may be in its queue."""

    NOT_SENT = "unavailable"
    """Not published: the broker, or the exchange of the message, is not there now."""

    @property
    def is_with_broker(self) -> bool:
        """Return whether the broker has taken responsibility for the message."""
        return self is _CONFIRMED or self is _UNROUTED


# Python 3.11 calls a function to look up a member of an enum: too slow for every event.
_CONFIRMED, _UNROUTED = Outcome.CONFIRMED, Outcome.UNROUTED


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
    """One message on its way to the broker: settled once, by the broker or by a lost channel.

    ``suspect``: it was in flight with others when the broker closed the channel, and may be the
    cause; or it is on trial, and is blamed before others.
    ``culprit``: it was alone in flight then, so it is the cause.
    ``straggler``: another publish of the same message, which was given up but may still settle.
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
        """Record the final outcome, and call back."""
        self.outcome = outcome
        # The callback usually refers back to this publish. Dropping it frees both at once, without
        # waiting for the garbage collector.
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
    """The port to the broker: publishes, or says at once that it cannot."""

    @property
    def is_up(self) -> bool:
        """Return whether it publishes now."""
        ...

    @property
    def connection(self) -> int:
        """Return the number of the connection, which every new one raises."""
        ...

    def can_publish_to(self, exchange: str) -> bool:
        """Return whether this exchange can be published to now."""
        ...

    def submit(self, message: Message) -> Publish:
        """Put a message on the wire, or settle it as ``NOT_SENT`` at once."""
        ...

    def try_alone(self, message: Message, *, apart: bool = False) -> Publish:
        """Publish a message under suspicion on a channel of its own, where it harms no other.

        ``apart`` gives it a connection of its own, because it may be why one was closed. The
        outcome is ``REFUSED`` also when the broker closes that channel or connection, and
        ``UNKNOWN`` when the broker does not confirm it in time.
        """
        ...


class Outbox(Protocol):
    """The port to whatever takes responsibility for a message."""

    def deliver(self, message: Message, settled: Callable[[Outcome], None]) -> None:
        """Call back once: ``CONFIRMED``, ``UNROUTED`` or ``SPOOLED``, or ``NOT_SENT`` on failure.

        It may call back before it returns. If it raises, it does not call back.
        """
        ...
