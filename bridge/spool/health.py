"""Whether the disk is well: it stores what it is given, in time."""

from __future__ import annotations

import time

HUNG_SECONDS = 1.25
"""Maximum time of one commit, below two seconds with the pause before the next probe."""

PROBE_SECONDS = 0.5
"""How long nothing is written before we probe the disk, while events need it."""

RETRY_SECONDS = 0.5
"""How long we leave a disk alone that has failed."""

_PROBATION = 3
"""How many commits in a row a slow disk must do in time before we trust it again."""


class Health:
    """What one job after the other tells about the disk; readable from any thread.

    ``hung_seconds`` is how long one may take, given how long its requests can wait.
    ``progress_at`` is when the latest ended, well or not. ``stores`` is whether the latest one that
    stored an event, or probed, has succeeded. ``deaths`` counts the processes that died.
    """

    def __init__(self) -> None:
        self.hung_seconds = HUNG_SECONDS
        self.progress_at = 0.0
        self.stores = True
        self.deaths = 0
        self._began: float | None = None
        self._probation = 0
        """How many more jobs have to be in time."""
        self._probed_at = 0.0

    @property
    def is_ok(self) -> bool:
        """Return whether the disk stores events in time, as far as we know."""
        return self.stores and not self.is_slow

    @property
    def is_hung(self) -> bool:
        """Return whether what is under way takes too long."""
        began = self._began
        return began is not None and time.monotonic() - began >= self.hung_seconds

    @property
    def is_slow(self) -> bool:
        """Return whether a job takes too long, or one did recently."""
        return self._probation > 0 or self.is_hung

    def begin(self) -> None:
        """Begin to count, unless something is under way already."""
        if self._began is None:
            self._began = time.monotonic()

    def end_job(self) -> None:
        """Take note that a job has ended."""
        self._probation = _PROBATION if self.is_hung else max(self._probation - 1, 0)
        self.progress_at = time.monotonic()
        self._began = None

    def rest(self) -> None:
        """Take note that nothing is under way."""
        self._began = None

    def is_probe_due(self, *, is_needed: bool) -> bool:
        """Return whether to probe now, and count it; steps of shrinking ask much more often."""
        now = time.monotonic()
        pause = PROBE_SECONDS if self.is_ok else RETRY_SECONDS
        if now - self._probed_at < pause * 0.9 or (self.is_ok and not is_needed):
            return False
        self._probed_at = now
        return True
