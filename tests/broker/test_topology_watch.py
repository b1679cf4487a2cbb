"""Checks of the topology that go on beside the publishing, and what ends them."""

import asyncio

from pamqp import commands

from bridge.broker import publisher as publisher_module
from bridge.broker import topology_watch
from bridge.broker.topology import Queue, Topology
from bridge.broker.topology_watch import TopologyWatch
from tests.broker.peer import SILENCE, Peer
from tests.helpers import eventually

WANTED = Topology.of(["superoffice"], [Queue("billing", "superoffice", ("#",))])


class Turnstile:
    """Lets checks in, but never answers about ``billing``, and no publisher."""

    def __init__(self):
        self.refused = 0
        self._is_publisher = False

    def __call__(self, frame):
        """Return what to answer instead."""
        if isinstance(frame, commands.Connection.StartOk):
            self._is_publisher = "publisher" in str(frame.client_properties)
        if isinstance(frame, commands.Connection.Open) and self._is_publisher:
            self.refused += 1
            return commands.Connection.Close(530, "NOT_ALLOWED - user limit", 10, 40)
        if isinstance(frame, commands.Queue.Declare) and frame.queue == "billing":
            return SILENCE
        return None


def checks():
    """Return how many checks go on."""
    name = f"{TopologyWatch._check.__qualname__}()"
    return sum(name in repr(task) for task in asyncio.all_tasks())


async def test_check_ends_with_the_connection_that_began_it(publishing, monkeypatch):
    """A publisher that gets no connection leaves no checks behind, however often it tries."""
    monkeypatch.setattr(topology_watch, "_QUEUES_SECONDS", 0.02)
    monkeypatch.setattr(publisher_module, "delay", lambda *_, **__: 0.0)
    turnstile = Turnstile()
    async with (
        Peer(refuse=turnstile) as peer,
        publishing(urls=(peer.url,), wanted=WANTED, wait=False),
    ):
        await eventually(lambda: turnstile.refused >= 5)
        assert checks() <= 1
    await eventually(lambda: checks() == 0, seconds=1.0)
