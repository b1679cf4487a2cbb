"""Publishing rows whose turn has come."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import islice

import structlog

from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.delivery.arrivals import Arrivals
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
        arrivals: Arrivals,
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
        self._arrivals = arrivals
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

    def enter(self, row: Row, *, park_as: str | None = None, attached: bool = False) -> None:
        """Let a row that was read have its turn, and publish it if that has come."""
        if row.unreadable:
            self._tally.unreadable(row)
        turn = Turn(row.seq, row.size, row.message.record, park_as)
        if self._turns.enter(turn, attached=attached):
            self._publish(row, turn)

    async def publish_due(self) -> bool:
        """Read and publish rows whose turn in line has come; return whether there were any."""
        on_disk = (seq for seq in self._rows.due if seq not in self._arrivals)
        seqs = list(islice(on_disk, max(0, self._wire.room)))
        if not seqs:
            return False
        rows = await self._spool.get_all(seqs)
        self._forget_gone(seqs, rows)
        for row in rows:
            if self.note_connection():
                break
            if self._rows[row.seq] is DUE:
                self._publish_or_pass_over(row)
        return True

    def _publish_or_pass_over(self, row: Row) -> None:
        turn = self._turns.by_seq[row.seq]
        if turn.park_as is None and self._holding.holds_place_of(row.message):
            self._settling.pass_over(row)
        else:
            self._publish(row, turn)

    def _forget_gone(self, seqs: list[int], rows: list[Row]) -> None:
        """Forget rows that are DUE and not on the disk: another program has deleted them.

        A read of large bodies ends early, and says nothing about the rows behind its last one.
        """
        end = rows[-1].seq if rows else max(seqs)
        missing = {seq for seq in seqs if seq <= end}.difference(row.seq for row in rows)
        for seq in self._rows.all_in(sorted(missing), DUE):
            self._tally.rows_gone(1)
            self._settling.delete(self._turns.by_seq[seq])

    def _publish(self, row: Row, turn: Turn) -> None:
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
        except Exception as error:
            log.error("message_invalid", event_id=message.message_id, error=repr(error))
            publish = Publish(message)
            publish.settle(Outcome.REFUSED)
            return publish
