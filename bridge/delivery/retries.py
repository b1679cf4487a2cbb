"""Trying again what is held: rows one by one, and places by one of their rows."""

from __future__ import annotations

from bridge.core.publish import Publisher
from bridge.delivery.held.held_rows import HeldRow
from bridge.delivery.held.places import HeldPlace
from bridge.delivery.held.schedule import Schedule
from bridge.delivery.place_trials import PlaceTrials
from bridge.delivery.row_trials import RowTrials
from bridge.delivery.trials import AGAIN_SECONDS


class Retries:
    """Makes the trials that are due."""

    def __init__(
        self, publisher: Publisher, schedule: Schedule, rows: RowTrials, places: PlaceTrials
    ) -> None:
        self._publisher = publisher
        self._schedule = schedule
        self._rows = rows
        self._places = places

    async def try_due(self, limit: int) -> bool:
        """Try what is due, up to a limit and on one connection; return whether anything was."""
        tried = False
        connection = self._publisher.connection
        while limit > 0 and (it := self._schedule.next()) is not None:
            try:
                await self._try(it)
            except BaseException:  # an error of the disk, say: the trial must not be forgotten
                self._schedule.add(it, AGAIN_SECONDS)
                raise
            tried = True
            limit = limit - 1 if self._publisher.connection == connection else 0
        return tried

    async def _try(self, it: HeldRow | HeldPlace) -> None:
        if isinstance(it, HeldRow):
            await self._rows.try_row(it)
        else:
            await self._places.try_place(it)
