"""What becomes of a row that was published: it is deleted, published again, or held."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from bridge.core.publish import Outcome, Publish
from bridge.delivery.held.holding import Holding
from bridge.delivery.rows import DUE, PASSED_OVER, SILENT, UNREAD
from bridge.delivery.tally import Tally
from bridge.delivery.turns import Turns
from bridge.delivery.wire import Wire
from bridge.spool import Row, Spool
from bridge.spool.operations import Counted

_LOSSES = 2
"""How many connections may be lost under a row until it is tried on one of its own."""

log = structlog.get_logger()


class Settling:
    """Gives rows their outcome."""

    def __init__(
        self,
        spool: Spool,
        tally: Tally,
        holding: Holding,
        turns: Turns,
        wire: Wire,
        *,
        patience: float,
        wake: Callable[[], None],
    ) -> None:
        """Take after how many seconds a row that is not confirmed is *silent*.

        ``wake`` is called when the drain may go on.
        """
        self._spool = spool
        self._tally = tally
        self._holding = holding
        self._turns = turns
        self._rows = turns.rows
        self._wire = wire
        self._patience = patience
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._losses: Counter[int] = Counter()
        """How many connections were lost under a row, while that is not known to be harmless."""

    def settled(self, row: Row, publish: Publish, *, late: bool = False) -> None:
        """Give a row its outcome; ``late``: it was published before it was spooled."""
        outcome = publish.outcome
        confirmed = outcome if outcome is not None and outcome.is_with_broker else None
        self._wire.land(row.seq, confirmed=confirmed is not None)
        turn = self._turns.by_seq.get(row.seq)
        park_as = turn.park_as if turn else None
        if self._rows.in_memory.get(row.seq) is SILENT:
            self._holding.settle_late(row, publish)
            if confirmed is not None:
                self._tally.confirmed(row, confirmed, late=True)
        elif confirmed is not None:
            self._finish(row, confirmed, park_as, late=late)
        elif outcome is Outcome.REFUSED or publish.suspect or park_as:
            if outcome is Outcome.REFUSED:
                self._wire.probe.is_open = False
            self._break_off(row)
            self._holding.hold(row, publish, park_as=park_as)
        else:
            self.lose(row, published=outcome is Outcome.UNKNOWN)
        self._wake()

    def _finish(self, row: Row, outcome: Outcome, park_as: str | None, *, late: bool) -> None:
        self._wire.probe.is_open = False
        was_in_backlog = row.seq not in self._rows.swept
        self.delete(row)
        if park_as is None and not self._holding.is_idle:
            self._holding.blame.confirmed(row.message)
        self._tally.confirmed(row, outcome, park_as=park_as, late=late)
        is_empty = self._rows.backlog == 0 and (was_in_backlog or self._spool.events == 0)
        if is_empty and self._tally.lets("spool_drained"):
            log.info("spool_drained", held_records=self._holding.records)

    def delete(self, row: Counted) -> None:
        """Delete a row, and let the next one of its record have its turn."""
        self._rows.finish(row.seq)
        self._spool.delete(row)
        if self._losses:
            self._losses.pop(row.seq, None)
        self._turns.end(row.seq)

    def lose(self, row: Row, *, published: bool) -> None:
        """Let a row be published again, as its connection is lost; alone if it may be the cause."""
        self._wire.probe.is_open = True
        self._losses[row.seq] += published
        if self._losses[row.seq] >= _LOSSES:
            self._break_off(row)
            self._holding.hold_apart(row)
        else:
            has_turn = self._turns.by_seq.get(row.seq) is not None
            self._rows.move(row.seq, DUE if has_turn else UNREAD)

    def note_loss(self, seq: int) -> None:
        """Take note that a connection was lost under a row before it was spooled."""
        self._losses[seq] = 1

    def forget(self, seq: int) -> None:
        """Forget a row that the disk did not take."""
        self._losses.pop(seq, None)
        self._wire.land(seq, confirmed=False)

    def give_up_overdue(self) -> None:
        """Give up the rows that are not confirmed in time, although the broker is up."""
        since = self._loop.time() - self._patience
        while (row := self._wire.overdue(since)) is not None:
            self._wire.land(row.seq, confirmed=False)
            self._wire.probe.is_open = False
            self.give_up(row)

    def give_up(self, row: Row) -> None:
        """Hold a row that is not confirmed in time, or its place."""
        if self._holding.note_silence(row):
            self._break_off(row)
        else:
            self.pass_over(row)

    def pass_over(self, row: Row) -> None:
        """Leave a row on the disk, and all that wait in line behind it."""
        has_turn = self._turns.by_seq.get(row.seq) is not None
        behind = not has_turn and self._turns.has(row.message.record)
        self._holding.pass_over(row, behind=behind)
        self._break_off(row)

    def try_first(self, row: Row) -> None:
        """Have a row tried alone that may end a channel, before all that wait behind it."""
        self._break_off(row)
        self._holding.try_first(row)

    def _break_off(self, row: Row) -> None:
        """End the turn of a row that is not gone, and pass over those in line behind it."""
        self._losses.pop(row.seq, None)
        for turn in self._turns.break_off(row.seq):
            self._rows.move(turn.seq, PASSED_OVER)
            self._holding.passed.add_follower(turn.seq, turn.size, turn.record)
