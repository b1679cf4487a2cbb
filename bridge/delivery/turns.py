"""Whose turn it is: of each record one row is published at a time, the others wait in line."""

from __future__ import annotations

from typing import final

from bridge.core.event import Record
from bridge.delivery.fifo import FifoPerKey
from bridge.delivery.rows import DUE, IN_LINE, Rows


@final
class Turn:
    """What is remembered of a row that is in line, due or on the wire.

    ``size`` is in bytes; ``park_as`` is the reason to park it, if it is to be parked. Its message
    is not kept: a row in line is read again when its turn has come.
    """

    __slots__ = ("park_as", "record", "seq", "size")

    def __init__(
        self, seq: int, size: int, record: Record | None, park_as: str | None = None
    ) -> None:
        self.seq = seq
        self.size = size
        self.record = record
        self.park_as = park_as


class Turns:
    """The rows that were read and are to be published; ``by_seq`` has the turn of each."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.by_seq: dict[int, Turn] = {}
        self._fifo: FifoPerKey[Record, int] = FifoPerKey()

    def __len__(self) -> int:
        """Return how many rows were read and are to be published."""
        return len(self.by_seq)

    def has(self, record: Record | None) -> bool:
        """Return whether a row of this record is being published."""
        return record in self._fifo

    def enter(self, turn: Turn) -> bool:
        """Let a row wait for its turn; return whether that has come. It is not DUE yet then."""
        seq, record = turn.seq, turn.record
        is_first = record is None or self._fifo.enter(record, seq)
        if not is_first:
            self.rows.move(seq, IN_LINE)
        self.by_seq[seq] = turn
        return is_first

    def attach(self, turn: Turn) -> None:
        """Let a row have its turn that is ATTACHED: it is published already."""
        if turn.record is not None:
            self._fifo.enter(turn.record, turn.seq)
        self.by_seq[turn.seq] = turn

    def end(self, seq: int) -> None:
        """End the turn of a row that is gone: the next one of its record is due."""
        turn = self.by_seq.pop(seq, None)
        if turn is None or turn.record is None:
            return
        if (following := self._fifo.next(turn.record)) is not None:
            self.rows.move(following, DUE)

    def break_off(self, seq: int) -> list[Turn]:
        """End the turn of a row that is not gone; return the turns of all in line behind it."""
        turn = self.by_seq.pop(seq, None)
        if turn is None or turn.record is None:
            return []
        return [self.by_seq.pop(behind) for behind in self._fifo.close(turn.record)]
