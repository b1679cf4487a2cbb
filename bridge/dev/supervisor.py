"""The supervisor of a private RabbitMQ node: no process of the node outlives its owner.

The supervisor is a program of its own, in its own session, so that neither Ctrl-C nor ``kill -9``
of the owner ends it. It makes the node's directory and starts epmd and the server as its children.
It also adopts the processes that these leave behind. When its stdin ends or the owner is gone, it
kills all of them and removes the directory.

    supervisor.py OWNER_PID PARENT_DIRECTORY

Each line on stdin is a request: a JSON array of a name in ``Supervisor.REQUESTS`` and its
arguments. The reply is a line on stdout: ``{"ok": result}`` or ``{"error": text}``. This file uses
the standard library alone and does not import ``bridge``, so that any interpreter can run it. Linux
only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from socket import socketpair
from typing import Any, ClassVar

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class SupervisorProcess:
    """A supervisor, seen from its owner: the process ends when its socket is closed.

    Methods may be called from any thread. They raise ``OSError`` with the supervisor's reason.
    """

    def __init__(self, parent: Path) -> None:
        argv = [sys.executable, "-IS", __file__, str(os.getpid()), str(parent.resolve())]
        self._lock = threading.Lock()
        self._socket, theirs = socketpair()
        self._replies = self._socket.makefile("r")
        with theirs:
            self._process = subprocess.Popen(
                argv, stdin=theirs.fileno(), stdout=theirs.fileno(), cwd="/", start_new_session=True
            )

    def call(self, *request: object) -> Any:
        """Send a request; return the result."""
        try:
            with self._lock:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
                reply = json.loads(self._replies.readline())
        except (OSError, ValueError):  # the socket is closed, here or there
            raise ConnectionError("the node is stopped, or its supervisor was killed") from None
        if "error" in reply:
            raise OSError(reply["error"])
        return reply["ok"]

    def close(self) -> None:
        """End the supervisor; return once its processes and its directory are gone."""
        with self._lock:
            self._replies.close()
            self._socket.close()
            self._process.wait()


class Supervisor:
    """The processes of one node: the server, started last, and its helpers."""

    REQUESTS: ClassVar = frozenset({"directory", "run", "running", "kill", "freeze", "thaw"})

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []

    def handle(self, request: Sequence[Any]) -> dict[str, Any]:
        """Carry out a request and return the reply."""
        name, *arguments = request
        if name not in self.REQUESTS:
            return {"error": f"unknown request {name!r}"}
        try:
            return {"ok": getattr(self, name)(*arguments)}
        except OSError as error:
            return {"error": str(error)}

    def directory(self) -> str:
        """Return the node's own directory."""
        return str(self._directory)

    def run(self, argv: Sequence[str], env: dict[str, str]) -> None:
        """Start a process in the directory; its output is appended to ``server.log`` there."""
        with (self._directory / "server.log").open("ab") as log:
            process = subprocess.Popen(
                argv,
                env=env,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_supervisor,  # safe: the supervisor has a single thread
            )
        self._processes.append(process)

    def running(self) -> bool:
        """Return whether the processes were started and none has ended."""
        alive = [process.poll() is None for process in self._processes]
        return bool(alive) and all(alive)

    def kill(self) -> None:
        """Kill the processes and all their descendants; return when they are gone."""
        while self._processes:  # the server before its epmd, or it would start another epmd
            process = self._processes.pop()
            process.kill()
            process.wait()
        while orphans := children():
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
            for pid in orphans:
                os.waitpid(pid, 0)

    def freeze(self) -> None:
        """Stop the server with SIGSTOP, which it cannot notice; return when it has stopped."""
        pid = self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen server continue."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> int:
        if not self.running():
            raise ProcessLookupError("the server is not running")
        server = self._processes[-1]
        os.killpg(server.pid, number)
        return server.pid


def children() -> set[int]:
    """Return the pids of this process's children, adopted ones included."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process: prctl(2)."""
    if ctypes.CDLL(None).prctl(option, value, 0, 0, 0):
        raise OSError(f"prctl {option} failed: a private RabbitMQ needs Linux 3.4 or newer")


def die_with_supervisor() -> None:
    """Have the kernel kill this process when the supervisor dies; runs in a child before exec."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def requests(owner: int) -> Iterator[list[Any]]:
    """Yield the requests of the owner, until it closes its end or is gone.

    The end of stdin is not enough: a child that the owner forked may hold the socket open after
    the owner's death.
    """
    while os.getppid() == owner:
        if select.select([sys.stdin], [], [], 1.0)[0]:
            if not (line := sys.stdin.readline()).endswith("\n"):
                return
            yield json.loads(line)


def main(owner: int, parent: str) -> None:
    """Run one node for the owner; return when its processes and its directory are gone."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # unlike SIG_IGN, not inherited by the server
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    directory = Path(tempfile.mkdtemp(prefix="bridge-", dir=parent))
    supervisor = Supervisor(directory)
    try:
        with contextlib.suppress(ConnectionError):
            for request in requests(owner):
                print(json.dumps(supervisor.handle(request)), flush=True)
    finally:
        supervisor.kill()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
