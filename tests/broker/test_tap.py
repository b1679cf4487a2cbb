"""The tap alone, and over real connections: it is in use, it holds up nobody, it hides no end."""

import asyncio
import socket
import ssl
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pamqp.frame
import pytest
import uvloop
from pamqp import commands
from pamqp.body import ContentBody

from bridge.broker import connection
from bridge.broker.aiormq_adapter import tapped
from bridge.broker.connection import connect
from bridge.broker.incoming import Incoming, intercept
from bridge.broker.publisher import RabbitPublisher
from bridge.broker.tap import Tap
from bridge.broker.topology import Topology
from bridge.core.message import UNROUTED
from bridge.core.publish import Outcome
from tests.broker.peer import Peer
from tests.broker.test_publisher import outcome_of, publish_all
from tests.helpers import consumer_queue, eventually, ids, message


def ack(tag, *, multiple=False, channel=1):
    """Return the octets of an ack, by a codec that shares no code with the bridge's."""
    return pamqp.frame.marshal(commands.Basic.Ack(tag, multiple), channel)


class Scene:
    """A tap between a transport and a stream, and the owner of channel 1."""

    def __init__(self):
        self.now = 0.0
        self.passed: list[Any] = []
        self.failed: list[BaseException] = []
        self.told: list[Any] = []
        self.fails: type[BaseException] | None = None
        stream: Any = SimpleNamespace(
            data_received=self.passed.append,
            connection_lost=self.passed.append,
            eof_received=self.eof_received,
            pause_writing=lambda: self.passed.append("pause"),
            resume_writing=lambda: self.passed.append("resume"),
        )
        self.tap = Tap(stream, clock=lambda: self.now, fail=self.failed.append)
        self.tap.attach(1, self)
        self.tap.is_between_frames = True

    def eof_received(self):
        self.passed.append("eof")
        return True

    def on_confirm(self, tag, multiple, outcome):
        self.told.append((tag, multiple, outcome))
        if self.fails:
            raise self.fails

    def on_error(self, error):
        self.told.append(type(error))
        if not isinstance(error, Exception):
            raise error


def test_confirms_are_settled_before_the_next_turn():
    """All that came at once, each by its own kind, and the stream gets none of them."""
    scene = Scene()
    nack = commands.Basic.Nack(3, True, False)
    scene.tap.data_received(ack(1) + ack(2, multiple=True) + pamqp.frame.marshal(nack, 1))

    assert [
        (1, False, Outcome.CONFIRMED),
        (2, True, Outcome.CONFIRMED),
        (3, True, Outcome.REFUSED),
    ] == scene.told
    assert ([], True) == (scene.passed, scene.tap.is_between_frames)


