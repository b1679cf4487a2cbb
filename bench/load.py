"""Closed-loop load: ``wrk`` with one thread, the pool's requests in their order."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

from bench.pool import Pool

SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadFailed(Exception):
    """The load generator did not do its work."""


@dataclass(frozen=True, slots=True)
class Shots:
    """What a run of a load generator saw; ``failed`` counts all that was not answered 200."""

    requests: int
    seconds: float
    sent: int
    failed: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float

    @property
    def rate(self) -> float:
        """Return requests per second."""
        return self.requests / self.seconds


@dataclass
class Sequence:
    """Where in the pool we are: every event is sent as often as any other, or once more."""

    pool: Pool
    offset: int = 0
    sent: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Nothing was sent yet."""
        self.sent = [0] * self.pool.events

    def note(self, count: int) -> None:
        """Take so many events as sent."""
        events = self.pool.events
        rounds, rest = divmod(count, events)
        if rounds:
            self.sent = [each + rounds for each in self.sent]
        for place in range(self.offset, self.offset + rest):
            self.sent[place % events] += 1
        self.offset = (self.offset + count) % events


async def wrk(sequence: Sequence, port: int, *, connections: int, seconds: float) -> Shots:
    """Load ``/webhook`` for so long and return what was seen."""
    # wrk takes whole seconds; it looks at one request before it starts, and does not send it.
    start = (sequence.offset - 1) % sequence.pool.events
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"),
        *("-s", str(SCRIPT), f"http://127.0.0.1:{port}/webhook"),
        *("--", str(sequence.pool.path), str(start)),
    ]
    output = await _output(command)
    _, found, result = output.rpartition("\nresult ")
    if not found:
        raise LoadFailed(f"wrk: {output}")
    shots = Shots(**json.loads(result))
    sequence.note(shots.sent)
    return shots


async def _output(command: list[str]) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace")
