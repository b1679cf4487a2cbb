"""The work on the database, a job at a time.

A full disk must not keep the spool from draining, but a deletion first goes into the write-ahead
log. A reserve file beside the database gives up its blocks for that.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from bridge.disk import commits
from bridge.disk.beside import Reserve, is_damage, suspect
from bridge.disk.commits import Row, connect
from bridge.disk.frames import Answer, Job

_PROBE: Row = (0, 0, 0, 0, "", "", "", b"", bytes(64 * 1024))
"""A row larger than almost any event, inserted and deleted in one transaction: no read sees it."""


class Disk:
    """Owns the connection that writes."""

    def __init__(self, path: Path) -> None:
        """Open the database. Raises ``sqlite3.Error`` and OSError."""
        self._path = path
        self._database = connect(path)
        self._reserve = Reserve(path)
        self._reserve.allocate()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def do(self, job: Job) -> Answer:
        """Do a job; whatever it fails of is in the answer."""
        work = {"commit": self._commit, "probe": self._probe, "shrink": self._shrink}[job.name]
        return work(job)

    def _commit(self, job: Job) -> Answer:
        # What an earlier process may have stored is replaced: no other program adds such rows.
        verb = "INSERT OR REPLACE" if job.is_repeat else "INSERT"
        error = commits.commit(self._database, job.rows, job.deleted, job.tries, verb=verb)
        if error is None:
            self._reserve.allocate()
            return Answer()
        return self._commit_changes(job, error)

    def _commit_changes(self, job: Job, error: Exception) -> Answer:
        """Delete without storing anything new, in the room of the reserve if need be."""
        if not (job.deleted or job.tries):
            return self._failure(error)
        is_released = self._reserve.release(error)
        is_done = commits.commit(self._database, (), job.deleted, job.tries) is None
        if is_done:
            with contextlib.suppress(sqlite3.Error):
                # Empties the log, so that its room is free for the next commit. The busy timeout
                # bounds the wait for a reader.
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._failure(error)._replace(is_done=is_done, is_released=is_released)

    def _probe(self, job: Job) -> Answer:
        """Find out whether the disk stores an event. No event would: none is sent to it."""
        error = commits.commit(self._database, (_PROBE,), (0,))
        return Answer() if error is None else self._failure(error)

    def _shrink(self, job: Job) -> Answer:
        return Answer(has_more=commits.shrink(self._database))

    def _failure(self, error: Exception) -> Answer:
        """Return the answer for an error; if that means damage, leave a mark for the next start."""
        damage = is_damage(error)
        if damage:
            suspect(self._path)
        text = str(error) or type(error).__name__
        return Answer(error=text, is_done=False, is_damage=damage)
