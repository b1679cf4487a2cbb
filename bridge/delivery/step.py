"""One step of the drain: everything that can be done now."""

from __future__ import annotations

from bridge.delivery.due import DueRows
from bridge.delivery.held.holding import Holding
from bridge.delivery.publishing import Publishing
from bridge.delivery.readahead import ReadAhead
from bridge.delivery.retries import Retries
from bridge.delivery.settling import Settling
from bridge.delivery.sweeping import Sweeping


class Step:
    """The kinds of work that a drain has, in the order in which they may use the window."""

    def __init__(
        self,
        holding: Holding,
        settling: Settling,
        publishing: Publishing,
        due: DueRows,
        retries: Retries,
        sweeping: Sweeping,
        reading: ReadAhead,
    ) -> None:
        self._holding = holding
        self._settling = settling
        self._publishing = publishing
        self._due = due
        self._retries = retries
        self.sweeping = sweeping
        self._reading = reading

    def probe_first(self) -> None:
        """Publish a single row first when the broker is up again, and read again what was read."""
        self._publishing.probe_first()
        self._reading.forget()

    def stop(self) -> None:
        """Read nothing ahead any more."""
        self._reading.forget()

    async def make(self) -> bool:
        """Do what can be done now; return whether there was anything."""
        if self._publishing.note_connection():
            self._reading.forget()
        self._settling.give_up_overdue()
        self._holding.look_again()
        tried = await self._retries.try_due(self._publishing.room_for_trials)
        published = await self._due.publish()
        swept = await self.sweeping.sweep_on()
        return await self._reading.read_on() or published or tried or swept
