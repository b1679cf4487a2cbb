"""The one thread that writes to the spool: whatever waits goes into one transaction.

A commit costs about as much as everything else that is done for a dozen events, and waking the
thread is not cheap either. So what the event loop hands over is gathered while each of its turns
brings more: under load a few events share both, and without load nothing waits.

A disk that is full must not keep the spool from draining, and deleting in SQLite writes before it
frees: a reserve file beside the database gives its blocks up for that.
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

_TRIAL_SECONDS = 0.5
"""How long nothing is written until the disk is tried, while events need it."""

HUNG_SECONDS = 1.25
"""Maximum time that the disk may be at one commit until it counts as hung.

With what passes until the next trial it is below two seconds.
"""

_PROOFS = 3
"""How many commits in a row a disk that was slow has to do in time, until it counts again."""

log = structlog.get_logger()


class Call(NamedTuple):
    """Tell when everything before it is done."""

    done: asyncio.Future[None]


Operation = Append | Delete | NoteTries | Call

_TRIAL = Append((0, 0, 0, 0, "", "", "", b"", bytes(64 * 1024)), lambda refusal: None)
"""A row as large as few events are. No event has its number, and none but its commit sees it."""


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

        ``deleted`` is told on the loop which rows are gone from the disk; on the thread ``failed``
        why a commit was not done, and ``ended`` what the thread itself has died of. While
        ``is_needed``, asked on the thread, the disk is tried even when there is nothing to write.
        """
        self._path = path
        self._loop = loop
        self._deleted = deleted
        self._failed = failed
        self._ended = ended
        self._is_needed = is_needed
        self.hung_seconds = HUNG_SECONDS
        """How long the disk may be at one commit, for those that wait for it."""
        self.moved_at = 0.0
        """When the latest commit was done, or given up."""
        self._began: float | None = None
        self._proofs_owed = 0
        self._tried_at = 0.0
        self._gathered: list[Operation] = []
        self._seen = 0
        self._looking = False
        self._operations: SimpleQueue[list[Operation] | None] = SimpleQueue()
        self._owed: list[Delete | NoteTries] = []
        self._pays = False
        self._shrinks = False
        self._takes = True
        self._reserve = Reserve(path)
        self._lines = Sampled(note_events)
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    @property
    def takes(self) -> bool:
        """Return whether the disk takes events in time, as far as is known."""
        return self._takes and not self.is_slow

    @property
    def is_slow(self) -> bool:
        """Return whether the disk is at one commit for too long, or was of late."""
        return self._proofs_owed > 0 or self.is_hung

    @property
    def is_hung(self) -> bool:
        """Return whether the disk has been at one commit for too long."""
        began = self._began
        return began is not None and time.monotonic() - began >= self.hung_seconds

    def put(self, operation: Append | Delete | NoteTries) -> None:
        """Queue an operation; deletions and tries are repeated until they are done."""
        if not self._looking:
            self._loop.call_soon(self._look)
            self._looking = True
        self._gathered.append(operation)
        if len(self._gathered) >= _OPERATIONS_TO_GATHER:
            self.hand_over()

    def hand_over(self) -> None:
        """Let the thread have what was gathered."""
        self._seen = 0
        if self._gathered:
            self._operations.put(self._gathered)
            self._gathered = []

    def flush(self) -> asyncio.Future[None]:
        """Return what is done after all that came before."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._gathered.append(Call(done))
        self.hand_over()
        return done

    def close(self) -> None:
        """Return when all that was handed over is written and the thread has ended."""
        self._operations.put(None)
        self._thread.join()

    def _look(self) -> None:
        """Hand over what was gathered if the latest turn of the loop brought nothing."""
        found, self._looking = len(self._gathered), False
        if found > self._seen:
            self._loop.call_soon(self._look)
            self._looking, self._seen = True, found
        else:
            self.hand_over()

    # What follows runs on the thread.

    def _run(self) -> None:
        self._began = time.monotonic()  # the disk may hang while the file is opened
        try:
            with contextlib.closing(connect(self._path)) as database:
                self._reserve.take()
                self._began = None
                while (batch := self._next_batch()) is not None:
                    self._began = time.monotonic()
                    self._write(database, batch)
                    self._proofs_owed = _PROOFS if self.is_hung else max(self._proofs_owed - 1, 0)
                    self.moved_at = time.monotonic()
                    self._began = None
                self._pay_all(database)
        except BaseException as error:
            self._ended(error)

    def _next_batch(self) -> list[Operation] | None:
        """Wait for operations and return all that are queued; None is the end.

        What is owed, or to be found out, does not wait for something new.
        """
        batch: list[Operation] = []
        waits = self.takes and not self._owed
        pause = 0.01 if self._hurries else _TRIAL_SECONDS if waits else _RETRY_SECONDS
        with contextlib.suppress(Empty):
            found = self._operations.get(timeout=pause)
            while found is not None:
                batch += found
                if len(batch) >= OPERATIONS_PER_COMMIT:
                    return batch
                found = self._operations.get_nowait()
            if not batch:
                return None
            self._operations.put(None)  # the end comes after this batch
        return batch

    @property
    def _hurries(self) -> bool:
        """Return whether there is more to do that only had to let events come between."""
        return self._pays or self._shrinks

    def _write(self, database: sqlite3.Connection, batch: Sequence[Operation]) -> None:
        appends = [operation for operation in batch if isinstance(operation, Append)]
        self._owed += [op for op in batch if isinstance(op, Delete | NoteTries)]
        changes = due(self._owed)
        error = commit(database, appends, changes)
        self._pays = error is None and len(changes) < len(self._owed)
        if error is None:
            self._paid(changes)
            self._takes = self._takes or bool(appends)
            if not batch and self._is_trial_due():
                self._takes = self._try(database)
            self._reserve.take()
        else:
            if self._lines.lets("spool_write_failed"):
                log.error("spool_write_failed", error=str(error), events=len(appends))
            self._failed(error)
            self._takes = self._takes and not appends
            self._settle_debts(database, error)
        self._tell(appends, error)
        calls = [operation for operation in batch if isinstance(operation, Call)]
        if calls:
            self._pay_all(database)
        for call in calls:
            self._loop.call_soon_threadsafe(_resolve, call.done)
        if not batch and self._shrinks:
            self._shrinks = error is None and shrink(database)

    def _pay_all(self, database: sqlite3.Connection) -> None:
        while self._pays:
            self._write(database, ())
            self.moved_at = time.monotonic()

    def _is_trial_due(self) -> bool:
        """Return whether the disk is to be tried now: steps of shrinking come much more often."""
        now = time.monotonic()
        waits = _TRIAL_SECONDS if self.takes else _RETRY_SECONDS
        if now - self._tried_at < waits * 0.9 or (self.takes and not self._is_needed()):
            return False
        self._tried_at = now
        return True

    def _try(self, database: sqlite3.Connection) -> bool:
        """Return whether the disk takes an event; none comes while nobody believes that it does.

        Only when there is nothing else to do: the deletions of a drain come first.
        """
        error = commit(database, (_TRIAL,), (Delete(0),))
        if error is not None:
            self._failed(error)
        return error is None

    def _settle_debts(self, database: sqlite3.Connection, error: Exception) -> None:
        """Delete without storing anything new, on the blocks of the reserve if need be."""
        if not self._owed:
            return
        self._reserve.release(error)
        changes = due(self._owed)
        if commit(database, (), changes) is None:
            self._paid(changes)
            with contextlib.suppress(sqlite3.Error):
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # within the busy time

    def _paid(self, changes: Sequence[Delete | NoteTries]) -> None:
        gone = [change.seq for change in changes if isinstance(change, Delete)]
        del self._owed[: len(changes)]
        if gone:
            self._shrinks = True
            self._loop.call_soon_threadsafe(self._deleted, gone)

    def _tell(self, appends: Sequence[Append], error: Exception | None) -> None:
        if appends:
            refusal = None if error is None else SpoolFull(f"the disk does not take it: {error}")
            self._loop.call_soon_threadsafe(self._settle, appends, refusal)

    def _settle(self, appends: Sequence[Append], refusal: SpoolFull | None) -> None:
        for append in appends:  # each in a call of its own: an error is of one, not of all
            self._loop.call_soon(append.on_written, refusal)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
