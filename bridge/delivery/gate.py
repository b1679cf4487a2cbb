"""Which new messages must go through the spool."""

from __future__ import annotations

from bridge.core.message import Message
from bridge.core.publish import Publisher
from bridge.delivery.held.holding import Holding
from bridge.delivery.room import Room
from bridge.delivery.turns import Turns
from bridge.delivery.waiting import Waiting
from bridge.spool import Spool


class Gate:
    """Lets a new message go directly to the broker, or sends it behind the rows on the disk."""

    def __init__(
        self, spool: Spool, publisher: Publisher, holding: Holding, turns: Turns, waiting: Waiting
    ) -> None:
        self._spool = spool
        self._publisher = publisher
        self._holding = holding
        self._turns = turns
        self._rows = turns.rows
        self._waiting = waiting
        self.room = Room(spool, holding)

    @property
    def holds_up_all(self) -> bool:
        """Return whether every new message must wait: not all records that wait are known yet."""
        return self._rows.backlog > 0 and not self._waiting.is_known

    def holds_up(self, message: Message) -> bool:
        """Return whether a new message must go through the spool."""
        return (
            (self._rows.backlog > 0 and self._waiting.may_have(message.record))
            or not self._publisher.is_up
            or self._turns.has(message.record)
            or (self._holding.holds_up(message) and not self._goes_ahead(message))
            or self._holding.suspects.suspects(message)
            or not self._publisher.can_publish_to(message.exchange)
        )

    def _goes_ahead(self, message: Message) -> bool:
        """Return whether a message may go to a place that recovers, as the disk takes nothing."""
        return self._holding.is_recovering_for(message) and not self._spool.accepts
