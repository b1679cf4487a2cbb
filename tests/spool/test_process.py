"""The process that writes: killed, frozen, out of memory, without a bridge, or not started."""

import asyncio
import operator
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.aio import keep_running
from bridge.core.event import record_of
from bridge.core.publish import Outcome
from bridge.core.reasons import Unreadable
from bridge.delivery.drain import Drain
from bridge.delivery.outbox import Outbox
from bridge.disk import commits
from bridge.disk.frames import Frames, Job, frame, merged
from bridge.disk.schema import complete
from bridge.disk.work import Disk
from bridge.metrics import Metrics
from bridge.spool import SpoolFull, health, opened, process
from tests.delivery.scripted import ScriptedBroker
from tests.helpers import eventually, message
from tests.spool.support import all_rows, is_damaged, stored
from tests.writing import WritingThread, frozen, writing_process

RECORD = record_of("superoffice", "Cust1", "contact", "1")


def writer():
    """Return the id of the process that writes for this one."""
    return writing_process(os.getpid())


def has_ended(pid):
    """Return whether a process is gone, or only its parent has not noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def memory(pid):
    """Return how many bytes of addresses a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


async def dead(spool, processes):
    """Wait until so many processes have died."""
    await eventually(lambda: spool.health.deaths == processes)


class Answers:
    """What became of the events that were handed over."""

    def __init__(self):
        self.stored = []
        self.refused = []

    def __call__(self, row, refusal):
        (self.stored if refusal is None else self.refused).append(row.seq)

    @property
    def count(self):
        """Return how many were answered."""
        return len(self.stored) + len(self.refused)


