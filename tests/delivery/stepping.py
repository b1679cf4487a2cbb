"""A process whose clock, disk and threads move only when a test says so.

Everything of the bridge is real: event loop, outbox, drain, spool, SQLite. Only the process and the
thread of the spool are replaced, by steps that a test takes itself, and the clock by a number. So a
test can put anything between asking the disk and its answer, and a night passes in no time.
"""

import asyncio
import selectors
import time
from types import SimpleNamespace

from bridge.disk.frames import merged
from bridge.disk.work import Disk
from bridge.spool import Spool
from bridge.spool.health import HUNG_SECONDS
from bridge.spool.opening import prepare


class _Selector(selectors.SelectSelector):
    """Never waits: asks the loop what comes next instead."""

    loop: "SteppedLoop"

    def select(self, timeout=None):
        if timeout is None or timeout > 0:
            self.loop.idle(timeout)
        return super().select(0)


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still until it is moved."""

    def __init__(self):
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._now = self._until = 1000.0
        self.jobs = []
        self.work = lambda: False
        """Asked whenever there is nothing else to do; returns whether it did something."""
        self.failures: list[object] = []
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self):
        """Return the seconds on the clock of the test."""
        return self._now

    def run_in_executor(self, executor, func, *args):  # type: ignore[override]
        """Leave a job for the test to do; return the future of its result."""
        future = self.create_future()
        self.jobs.append((future, lambda: func(*args)))
        return future

    def idle(self, timeout):
        """Do other work, go on to the next timer, or stop."""
        if self.work():
            return
        if timeout is not None and self._now + timeout <= self._until:
            self._now += timeout + 1e-9
        else:
            self.stop()

    def settle(self):
        """Run until nothing more can happen at this instant."""
        self.advance(0)

    def advance(self, seconds):
        """Let time pass, every timer in its turn."""
        self._until = self._now + seconds
        self.run_forever()
        self._now = max(self._now, self._until)

    def jump(self, seconds):
        """Let time pass at once, as when the machine was suspended."""
        self.settle()
        self._now += seconds
        self.settle()

    def end(self):
        """Cancel everything and close."""
        self.work = lambda: False
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.settle()
        self.close()

    def _write_to_self(self):
        """Nobody sleeps in a selector that would have to be woken."""


class SteppedSpool:
    """A spool in a directory, and the disk below it, for the length of one process.

    ``flows`` makes the disk work whenever the event loop has nothing else to do.
    """

    def __init__(self, loop, path, *, max_bytes=10**9):
        self._loop = loop
        self._answers = []
        self.flows = True
        self.refuses = False
        loop.work = lambda: self.flows and self.work()
        self.spool = loop.run_until_complete(_spool(path, max_bytes))
        self._writer = self.spool._writer
        self._jobs = self._writer._child.jobs
        self._disk = Disk(path)
        self._disk._reserve = SimpleNamespace(  # type: ignore[assignment]
            allocate=lambda: None, release=lambda *_: False
        )
        self._database = self._disk._database
        self._writer.came()

    def work(self):
        """Do all there is to do; return whether there was anything."""
        done = [self.commit(), self.select(), self.answer()]
        return any(done)

    def commit(self):
        """Write one group, or what is owed; return whether there was anything."""
        if not self._jobs and self._writer._owed and not self.refuses:
            self._writer._tick()
        jobs = [*self._jobs]
        self._jobs.clear()
        for job, count in merged(jobs):
            answer = self._disk.do(job)._replace(jobs=count)
            # It takes a turn to come, so that a test can do something before it.
            self._loop.call_soon(self._loop.call_soon, self._writer.answered, answer)
        return bool(jobs)

    def select(self):
        """Let the reader look at the database; its answer stays on the way."""
        if not self._loop.jobs:
            return False
        future, job = self._loop.jobs.pop(0)
        self._answers.append((future, job()))
        return True

    def answer(self):
        """Let the oldest answer of the reader arrive."""
        if not self._answers:
            return False
        future, result = self._answers.pop(0)
        if not future.cancelled():
            future.set_result(result)
        return True

    def refuse(self, refuses):
        """Make every write fail, or work again."""
        self.refuses = refuses
        self._database.execute(f"PRAGMA query_only = {int(refuses)}")

    def hang(self, hangs):
        """Be at one commit for too long, or not any more."""
        self._writer.health._began = time.monotonic() - HUNG_SECONDS if hangs else None

    def fill(self, full):
        """Let the file not grow any more, or grow again."""
        self._database.execute(f"PRAGMA max_page_count = {1 if full else 10**9}")

    def damage(self, seq):
        """Overwrite what a row says of its message beside the body."""
        self._database.execute("UPDATE event SET meta = x'00' WHERE seq = ?", (seq,))

    def delete(self, *seqs):
        """Delete rows, as another program does that has the file open."""
        for seq in seqs:
            self._database.execute("DELETE FROM event WHERE seq = ?", (seq,))

    def counted(self):
        """Return what the database holds: rows and the bytes that they count."""
        return self._database.execute("SELECT count(*), ifnull(sum(size), 0) FROM event").fetchone()

    def sizes(self):
        """Return the bytes that each row in the database counts, by its number."""
        return dict(self._database.execute("SELECT seq, size FROM event").fetchall())

    def close(self):
        """Close the files without writing what is queued: the process was killed."""
        self.spool._reader.close()
        self._database.close()


class NoProcess:
    """Stands in for the process that writes: keeps its jobs, which are done in steps."""

    def __init__(self, *_, **__):
        self.jobs = []

    def send(self, job):
        """Keep it."""
        self.jobs.append(job)


async def _spool(path, max_bytes):
    return Spool(path, prepare(path), max_bytes=max_bytes, loop=asyncio.get_running_loop())
