"""What became of rows: each is counted, and logged as far as the log has room."""

from __future__ import annotations

import structlog

from bridge.core.publish import Outcome
from bridge.metrics import Metrics
from bridge.sampling import Sampled, note_events
from bridge.spool import Row

# Python 3.11 calls a function to look up a member of an enum: too slow for every row.
_UNROUTED = Outcome.UNROUTED

log = structlog.get_logger()


class Tally:
    """Counts the rows that the broker has confirmed."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._drained = metrics.drained
        self._lines = Sampled(note_events)

    def confirmed(
        self, row: Row, outcome: Outcome, *, park_as: str | None = None, late: bool = False
    ) -> None:
        """Count a row that was confirmed, as drained or as parked; ``late``: after its deadline."""
        if park_as is not None:
            self._parked(row, park_as)
        else:
            self._drained.inc()
            if outcome is _UNROUTED:
                self._metrics.unrouted.labels(row.endpoint).inc()
        if late:
            self._metrics.late_confirms.inc()
            if self._lines.lets("event_confirmed_late"):
                log.info("event_confirmed_late", event_id=row.message.message_id)

    def _parked(self, row: Row, park_as: str) -> None:
        self._metrics.parked.labels(row.endpoint, park_as).inc()
        if self._lines.lets("event_parked"):
            log.warning("event_parked", event_id=row.message.message_id, reason=park_as)

    def lets(self, action: str) -> bool:
        """Return whether the log has room for one more line of an action, and count it."""
        return self._lines.lets(action)

    def rows_gone(self, events: int) -> None:
        """Log that another program has deleted rows."""
        if self._lines.lets("spool_rows_gone"):
            log.error("spool_rows_gone", events=events)

    def unreadable(self, row: Row) -> None:
        """Log what is wrong with a row."""
        if self._lines.lets("spool_row_unreadable"):
            log.error("spool_row_unreadable", seq=row.seq, error=row.unreadable)
