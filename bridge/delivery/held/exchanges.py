"""Exchanges that are missing: their rows wait for some minutes, and are parked after that."""

from __future__ import annotations

import asyncio

import structlog

from bridge.core.message import Message
from bridge.core.publish import Publisher
from bridge.core.reasons import Undelivered
from bridge.delivery.held.places import HeldPlaces

GONE_SECONDS = 600.0
"""How long events wait for a missing exchange until they are parked."""

log = structlog.get_logger()


class Exchanges:
    """Holds whole exchanges while they are missing."""

    def __init__(self, places: HeldPlaces, publisher: Publisher) -> None:
        self._places = places
        self._publisher = publisher
        self._loop = asyncio.get_running_loop()

    def hold_if_missing(self, message: Message) -> bool:
        """Return whether a message's exchange is missing, and hold it from now on if it is."""
        exchange = message.exchange
        if not self._publisher.is_up or self._publisher.can_publish_to(exchange):
            return False
        if not self._places.is_missing(exchange):
            log.warning("exchange_gone", exchange=exchange, parked_in_seconds=GONE_SECONDS)
            self._places.hold_exchange(exchange, now=self._loop.time())
        return True

    def look(self) -> bool:
        """Return whether rows may go on: to an exchange that is back, or to be parked."""
        found, now = False, self._loop.time()
        for place in self._places.exchanges:
            if place.recovering:
                continue
            if self._publisher.is_up and self._publisher.can_publish_to(place.place[0]):
                place.recovering = found = True
            elif now - place.since >= GONE_SECONDS:
                place.park_as = Undelivered.EXCHANGE_GONE
                place.recovering = found = True
        return found
