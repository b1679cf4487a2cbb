"""Whether the disk has room for a message, as far as its place is concerned."""

from __future__ import annotations

import structlog

from bridge.core.message import Message
from bridge.delivery.held.holding import Holding
from bridge.delivery.held.places import HeldPlace, place_of
from bridge.spool import Spool

log = structlog.get_logger()


class Room:
    """The room for rows that must wait: a place leaves at least as much free as its rows take."""

    def __init__(self, spool: Spool, holding: Holding) -> None:
        self._spool = spool
        self._holding = holding
        self._held = holding.held
        self._places = holding.places
        self._shares = holding.passed.shares

    def has_room_for(self, message: Message) -> bool:
        """Return whether a message may be spooled; a place full of nacked rows is held for that."""
        free, place = self._spool.free, place_of(message)
        held = self._held.bytes_of(place)
        if not (held or self._holding.holds_up(message)):
            return True
        if self._held.guilty_bytes_of(place) >= free and self._places.of(message) is None:
            self._holding.blame.place_of(message, "refused")
        held_place = self._places.of(message)
        if held_place is None:
            behind = self._shares.behind.bytes if self._holding.holds_up(message) else 0
            return max(held, behind) < free
        if self.is_full(held_place):
            self._note_full(held_place)
            return False
        return True

    def is_full(self, place: HeldPlace) -> bool:
        """Return whether a held place has used up its share of the disk."""
        return self._shares.is_full(place, free=self._spool.free)

    def _note_full(self, place: HeldPlace) -> None:
        if not place.told and self._holding.lets("place_full"):
            exchange, *_ = place.place
            log.error("place_full", exchange=exchange, key=place.name, bytes=place.share.bytes)
        place.told = True
