"""The one thread that writes to the spool. Everything that waits goes into one transaction.

A commit costs about as much as everything else we do for a dozen events, and waking the thread is
not cheap either. So the event loop gathers operations as long as each of its turns brings more.
Under load a few events share one commit; without load no event waits.

A full disk must not keep the spool from draining, but a deletion first goes into the write-ahead
log. A reserve file beside the database gives up its blocks for that.

The writer finds out by writing whether the disk is well, full or slow. While events need the disk
and there is nothing to write, it probes the disk with a row that it deletes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

import structlog

from bridge.sampling import Sampled, note_events
from bridge.spool.commits import (
    OPERATIONS_PER_COMMIT,
    Append,
    Delete,
    NoteTries,
    commit,
    connect,
    due,
    shrink,
)
from bridge.spool.errors import SpoolFull
from bridge.spool.files import Reserve

_OPERATIONS_TO_GATHER = 16
_RETRY_SECONDS = 0.5

_PROBE_SECONDS = 0.5
"""How long nothing is written before we probe the disk, while events need it."""

HUNG_SECONDS = 1.25
"""Maximum time of one commit, below two seconds with the pause before the next probe."""

_PROBATION = 3
"""How many commits in a row a slow disk must do in time before we trust it again."""

log = structlog.get_logger()


class Flush(NamedTuple):
    """Resolve ``done`` when everything before it is written."""

    done: asyncio.Future[None]


Operation = Append | Delete | NoteTries | Flush

_PROBE = Append((0, 0, 0, 0, "", "", "", b"", bytes(64 * 1024)), lambda refusal: None)
"""A row larger than almost any event, inserted and deleted in one transaction: no read sees it."""


class Writer:
    """Owns the writing connection and its thread."""

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        deleted: Callable[[Collection[int]], None],
        failed: Callable[[Exception], None],
        ended: Callable[[BaseException], None],
        is_needed: Callable[[], bool],
    ) -> None:
        """Start the thread.

        ``deleted`` is called on the loop with the rows that are gone from the disk. The others are
        called on the thread: ``failed`` with the error of a commit, ``ended`` with the error of
        which the thread itself dies. While ``is_needed`` returns True, an idle disk is probed.
        """
        self._path = path
        self._loop = loop
        self._deleted = deleted
        self._failed = failed
        self._ended = ended
        self._is_needed = is_needed
        self.hung_seconds = HUNG_SECONDS
        """How long one commit may take, given how long its requests can wait."""
        self.progress_at = 0.0
        """When the latest commit ended, well or not."""
        self._began: float | None = None
        """When the commit that is under way began."""
        self._probation = 0
        """How many more commits have to be in time."""
        self._probed_at = 0.0
        self._gathered: list[Operation] = []
        self._gathered_before = 0
        self._is_look_due = False
        self._operations: SimpleQueue[list[Operation] | None] = SimpleQueue()
        self._owed: list[Delete | NoteTries] = []
        """Changes that no commit has done yet: unlike appends they are never given up."""
        self._owes_more = False
        self._can_shrink = False
        self._stores = True
        """Whether the latest commit of an append, or probe, has succeeded."""
        self._reserve = Reserve(path)
        self._lines = Sampled(note_events)
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    @property
    def disk_ok(self) -> bool:
        """Return whether the disk stores events in time, as far as we know."""
        return self._stores and not self.is_slow

    @property
    def is_slow(self) -> bool:
        """Return whether a commit takes too long, or one did recently."""
        return self._probation > 0 or self.is_hung

    @property
    def is_hung(self) -> bool:
        """Return whether the commit that is under way takes too long."""
        began = self._began
        return began is not None and time.monotonic() - began >= self.hung_seconds

    def put(self, operation: Append | Delete | NoteTries) -> None:
        """Queue an operation; deletions and tries are repeated until they are done."""
        if not self._is_look_due:
            self._loop.call_soon(self._look)
            self._is_look_due = True
        self._gathered.append(operation)
        if len(self._gathered) >= _OPERATIONS_TO_GATHER:
            self.hand_over()

    def hand_over(self) -> None:
        """Give the thread what was gathered."""
        self._gathered_before = 0
        if self._gathered:
            self._operations.put(self._gathered)
            self._gathered = []

    def flush(self) -> asyncio.Future[None]:
        """Return a future that is done when everything before it is written."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._gathered.append(Flush(done))
        self.hand_over()
        return done

    def close(self) -> None:
        """Wait until everything that was handed over is written and the thread has ended."""
        self._operations.put(None)
        self._thread.join()

    def _look(self) -> None:
        """Hand over what was gathered unless this turn of the loop has brought more."""
        found, self._is_look_due = len(self._gathered), False
        if found > self._gathered_before:
            self._loop.call_soon(self._look)
            self._is_look_due, self._gathered_before = True, found
        else:
            self.hand_over()

    # Everything below runs on the thread, but for _call_back.

    def _run(self) -> None:
        self._began = time.monotonic()  # the disk may hang while the file is opened
        try:
            with contextlib.closing(connect(self._path)) as database:
                self._reserve.allocate()
                self._began = None
                while (batch := self._next_batch()) is not None:
                    self._began = time.monotonic()
                    self._write(database, batch)
                    self._probation = _PROBATION if self.is_hung else max(self._probation - 1, 0)
                    self.progress_at = time.monotonic()
                    self._began = None
                self._do_all_owed(database)
        except BaseException as error:
            self._ended(error)

    def _next_batch(self) -> list[Operation] | None:
        """Return all operations that are queued; wait for one if there is none. None is the end.

        The wait ends after a while with no operations: there may be changes to retry, free pages to
        give back, or a disk to probe.
        """
        batch: list[Operation] = []
        is_idle = self.disk_ok and not self._owed
        pause = 0.01 if self._has_more else _PROBE_SECONDS if is_idle else _RETRY_SECONDS
        with contextlib.suppress(Empty):
            found = self._operations.get(timeout=pause)
            while found is not None:
                batch += found
                if len(batch) >= OPERATIONS_PER_COMMIT:
                    return batch
                found = self._operations.get_nowait()
            if not batch:
                return None
            self._operations.put(None)  # found the end behind this batch: find it again
        return batch

    @property
    def _has_more(self) -> bool:
        """Return whether there is work left that only had to let events go first."""
        return self._owes_more or self._can_shrink

    def _write(self, database: sqlite3.Connection, batch: Sequence[Operation]) -> None:
        appends = [operation for operation in batch if isinstance(operation, Append)]
        self._owed += [op for op in batch if isinstance(op, Delete | NoteTries)]
        changes = due(self._owed)
        error = commit(database, appends, changes)
        self._owes_more = error is None and len(changes) < len(self._owed)
        if error is None:
            self._note_done(changes)
            self._stores = self._stores or bool(appends)
            if not batch and self._is_probe_due():
                self._stores = self._probe(database)
            self._reserve.allocate()
        else:
            if self._lines.lets("spool_write_failed"):
                log.error("spool_write_failed", error=str(error), events=len(appends))
            self._failed(error)
            self._stores = self._stores and not appends
            self._do_owed_alone(database, error)
        self._report(appends, error)
        flushes = [operation for operation in batch if isinstance(operation, Flush)]
        if flushes:
            self._do_all_owed(database)
        for flush in flushes:
            self._loop.call_soon_threadsafe(_resolve, flush.done)
        if not batch and self._can_shrink:
            self._can_shrink = error is None and shrink(database)

    def _do_all_owed(self, database: sqlite3.Connection) -> None:
        while self._owes_more:
            self._write(database, ())
            self.progress_at = time.monotonic()

    def _is_probe_due(self) -> bool:
        """Return whether to probe now; steps of shrinking ask much more often than that."""
        now = time.monotonic()
        pause = _PROBE_SECONDS if self.disk_ok else _RETRY_SECONDS
        if now - self._probed_at < pause * 0.9 or (self.disk_ok and not self._is_needed()):
            return False
        self._probed_at = now
        return True

    def _probe(self, database: sqlite3.Connection) -> bool:
        """Return whether the disk stores an event. No event would find out: none is sent to it.

        Only when there is nothing else to do: the deletions of a drain come first.
        """
        error = commit(database, (_PROBE,), (Delete(0),))
        if error is not None:
            self._failed(error)
        return error is None

    def _do_owed_alone(self, database: sqlite3.Connection, error: Exception) -> None:
        """Delete without storing anything new, in the room of the reserve if need be."""
        if not self._owed:
            return
        self._reserve.release(error)
        changes = due(self._owed)
        if commit(database, (), changes) is None:
            self._note_done(changes)
            with contextlib.suppress(sqlite3.Error):
                # Empties the log, so that its room is free for the next commit. The busy timeout
                # bounds the wait for a reader.
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _note_done(self, changes: Sequence[Delete | NoteTries]) -> None:
        gone = [change.seq for change in changes if isinstance(change, Delete)]
        del self._owed[: len(changes)]
        if gone:
            self._can_shrink = True
            self._loop.call_soon_threadsafe(self._deleted, gone)

    def _report(self, appends: Sequence[Append], error: Exception | None) -> None:
        if appends:
            refusal = None if error is None else SpoolFull(f"the disk does not take it: {error}")
            self._loop.call_soon_threadsafe(self._call_back, appends, refusal)

    def _call_back(self, appends: Sequence[Append], refusal: SpoolFull | None) -> None:
        for append in appends:  # a call for each, so that an error of one does not stop the others
            self._loop.call_soon(append.on_written, refusal)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
