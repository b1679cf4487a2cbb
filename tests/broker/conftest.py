"""Publishers on a real broker."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from bridge.broker.publisher import RabbitPublisher
from bridge.broker.topology import Topology
from tests.helpers import eventually


@pytest.fixture
def publishing(broker):
    """Return a context manager that runs a publisher, ready unless told otherwise."""

    @asynccontextmanager
    async def run(*, urls=(broker,), wanted=None, wait=True, **options):
        publisher = RabbitPublisher(urls, wanted or Topology.of(["superoffice"]), **options)
        task = asyncio.create_task(publisher.run())
        try:
            if wait:
                await eventually(lambda: publisher.is_ready)
            yield publisher
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return run