async def test_killed_again_and_again(spool):
    """What it had when it was killed is done by the next one, once, and nobody is refused."""
    answers, killed = Answers(), 0
    async with spool() as used:
        await used.flush()
        for number in range(400):
            used.append(message(number, body=b"x" * 5000), on_written=answers)
            await asyncio.sleep(0.001)
            if number % 40 == 39:
                for _ in range(number // 40):  # more and more of it is on its way, or done
                    await asyncio.sleep(0)
                os.kill(writer(), signal.SIGKILL)
                killed += 1
                await dead(used, killed)
                await used.flush()  # the second that a job meets would have it refused
        await used.flush()
        rows = await all_rows(used)

    assert 10 == killed
    assert ([], [*range(1, 401)]) == (answers.refused, answers.stored)
    assert [*range(1, 401)] == [row.seq for row in rows]
    assert 400 == used.events


async def test_killed_between_two_events(spool):
    """The next event is stored by the next process, and what is deleted is deleted."""
    with capture_logs() as log:
        async with spool() as used:
            used.append(message(1), on_written=stored)
            await used.flush()
            first = writer()
            os.kill(first, signal.SIGKILL)
            used.append(message(2), on_written=stored)
            await used.flush()
            for row in await all_rows(used):
                used.delete(row)
            await used.flush()
            left, second = await all_rows(used), writer()

    assert first != second
    assert ([], 0, 1) == (left, used.events, used.health.deaths)
    assert [("spool_process_ended", "killed by signal 9")] == [
        (line["event"], line["cause"]) for line in log
    ]


@pytest.fixture
def dying_after_a_commit(monkeypatch):
    """Let a process die when it has stored a row, before it says so, as often as is said."""
    real, left = Disk.do, [0]

    def do(disk, job):
        answer = real(disk, job)
        if job.rows and left[0]:
            left[0] -= 1
            raise RuntimeError("killed")
        return answer

    monkeypatch.setattr(process, "start", WritingThread)
    monkeypatch.setattr(Disk, "do", do)
    return left


async def test_stored_and_not_reported(spool, dying_after_a_commit):
    """The next process stores the row again, in its place, and reports it."""
    dying_after_a_commit[0] = 1
    answers = Answers()
    async with spool() as used:
        used.append(message(1), on_written=answers)
        await used.flush()
        rows = await all_rows(used)

    assert ([1], []) == (answers.stored, answers.refused)
    assert ([1], 1, 1) == ([row.seq for row in rows], used.events, used.health.deaths)


async def test_a_job_that_kills(spool, dying_after_a_commit):
    """Two processes have died of it: it is refused, and what was stored of it is deleted."""
    dying_after_a_commit[0] = 2
    answers = Answers()
    async with spool() as used:
        used.append(message(1), on_written=answers)
        await eventually(lambda: answers.count)
        seen = await all_rows(used)
        used.append(message(2), on_written=answers)
        await used.flush()
        await eventually(lambda: not used._writer._owed)
        rows = await all_rows(used)
    async with spool() as again:
        kept = await all_rows(again)

    assert ([2], [1]) == (answers.stored, answers.refused)
    assert ([], [2], [2]) == tuple([row.seq for row in found] for found in (seen, rows, kept))
    assert 1 == used.events == again.events
    assert rows[0].size == used.bytes


async def test_a_job_that_kills_before_an_end(spool, dying_after_a_commit):
    """What was stored of it is deleted although the end has come."""
    dying_after_a_commit[0] = 2
    answers = Answers()
    async with spool() as used:
        used.append(message(1), on_written=answers)
        await eventually(lambda: answers.count)
    async with spool() as again:
        kept = await all_rows(again)

    assert ([], [1]) == (answers.stored, answers.refused)
    assert ([], 0) == (kept, again.events)


async def test_stored_once_and_refused_then(spool, dying_after_a_commit, monkeypatch):
    """The next process has no room for it: it is refused, and what was stored of it is deleted."""
    real, refusals = commits.commit, list[str]()

    def full(database, rows, *more, **options):
        if rows and used.health.deaths and not refusals:
            refusals.append("database or disk is full")
            return sqlite3.OperationalError(refusals[0])
        return real(database, rows, *more, **options)

    monkeypatch.setattr(commits, "commit", full)
    dying_after_a_commit[0] = 1
    answers = Answers()
    async with spool() as used:
        used.append(message(1), on_written=answers)
        await eventually(lambda: answers.count)
        seen = await all_rows(used)
    async with spool() as again:
        kept = await all_rows(again)

    assert 1 == len(refusals)
    assert ([], [1]) == (answers.stored, answers.refused)
    assert ([], [], 0) == (seen, kept, again.events)


# 1. events 1 and 2 of a record are stored by a process that dies before it says so
# 2. the broker is there: the drain could read both
# 3. the next process dies of them as well: they are refused, and deleted
# 4. event 3 of the record comes
async def test_no_turn_before_an_answer(spool, dying_after_a_commit, monkeypatch):
    """What is on the disk has no turn before the process has said so: it may be refused."""
    dying_after_a_commit[0] = 2
    monkeypatch.setattr(process, "_PAUSE_SECONDS", 0.4)  # the drain looks every 0.1 s
    told: dict[int, list[Outcome]] = {}
    async with spool() as used:
        broker = ScriptedBroker(("superoffice",))
        drain = Drain(used, broker, Metrics(), refused_tries=7)
        outbox = Outbox(broker, used, drain, deadline=1.0)

        def send(number):
            told[number] = []
            outbox.deliver(message(number, record=RECORD), told[number].append)

        async with keep_running("drain", drain.run):
            send(1)
            send(2)
            broker.connect()
            await eventually(lambda: told[1] and told[2])
            send(3)
            await eventually(lambda: broker.in_flight)
            broker.confirm(0)
            await eventually(lambda: told[3])

    assert [[Outcome.NOT_SENT], [Outcome.NOT_SENT], [Outcome.CONFIRMED]] == [*told.values()]
    assert [("superoffice", "event-3")] == broker.routed
    assert (0, 0, 0) == (used.events, used.bytes, drain.backlog)


async def test_an_answer_that_is_not_taken():
    """No later one is taken for the answer to another job: the process is ended."""
    ours, its = socket.socketpair()
    ours.setblocking(False)
    taken, broken = [], []

    def take(members):
        taken.append(members)
        raise MemoryError

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    with its:
        link = process._Link(ours, loop, take, lambda: broken.append(True))
        its.sendall(frame(("a",)) + frame(("b",)))
        await eventually(lambda: broken)
        its.sendall(frame(("c",)))
        link.finish()

    assert ([("a",)], [True]) == (taken, broken)


async def test_texts_that_are_of_an_enum(spool):
    """A delivery that cannot be read has its reason as its key: the process gets a text."""
    async with spool() as used:
        used.append(message(1, key=Unreadable.NOT_JSON), on_written=stored)
        await used.flush()
        [row] = await all_rows(used)

    assert Unreadable.NOT_JSON.value == row.message.routing_key


async def test_frozen(spool, monkeypatch):
    """It is as a disk that hangs: refused in time, and stored when it goes on."""
    monkeypatch.setattr(health, "HUNG_SECONDS", 0.3)
    async with spool() as used:
        await used.flush()
        answers = Answers()
        with frozen(writer()):
            used.append(message(1), on_written=answers)
            await eventually(lambda: not used.accepts)
            with pytest.raises(SpoolFull, match="does not answer"):
                used.append(message(2), on_written=answers)
            unanswered = answers.count
        await eventually(lambda: used.accepts)

    assert (0, [1], 0) == (unanswered, answers.stored, used.health.deaths)


async def test_frozen_before_an_end(spool, monkeypatch):
    """Killed there, it is replaced, and the end waits for what is left to be written."""
    async with spool() as used:
        await used.flush()
        pid = writer()
        os.kill(pid, signal.SIGSTOP)
        used.append(message(1), on_written=stored)
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.2, os.kill, pid, signal.SIGKILL)
    async with spool() as again:
        assert 1 == again.events


async def test_more_than_the_socket_pair_takes(spool):
    """The loop does not wait for room in it: what does not go now goes later."""
    answers, longest = Answers(), 0.0
    async with spool() as used:
        await used.flush()
        with frozen(writer()):
            for number in range(40):
                began = time.monotonic()
                used.append(message(number, body=b"x" * 200_000), on_written=answers)
                await asyncio.sleep(0)
                longest = max(longest, time.monotonic() - began)
            link = used._writer._child._link
            await eventually(lambda: link._unsent)
        await used.flush()
        rows = await all_rows(used)

    assert [*range(1, 41)] == answers.stored
    assert {200_000} == {len(row.message.body) for row in rows}
    assert longest < 1.0


