"""What is at the other end of a URL may be dead, mute, or no RabbitMQ at all."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager

import pamqp.frame
import pytest
from pamqp import commands

from bridge.broker.connection import connect
from bridge.core.errors import BrokerUnreachable
from bridge.core.publish import Outcome
from tests.broker.peer import Peer
from tests.broker.test_publisher import outcome_of
from tests.helpers import consumer_queue, drain, eventually, message

NONSENSE = [
    b"",
    b"\x01",
    b"AMQP\x00\x00\x09\x01",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x01\x00\x00\x00\x00\x00\x00\xce",
    b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xce",
    b"\x09\x00\x00\x00\x00\x00\x01\x00\xce",
    pamqp.frame.marshal(commands.Connection.Start(0, 9, {}, "", ""), 0),
    pamqp.frame.marshal(commands.Connection.OpenOk(), 0),
    bytes(range(256)) * 4,
]


@asynccontextmanager
async def saying(data, *, end=asyncio.StreamWriter.close):
    """Listen, say something to whoever connects, and hang up; yield the URL."""

    async def serve(_, writer):
        writer.write(data)
        end(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"amqp://guest:hunter2@127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize("data", NONSENSE, ids=range(len(NONSENSE)))
async def test_whoever_is_there_is_an_error_in_words(data):
    """Whatever comes, it is ``BrokerUnreachable``, without a password or an object's address."""
    async with saying(data) as url:
        with pytest.raises(BrokerUnreachable) as found:
            await connect(url, purpose="test")

    assert "hunter2" not in str(found.value)
    assert " at 0x" not in str(found.value)


def reset(writer):
    """Hang up with a TCP reset."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@pytest.mark.parametrize("frame_max", [0, 4096])
async def test_numbers_that_are_tuned(publishing, frame_max):
    """0 is no limit, of frames, channels and heartbeats."""
    body = bytes(100_000)
    async with (
        Peer(frame_max=frame_max, channel_max=0, heartbeat=0) as peer,
        publishing(urls=(peer.url,)) as publisher,
    ):
        assert await outcome_of(publisher, message(1, body=body)) is Outcome.CONFIRMED
        alone = publisher.try_alone(message(2, body=body))
        await eventually(lambda: alone.outcome is Outcome.CONFIRMED)

    assert [body, body] == [published.body for published in peer.published]


async def test_rabbitmq_without_limits(publishing, node, broker):
    """What RabbitMQ itself negotiates when its limits are 0."""
    consumer_queue(broker, "all", "#")
    body = bytes(300_000)
    limits = "[{frame_max, %d}, {channel_max, %d}]"
    set_to = f"[application:set_env(rabbit, K, V) || {{K, V}} <- {limits}]."
    await asyncio.to_thread(node.evaluate, set_to % (0, 0))
    try:
        async with publishing() as publisher:
            outcome = await outcome_of(publisher, message(1, body=body))
            opened = await connect(broker, purpose="test")
            assert opened.amqp.transport
            tuned = opened.amqp.transport.connection.connection_tune
            await opened.close()
    finally:
        await asyncio.to_thread(node.evaluate, set_to % (131_072, 2047))

    assert (0, 0, Outcome.CONFIRMED) == (tuned.frame_max, tuned.channel_max, outcome)
    assert [body] == [found for _, _, found in drain(broker, "all")]


@pytest.mark.parametrize("end", [asyncio.StreamWriter.close, reset])
async def test_first_url_accepts_and_closes(publishing, broker, end):
    """The next URL is tried at once."""
    async with saying(b"", end=end) as url, publishing(urls=(url, broker)) as publisher:
        assert await outcome_of(publisher, message(1)) is Outcome.UNROUTED
