"""Publishing rows whose turn has come."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.delivery.held.holding import Holding
from bridge.delivery.parking import parked
from bridge.delivery.rows import DUE, ON_WIRE
from bridge.delivery.settling import Settling
from bridge.delivery.tally import Tally
from bridge.delivery.turns import Turn, Turns
from bridge.delivery.wire import TRIALS, Flight, Wire
from bridge.spool import Row, Spool

log = structlog.get_logger()


class Publishing:
    """Puts rows on the wire, and asks for their outcome."""

    def __init__(
        self,
        spool: Spool,
        publisher: Publisher,
        tally: Tally,
        holding: Holding,
        turns: Turns,
        wire: Wire,
        settling: Settling,
    ) -> None:
        self._spool = spool
        self._publisher = publisher
        self._tally = tally
        self._holding = holding
        self._turns = turns
        self._rows = turns.rows
        self._wire = wire
        self._probe = wire.probe
        self._settling = settling
        self._loop = asyncio.get_running_loop()

    @property
    def room(self) -> int:
        """Return how many more rows may be read to be published."""
        return self._wire.room - len(self._rows.due)

    @property
    def room_for_trials(self) -> int:
        """Return how many rows may be tried.

        On a new connection one may be, when no other row can be the first on it: all that were in
        the backlog when it was new have been read and passed over.
        """
        if not self._probe.is_open:
            return TRIALS - self._wire.trials
        others = self._rows.backlog > 0 and self._rows.cursor < self._probe.up_to
        return 0 if others or self._rows.due else self._wire.room

    def probe_first(self) -> None:
        """Publish a single row first when the broker is up again."""
        self._probe.is_open = True

    def note_connection(self) -> bool:
        """Return whether the connection is another one, which is tried with one row at first."""
        connection = self._publisher.connection
        if connection == self._probe.connection:
            return False
        self._probe.renew(connection, up_to=self._spool.last_seq)
        return True

    def enter(self, row: Row, *, park_as: str | None = None) -> None:
        """Let a row that was read have its turn, and publish it if that has come."""
        if row.unreadable:
            self._tally.unreadable(row)
        turn = Turn(row.seq, row.size, row.message.record, park_as)
        if self._turns.enter(turn):
            self._rows.move(row.seq, DUE)
            self.publish(row, turn)

    def attach(self, row: Row, *, park_as: str | None = None) -> None:
        """Let a row that was read have its turn, if it was published before it was spooled."""
        if row.unreadable:
            self._tally.unreadable(row)
        self._turns.attach(Turn(row.seq, row.size, row.message.record, park_as))

    def begin(self, row: Row) -> None:
        """Do what ``enter`` does, for an UNREAD row that only its record can hold up."""
        turn = Turn(row.seq, row.size, row.message.record)
        if not self._turns.enter(turn):
            return
        try:
            publish = self._submit(row.message)
        except BaseException:
            self._rows.move(row.seq, DUE)
            raise
        self._rows.depart(row.seq)
        self._wire.fly(Flight(row, self._loop.time()))
        publish.on_settled(partial(self._settling.settled, row))

    def publish(self, row: Row, turn: Turn) -> None:
        """Publish a row that is DUE; one that may end a channel is tried alone instead."""
        if turn.park_as is None and row in self._holding.suspects:
            self._settling.try_first(row)
            return
        message = parked(row.message, turn.park_as) if turn.park_as else row.message
        publish = self._submit(message)
        sweep = self._holding.passed.sweep if row.seq in self._rows.swept else None
        self._rows.move(row.seq, ON_WIRE)  # after an error before this it is DUE still
        self._wire.fly(Flight(row, self._loop.time(), sweep))
        publish.on_settled(partial(self._settling.settled, row))

    def _submit(self, message: Message) -> Publish:
        """Put a message on the wire; one that cannot be encoded is nacked, and stops no other."""
        try:
            return self._publisher.submit(message)
        except MemoryError:  # the message is well, and there may be memory later
            raise
        except Exception as error:
            log.error("message_invalid", event_id=message.message_id, error=repr(error))
            publish = Publish(message)
            publish.settle(Outcome.REFUSED)
            return publish
