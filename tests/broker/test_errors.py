"""The errors of the libraries in words, and a cancellation among them."""

import asyncio

import pytest
from aio_pika.channel import Channel
from aiormq.exceptions import ConnectionClosed, ConnectionNotAllowed, InvalidFrameError
from pamqp import commands

from bridge.broker.errors import describe
from bridge.broker.publisher import RabbitPublisher
from bridge.broker.topology import Topology


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InvalidFrameError(commands.Confirm.SelectOk()), "Confirm.SelectOk"),
        (RuntimeError('<Channel: "1" at 0x7f12> closed'), "Channel closed"),
        (
            RuntimeError("not on <TCPTransport closed=True 0x55>; closed"),
            "not on TCPTransport; closed",
        ),
        (ConnectionClosed(541, "INTERNAL_ERROR"), "541 INTERNAL_ERROR"),
        (ConnectionNotAllowed("NOT_ALLOWED - no"), "NOT_ALLOWED - no"),
        (asyncio.CancelledError(), "the connection was lost"),
        (EOFError(), "EOFError"),
    ],
)
def test_errors_in_words(error, said):
    """No text shows the address of an object."""
    assert said == describe(error)


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
