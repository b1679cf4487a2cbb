"""Load: ``wrk`` with one thread, or our own open loop; the pool's requests in their order."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.pool import Pool
from bench.process import ProgramFailed, last_line, output

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Shots:
    """What a run of a load generator saw; ``failed`` counts all that was not answered 200.

    ``lag_us`` is by how much an open loop was itself behind its schedule, p99.
    """

    requests: int
    seconds: float
    sent: int
    failed: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    lag_us: float = 0.0

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
    """Load ``/webhook`` for so long, closed loop, and return what was seen."""
    # wrk takes whole seconds; it looks at one request before it starts, and does not send it.
    start = (sequence.offset - 1) % sequence.pool.events
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"),
        *("-s", str(SCRIPT), f"http://127.0.0.1:{port}/webhook"),
        *("--", str(sequence.pool.path), str(start)),
    ]
    printed = await output(command)
    _, found, result = printed.rpartition("\nresult ")
    if not found:
        raise ProgramFailed(f"wrk: {printed}")
    return _noted(sequence, result)


async def open_loop(
    sequence: Sequence,
    port: int,
    *,
    rate: float,
    warm: float,
    seconds: float,
    enough: asyncio.Event | None = None,
) -> Shots:
    """Send so many requests a second, whatever happens; the first seconds are not measured.

    Ends early when there is ``enough``.
    """
    numbers = [str(each) for each in (port, rate, warm, seconds)]
    pool = [str(sequence.pool.path), str(sequence.offset)]
    printed = await output([sys.executable, "-m", "bench.openloop", *numbers, *pool], enough)
    return _noted(sequence, last_line(printed))


def _noted(sequence: Sequence, result: str) -> Shots:
    shots = Shots(**json.loads(result))
    sequence.note(shots.sent)
    return shots