OTHERS = {
    "part": ack(2)[:20],
    "wrong end": ack(2)[:-1] + b"\x00",
    "another channel": ack(2, channel=2),
    "another method": pamqp.frame.marshal(commands.Channel.CloseOk(), 1),
    "another type": b"\x02" + ack(2)[1:],
    "body": pamqp.frame.marshal(ContentBody(ack(2)), 1),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_the_rest_passes_as_it_came(other):
    """From the first octet that is not of a confirm, with the confirms behind it."""
    scene = Scene()
    scene.tap.data_received(ack(1) + other + ack(3))
    scene.tap.data_received(ack(4))

    assert [(1, False, Outcome.CONFIRMED)] == scene.told
    assert [other + ack(3), ack(4)] == scene.passed
    assert not scene.tap.is_between_frames


@pytest.mark.parametrize("size", range(1, 21))
def test_confirm_that_is_cut_in_two(size):
    """It passes, and what has come of it is read by aiormq."""
    scene = Scene()
    scene.tap.data_received(ack(1) + ack(2)[:size])
    scene.tap.data_received(ack(2)[size:])

    assert [(1, False, Outcome.CONFIRMED)] == scene.told
    assert ([ack(2)[:size], ack(2)[size:]], []) == (scene.passed, scene.failed)


def test_detached_channel():
    """Its confirms pass; nobody is told of them."""
    scene = Scene()
    scene.tap.detach(1)
    scene.tap.detach(1)
    scene.tap.data_received(ack(1))

    assert ([], [ack(1)]) == (scene.told, scene.passed)


def test_aiormq_gets_something_of_a_run_of_confirms():
    """Once a second it gets what comes: its own watch needs frames, and must get real ones."""
    scene = Scene()
    for quarter in range(1, 12):
        scene.now = quarter / 4
        scene.tap.data_received(ack(quarter))
        scene.tap.is_between_frames = True

    assert [ack(4), ack(8)] == scene.passed
    assert [1, 2, 3, 5, 6, 7, 9, 10, 11] == [tag for tag, *_ in scene.told]


def test_error_of_the_owner_is_told_to_it():
    """It is the owner who decides what an error is worth; the next confirm is handled."""
    scene = Scene()
    scene.fails = ZeroDivisionError
    scene.tap.data_received(ack(1) + ack(2))

    assert [1, ZeroDivisionError, 2, ZeroDivisionError] == [
        each[0] if isinstance(each, tuple) else each for each in scene.told
    ]
    assert ([], []) == (scene.passed, scene.failed)


def test_error_that_the_owner_does_not_keep():
    """It is raised where aiormq reads, and nothing that comes later is settled or read."""
    scene = Scene()
    scene.fails = KeyboardInterrupt
    scene.tap.data_received(ack(1) + ack(2))
    scene.fails = None
    scene.tap.data_received(ack(3))

    assert [(1, False, Outcome.CONFIRMED), KeyboardInterrupt] == scene.told
    assert [KeyboardInterrupt] == [type(error) for error in scene.failed]
    assert [ack(3)] == scene.passed


def test_everything_else_of_a_transport_passes():
    """Flow control and the end are the stream's affair."""
    scene, lost = Scene(), OSError()
    scene.tap.pause_writing()
    scene.tap.resume_writing()
    assert scene.tap.eof_received()
    scene.tap.connection_lost(lost)

    assert ["pause", "resume", "eof", lost] == scene.passed


async def test_tap_knows_when_a_frame_is_waited_for():
    """Neither in the middle of a frame, whatever the size of the piece, nor after the end."""
    here, there = socket.socketpair()
    with there:
        stream, writer = await asyncio.open_connection(sock=here)
        reader, tap = tapped(stream, writer)
        seen = []
        for pieces in (1, 1), (1, 6):
            assert not reader.at_eof()
            for size in pieces:
                reading = asyncio.ensure_future(reader.readexactly(size))
                await asyncio.sleep(0)
                seen.append(tap.is_between_frames)
                tap.data_received(bytes(size))
                assert not tap.is_between_frames
                assert bytes(size) == await reading
        assert not reader.at_eof()
        reading = asyncio.ensure_future(reader.readexactly(1))
        await asyncio.sleep(0)
        seen.append(tap.is_between_frames)
        reading.cancel()
        await asyncio.wait({reading})
        writer.close()
        await writer.wait_closed()

    assert [True, False, True, False, True] == seen
    assert not tap.is_between_frames


@pytest.mark.parametrize(
    ("end", "told"),
    [(commands.Channel.Close(406, "WHY", 60, 40), ["406 WHY"]), (commands.Channel.CloseOk(), [])],
    ids=lambda each: getattr(each, "name", ""),
)
async def test_number_of_a_channel_that_has_ended(end, told):
    """Its owner is told of no confirm any more: the number may be that of another channel."""
    scene = Scene()
    owner: Any = SimpleNamespace(
        on_close=scene.told.append, on_confirm=scene.on_confirm, on_error=scene.on_error
    )
    async with Peer() as peer:
        opened = await connect(peer.url, purpose="test")
        intercept(await opened.channel(), owner, opened.tap)
        await asyncio.sleep(0)
        opened.tap.data_received(pamqp.frame.marshal(end, 1))
        await eventually(lambda: opened.tap.is_between_frames)
        opened.tap.data_received(ack(1))
        await eventually(lambda: opened.tap.is_between_frames)
        await opened.close()

    assert told == scene.told


async def test_stream_that_begins_tls_later(authority):
    """``start_tls`` puts TLS below the stream; the stream, ``drain`` and the end still work."""
    pair = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    async def echo(reader, writer):
        await writer.start_tls(context)
        writer.write(await reader.readexactly(21))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        stream, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        reader, _ = tapped(stream, writer)
        await writer.start_tls(authority.client(), server_hostname="localhost")
        writer.write(ack(1))
        await writer.drain()
        assert not reader.at_eof()
        assert ack(1) == await reader.readexactly(21)
        writer.close()
        await writer.wait_closed()


async def test_reading_pauses_while_aiormq_is_full():
    """What aiormq does not take stays with the broker, acks too; afterwards all come in order."""
    scene = Scene()
    async with Peer() as peer:
        opened = await connect(peer.url, purpose="test")
        channel = await opened.channel()
        owner: Any = scene
        intercept(channel, owner, opened.tap)
        transport: Any = opened._transport._writer.transport  # type: ignore[union-attr]
        [writer] = peer._writers
        unasked = pamqp.frame.marshal(commands.Confirm.SelectOk(), 1)
        writer.write(unasked * 50 + b"".join(ack(tag) for tag in range(1, 20_001)))
        await eventually(lambda: not transport.is_reading())
        before = list(scene.told)
        for _ in range(50):
            await channel.rpc_frames.get()
        await eventually(lambda: len(scene.told) == 20_000)
        await opened.close()

    assert [] == before
    assert list(range(1, 20_001)) == [tag for tag, *_ in scene.told]


@pytest.fixture
def passed(monkeypatch):
    """Count the confirms that come by way of aiormq."""
    counted: list[Any] = []
    handle = Incoming._on_confirm

    def count(self, *confirm):
        counted.append(confirm)
        handle(self, *confirm)

    monkeypatch.setattr(Incoming, "_on_confirm", count)
    return counted


async def publish_one_by_one(publisher, count):
    """Publish messages of which each waits for the confirm of the one before."""
    return [await outcome_of(publisher, message(n)) for n in range(count)]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_taken_on_every_kind_of_transport(loop, tls, tls_node, tls_port, authority, passed):
    """Nearly all confirms of a run come by the tap."""
    consumer_queue(tls_node.url, "taken", "#")
    pair = authority.issue("client.example.com", name="bridge")
    files = f"cafile={authority.file}&certfile={pair.certificate}&keyfile={pair.key}"
    url = f"amqps://guest:guest@127.0.0.1:{tls_port}/?{files}" if tls else tls_node.url

    async def run():
        publisher = RabbitPublisher([url], Topology.of(["superoffice"]))
        task = asyncio.create_task(publisher.run())
        try:
            await eventually(lambda: publisher.is_ready)
            return await publish_one_by_one(publisher, 100)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    with asyncio.Runner(loop_factory=loop) as runner:
        outcomes = runner.run(run())

    assert [Outcome.CONFIRMED] * 100 == outcomes
    assert len(passed) < 50


async def test_returns_among_acks(publishing, broker, passed):
    """Under load, with what comes back and what is refused between: each has its own outcome."""
    consumer_queue(broker, "all", "contact.created")
    full: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    consumer_queue(broker, "full", "full.created", **full)
    keys = [*["contact.created"] * 37, "nobody.bound", *["full.created"] * 5]
    messages = [message(n, key=keys[n % len(keys)]) for n in range(4000)]
    async with publishing() as publisher:
        outcomes = await publish_all(publisher, messages)
        assert 1 == publisher.connection

    expected = {
        "contact.created": Outcome.CONFIRMED,
        "nobody.bound": Outcome.UNROUTED,
        "full.created": Outcome.REFUSED,
    }
    assert [expected[each.routing_key] for each in messages] == outcomes
    unrouted = [each.message_id for each in messages if each.routing_key == "nobody.bound"]
    assert sorted(unrouted) == sorted(ids(broker, UNROUTED))
    assert passed


@pytest.fixture
def hasty(monkeypatch):
    """Let aiormq give a connection up after 6 s without a frame."""
    monkeypatch.setattr(connection, "HEARTBEAT", 1)


async def test_run_of_acks_alone_is_no_silence(hasty, publishing, broker, passed):
    """RabbitMQ sends no heartbeat while it sends acks; aiormq must not think that it is gone."""
    short: dict[str, Any] = {"x-max-length": 10}
    consumer_queue(broker, "all", "#", **short)
    loop = asyncio.get_running_loop()
    async with publishing() as publisher:
        end, count = loop.time() + 8.0, 0
        while loop.time() < end:
            assert Outcome.CONFIRMED is await outcome_of(publisher, message(count))
            count += 1
        assert 1 == publisher.connection

    assert len(passed) < count / 2


async def test_frozen_broker_is_noticed_after_a_run(hasty, publishing, node, broker):
    """Nothing is in flight, so it is aiormq that notices, though the tap took what came."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        await publish_one_by_one(publisher, 50)
        await asyncio.to_thread(node.freeze)
        try:
            await eventually(lambda: publisher.broker == "down", seconds=12)
        finally:
            await asyncio.to_thread(node.thaw)
        await eventually(lambda: publisher.is_ready)
        assert Outcome.CONFIRMED is await outcome_of(publisher, message(51))


async def test_killed_in_the_middle_of_a_run(publishing, node, broker):
    """Whatever counts as confirmed is in the queue; everything else is told that it is not."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        publishes = [publisher.submit(message(n)) for n in range(20_000)]
        await eventually(lambda: sum(each.outcome is not None for each in publishes) > 300)
        await asyncio.to_thread(node.kill)
        await eventually(lambda: all(each.outcome for each in publishes))
        await asyncio.to_thread(node.restart)

    confirmed = {p.message.message_id for p in publishes if p.outcome is Outcome.CONFIRMED}
    assert confirmed <= set(ids(broker, "all"))
    assert {Outcome.CONFIRMED, Outcome.UNKNOWN, Outcome.NOT_SENT} == {p.outcome for p in publishes}