async def test_out_of_memory(spool):
    """It says so, or dies and is replaced: events that fit are stored again."""
    answers = Answers()
    async with spool() as used:
        await used.flush()
        _, hard = resource.prlimit(writer(), resource.RLIMIT_AS)
        resource.prlimit(writer(), resource.RLIMIT_AS, (memory(writer()), hard))
        used.append(message(1, body=b"x" * 8_000_000), on_written=answers)
        await eventually(lambda: answers.count == 1)
        used.append(message(2), on_written=answers)
        await used.flush()
        rows = await all_rows(used)

    assert 2 == answers.count
    assert 2 in answers.stored
    assert answers.stored == [row.seq for row in rows]


async def test_one_that_does_not_start(spool, monkeypatch):
    """It is tried again, after growing pauses, and the event waits for it."""
    real, tries = process.start, []

    def start(*arguments):
        tries.append(time.monotonic())
        if len(tries) < 4:
            raise OSError("no more processes")
        return real(*arguments)

    monkeypatch.setattr(process, "start", start)
    with capture_logs() as log:
        async with spool() as used:
            used.append(message(1), on_written=stored)
            await used.flush()

    pauses = [later - before for before, later in pairwise(tries)]
    assert all(map(operator.le, [0.05, 0.1, 0.2], pauses))
    assert {"it could not be started: no more processes"} == {line["cause"] for line in log}
    assert 1 == used.events


async def test_signals_to_all_processes_of_a_service(spool):
    """systemd and Ctrl-C end the bridge, which ends the process when all is written."""
    async with spool() as used:
        await used.flush()
        pid = writer()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        used.append(message(1), on_written=stored)
        await used.flush()
        is_same, group = writer() == pid, os.getpgid(pid)

    assert is_same
    assert group != os.getpgid(0)
    assert has_ended(pid)


async def test_another_file_when_it_is_started_again(spool, tmp_path):
    """No event is stored in a file that has come in the place of ours."""
    path = tmp_path / "spool.db"
    async with spool() as used:
        used.append(message(1), on_written=stored)
        await used.flush()
        other = tmp_path / "other.db"
        with closing(sqlite3.connect(other)) as database:
            complete(database)
        other.rename(path)
        answers = Answers()
        os.kill(writer(), signal.SIGKILL)
        used.append(message(2), on_written=answers)
        await is_damaged(used)
        unanswered = answers.count
    async with spool() as again:
        rows = await all_rows(again)

    assert 0 == unanswered
    assert [1] == [row.seq for row in rows]


ORPHAN = """
import asyncio, os, sys
from pathlib import Path
from bridge.spool import opened
from tests.writing import writing_process
async def main():
    async with opened(Path(sys.argv[1]), max_bytes=1 << 24, lock_wait=0) as spool:
        await spool.flush()
        print(writing_process(os.getpid()), flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.parametrize("is_frozen", [False, True])
async def test_it_dies_with_its_bridge(tmp_path, is_frozen):
    """Killed or not, frozen or not: the next bridge has the spool to itself, and at once."""
    path = tmp_path / "spool.db"
    command = [sys.executable, "-c", ORPHAN, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as bridge:  # noqa: ASYNC220  # short
        pid = int(next(iter(bridge.stdout or [])))
        if is_frozen:
            os.kill(pid, signal.SIGSTOP)
        bridge.kill()
        bridge.wait()
    await eventually(lambda: has_ended(pid))
    async with opened(path, max_bytes=1 << 24, lock_wait=5) as spool:
        spool.append(message(1), on_written=stored)
        await spool.flush()


def test_it_loads_little():
    """It starts quickly and takes little memory: nothing but a part of the standard library."""
    code = "import sys, bridge.disk.__main__; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tops = {name.partition(".")[0] for name in found.stdout.split()}

    assert "bridge" in tops
    assert not tops & {"asyncio", "structlog", "orjson", "aiohttp", "logging", "email", "ssl"}


def test_frames_however_they_are_cut():
    """A stream of messages is the same messages, whatever its pieces."""
    jobs = [Job("commit", rows=((1, 0.5, "x", b"y" * 3000, None),), deleted=[7]), Job("probe")]
    stream = b"".join(map(frame, jobs)) * 3
    for size in (1, 3, 7, 1000, len(stream)):
        frames = Frames()
        found: list[Job] = []
        for start in range(0, len(stream), size):
            found += [Job(*members) for members in frames.feed(stream[start : start + size])]
        assert jobs * 3 == found


def test_jobs_that_become_one():
    """Commits in a row are one, in their order; nothing overtakes, and none is forgotten."""
    one, two = Job("commit", [(1,)], [5], [(2, 6)]), Job("commit", [(2,)], is_repeat=True)
    found = [*merged([one, two, Job("probe"), one])]

    both = Job("commit", [(1,), (2,)], [5], [(2, 6)], is_repeat=True)
    assert [(both, 2), (Job("probe"), 1), (one, 1)] == found
