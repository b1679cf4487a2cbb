"""Rows that were handed to the disk, until it has answered whether it has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.delivery.held.holding import Holding
from bridge.delivery.rows import ATTACHED, GONE
from bridge.delivery.settling import Settling
from bridge.delivery.turns import Turns
from bridge.delivery.waiting import Waiting
from bridge.delivery.wire import Flight, Wire
from bridge.spool import Row


@dataclass(slots=True)
class _Arrival:
    """A row on its way to the disk, and its publish if that has no outcome yet."""

    row: Row
    publish: Publish | None = None


class Arrivals:
    """Gives new rows their state, before anybody knows whether the disk takes them."""

    def __init__(
        self,
        publisher: Publisher,
        holding: Holding,
        turns: Turns,
        wire: Wire,
        settling: Settling,
        waiting: Waiting,
    ) -> None:
        self._publisher = publisher
        self._holding = holding
        self._turns = turns
        self._rows = turns.rows
        self._wire = wire
        self._settling = settling
        self._waiting = waiting
        self._loop = asyncio.get_running_loop()
        self._arrivals: dict[int, _Arrival] = {}

    def __len__(self) -> int:
        """Return how many rows are on their way to the disk."""
        return len(self._arrivals)

    def __iter__(self) -> Iterator[Row]:
        """Yield these rows in the order of acceptance."""
        return (arrival.row for arrival in self._arrivals.values())

    def __contains__(self, seq: object) -> bool:
        """Return whether a row is on its way to the disk."""
        return seq in self._arrivals

    def adopt(self, row: Row, publish: Publish | None) -> None:
        """Take over a row that was just handed to the disk, with its publish if there was one."""
        alone = self._rows.backlog == 0  # no UNREAD row lies before it, so its place is known
        arrival = self._arrivals[row.seq] = _Arrival(row)
        self._rows.add()
        self._waiting.hand(row.message.record)
        if publish is None or publish.outcome is Outcome.NOT_SENT:
            if alone and self._must_wait(row.message):
                self._rows.reach(row.seq)
                self._rows.skip_to(row.seq)
                self._settling.pass_over(row)
        elif publish.outcome is None:
            arrival.publish = publish
            self._attach(row)
        elif publish.outcome is Outcome.REFUSED or publish.suspect:
            self._holding.hold(row, publish)
        else:
            self._settling.note_loss(row.seq)

    def _must_wait(self, message: Message) -> bool:
        if self._holding.must_wait(message):
            return True
        # A row of its record is in turn while nothing is UNREAD: a sweep has put it there.
        is_swept = self._turns.has(message.record)
        self._holding.passed.wants_sweep |= is_swept
        return is_swept

    def _attach(self, row: Row) -> None:
        """Wait for the outcome of a row that was published, but not for long."""
        self._rows.move(row.seq, ATTACHED)
        if self._publisher.is_up:  # its deadline is over, for else it would not be spooled
            self._settling.give_up(row)
        else:
            self._wire.fly(Flight(row, self._loop.time()))

    def spooled(self, row: Row) -> None:
        """Take note that a row is on disk: the outcome of its publish counts from now on."""
        arrival = self._arrivals.pop(row.seq, None)
        waits = arrival is not None and self._rows.is_in_backlog(row.seq)
        self._waiting.answered(row.message.record, waits=waits)
        if arrival is not None and arrival.publish is not None:
            arrival.publish.on_settled(partial(self._settling.settled, row, late=True))

    def not_spooled(self, row: Row) -> None:
        """Forget a row that the disk did not take."""
        del self._arrivals[row.seq]
        self._settling.forget(row.seq)
        self._waiting.answered(row.message.record, waits=False)
        is_in_backlog = self._rows.is_in_backlog(row.seq)
        self._rows.move(row.seq, GONE)
        if not is_in_backlog:
            self._holding.remove(row)
