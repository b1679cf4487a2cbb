"""The bridge as its own process, configured by the environment only."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import orjson

import bridge
from tests.system.faults.client import Connection
from tests.system.faults.webhooks import SECRET
from tests.writing import writing_process

ROOT = Path(bridge.__file__).parents[1]

PATIENCE = 120.0
"""Seconds until a condition counts as never met: many times what it takes on a busy machine."""

INTERVAL = 0.05
"""Seconds between two looks at a condition: to show its metrics costs a bridge milliseconds."""


class Log:
    """What a bridge has logged: how often, and the latest record of each action."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.latest: dict[str, dict[str, Any]] = {}
        self.tail: deque[str] = deque(maxlen=100)

    def __str__(self) -> str:
        """Show the counts and the latest lines."""
        return "\n".join([f"{dict(self.counts)}", *self.tail])

    def read(self, stream: IO[bytes]) -> None:
        """Read until the end."""
        with stream:
            for line in stream:
                self._note(line)

    def _note(self, line: bytes) -> None:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = {"action": "not_json"}
        self.counts[record["action"]] += 1
        self.latest[record["action"]] = record
        if record["action"] != "event_spooled":
            self.tail.append(line.decode(errors="replace").rstrip())


class BridgeProcess:
    """A bridge that can be killed and started again on the same ports and the same spool."""

    def __init__(self, directory: Path, broker_url: str, **environ: str) -> None:
        """Take where the spool shall be, and variables beyond the usual ones."""
        # Held for good: nobody else gets the ports while the bridge is down.
        self._held = [reserve_port() for _ in range(2)]
        self.port, self.admin_port = (held.getsockname()[1] for held in self._held)
        self.spool = Path(environ.get("BRIDGE_SPOOL__PATH", directory / "spool.db"))
        self._environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SSL_CERT_FILE": os.devnull,
            "SUPEROFFICE_SECRET": SECRET.decode(),
            "BRIDGE_BROKER__URLS": broker_url,
            "BRIDGE_SERVER__HOST": "127.0.0.1",
            "BRIDGE_SERVER__PORT": str(self.port),
            "BRIDGE_SERVER__ADMIN_PORT": str(self.admin_port),
            "BRIDGE_SPOOL__PATH": str(self.spool),
            **environ,
        }
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self.log = Log()

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def writing(self) -> int:
        """Return the id of the process that writes to its spool."""
        pid = writing_process(self.pid)
        assert pid is not None, f"no process writes:\n{self.log}"
        return pid

    async def start(self, **environ: str) -> None:
        """Start it, with these variables changed for good, and return when it answers."""
        self._environ.update(environ)
        self._spawn()
        await until(self.answers, what="the bridge answers")

    def _command(self) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "bridge", "serve"]

    def _passed(self) -> list[int]:
        """Return the descriptors that it inherits."""
        return []

    def _spawn(self) -> None:
        self._process = subprocess.Popen(
            self._command(),
            pass_fds=self._passed(),
            cwd=self._directory,  # where there is no config/bridge.toml
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self.log.read, args=[self._process.stdout])
        self._reader.start()

    def move(self) -> None:
        """Take other ports with the next start, as a pod that is made anew has another address."""
        self._held += [reserve_port() for _ in range(2)]
        self.port, self.admin_port = (held.getsockname()[1] for held in self._held[-2:])
        self._environ["BRIDGE_SERVER__PORT"] = str(self.port)
        self._environ["BRIDGE_SERVER__ADMIN_PORT"] = str(self.admin_port)

    async def run_to_the_end(self) -> int:
        """Start it, and return its exit code when it has ended by itself."""
        self._spawn()
        return await self.ended()

    async def ended(self) -> int:
        """Return its exit code when it has ended by itself."""
        assert self._process is not None
        assert self._reader is not None
        async with asyncio.timeout(PATIENCE):
            code = await asyncio.to_thread(self._process.wait, PATIENCE)
            await asyncio.to_thread(self._reader.join)
        return code

    async def start_and_kill(self, action: str, *, after: float) -> None:
        """Start it, and kill it so many seconds after it has logged an action."""
        logged = self.log.counts[action]
        self._spawn()
        await until(lambda: self.log.counts[action] > logged, what=f"log of {action}")
        await asyncio.sleep(after)
        await self.kill()

    async def answers(self) -> bool:
        """Return whether it is there; fails when it has ended by itself."""
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"the bridge ended with {code}:\n{self.log}"
        reply = await self._ask("/healthz")
        return reply is not None

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        await self._end(signal.SIGKILL)

    def hang_up(self) -> None:
        """Tell it to read its configuration again (SIGHUP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections stay, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def terminate(self) -> int:
        """Stop it with SIGTERM and return its exit code; another one than 0 has its log printed."""
        code = await self._end(signal.SIGTERM)
        if code != 0:
            print(f"the bridge ended with {code}:\n{self.log}")  # pytest shows it
        return code

    def close(self) -> None:
        """End it in any case, and give up the ports."""
        if self._process is not None and self._reader is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()
        for held in self._held:
            held.close()

    async def status(self) -> dict[str, Any]:
        """Return what ``/readyz`` says."""
        reply = await self._ask("/readyz")
        assert reply is not None, f"{self.log}"
        return dict(orjson.loads(reply))

    async def metric(self, name: str) -> float:
        """Return the sum of all samples of a metric, NaN (equal to nothing) if it does not say."""
        reply = await self._ask("/metrics")
        if reply is None:
            return math.nan
        wanted = f"superoffice_bridge_{name}".encode()
        found = (line.rpartition(b" ") for line in reply.splitlines())
        return sum(float(value) for key, _, value in found if key.partition(b"{")[0] == wanted)

    def waiting(self) -> int:
        """Return how many events are in the file of the spool."""
        with closing(sqlite3.connect(self.spool)) as database:
            [(events,)] = database.execute("SELECT count(*) FROM event")
        return int(events)

    async def _ask(self, path: str) -> bytes | None:
        with closing(Connection(self.admin_port)) as connection:
            reply = await connection.get(path)
        return reply.body if reply else None

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        assert self._reader is not None
        self._process.send_signal(number)
        try:
            # Half, so that the log is shown before the whole test is out of time.
            code = await asyncio.to_thread(self._process.wait, PATIENCE / 2)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the bridge does not end on {number.name}:\n{self.log}") from None
        await asyncio.to_thread(self._reader.join)
        return code


async def until(condition: Callable[[], Any], *, what: str, seconds: float = PATIENCE) -> None:
    """Return when a condition, which may be a coroutine function, holds; fail if not in time."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                held = condition()
                if await held if asyncio.iscoroutine(held) else held:
                    return
                await asyncio.sleep(INTERVAL)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


def reserve_port() -> socket.socket:
    """Bind a free port: until the socket is closed, only who names that port can use it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved
