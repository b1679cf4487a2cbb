"""What the libraries lack, and which of their private names that takes."""

import ast
import asyncio
import socket
from pathlib import Path

import pytest

from bridge.broker import aiormq_adapter, connection
from bridge.broker.connection import connect
from bridge.core.errors import BrokerUnreachable
from tests.broker.peer import Peer
from tests.helpers import add_vhost, delete_vhost, eventually

ADAPTER = Path(aiormq_adapter.__file__)


def names(path):
    """Return the names with one underscore that a file uses, and those that it defines."""
    used, defined = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Store()):
                defined.add(name)
            case ast.Attribute(attr=name) if name.startswith("_") and not name.startswith("__"):
                used.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                defined.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                defined.add(name)
    return used, defined


def test_private_names_of_libraries_are_used_in_one_file():
    """The adapter has them all, and its docstring lists them."""
    found = {path: names(path) for path in ADAPTER.parent.glob("*.py")}
    ours = {name for _, defined in found.values() for name in defined} - {"_rpc"}
    theirs = {path: used - ours for path, (used, _) in found.items() if used - ours}

    assert {ADAPTER: {"_rpc", "_on_connected", "_on_connection_close"}} == theirs
    assert all(name in aiormq_adapter.__doc__ for name in theirs[ADAPTER])


LONG = {"refuses": 3, "is a black hole": 3, "is silent": 20}
"""Seconds; which address is the first is left to chance, as one that is silent takes a try."""


@pytest.mark.parametrize("first", LONG)
async def test_host_with_two_addresses(publishing, node, broker, monkeypatch, first):
    """A host of which one address is dead is connected to by the other one."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)
    with (
        socket.create_server(("127.0.0.2", 0), backlog=5) as mute,
        socket.create_server(("127.0.0.2", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),  # Linux drops what comes after it
    ):
        port = node.port
        addresses = {
            "refuses": "127.0.0.2",
            "is silent": "127.0.0.2",
            "is a black hole": "240.0.0.1",
        }
        ports = {"is silent": mute.getsockname()[1]}
        found = [(addresses[first], ports.get(first, port)), ("127.0.0.1", port)]

        async def resolve(*_, **__):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        url = broker.replace("127.0.0.1", "rabbit.example")
        async with publishing(urls=(url,), wait=False) as publisher:
            await eventually(lambda: publisher.is_ready, seconds=LONG[first])


async def test_vhost_is_decoded_once(node, broker):
    """A vhost may have a percent sign in its name, also before 2F."""
    for vhost in ("m%2Fn", "a/b", "50%+"):
        await asyncio.to_thread(add_vhost, node, vhost)
    try:
        for written in ("m%252Fn", "a%2Fb", "a/b", "50%25+", "%2F"):
            opened = await connect(f"{broker.rstrip('/')}/{written}", purpose="test")
            await opened.close()
    finally:
        for vhost in ("m%2Fn", "a/b", "50%+"):
            await asyncio.to_thread(delete_vhost, node, vhost)


@pytest.mark.parametrize(
    ("written", "said"), [("nowhere", "530 NOT_ALLOWED"), ("m%252Fn", "vhost m%2Fn not found")]
)
async def test_wrong_vhost_is_said_in_the_words_of_rabbitmq(broker, written, said):
    """Not as an object's address."""
    with pytest.raises(BrokerUnreachable, match=said):
        await connect(f"{broker.rstrip('/')}/{written}", purpose="test")


async def test_more_channels_than_the_broker_allows():
    """One more is refused by us: RabbitMQ would close the connection for it."""
    async with Peer(channel_max=3) as peer:
        opened = await connect(peer.url, purpose="test")
        channels = [await opened.channel() for _ in range(3)]
        with pytest.raises(BrokerUnreachable, match="channel_max"):
            await opened.channel()
        await channels[0].close()
        again = await opened.channel()
        await opened.close()

    assert ([1, 2, 3], 1) == ([channel.number for channel in channels], again.number)
