"""Faults in an order that a seed decides: every kind once, shuffled, then every kind again."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.process import Bridge, ProgramFailed
from bridge.dev.rabbitmq import RabbitMQNode
from tests.helpers import amqp, consumer_queue
from tests.system.faults.proxy import Proxy

EXCHANGE = "superoffice"
QUEUE = "everything"
FULL_QUEUE = "full"
TEMPORARY = 75
"""Exit status of a bridge that its supervisor is to start again (``EX_TEMPFAIL``)."""

EVERY_SECONDS = (10.0, 40.0)
REST_SECONDS = 2.0


def bind(node: RabbitMQNode) -> None:
    """Declare the consumer's queue and bind it, so that a broker killed next remembers it."""
    consumer_queue(node.url, QUEUE, "#", **{"x-queue-type": "quorum"})
    node.sync()


class UvloopProxy(Proxy):
    """As its base, where a connection that is closed already has no socket any more."""

    def reset(self) -> None:
        """End every connection, on both sides, with a TCP reset."""
        self._writers = {each for each in self._writers if not each.transport.is_closing()}
        super().reset()


class Chaos:
    """Does one fault after the other; ``current`` names the one that is under way."""

    def __init__(self, rng: random.Random, node: RabbitMQNode, proxy: Proxy, bridge: Bridge):
        self._rng = rng
        self._node = node
        self._proxy = proxy
        self._bridge = bridge
        self._bag: list[str] = []
        self.current = ""
        self.counts: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[], Awaitable[str]]] = {
            "broker killed": self._kill_broker,
            "broker frozen": self._freeze_broker,
            "connection reset": self._reset,
            "black hole": self._black_hole,
            "memory alarm": self._alarm,
            "bridge killed": self._kill_bridge,
            "bridge killed spooling, draining": self._kill_bridge_in_outage,
            "bridge terminated": self._terminate_bridge,
            "exchange deleted": self._delete_exchange,
            "queue refuses everything": self._refuse,
            "strangers": self._strangers,
            "spool locked by another": self._lock_spool,
            "spool deleted": self._delete_spool,
        }

    async def run(self, stopping: asyncio.Event, seconds: float) -> None:
        """Go on for so long, or until told to stop; the fault under way is finished."""
        end = time.monotonic() + seconds
        while not stopping.is_set():
            due = time.monotonic() + self._rng.uniform(*EVERY_SECONDS)
            await _sleep(stopping, min(due, end) - time.monotonic())
            self._bridge.check()
            if due > end or stopping.is_set():
                break
            await self._one()
            await asyncio.sleep(REST_SECONDS)

    async def repair(self) -> None:
        """Leave everything running, after a fault that did not go as it should."""
        self._proxy.restore()
        await asyncio.to_thread(self._node.restart)
        self._bridge.end()
        await self._bridge.start()

    async def _one(self) -> None:
        if not self._bag:
            self._bag = list(self._kinds)
            self._rng.shuffle(self._bag)
        self.current = self._bag.pop()
        self.counts[self.current] += 1
        begun = time.monotonic()
        print(f"{now()}  {self.current}", flush=True)
        detail = await self._kinds[self.current]()
        print(f"{now()}  over after {time.monotonic() - begun:.1f} s  {detail}", flush=True)
        self.current = ""

    async def _kill_broker(self) -> str:
        await asyncio.to_thread(self._node.kill)
        await self._wait(0.2, 8)
        await asyncio.to_thread(self._node.restart)
        return f"restart took {self._node.started_in_seconds:.1f} s"

    async def _freeze_broker(self) -> str:
        await asyncio.to_thread(self._node.freeze)
        waited = await self._wait(1, 15)
        await asyncio.to_thread(self._node.thaw)
        return waited

    async def _reset(self) -> str:
        self._proxy.reset()
        return ""

    async def _black_hole(self) -> str:
        self._proxy.swallow()
        waited = await self._wait(1, 15)
        self._proxy.restore()
        return waited

    async def _alarm(self) -> str:
        await asyncio.to_thread(self._node.raise_alarm)
        waited = await self._wait(1, 10)
        await asyncio.to_thread(self._node.clear_alarm)
        return waited

    async def _kill_bridge(self) -> str:
        await self._bridge.kill()
        await self._bridge.start()
        return ""

    async def _kill_bridge_in_outage(self) -> str:
        """The second kill comes soon after the broker is back: the spool is being drained."""
        self._proxy.swallow()
        spooled = await self._wait(0.5, 8)
        await self._kill_bridge()
        begun = await self._wait(0, 4)
        self._proxy.restore()
        drained = await self._wait(0, 2)
        await self._kill_bridge()
        return f"{spooled}, {begun}, {drained}"

    async def _terminate_bridge(self) -> str:
        code = await self._bridge.terminate()
        if code:
            raise ProgramFailed(f"SIGTERM: it ended with {code}: {self._bridge.tail()}")
        await self._bridge.start()
        return ""

    async def _delete_exchange(self) -> str:
        await asyncio.to_thread(self._delete)
        await asyncio.to_thread(bind, self._node)
        return ""

    def _delete(self) -> None:
        with amqp(self._node.url) as channel:
            channel.exchange_delete(EXCHANGE)

    async def _refuse(self) -> str:
        """A second queue of every event is full: the broker refuses what the first one takes."""
        full: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
        await asyncio.to_thread(lambda: consumer_queue(self._node.url, FULL_QUEUE, "#", **full))
        waited = await self._wait(1, 8)
        await asyncio.to_thread(self._delete_full_queue)
        return waited

    def _delete_full_queue(self) -> None:
        with amqp(self._node.url) as channel:
            channel.queue_delete(FULL_QUEUE)

    async def _strangers(self) -> str:
        """Clients without a secret, of two kinds: some rest, and some ask without a pause."""
        resting = [asyncio.create_task(self._rest()) for _ in range(200)]
        asking = [asyncio.create_task(self._ask_in_one_breath()) for _ in range(4)]
        waited = await self._wait(3, 10)
        for task in (*resting, *asking):
            task.cancel()
        await asyncio.gather(*resting, *asking, return_exceptions=True)
        return waited

    async def _rest(self) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._bridge.port)
                try:
                    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                    while await reader.read(4096):
                        pass
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.5)

    async def _ask_in_one_breath(self) -> None:
        """Send two thousand requests in one write, and read the answers."""
        request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 2000
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._bridge.port)
                try:
                    writer.write(request)
                    while await reader.read(65536):
                        pass
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.1)

    async def _lock_spool(self) -> str:
        with locked(self._bridge.spool):
            return await self._wait(1, 5)

    async def _delete_spool(self) -> str:
        """Remove the file in an outage, while events wait in it; a supervisor starts it again."""
        self._proxy.swallow()
        spooled = await self._wait(1, 5)
        for suffix in ("", "-wal", "-shm"):
            path = self._bridge.spool
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        code = await self._bridge.ended_within(15)
        self._proxy.restore()
        if code is None:
            return f"{spooled}, it goes on"
        if code != TEMPORARY:
            raise ProgramFailed(f"spool deleted: it ended with {code}: {self._bridge.tail()}")
        await self._bridge.start()
        return f"{spooled}, started again"

    async def _wait(self, shortest: float, longest: float) -> str:
        seconds = self._rng.uniform(shortest, longest)
        await asyncio.sleep(seconds)
        return f"{seconds:.1f} s"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold SQLite's lock for writing, as a person with a tool does."""
    database = sqlite3.connect(path, isolation_level=None, timeout=10)
    with closing(database):
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")


def now() -> str:
    """Return the time of day in UTC, as in the bridge's log."""
    return datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]


async def _sleep(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await stopping.wait()
    except TimeoutError:
        pass
