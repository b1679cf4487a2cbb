"""A publisher that is told to end does so, whatever it is at."""

import asyncio

import pytest
from aio_pika.channel import Channel

from bridge.broker.publisher import RabbitPublisher
from bridge.broker.topology import Topology


@pytest.mark.parametrize("turns", range(1, 9))
async def test_cancelled_while_a_channel_closes(broker, monkeypatch, turns):
    """aiormq may lose the cancellation; the topology check does not."""
    close = Channel.close

    async def cancelled(channel, *arguments):
        after(turns, task.cancel)
        await close(channel, *arguments)

    monkeypatch.setattr(Channel, "close", cancelled)
    task = asyncio.create_task(RabbitPublisher([broker], Topology.of(["superoffice"])).run())
    done, _ = await asyncio.wait({task}, timeout=10)
    task.cancel()

    assert {task} == done
    assert task.cancelled()


def after(turns, action):
    """Do something after so many turns of the event loop."""
    loop = asyncio.get_running_loop()
    if turns:
        loop.call_soon(after, turns - 1, action)
    else:
        action()
