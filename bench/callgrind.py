"""How many instructions an event costs: the bridge's whole process, counted by callgrind.

Sockets, event loop and disk are real, the broker is a stand-in, the kernel is not counted. Events
come in rounds, one on each connection; the process stands still until all of a round are there,
and again until all their confirms are, so that the load of the machine does not say how many it
finds at once.
"""

from __future__ import annotations

import asyncio
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

from bench.lab import VAR
from bench.pool import Bodies, event_id, request
from bench.process import Bridge, ProgramFailed, output
from bench.standin import ROUND, Broker
from tests.system.faults.client import Connection

WARM_ROUNDS = 20
PARTS = 8
PART_ROUNDS = 5
"""The cheapest part counts: what else the machine does can only add ticks to one."""

FROZEN_SECONDS = 0.11
"""Longer than any tick: what goes by time is due once in each half of a round, never oftener."""

Rounds = asyncio.Queue[Callable[[], None]]
_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


class Counted(Bridge):
    """A bridge under callgrind, some fifty times as slow."""

    start_seconds = 300.0

    def __init__(self, directory: Path, broker_url: str, **environ: str) -> None:
        slow = {"BRIDGE_BROKER__CONFIRM_DEADLINE_SECONDS": "4.9", "PYTHONHASHSEED": "0"}
        super().__init__(directory, broker_url, **slow, BRIDGE_LOG__LEVEL="warning", **environ)
        self._counts = directory / "counts"
        self._dumps = 0
        tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-line=no"]
        self._argv = [*tool, f"--callgrind-out-file={self._counts}", *self._argv]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it stand still for the length of the block."""
        self.check().send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.check().send_signal(signal.SIGCONT)

    async def counted(self) -> int:
        """Return how many instructions were counted since the last time."""
        await self.control("-d")
        self._dumps += 1
        found = _TOTALS.search(self._counts.with_suffix(f".{self._dumps}").read_text())
        if found is None:
            raise ProgramFailed("callgrind has counted nothing")
        return int(found[1])

    async def control(self, *command: str) -> None:
        """Tell callgrind something."""
        await output(["callgrind_control", *command, str(self.check().pid)])


async def instructions(**environ: str) -> int:
    """Return how many an event costs, on average, in a bridge with this environment."""
    loop = asyncio.get_running_loop()
    rounds: Rounds = asyncio.Queue()
    server = await loop.create_server(lambda: Broker(rounds), "127.0.0.1", 0)
    url = f"amqp://guest:guest@127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    VAR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=VAR) as directory:
        bridge = Counted(Path(directory), url, **environ)
        try:
            await bridge.start()
            return await _counted(bridge, rounds)
        finally:
            await asyncio.to_thread(bridge.close)
            server.close()


async def _counted(bridge: Counted, rounds: Rounds) -> int:
    while not await bridge.is_publishing():  # noqa: ASYNC110  # another process
        await asyncio.sleep(0.2)
    connections = [Connection(bridge.port, seconds=60) for _ in range(ROUND)]
    requests = _requests()

    async def send(times: int) -> None:
        for _ in range(times):
            await _sent(bridge, rounds, connections, list(islice(requests, ROUND)))

    await send(WARM_ROUNDS)
    await bridge.control("-i", "on")
    parts = []
    for _ in range(PARTS):
        await send(PART_ROUNDS)
        parts.append(await bridge.counted())
    for connection in connections:
        connection.close()
    return round(min(parts) / (ROUND * PART_ROUNDS))


def _requests() -> Iterator[bytes]:
    bodies = Bodies()
    yield from (request(bodies(number), event_id(number)) for number in count())


async def _sent(
    bridge: Counted,
    rounds: Rounds,
    connections: Sequence[Connection],
    requests: Sequence[bytes],
) -> None:
    """Send a round and confirm it; raises ``ProgramFailed`` if one is not answered as published."""
    with bridge.frozen():
        pairs = zip(connections, requests, strict=True)
        sent = asyncio.gather(*(connection.send(request) for connection, request in pairs))
        await asyncio.sleep(FROZEN_SECONDS)
    confirm = await rounds.get()
    with bridge.frozen():
        await asyncio.sleep(FROZEN_SECONDS)
        confirm()
    replies = await sent
    bad = [reply for reply in replies if reply is None or b'"published"' not in reply.body]
    if bad:
        raise ProgramFailed(f"an event was answered {bad[0]}")
