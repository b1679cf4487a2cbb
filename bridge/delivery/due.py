"""Rows that have waited in line: when their turn has come they are read again, and published."""

from __future__ import annotations

from itertools import islice

from bridge.delivery.arrivals import Arrivals
from bridge.delivery.held.holding import Holding
from bridge.delivery.publishing import Publishing
from bridge.delivery.rows import DUE
from bridge.delivery.settling import Settling
from bridge.delivery.tally import Tally
from bridge.delivery.turns import Turns
from bridge.delivery.wire import Wire
from bridge.spool import Row, Spool


class DueRows:
    """Publishes the rows that are DUE."""

    def __init__(
        self,
        spool: Spool,
        tally: Tally,
        holding: Holding,
        turns: Turns,
        wire: Wire,
        settling: Settling,
        publishing: Publishing,
        arrivals: Arrivals,
    ) -> None:
        self._spool = spool
        self._tally = tally
        self._holding = holding
        self._turns = turns
        self._rows = turns.rows
        self._wire = wire
        self._settling = settling
        self._publishing = publishing
        self._arrivals = arrivals

    async def publish(self) -> bool:
        """Read and publish rows whose turn in line has come; return whether there were any."""
        on_disk = (seq for seq in self._rows.due if seq not in self._arrivals)
        seqs = list(islice(on_disk, max(0, self._wire.room)))
        if not seqs:
            return False
        rows = await self._spool.get_all(seqs)
        self._forget_gone(seqs, rows)
        for row in rows:
            if self._publishing.note_connection():
                break
            if self._rows[row.seq] is DUE:
                self._publish_or_pass_over(row)
        return True

    def _publish_or_pass_over(self, row: Row) -> None:
        turn = self._turns.by_seq[row.seq]
        if turn.park_as is None and self._holding.holds_place_of(row.message):
            self._settling.pass_over(row)
        else:
            self._publishing.publish(row, turn)

    def _forget_gone(self, seqs: list[int], rows: list[Row]) -> None:
        """Forget rows that are DUE and not on the disk: another program has deleted them.

        A read of large bodies ends early, and says nothing about the rows behind its last one.
        """
        end = rows[-1].seq if rows else max(seqs)
        missing = {seq for seq in seqs if seq <= end}.difference(row.seq for row in rows)
        for seq in self._rows.all_in(sorted(missing), DUE):
            self._tally.rows_gone(1)
            self._settling.delete(self._turns.by_seq[seq])
