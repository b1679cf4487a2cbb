"""The process that writes: started, watched, and started again when it has died.

A thread waits for its end, and does nothing else. The event loop itself talks to it, over a socket
pair: a thread between them would wait for the interpreter again and again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from bridge.core.backoff import delay
from bridge.disk.frames import READ_BYTES, Answer, Frames, Job, frame

_PAUSE_SECONDS = 0.05
"""How long after its first end the process is started again."""

_PAUSE_SECONDS_AT_MOST = 1.0
"""The same after many ends: the end of the bridge waits for it, and is not to take long."""

_OURS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""Signals that a terminal or systemd sends to every process: the bridge decides about the end."""


class Process(Protocol):
    """A process that was started."""

    def wait(self) -> int:
        """Return its exit status when it has ended, or minus the signal that it died of."""
        ...

    def kill(self) -> None:
        """Kill it, if it is still there."""
        ...


class Master(Protocol):
    """Who gives the process its work; called on the event loop."""

    def came(self) -> None:
        """Take note that it is there, and has opened the file."""
        ...

    def answered(self, answer: Answer) -> None:
        """Take the answer to the job that was sent."""
        ...

    def lost(self, cause: str) -> None:
        """Take note that it has died, and that a job without an answer has none."""
        ...

    def gone(self, what: str) -> None:
        """Take note that it is not started again: the files are others now."""
        ...


def start(path: Path, connection: socket.socket, lock: int | None) -> Process:
    """Start the process, which gets our lock, too; raises OSError.

    So no other bridge can have the spool before this one and its process are both gone.
    """
    package = str(Path(__file__).parents[2])
    places = filter(None, (package, os.environ.get("PYTHONPATH")))
    number = connection.fileno()
    return subprocess.Popen(  # noqa: S603  # arguments made here
        [sys.executable, "-P", "-m", "bridge.disk", str(path.absolute()), str(number)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[number] if lock is None else [number, lock],
        start_new_session=True,  # Ctrl-C is for the bridge
    )


class Child:
    """The process that writes, whichever it is at the time."""

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        master: Master,
        *,
        what_is_wrong: Callable[[], str],
        lock: int | None,
    ) -> None:
        """Start it, beside what the caller does next.

        ``what_is_wrong`` says what has happened to the files, "" if they are where they were: a new
        process would lay the log of the old file over another one. ``lock`` is the descriptor of
        our lock.
        """
        self._path = path
        self._loop = loop
        self._master = master
        self._what_is_wrong = what_is_wrong
        self._lock = lock
        self._link: _Link | None = None
        self._last_words = ""
        self._failures = 0
        """How many in a row have died without having done a job."""
        self._is_ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="spool", daemon=True)
        self._keeper.start()

    def send(self, job: Job) -> None:
        """Give it a job; only when it is there, and the last one was answered.

        Raises ValueError for a job that has anything but plain values.
        """
        data = frame(job)
        if self._link is not None:  # else its end is about to be told
            self._link.send(data)

    def end(self) -> None:
        """Let it end, and start it no more."""
        self._is_ending.set()
        if self._link is not None:
            self._link.end()

    def join(self) -> None:
        """Wait until it has ended; not on the event loop."""
        self._keeper.join()

    def _attach(self, process: Process, connection: socket.socket) -> None:
        self._link = _Link(connection, self._loop, self._take, process.kill)
        if self._is_ending.is_set():
            self._link.end()

    def _take(self, members: tuple[Any, ...]) -> None:
        if members[0] == "ready":
            self._master.came()
        elif members[0] == "failed":
            self._last_words = str(members[1])
        else:
            self._failures = 0
            self._master.answered(Answer(*members))

    def _detach(self, cause: str) -> None:
        link, self._link = self._link, None
        try:
            if link is not None:
                link.finish()
        finally:
            if not self._is_ending.is_set():
                cause, self._last_words = self._last_words or cause, ""
                self._master.lost(cause)

    # Everything below runs on the thread.

    def _keep(self) -> None:
        # What is blocked here is blocked in the process, from its first instruction on.
        signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        while True:
            ours, its = socket.socketpair()
            cause = self._run(ours, its)
            self._failures += 1
            if not self._tell(self._detach, cause):
                ours.close()  # the loop that had it is closed
                return
            pause = delay(
                self._failures, base=_PAUSE_SECONDS, cap=_PAUSE_SECONDS_AT_MOST, spread=0.0
            )
            if self._is_ending.wait(pause):
                return
            if wrong := self._what_is_wrong():
                self._tell(self._master.gone, wrong)
                return

    def _run(self, ours: socket.socket, its: socket.socket) -> str:
        """Run a process to its end, and return what it has died of."""
        ours.setblocking(False)
        try:
            with its:
                process = start(self._path, its, self._lock)
        except OSError as error:
            ours.close()
            return f"it could not be started: {error}"
        if not self._tell(self._attach, process, ours):
            ours.close()
        status = process.wait()
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"

    def _tell(self, call: Callable[..., None], *arguments: object) -> bool:
        """Call it on the loop; return whether there still is one: an end may leave us behind."""
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            return False
        return True


class _Link:
    """Our end of the socket pair, on the event loop. It never waits."""

    def __init__(
        self,
        connection: socket.socket,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[tuple[Any, ...]], None],
        broken: Callable[[], None],
    ) -> None:
        """Call ``take`` with each message, and ``broken`` when no more can come."""
        self._connection = connection
        self._loop = loop
        self._take = take
        self._broken = broken
        self._frames = Frames()
        self._unsent = bytearray()
        self._is_ending = False
        self._is_lost = False
        """Whether a message was not taken: the later ones would be taken for answers to others."""
        self._loop.add_reader(connection, self._read)

    def send(self, data: bytes) -> None:
        """Send a message, now as far as the socket has room."""
        is_waiting = bool(self._unsent)
        self._unsent += data
        if not is_waiting:
            self._write()
            if self._unsent:
                self._loop.add_writer(self._connection, self._write)

    def end(self) -> None:
        """Tell the process that no more comes."""
        self._is_ending = True
        with suppress(OSError):  # it is gone already
            self._connection.shutdown(socket.SHUT_WR)

    def finish(self) -> None:
        """Read what the process has said before its end, and close."""
        try:
            while not self._is_lost and self._read():
                pass
        finally:
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)
            self._connection.close()

    def _write(self) -> None:
        try:
            del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:  # it is gone: the thread tells
            self._unsent.clear()
        if not self._unsent:
            self._loop.remove_writer(self._connection)

    def _read(self) -> bool:
        """Take what there is to read; return whether there may be more."""
        try:
            data = self._connection.recv(READ_BYTES)
            messages = [*self._frames.feed(data)]
        except BlockingIOError:
            return False
        except (OSError, ValueError, EOFError, TypeError):
            data, messages = b"", []
        try:
            for members in messages:
                self._take(members)
        except BaseException:  # for want of memory: the next process gets all that has no answer
            self._is_lost = True
            self._loop.remove_reader(self._connection)
            self._broken()
            raise
        if not data:
            self._loop.remove_reader(self._connection)
            if not self._is_ending:
                self._broken()
        return bool(data)
