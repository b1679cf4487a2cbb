"""Rows that may be the reason why a channel or a connection was closed: these are tried alone."""

from __future__ import annotations

from bridge.core.message import Message
from bridge.delivery.held.closers import Closers
from bridge.spool import Row

_REMEMBERED = 10_000
"""Maximum number of rows on the disk that are remembered as suspects."""


class Suspects:
    """What is suspected: kinds of events (``closers``), and single rows on the disk.

    ``untried`` are rows that are held and wait for their first trial. ``any_waiting`` is whether
    rows were passed over because no more could be tried. ``on_disk`` has such rows; the value is
    whether the row is to be tried on its own connection.
    """

    def __init__(self) -> None:
        self.closers = Closers()
        self.untried: set[int] = set()
        self.any_waiting = False
        self.on_disk: dict[int, bool] = {}

    def __contains__(self, row: Row) -> bool:
        """Return whether a row must not be published with others."""
        return row.seq in self.on_disk or self.closers.suspects(row.message)

    def suspects(self, message: Message) -> bool:
        """Return whether a new message must not be published with others."""
        return self.closers.suspects(message)

    def wait(self, row: Row, *, apart: bool) -> None:
        """Remember a row that is passed over because no more can be tried now."""
        self.any_waiting = True
        if len(self.on_disk) < _REMEMBERED:
            self.on_disk[row.seq] = apart

    def forget(self, seq: int) -> bool:
        """Suspect a row no longer; return whether it was to be tried on its own connection."""
        return self.on_disk.pop(seq, False)
