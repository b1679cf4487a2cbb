"""From the spool to the broker, in the order of acceptance per record, until nothing waits.

The *first reading* (``readahead``) reads each row once, by ascending number. Rows that cannot be
published in their turn are *held*: by number (``holding``), or passed over on the disk, which a
*sweep* reads again (``sweeping``). ``rows`` has the states of a row and all moves between them.
A new event goes behind the rows of its own record alone, as soon as the drain knows which records
wait (``waiting``).
"""

from __future__ import annotations

import asyncio
from itertools import islice

from bridge.aio import set_within
from bridge.core.message import Message
from bridge.core.publish import Publish, Publisher
from bridge.delivery.age import OldestAge
from bridge.delivery.arrivals import Arrivals
from bridge.delivery.due import DueRows
from bridge.delivery.gate import Gate
from bridge.delivery.held.holding import Holding
from bridge.delivery.place_trials import PlaceTrials
from bridge.delivery.publishing import Publishing
from bridge.delivery.reaching import Reaching
from bridge.delivery.readahead import ReadAhead
from bridge.delivery.retries import Retries
from bridge.delivery.row_trials import RowTrials
from bridge.delivery.rows import Rows
from bridge.delivery.settling import Settling
from bridge.delivery.step import Step
from bridge.delivery.sweeping import Sweeping
from bridge.delivery.tally import Tally
from bridge.delivery.trials import Trials
from bridge.delivery.turns import Turns
from bridge.delivery.waiting import Waiting
from bridge.delivery.wire import Probe, Wire
from bridge.metrics import Metrics
from bridge.spool import Row, Spool

_NAMED = 20
"""Maximum number of held places that are named one by one."""

_TICK_SECONDS = 0.1


class Drain:
    """Empties the spool while the broker is up."""

    def __init__(
        self,
        spool: Spool,
        publisher: Publisher,
        metrics: Metrics,
        *,
        refused_tries: int,
        patience: float = 2.0,
    ) -> None:
        """Take how often a nacked event is tried again before it is parked.

        ``patience``: after so many seconds a publish that is not confirmed is *silent*.
        """
        wake = asyncio.Event()
        tally = Tally(metrics)
        turns = Turns(Rows(backlog=spool.events))
        wire = Wire(Probe(spool.last_seq))
        waiting = Waiting(spool)
        holding = Holding(
            turns.rows, spool, publisher, refused_tries=refused_tries, lets=tally.lets
        )
        settling = Settling(spool, tally, holding, turns, wire, patience=patience, wake=wake.set)
        arrivals = Arrivals(publisher, holding, turns, wire, settling, waiting)
        publishing = Publishing(spool, publisher, tally, holding, turns, wire, settling)
        due = DueRows(spool, tally, holding, turns, wire, settling, publishing, arrivals)
        trials = Trials(spool, publisher, tally, holding, wire, wake=wake.set)
        retries = Retries(
            publisher,
            holding.schedule,
            RowTrials(spool, publisher, holding, trials, arrivals),
            PlaceTrials(spool, publisher, holding, trials),
        )
        sweeping = Sweeping(spool, holding, turns, wire, publishing, arrivals)
        reaching = Reaching(holding, turns, wire, settling, publishing)
        reading = ReadAhead(spool, tally, turns, wire, publishing, reaching, arrivals)
        self._publisher = publisher
        self._wake = wake
        self._rows = turns.rows
        self._holding = holding
        self._waiting = waiting
        self._arrivals = arrivals
        self._gate = Gate(spool, publisher, holding, turns, waiting)
        self._step = Step(holding, settling, publishing, due, retries, sweeping, reading)
        self._age = OldestAge(spool)

    def __repr__(self) -> str:
        """Show what waits."""
        return f"<Drain {self._rows!r}, {self._holding!r}>"

    # What the outbox asks and tells

    def comes_first(self, message: Message) -> bool:
        """Return whether a new message must go through the spool."""
        return self._gate.holds_up(message)

    @property
    def holds_up_all(self) -> bool:
        """Return whether a new message must go through the spool whatever its record is."""
        return self._gate.holds_up_all

    def has_room_for(self, message: Message) -> bool:
        """Return whether the spool has room for a message, as far as its place is concerned."""
        return self._gate.room.has_room_for(message)

    def adopt(self, row: Row, publish: Publish | None) -> None:
        """Take over a row that was just handed to the spool, with its publish if there was one."""
        self._arrivals.adopt(row, publish)
        self._wake.set()

    def spooled(self, row: Row) -> None:
        """Take note that a row is on disk."""
        self._arrivals.spooled(row)
        self._wake.set()

    def not_spooled(self, row: Row) -> None:
        """Forget a row that the disk did not take."""
        self._arrivals.not_spooled(row)

    # What metrics and the admin pages show

    @property
    def backlog(self) -> int:
        """Return how many rows wait for nothing but their turn."""
        return self._rows.backlog

    @property
    def oldest_seconds(self) -> float:
        """Return the age of the oldest event on the disk."""
        return self._age.seconds

    @property
    def held_records(self) -> int:
        """Return about how many records are held."""
        return self._holding.records

    @property
    def held_places(self) -> int:
        """Return how many places (exchange and routing key) are held."""
        return len(self._holding.places)

    @property
    def full_places(self) -> int:
        """Return how many of them have used up their share of the disk."""
        return sum(self._gate.room.is_full(each) for each in self._holding.places)

    @property
    def places(self) -> list[dict[str, object]]:
        """Return which places are held, the first twenty, and whether the disk takes more."""
        return [
            {
                "exchange": each.place[0],
                "key": each.name,
                "why": each.why,
                "full": self._gate.room.is_full(each),
            }
            for each in islice(self._holding.places, _NAMED)
        ]

    @property
    def is_sweeping(self) -> bool:
        """Return whether something that was passed over may go on, and is about to."""
        return self._step.sweeping.is_under_way

    # What it does

    async def run(self) -> None:
        """Drain until cancelled; after an error it may be called again."""
        try:
            await self._run()
        finally:
            self._step.stop()

    async def _run(self) -> None:
        while True:
            if self._rows.backlog == 0:
                self._waiting.clear()
            await self._age.look()
            looked = await self._waiting.look_on()
            if not self._publisher.is_up:
                self._step.probe_first()
            elif await self._step.make():
                continue
            if not looked:
                await self._idle()

    async def _idle(self) -> None:
        """Wait for something to do; the broker's state is looked at again after a moment."""
        await set_within(self._wake, _TICK_SECONDS)
        self._wake.clear()
