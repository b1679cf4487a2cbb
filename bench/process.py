"""Programs under test: a process of its own, a port held for it, a log file."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import bridge
from tests.system.faults.client import Connection, Reply
from tests.system.faults.webhooks import SECRET

ROOT = Path(bridge.__file__).parents[1]


class ProgramFailed(Exception):
    """A program did not start, or ended by itself; its log says why."""


class Program:
    """Listens on ``port``; can be killed and started again there.

    ``log`` is the file with what all its processes have logged.
    """

    name = "the program"
    health_path = "/"
    start_seconds = 60.0

    def __init__(self, directory: Path, argv: Sequence[str], environ: dict[str, str]) -> None:
        """Take where it runs, what, and the environment that it gets beside the usual."""
        # Held for good: nobody else gets the ports while the program is down.
        self._held = [reserve_port() for _ in range(2)]
        self.port, self._spare_port = (int(held.getsockname()[1]) for held in self._held)
        self.log = directory / f"{self.name.split()[-1]}.log"
        self._directory = directory
        self._argv = list(argv)
        self._environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def health_port(self) -> int:
        """Return the port that tells whether it is there."""
        return self.port

    async def start(self) -> None:
        """Start it and return when it answers; raises ``ProgramFailed``."""
        process = self._process = await asyncio.to_thread(self._spawn)
        deadline = time.monotonic() + self.start_seconds
        while await self._ask(self.health_path) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ProgramFailed(f"{self.name} does not answer: {self.tail()}")
            await asyncio.sleep(0.05)

    def check(self) -> subprocess.Popen[bytes]:
        """Return the process; raises ``ProgramFailed`` when it is not there any more."""
        code = self._process.poll() if self._process else 0
        if self._process is None or code is not None:
            raise ProgramFailed(f"{self.name} ended by itself with {code}: {self.tail()}")
        return self._process

    async def send(self, request: bytes) -> Reply | None:
        """Send the bytes of a request and return the answer, None if there was none."""
        connection = Connection(self.port, seconds=5.0)
        reply = await connection.send(request)
        connection.close()
        return reply

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """Stop it with SIGTERM and return its exit code."""
        return await self._end(signal.SIGTERM)

    async def ended_within(self, seconds: float) -> int | None:
        """Return with what exit code it ended by itself in so many seconds, None if it did not."""
        process = self._process
        assert process is not None  # noqa: S101  # it was started
        try:
            return await asyncio.to_thread(process.wait, seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """End it in any case."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End it in any case, and give up the ports."""
        self.end()
        for held in self._held:
            held.close()

    def rss(self) -> float:
        """Return the resident memory of the process that runs, in MiB; 0 if none does."""
        try:
            status = Path(f"/proc/{self._process.pid if self._process else 0}/status").read_text()
        except OSError:
            return 0.0
        found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
        return round(int(found[0]) / 1024, 1) if found else 0.0  # a zombie has no memory

    def tail(self, lines: int = 20) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def mentions(self, texts: list[str]) -> Iterator[str]:
        """Yield the lines of the log that contain one of the texts."""
        with self.log.open(errors="replace") as log:
            yield from (line.rstrip() for line in log if any(text in line for text in texts))

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._argv,
                cwd=self._directory,  # where there is no config/bridge.toml
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for the program that counts
            )

    async def _ask(self, path: str) -> bytes | None:
        connection = Connection(self.health_port, seconds=5.0)
        reply = await connection.get(path)
        connection.close()
        return reply.body if reply else None

    async def _end(self, number: signal.Signals) -> int:
        process = self.check()
        process.send_signal(number)
        return await asyncio.to_thread(process.wait)


class Bridge(Program):
    """The bridge as an operator runs it, configured by the environment only."""

    name = "the bridge"
    health_path = "/healthz"

    def __init__(self, directory: Path, broker_url: str, **environ: str) -> None:
        """Take where spool and log shall be, the broker, and variables beyond the usual ones."""
        super().__init__(directory, [sys.executable, "-m", "bridge", "serve"], {})
        self.spool = directory / "spool.db"
        self._environ |= {
            "SUPEROFFICE_SECRET": SECRET.decode(),
            "BRIDGE_BROKER__URLS": broker_url,
            "BRIDGE_SERVER__HOST": "127.0.0.1",
            "BRIDGE_SERVER__PORT": str(self.port),
            "BRIDGE_SERVER__ADMIN_PORT": str(self.health_port),
            "BRIDGE_SPOOL__PATH": str(self.spool),
            **environ,
        }

    @property
    def health_port(self) -> int:
        """Return the port of the operator's pages."""
        return self._spare_port

    async def is_publishing(self) -> bool:
        """Return whether it publishes directly."""
        status = await self._ask("/readyz") or b""
        return b'"broker":"up"' in status and b'"topology":"verified"' in status

    async def metric(self, name: str) -> float | None:
        """Return the sum of all samples of a metric; None while it does not answer."""
        reply = await self._ask("/metrics")
        if reply is None:
            return None
        wanted = f"superoffice_bridge_{name}".encode()
        found = (line.rpartition(b" ") for line in reply.splitlines())
        return sum(float(value) for key, _, value in found if key.partition(b"{")[0] == wanted)


async def output(
    command: Sequence[str], enough: asyncio.Event | None = None, *, checkout: Path = ROOT
) -> str:
    """Run a helper of a checkout to its end and return what it prints; raises ``ProgramFailed``.

    It is asked to end, with SIGTERM, when there is ``enough``.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=checkout,  # Python looks there first
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout)},
        start_new_session=True,  # Ctrl-C is for the program that measures
    )
    asking = asyncio.create_task(_ask_to_end(process, enough)) if enough else None
    try:
        printed, _ = await process.communicate()
    finally:
        if asking is not None:
            asking.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = printed.decode(errors="replace")
    if process.returncode:
        raise ProgramFailed(f"{command[0]} ended with {process.returncode}: {text}")
    return text


async def _ask_to_end(process: asyncio.subprocess.Process, enough: asyncio.Event) -> None:
    await enough.wait()
    process.terminate()


def last_line(printed: str) -> str:
    """Return the last line: a result, after whatever a library had to say."""
    return printed.rstrip().rpartition("\n")[2]


def reserve_port() -> socket.socket:
    """Bind a free port: until the socket is closed, only who names that port can use it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved
