"""Trials of held places: one of the rows that wait for a place is published alone."""

from __future__ import annotations

import structlog

from bridge.core.backoff import silence_pause
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.core.reasons import Undelivered
from bridge.delivery.held.holding import Holding
from bridge.delivery.held.places import HeldPlace
from bridge.delivery.rows import PASSED_OVER
from bridge.delivery.trials import AGAIN_SECONDS, Trials
from bridge.spool import Row, Spool

_LOOK_AGAIN_SECONDS = 16.0
"""How long until another look at a place for which only rows wait that are held by number."""

log = structlog.get_logger()


class PlaceTrials:
    """Tries held places again until they recover."""

    def __init__(
        self, spool: Spool, publisher: Publisher, holding: Holding, trials: Trials
    ) -> None:
        self._spool = spool
        self._publisher = publisher
        self._holding = holding
        self._rows = holding.rows
        self._trials = trials

    async def try_place(self, place: HeldPlace) -> None:
        """Try a place that is due, with the next of the rows that take turns."""
        place.trying = False
        self._holding.schedule.spend(place)
        if place.recovering or place not in self._holding.places:
            return
        place.heads.rotate(-1)
        waiting = self._rows.all_in(place.heads, PASSED_OVER)
        connection = self._publisher.connection
        row = await self._spool.get(waiting[-1]) if waiting else None
        if not place.is_at_rest():
            return
        if row is not None and self._rows[row.seq] is not PASSED_OVER:
            row = None
        if row is None or connection != self._publisher.connection:
            if waiting and row is None:  # confirmed late, or not on disk yet: a sweep will tell
                place.drop(waiting[-1])
            self._holding.schedule.add(place, self._look_for_heads(place))
            return
        self._begin(place, row)

    def _begin(self, place: HeldPlace, row: Row) -> None:
        publish = self._trials.publish(place, row)
        place.trying, place.idle = True, 0
        self._trials.hear(place, publish, lambda: self._conclude(place, row, publish))

    def _look_for_heads(self, place: HeldPlace) -> float:
        """Ask for a sweep if no row of a place can be tried; return when to look again.

        Its rows that are held by number are tried by themselves.
        """
        if place.heads:
            return AGAIN_SECONDS
        if self._holding.held.bytes_of(place.place):
            return _LOOK_AGAIN_SECONDS
        self._holding.passed.wants_sweep = True
        place.idle += 1
        return silence_pause(place.idle)

    def _conclude(self, place: HeldPlace, row: Row, publish: Publish) -> None:
        passed = self._holding.passed
        outcome = self._trials.end(row, publish, apart=place.apart)
        place.trying = False
        passed.wants_sweep |= place.recovering or place not in self._holding.places
        if outcome is not None and outcome.is_with_broker:
            self._confirmed(place, row, outcome)
            return
        if publish.culprit:
            self._holding.note_closer(row, known=True)
        if outcome is Outcome.REFUSED:
            self._count_try(place, row, publish)
        self._holding.schedule.add(place, self._pause(place, outcome))

    def _confirmed(self, place: HeldPlace, row: Row, outcome: Outcome) -> None:
        self._holding.passed.remove(row)
        self._forget_head(place, row)
        self._holding.passed.wants_sweep = True
        self._trials.finish(row, outcome)

    def _count_try(self, place: HeldPlace, row: Row, publish: Publish) -> None:
        self._spool.note_tries(row, row.tries + 1)
        if row.tries + 1 >= self._holding.refused_tries and not self._holding.held.is_full:
            self._forget_head(place, row)
            self._holding.passed.remove(row)
            self._holding.hold(row, publish, park_as=Undelivered.REFUSED)

    def _forget_head(self, place: HeldPlace, row: Row) -> None:
        place.drop(row.seq)
        self._holding.forget_head(row)  # it may belong to another place by now

    def _pause(self, place: HeldPlace, outcome: Outcome | None) -> float:
        """Return how long to wait after a trial; one that was not published counts no failure."""
        if outcome is Outcome.NOT_SENT:
            return AGAIN_SECONDS
        place.failures += 1
        place.apart = place.apart or self._trials.is_lost(outcome)
        pause = place.pause()
        if self._holding.lets("place_tried"):
            log.warning(
                "place_tried",
                place=place.place,
                outcome=outcome.value if outcome else None,
                again_in_seconds=pause,
            )
        return pause
