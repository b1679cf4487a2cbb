"""Open-loop load: requests leave when the schedule says, whether or not earlier ones are answered.

    python -m bench.openloop PORT RATE WARM SECONDS POOL OFFSET

Latency counts from the scheduled time. A server that stalls makes every request that was due
meanwhile late, as it would be for real senders; a generator that waits for answers before it sends
("coordinated omission") would not notice. Prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

from bench.pool import read
from bench.stats import percentile

MOST_CONNECTIONS = 512
GRACE_SECONDS = 10.0
CONNECT_SECONDS = 60.0
_OK = b"HTTP/1.1 200 "


class Client(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._received = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Count a request that gets no answer."""
        if self._due:
            self._run.answered(self, self._due, ok=False)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at a time of the monotonic clock."""
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take an answer."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head):
            due, self._due, self._received = self._due, 0.0, b""
            self._run.answered(self, due, ok=head.startswith(_OK))


class Run:
    """A schedule and what came of it; times are of the monotonic clock, in seconds."""

    def __init__(self, requests: list[bytes], *, rate: float, warm: float, seconds: float) -> None:
        self._requests = requests
        self._rate = rate
        self._count = int(rate * (warm + seconds))
        self._begun = 0.0
        self._measured_from = warm
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._free: list[Client] = []
        self.sent = 0
        self.failed = 0
        self.answers = 0
        self.latencies: list[float] = []
        self.lags: list[float] = []

    async def run(self, port: int) -> None:
        """Connect, follow the schedule, wait for the last answers."""
        loop = asyncio.get_running_loop()
        connections = min(MOST_CONNECTIONS, max(32, int(self._rate / 4)))
        self._free = [await self._connected(port) for _ in range(connections)]
        loop.add_signal_handler(signal.SIGTERM, self._end)
        self._begun = time.monotonic() + 0.1
        # The loop's own timers are as coarse as a millisecond; a sleeping thread is not.
        threading.Thread(target=self._tick, args=[loop], daemon=True).start()
        while self.answers < self._count and time.monotonic() < self._deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self.failed += self._count - self.answers

    async def _connected(self, port: int) -> Client:
        """Connect, as soon as somebody listens."""
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                made = await loop.create_connection(lambda: Client(self), "127.0.0.1", port)
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)
            else:
                return made[1]

    @property
    def _deadline(self) -> float:
        return self._begun + self._count / self._rate + GRACE_SECONDS

    def _end(self) -> None:
        """Send no more."""
        self._count = self.sent

    def answered(self, client: Client, due: float, *, ok: bool) -> None:
        """Take an answer, and give the connection to a request that waits for one."""
        now = time.monotonic()
        self.answers += 1
        self.failed += not ok
        if due - self._begun >= self._measured_from:
            self.latencies.append(now - due)
        if self._waiting:
            client.send(*self._waiting.popleft())
        else:
            self._free.append(client)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        number = 0
        while number < self._count:
            pause = self._begun + number / self._rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
                loop.call_soon_threadsafe(self._send_due)
            number += 1
        loop.call_soon_threadsafe(self._send_due)

    def _send_due(self) -> None:
        now = time.monotonic()
        while self.sent < self._count:
            due = self._begun + self.sent / self._rate
            if due > now:
                return
            self.lags.append(now - due)
            self._send(self._requests[self.sent % len(self._requests)], due)
            self.sent += 1

    def _send(self, request: bytes, due: float) -> None:
        if self._free:
            self._free.pop().send(request, due)
        else:
            self._waiting.append((request, due))

    def result(self) -> dict[str, float]:
        """Return the figures; ``lag_us`` is by how much the generator itself was late."""
        latencies, lags = sorted(self.latencies) or [0.0], sorted(self.lags) or [0.0]
        figures = {"p50_us": 50.0, "p99_us": 99.0, "p999_us": 99.9, "max_us": 100.0}
        found = {name: percentile(latencies, percent) * 1e6 for name, percent in figures.items()}
        counts = {"requests": self.answers, "sent": self.sent, "failed": self.failed}
        seconds = self._count / self._rate
        return {**found, **counts, "seconds": seconds, "lag_us": percentile(lags, 99) * 1e6}


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or 0)


async def main(arguments: list[str]) -> None:
    """Run and print."""
    port, rate, warm, seconds, pool, offset = arguments
    requests = deque(read(Path(pool)))
    requests.rotate(-int(offset))
    run = Run(list(requests), rate=float(rate), warm=float(warm), seconds=float(seconds))
    await run.run(int(port))
    print(json.dumps(run.result()))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
