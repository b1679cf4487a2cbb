"""What is written, when: the event loop's side of the process that writes.

A commit costs about as much as everything else we do for a dozen events. So the event loop gathers
operations as long as each of its turns brings more. Under load a few events share one commit;
without load no event waits. The process makes one commit of all jobs that have come meanwhile.

A process that dies is replaced, and the next one gets its jobs again: what the first may have
stored is replaced. A job of which two have died is refused.

The writer finds out by writing whether the disk is well, full or slow. While events need the disk
and there is nothing to write, it probes the disk with a row that it deletes again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from pathlib import Path

import structlog

from bridge.disk.beside import RESERVE_BYTES
from bridge.disk.frames import Answer, Job
from bridge.sampling import Sampled, note_events
from bridge.spool.health import PROBE_SECONDS, RETRY_SECONDS, Health
from bridge.spool.operations import Append, Change, Delete, Order, first_appends, first_changes
from bridge.spool.process import Child

_OPERATIONS_TO_GATHER = 32

_ORDERS_AT_ONCE = 4
"""How many jobs the process may have: with one it would wait for us after each commit."""

_MORE_SECONDS = 0.01
"""How long work waits that only has to let events go first."""

log = structlog.get_logger()


class Writer:
    """Gives the process that writes its jobs; all of it runs on the event loop, but ``close``.

    ``health`` is that of the disk.
    """

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        deleted: Callable[[Collection[int]], None],
        doubted: Callable[[Collection[int]], None],
        damaged: Callable[[str], None],
        gone: Callable[[str], None],
        is_needed: Callable[[], bool],
        what_is_wrong: Callable[[], str],
        lock: int | None,
    ) -> None:
        """Start the process, which gets the descriptor of our ``lock``; on any thread.

        ``deleted`` is called with the rows that are gone from the disk, ``doubted`` with those that
        were refused and may be there until they are, ``damaged`` with the error of a damaged file,
        ``gone`` with ``what_is_wrong`` with the files when a process has died. While ``is_needed``
        returns True, an idle disk is probed.
        """
        self._loop = loop
        self._deleted = deleted
        self._doubted = doubted
        self._damaged = damaged
        self._gone = gone
        self._is_needed = is_needed
        self.health = Health()
        self.health.begin()  # the disk may hang while the file is opened
        self._gathered: list[Append] = []
        self._changed: list[Change] = []
        self._gathered_before = 0
        self._is_look_due = False
        self._orders: deque[Order] = deque()
        """What the process has been given and has not answered, the one under way first."""
        self._owed: list[Change] = []
        """Changes that no commit has done: unlike appends they are never given up."""
        self._owes_more = False
        self._can_shrink = False
        self._flushes: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False
        self._is_here = False
        self._is_over = False
        self._lines = Sampled(note_events)
        self._child = Child(path, loop, self, what_is_wrong=what_is_wrong, lock=lock)

    def put(self, operation: Append | Change) -> None:
        """Queue an operation; deletions and tries are repeated until they are done."""
        if not self._is_look_due and self._has_room:
            self._loop.call_soon(self._look)
            self._is_look_due = True
        if isinstance(operation, Append):
            self._gathered.append(operation)
        else:
            self._changed.append(operation)
        if len(self._gathered) + len(self._changed) >= _OPERATIONS_TO_GATHER:
            self._go_on()

    def flush(self) -> asyncio.Future[None]:
        """Return a future that is done when nothing is left to write, or fails to be."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._flushes.append(done)
        self._go_on()
        return done

    def close(self) -> None:
        """Wait until all is written and the process has ended; called on a thread."""
        self._loop.call_soon_threadsafe(self._end)
        self._child.join()

    def _end(self) -> None:
        self._is_ending = True
        self._go_on()

    def _look(self) -> None:
        """Write what was gathered unless this turn of the loop has brought more."""
        found, self._is_look_due = len(self._gathered) + len(self._changed), False
        if found > self._gathered_before:
            self._loop.call_soon(self._look)
            self._is_look_due, self._gathered_before = True, found
        else:
            self._go_on()

    @property
    def _has_room(self) -> bool:
        """Return whether the process should have one more job, unless it is away."""
        return len(self._orders) < _ORDERS_AT_ONCE

    def _go_on(self) -> None:
        """Give the process what is to be done now."""
        if self._is_over:
            if self._is_ending:
                self._child.end()
        elif self._is_here and self._has_room and self._is_work_due:
            self._gathered_before = 0
            self._commit()
        elif not (self._orders or self._is_work_due) and (self._is_here or self._is_ending):
            self._rest()

    @property
    def _is_work_due(self) -> bool:
        in_haste = self._owes_more and (bool(self._flushes) or self._is_ending)
        return bool(self._gathered) or (self._may_change and (bool(self._changed) or in_haste))

    @property
    def _may_change(self) -> bool:
        """Return whether the process has no changes: events must not wait for too many of them."""
        return not any(order.changes for order in self._orders)

    def _rest(self) -> None:
        """There is nothing to do now; look again after a while, unless this is the end."""
        for flush in self._flushes:
            if not flush.done():
                flush.set_result(None)
        self._flushes.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_ending:
            self._child.end()
            return
        pause = PROBE_SECONDS if self.health.is_ok and not self._owed else RETRY_SECONDS
        has_more = self._owes_more or self._can_shrink
        self._timer = self._loop.call_later(_MORE_SECONDS if has_more else pause, self._tick)

    def _tick(self) -> None:
        """Retry what we owe, probe the disk, or give free pages back: there was time for it."""
        self._timer = None
        if self._orders or not self._is_here:
            return
        if self._owed:
            self._commit()
        elif self.health.is_probe_due(is_needed=self._is_needed()):
            self._give(Order(Job("probe")))
        elif self._can_shrink:
            self._give(Order(Job("shrink")))
        else:
            self._go_on()

    def _commit(self) -> None:
        appends = first_appends(self._gathered)
        changes: Sequence[Change] = ()
        if self._may_change:
            self._owed += self._changed
            self._changed = []
            changes = first_changes(self._owed)
        order = Order.commit(appends, changes)  # may fail for want of memory: nothing is lost yet
        del self._gathered[: len(appends)]
        del self._owed[: len(changes)]
        self._give(order)

    def _give(self, order: Order) -> None:
        self.health.begin()
        try:
            self._child.send(order.job)
        except (ValueError, MemoryError) as error:  # nothing of it is on its way
            self._loop.call_soon(self._note_unsent, order, f"{type(error).__name__}: {error}")
        else:
            self._orders.append(order)

    def _note_unsent(self, order: Order, error: str) -> None:
        self._refuse(order, error)
        if not self._orders:
            self.health.rest()
        self._go_on()

    # The process calls what follows.

    def came(self) -> None:
        """Take note that a process is there; it gets again what the one before it had."""
        self._is_here = True
        self.health.rest()
        again, self._orders = self._orders, deque()
        for order in again:
            self._give(order)
        self._go_on()

    def gone(self, what: str) -> None:
        """Write no more: the files are others now."""
        self._is_over = True
        self._gone(what)
        self._go_on()

    def lost(self, cause: str) -> None:
        """Take note that the process has died; no job is the end of more than two."""
        self.health.deaths += 1
        if self._lines.lets("spool_process_ended"):
            log.error("spool_process_ended", cause=cause, times=self.health.deaths)
        self._is_here = False
        self.health.begin()
        orders, self._orders = self._orders, deque()
        for order in orders:
            if order.is_deadly:
                self._refuse(order, f"the process that writes has ended: {cause}")
            elif order.is_commit:
                self._orders.append(order.again())

    def answered(self, answer: Answer) -> None:
        """Take note of what became of the jobs that were under way."""
        orders = list(islice(self._orders, answer.jobs))
        for _ in orders:
            self._orders.popleft()
        try:
            self._note(orders, answer)
        finally:  # whatever happens, nobody waits for ever
            for order in orders:
                order.report(answer.error, self._loop.call_exception_handler)
        self._go_on()

    def _note(self, orders: Sequence[Order], answer: Answer) -> None:
        self.health.end_job()
        if self._orders:
            self.health.begin()
        if answer.is_released:
            log.warning("spool_reserve_released", bytes=RESERVE_BYTES)
        if answer.is_damage:
            self._damaged(answer.error)
        if orders[0].is_commit:
            self._note_commit(orders, answer)
        elif orders[0].job.name == "probe":
            self.health.stores = not answer.error
        else:
            self._can_shrink = answer.has_more

    def _note_commit(self, orders: Sequence[Order], answer: Answer) -> None:
        events = sum(len(order.appends) for order in orders)
        changes = [change for order in orders for change in order.changes]
        if answer.is_done:
            gone = [change.seq for change in changes if isinstance(change, Delete)]
            self._can_shrink = self._can_shrink or bool(gone)
            self._deleted(gone)
        else:
            self._owed[:0] = changes
        self._owes_more = not answer.error and bool(self._owed)
        if events:
            self.health.stores = not answer.error
        if answer.error:
            self._doubt(orders)
            if self._lines.lets("spool_write_failed"):
                log.error("spool_write_failed", error=answer.error, events=events)

    def _refuse(self, order: Order, error: str) -> None:
        self._owed[:0] = order.changes
        self._doubt([order])
        order.report(error, self._loop.call_exception_handler)

    def _doubt(self, orders: Sequence[Order]) -> None:
        """Delete what an earlier process may have stored of orders that are refused now."""
        rows = [row for order in orders for row in order.doubtful]
        if rows:
            self._doubted([row.seq for row in rows])
            self._owed += rows
            self._owes_more = True
