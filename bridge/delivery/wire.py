"""What the drain has in flight, and how much more it may publish."""

from __future__ import annotations

from typing import final

from bridge.core.publish import WINDOW, WINDOW_BYTES
from bridge.delivery.held.sweep import Sweep
from bridge.spool import Row

TRIALS = 8
"""Maximum number of rows that are tried at a time, each alone on a channel."""


@final
class Flight:
    """A row on the wire since a time, and the sweep that put it there, if a sweep did."""

    __slots__ = ("row", "since", "sweep")

    def __init__(self, row: Row, since: float, sweep: Sweep | None = None) -> None:
        self.row = row
        self.since = since
        self.sweep = sweep


class Probe:
    """The first row on a new connection, which goes alone: it may be what ended the last one.

    While the probe ``is_open`` only one row is in flight; any answer of the broker ends it.
    ``up_to`` is the latest row at the time at which the ``connection`` was new.
    """

    def __init__(self, up_to: int) -> None:
        self.is_open = True
        self.up_to = up_to
        self.connection = 0

    def renew(self, connection: int, *, up_to: int) -> None:
        """Begin again on a new connection."""
        self.connection, self.up_to = connection, up_to
        self.is_open = True


class Wire:
    """The rows in flight, in the order of time: not settled, and not given up.

    ``trials`` counts the rows that are tried alone and have no outcome yet.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.trials = 0
        self._flights: dict[int, Flight] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many rows are in flight, without those on trial."""
        return len(self._flights)

    @property
    def room(self) -> int:
        """Return how many more rows may be published."""
        if self._bytes >= WINDOW_BYTES:
            return 0
        if self.probe.is_open:
            return 1 - len(self._flights) - self.trials
        return WINDOW - len(self._flights)

    def is_busy(self, room: int) -> bool:
        """Return whether to wait before publishing: few large runs cost less than many small."""
        return room < WINDOW // 2 and len(self._flights) >= WINDOW // 4

    def fly(self, flight: Flight) -> None:
        """Take note that a row was published."""
        self._flights[flight.row.seq] = flight
        self._bytes += flight.row.size
        if flight.sweep is not None:
            flight.sweep.in_flight += 1

    def land(self, seq: int, *, confirmed: bool) -> None:
        """Take a row off the wire, because it is settled or given up."""
        flight = self._flights.pop(seq, None)
        if flight is None:
            return
        self._bytes -= flight.row.size
        if flight.sweep is not None:
            flight.sweep.landed(confirmed=confirmed)

    def overdue(self, since: float) -> Row | None:
        """Return the row that is longest in flight, if it is there since that time or longer."""
        first = next(iter(self._flights.values()), None)
        return first.row if first is not None and first.since <= since else None
