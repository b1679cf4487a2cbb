"""Which places are held for what their rows did, and how they are trusted again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from bridge.core.message import Message
from bridge.delivery.held.closers import Closers
from bridge.delivery.held.passed import PassedOver
from bridge.delivery.held.places import HeldPlaces, Why
from bridge.delivery.held.schedule import Schedule

_STRIKES = 4
"""How many rows in a run, nacked or silent, end the recovery of a place."""

log = structlog.get_logger()


class Blame:
    """Judges the places of messages by what became of these."""

    def __init__(
        self,
        places: HeldPlaces,
        passed: PassedOver,
        closers: Closers,
        schedule: Schedule,
        lets: Callable[[str], bool],
    ) -> None:
        self._places = places
        self._passed = passed
        self._closers = closers
        self._schedule = schedule
        self._lets = lets
        self._loop = asyncio.get_running_loop()

    def place_of(self, message: Message, why: Why) -> None:
        """Hold the place of a message, and have it tried after a pause."""
        known = self._places.of(message)
        place = self._places.blame(message, why, now=self._loop.time())
        if known is None and self._lets("place_set_aside"):
            log.warning("place_set_aside", exchange=message.exchange, key=place.name, why=why)
        self._schedule.add(place, place.pause())

    def confirmed(self, message: Message) -> None:
        """Take note of a confirm, after which the place of the message recovers."""
        self._closers.confirmed(message)
        place = self._places.of(message)
        if place is None or place.why == "gone":
            return
        place.confirmed += 1
        place.strikes = 0
        if not place.recovering:
            place.recovering = self._passed.wants_sweep = True

    def strikes_out(self, message: Message) -> bool:
        """Take note of a failure; return whether it ends the recovery of the message's place."""
        place = self._places.of(message)
        if place is None or not place.recovering:
            return False
        place.strikes += 1
        return place.strikes >= _STRIKES
