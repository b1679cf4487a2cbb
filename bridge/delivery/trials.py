"""Publishing a row alone on a channel of its own, and hearing what became of it."""

from __future__ import annotations

from collections.abc import Callable

from bridge.core.publish import Outcome, Publish, Publisher
from bridge.delivery.held.held_rows import HeldRow
from bridge.delivery.held.holding import Holding
from bridge.delivery.held.places import HeldPlace
from bridge.delivery.parking import parked
from bridge.delivery.rows import GONE, ON_TRIAL, SILENT
from bridge.delivery.tally import Tally
from bridge.delivery.wire import Wire
from bridge.spool import Row, Spool

AGAIN_SECONDS = 1.0
"""The pause after a trial that could not be made."""


class Trials:
    """What a trial of a held row and one of a held place have in common."""

    def __init__(
        self,
        spool: Spool,
        publisher: Publisher,
        tally: Tally,
        holding: Holding,
        wire: Wire,
        *,
        wake: Callable[[], None],
    ) -> None:
        """Call ``wake`` whenever the broker has answered."""
        self._spool = spool
        self._publisher = publisher
        self._tally = tally
        self._holding = holding
        self._wire = wire
        self._wake = wake

    def publish(self, it: HeldRow | HeldPlace, row: Row, *, park_as: str | None = None) -> Publish:
        """Publish a row alone."""
        message = parked(row.message, park_as) if park_as else row.message
        self._holding.rows.move(row.seq, ON_TRIAL)
        try:
            publish = self._publisher.try_alone(message, apart=it.apart)
        except BaseException:
            self._holding.rest(row.seq)
            raise
        self._wire.trials += 1  # not before: what raised never has an outcome
        return publish

    def hear(self, it: HeldRow | HeldPlace, publish: Publish, conclude: Callable[[], None]) -> None:
        """Conclude a trial as soon as it has an outcome."""

        def settled(_: Publish) -> None:
            try:
                conclude()
            except BaseException:  # without memory, say: no other trial is due
                self._holding.schedule.add(it, AGAIN_SECONDS)
                raise

        if publish.outcome is None:
            publish.on_settled(settled)
        else:
            conclude()  # after an error ``try_due`` schedules another trial

    def end(
        self, row: Row, publish: Publish, *, apart: bool, park_as: str | None = None
    ) -> Outcome | None:
        """Note that a trial has an outcome, and return it; a row that is not gone waits again."""
        self._wire.trials -= 1
        outcome = publish.outcome
        confirmed = outcome is not None and outcome.is_with_broker
        if (confirmed or outcome is Outcome.REFUSED or self.is_silent(outcome)) and not apart:
            self._wire.probe.is_open = False
            self._wake()
        if publish.straggler is not None:
            self._follow(row, publish.straggler, park_as)
        elif not confirmed:
            self._holding.rest(row.seq)
        return outcome

    def _follow(self, row: Row, straggler: Publish, park_as: str | None) -> None:
        """Publish a row no more while what went among others may still be confirmed."""

        def settled(late: Publish) -> None:
            self._holding.settle_late(row, late, park_as=park_as)
            if late.outcome is not None and late.outcome.is_with_broker:
                self._tally.confirmed(row, late.outcome, park_as=park_as, late=True)

        self._holding.rows.move(row.seq, SILENT)
        straggler.on_settled(settled)

    def finish(self, row: Row, outcome: Outcome, *, park_as: str | None = None) -> None:
        """Delete a row that the broker has confirmed."""
        self._holding.rows.move(row.seq, GONE)
        self._spool.delete(row)
        self._tally.confirmed(row, outcome, park_as=park_as)
        if park_as is None:
            self._holding.blame.confirmed(row.message)

    def is_lost(self, outcome: Outcome | None) -> bool:
        """Return whether a trial ended with its connection."""
        return outcome is Outcome.UNKNOWN and not self._publisher.is_up

    def is_silent(self, outcome: Outcome | None) -> bool:
        """Return whether a trial was not answered, although the broker is up."""
        return outcome is Outcome.UNKNOWN and self._publisher.is_up
