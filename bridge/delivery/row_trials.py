"""Trials of rows that are held by number."""

from __future__ import annotations

import asyncio

import structlog

from bridge.core.backoff import silence_pause
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.core.reasons import Undelivered
from bridge.delivery.arrivals import Arrivals
from bridge.delivery.held.exchanges import GONE_SECONDS
from bridge.delivery.held.held_rows import HeldRow
from bridge.delivery.held.holding import Holding
from bridge.delivery.held.places import Why
from bridge.delivery.rows import GONE, SILENT
from bridge.delivery.trials import AGAIN_SECONDS, Trials
from bridge.spool import Row, Spool

_PARK_AGAIN_SECONDS = 60.0
_PARK_AGAIN_AT_MOST = 3600.0
"""Pauses after ``superoffice.parked`` has nacked a message, doubling. A message that is too large
for the broker closes the channel each time."""

log = structlog.get_logger()


class RowTrials:
    """Tries held rows again until they are confirmed, parked, or passed over with their place."""

    def __init__(
        self,
        spool: Spool,
        publisher: Publisher,
        holding: Holding,
        trials: Trials,
        arrivals: Arrivals,
    ) -> None:
        self._spool = spool
        self._publisher = publisher
        self._holding = holding
        self._trials = trials
        self._arrivals = arrivals
        self._loop = asyncio.get_running_loop()

    async def try_row(self, held: HeldRow) -> None:
        """Try a row that is due."""
        if held.park_as is None and self._is_given_up(held):
            self._holding.park(held, Undelivered.EXCHANGE_GONE)
        is_silent = self._holding.rows[held.seq] is SILENT
        if is_silent or not self._publisher.can_publish_to(held.exchange):
            self._holding.schedule.add(held, AGAIN_SECONDS)
            return
        connection, was_on_disk = self._publisher.connection, held.seq not in self._arrivals
        row = await self._spool.get(held.seq)
        if self._holding.held.get(held.seq) is not held:  # the disk did not take it in the end
            return
        if row is None and was_on_disk:
            self._forget_gone(held)
        elif row is None:
            self._holding.schedule.add(held, AGAIN_SECONDS)
        elif connection != self._publisher.connection:
            # On the new connection the rows that may be in flight come first.
            self._holding.schedule.add(held, 0)
        else:
            self._begin(held, row)

    def _begin(self, held: HeldRow, row: Row) -> None:
        publish = self._trials.publish(held, row, park_as=held.park_as)
        self._holding.schedule.spend(held)
        self._trials.hear(held, publish, lambda: self._conclude(held, row, publish))

    def _forget_gone(self, held: HeldRow) -> None:
        """Forget a row that another program has deleted."""
        if self._holding.lets("spool_rows_gone"):
            log.error("spool_rows_gone", events=1)
        self._holding.rows.move(held.seq, GONE)
        self._holding.let_go(held)
        self._spool.delete(held)

    def _is_given_up(self, held: HeldRow) -> bool:
        """Return whether a held row's exchange is missing for too long."""
        now = self._loop.time()
        if self._publisher.can_publish_to(held.exchange):
            held.gone_since = None
        elif held.gone_since is None:
            held.gone_since = now
        return held.gone_since is not None and now - held.gone_since >= GONE_SECONDS

    def _conclude(self, held: HeldRow, row: Row, publish: Publish) -> None:
        outcome = self._trials.end(row, publish, apart=held.apart, park_as=held.park_as)
        if outcome is not None and outcome.is_with_broker:
            self._holding.let_go(held)
            self._trials.finish(row, outcome, park_as=held.park_as)
        elif outcome is Outcome.NOT_SENT:  # that counts no try
            self._holding.schedule.add(held, AGAIN_SECONDS)
        elif held.park_as is not None and not self._trials.is_lost(outcome):
            self._plan_parking(held, row)
        elif outcome is Outcome.REFUSED:
            self._count_try(held, row, culprit=publish.culprit)
        elif held.silent or held.apart or not self._trials.is_silent(outcome):
            self._plan_trial(held, row)
        else:
            self._hold_place(held, row, "silent")

    def _count_try(self, held: HeldRow, row: Row, *, culprit: bool) -> None:
        held.tries += 1
        self._spool.note_tries(row, held.tries)
        if culprit:
            self._holding.note_closer(row, known=held.tries > 1)
        if self._holding.held.condemn(held):
            self._holding.plan_retry(held, row)
        else:
            self._hold_place(held, row, "refused")

    def _plan_trial(self, held: HeldRow, row: Row) -> None:
        """Try a row again that had no answer: that counts no try."""
        is_guilty = (held.silent or held.apart) and held.park_as is None
        if is_guilty and not self._holding.held.condemn(held):
            self._hold_place(held, row, "silent")
            return
        held.apart = held.apart or not self._publisher.is_up
        held.unanswered += 1
        self._holding.schedule.add(held, silence_pause(held.unanswered))

    def _hold_place(self, held: HeldRow, row: Row, why: Why) -> None:
        """Hold the place instead of its row: too many of it are held, or it does not answer."""
        self._holding.let_go(held)
        self._holding.blame.place_of(row.message, why)
        self._holding.pass_over(row)

    def _plan_parking(self, held: HeldRow, row: Row) -> None:
        pause = min(_PARK_AGAIN_SECONDS * 2**held.parkings, _PARK_AGAIN_AT_MOST)
        held.parkings = min(held.parkings + 1, 16)
        log.error(
            "parking_refused",
            event_id=row.message.message_id,
            bytes=len(row.message.body),
            again_in_seconds=pause,
            remedy="make room in superoffice.parked, or raise RabbitMQ's max_message_size",
        )
        self._holding.schedule.add(held, pause)
