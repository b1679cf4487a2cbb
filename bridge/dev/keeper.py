"""The guardian of a private RabbitMQ node: nothing of the node outlives its owner.

A program of its own, in its own session, so that neither Ctrl-C nor ``kill -9`` of the owner takes
it along. It makes the node's directory and starts epmd and the server as its children; what these
leave behind is adopted. When its stdin ends or the owner is gone, it kills them all and removes the
directory.

    keeper.py OWNER_PID PARENT_DIRECTORY

Each line on stdin is a request: a JSON array of a name in ``Keeper.REQUESTS`` and its arguments. It
is answered with a line on stdout: ``{"ok": result}`` or ``{"error": text}``. Linux only; only the
standard library, and no import of ``bridge``, so that any interpreter can run this file.
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


class Guardian:
    """The keeper, seen from its owner: a process that ends with the socket to it.

    Methods may be called from any thread, and raise ``OSError`` with the keeper's reason.
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

    def ask(self, *request: object) -> Any:
        """Return the keeper's answer to a request."""
        try:
            with self._lock:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
                reply = json.loads(self._replies.readline())
        except (OSError, ValueError):  # the socket is closed, here or there
            raise ConnectionError("the node is stopped, or its guardian was killed") from None
        if "error" in reply:
            raise OSError(reply["error"])
        return reply["ok"]

    def close(self) -> None:
        """End the keeper; return when nothing is left of what it kept."""
        with self._lock:
            self._replies.close()
            self._socket.close()
            self._process.wait()


class Keeper:
    """The processes of one node: the server, started last, and its helpers."""

    REQUESTS: ClassVar = frozenset({"directory", "run", "running", "kill", "freeze", "thaw"})

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []

    def answer(self, request: Sequence[Any]) -> dict[str, Any]:
        """Do what a request asks and return the reply."""
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
                preexec_fn=die_with_keeper,  # safe here: the keeper has a single thread
            )
        self._processes.append(process)

    def running(self) -> bool:
        """Return whether the processes were started and none has ended."""
        alive = [process.poll() is None for process in self._processes]
        return bool(alive) and all(alive)

    def kill(self) -> None:
        """Kill the processes and all they started; return when they are gone."""
        while self._processes:  # the server before its epmd, or it would start another one
            process = self._processes.pop()
            process.kill()
            process.wait()
        while orphans := children():
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
            for pid in orphans:
                os.waitpid(pid, 0)

    def freeze(self) -> None:
        """Stop the server without its knowing; return when it stands still."""
        pid = self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen server go on."""
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


def die_with_keeper() -> None:
    """In a child about to be: let the kernel kill it when the keeper itself is killed."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def requests(owner: int) -> Iterator[list[Any]]:
    """Yield what the owner asks for, until it closes its end or is gone.

    The owner's pid is watched too: a child it forked may hold that end open after its death.
    """
    while os.getppid() == owner:
        if select.select([sys.stdin], [], [], 1.0)[0]:
            if not (line := sys.stdin.readline()).endswith("\n"):
                return
            yield json.loads(line)


def main(owner: int, parent: str) -> None:
    """Keep one node for the owner; return when nothing is left of it."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # unlike SIG_IGN, not inherited by the server
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    directory = Path(tempfile.mkdtemp(prefix="bridge-", dir=parent))
    keeper = Keeper(directory)
    try:
        with contextlib.suppress(ConnectionError):
            for request in requests(owner):
                print(json.dumps(keeper.answer(request)), flush=True)
    finally:
        keeper.kill()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
