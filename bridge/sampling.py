"""Sampling: what clients do fills no disk with lines of the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

_LINES = 100
"""Maximum number of lines for one reason in one minute."""

_MINUTE_SECONDS = 60.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Minute:
    """How many lines were asked for since ``began``, a time of the clock."""

    began: float
    wanted: int = 0


def _note_requests(reason: str, left_out: int) -> None:
    log.warning("refusals_unlogged", reason=reason, requests=left_out)


def note_events(action: str, left_out: int) -> None:
    """Log how many events had no line of this action."""
    log.warning("events_unlogged", of=action, events=left_out)


class Sampled:
    """Allows a bounded number of lines per minute for each reason.

    The first line of a later minute is preceded by one that says how many were left out.
    """

    def __init__(
        self,
        note: Callable[[str, int], None] = _note_requests,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a function that logs how many lines were left out, and a clock in seconds."""
        # Reasons are words of ours, so there are few: no client can make this dict grow.
        self._note = note
        self._clock = clock
        self._minutes: dict[str, _Minute] = {}

    def lets(self, reason: str) -> bool:
        """Count one more for this reason; return whether it may have a line."""
        now = self._clock()
        minute = self._minutes.get(reason)
        if minute is None or now - minute.began >= _MINUTE_SECONDS:
            if minute is not None and (left_out := minute.wanted - _LINES) > 0:
                self._note(reason, left_out)
            minute = self._minutes[reason] = _Minute(now)
        minute.wanted += 1
        return minute.wanted <= _LINES
