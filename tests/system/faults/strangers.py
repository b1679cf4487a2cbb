"""Clients that know no secret, each kind as bad as it can be, in a process of their own.

    python -m tests.system.faults.strangers KIND PORT [tls]

They act until the process is ended; ``acting`` prints ``ready`` once as many as there are to be
have connected.
"""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import uvloop

HALF = b"\x16\x03\x01\x02\x00\x01"
"""The first bytes of a TLS handshake."""

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
UNSENT = b"Host: h\r\nContent-Length: 100\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST /webhook HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"
TINY = CHUNKED + b"1\r\na\r\n" * 2000
LONG = b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: %s\r\n" % (n, b"x" * 8000) for n in range(62))
"""A head whose lines are few and short enough, and which has no end."""

UNSIGNED = b"POST /webhook HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"


class Stream(NamedTuple):
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read_all(self) -> None:
        """Read until the other side ends."""
        while await self.reader.read(1 << 16):
            pass


def say(request: bytes) -> Callable[[Stream], Awaitable[None]]:
    """Return a client that says this once, and then reads what comes."""

    async def act(stream: Stream) -> None:
        stream.writer.write(request)
        await stream.read_all()

    return act


def ask(request: bytes) -> Callable[[Stream], Awaitable[None]]:
    """Return a client that takes one answer, hangs up, and comes again."""

    async def act(stream: Stream) -> None:
        stream.writer.write(request)
        await stream.reader.read(1 << 16)

    return act


def pour(requests: bytes, *, reads: bool) -> Callable[[Stream], Awaitable[None]]:
    """Return a client that writes this again and again without waiting for answers."""

    async def act(stream: Stream) -> None:
        reading = asyncio.ensure_future(stream.read_all()) if reads else None
        try:
            while True:
                stream.writer.write(requests)
                await stream.writer.drain()
        finally:
            if reading is not None:
                reading.cancel()

    return act


def pour_behind(head: bytes, rest: bytes) -> Callable[[Stream], Awaitable[None]]:
    """Return a client that writes a head, and behind it the same thing again and again."""

    async def act(stream: Stream) -> None:
        stream.writer.write(head)
        await pour(rest, reads=True)(stream)

    return act


async def split(stream: Stream) -> None:
    """Speak TLS, and owe a body that comes in records of one byte."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = _any_certificate().wrap_bio(incoming, outgoing)
    while True:
        try:
            secure.do_handshake()
            break
        except ssl.SSLWantReadError:
            stream.writer.write(outgoing.read())
            if not (data := await stream.reader.read(1 << 16)):
                raise ConnectionResetError from None
            incoming.write(data)
    secure.write(b"POST /webhook HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(100):
        for _ in range(8000):
            secure.write(b"a")
        stream.writer.write(outgoing.read())
        await stream.writer.drain()


async def trickle(stream: Stream) -> None:
    """Send a byte of a head now and then."""
    for byte in GET * 100:
        stream.writer.write(bytes([byte]))
        await asyncio.sleep(0.5)


class Kind(NamedTuple):
    """How many clients do what; each that ends comes again."""

    clients: int
    act: Callable[[Stream], Awaitable[None]]
    shakes_hands: bool = True
    """Whether it speaks TLS, where the bridge does."""
    tries_tls: bool = False
    """Whether it is worse where the bridge speaks TLS."""


KINDS = {
    "silent": Kind(1200, say(b""), tries_tls=True),
    "silent without a handshake": Kind(1200, say(b""), shakes_hands=False, tries_tls=True),
    "half a handshake": Kind(1200, say(HALF), shakes_hands=False, tries_tls=True),
    "resting after a 404": Kind(1200, say(GET)),
    "resting after a probe": Kind(1200, say(HEALTH)),
    "owing a body": Kind(1200, say(b"POST /webhook HTTP/1.1\r\n" + UNSENT)),
    "owing a body nobody wants": Kind(1200, say(b"GET / HTTP/1.1\r\n" + UNSENT)),
    "half a chunk": Kind(
        1200, say(b"POST /webhook HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
    ),
    "a byte at a time": Kind(600, trickle),
    "pipelining": Kind(10, pour(GET * 2000, reads=True)),
    "pipelining unsigned events": Kind(10, pour(UNSIGNED * 1000, reads=True)),
    "garbage": Kind(10, pour(b"\0" * 250_000, reads=True)),
    "pouring behind an upgrade": Kind(10, pour_behind(UPGRADE, GET * 8000)),
    "pouring behind a connect": Kind(10, pour_behind(CONNECT, GET * 8000)),
    "chunks of one byte": Kind(10, pour_behind(CHUNKED, b"1\r\na\r\n" * 40_000)),
    "an endless chunk extension": Kind(10, pour_behind(CHUNKED + b"1;", b"a" * 250_000)),
    "newcomers with tiny chunks": Kind(20, ask(TINY)),
    "a head without measure": Kind(850, say(LONG)),
    "a byte in a record": Kind(30, split, shakes_hands=False, tries_tls=True),
    "metrics without end": Kind(60, pour(METRICS * 200, reads=False)),
    "blank lines": Kind(10, pour(b"\r\n" * 120_000, reads=True)),
    "reading no answers": Kind(60, pour(GET * 2000, reads=False)),
    "asking one after the other": Kind(20, ask(GET), tries_tls=True),
    "unsigned events": Kind(20, ask(UNSIGNED)),
    "hanging up at once": Kind(20, lambda stream: asyncio.sleep(0)),
}


async def acting(kind: Kind, port: int, tls: ssl.SSLContext | None) -> None:
    """Do as this kind does, for ever."""
    connected = 0
    all_there = asyncio.Event()

    async def client() -> None:
        nonlocal connected
        known = False
        while True:
            with suppress(
                OSError, asyncio.IncompleteReadError, RuntimeError
            ):  # uvloop: it is closed
                secure = tls if kind.shakes_hands else None
                stream = Stream(*await asyncio.open_connection("127.0.0.1", port, ssl=secure))
                connected += not known
                known = True
                if connected == kind.clients:
                    all_there.set()
                try:
                    await kind.act(stream)
                finally:
                    stream.writer.transport.abort()
            await asyncio.sleep(0 if kind.clients < 100 else 0.5)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(kind.clients):
            tasks.create_task(client())
        with suppress(TimeoutError):  # where not everybody gets in there is nothing to wait for
            await asyncio.wait_for(all_there.wait(), 5)
        print("ready", flush=True)


@asynccontextmanager
async def strangers(name: str, port: int, *, tls: bool = False) -> AsyncIterator[None]:
    """Let clients of a kind act for the length of the block."""
    command = [sys.executable, "-m", "tests.system.faults.strangers", name, f"{port}"]
    process = await asyncio.create_subprocess_exec(
        *command, *["tls"] * tls, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert b"ready\n" == await process.stdout.readline()
        yield
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _any_certificate() -> ssl.SSLContext:
    """Return what a client needs that does not care whom it talks to."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    os.nice(19)  # strangers have a machine of their own: here they take what is left of this one
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    secure = _any_certificate() if sys.argv[3:] else None
    uvloop.run(acting(KINDS[sys.argv[1]], int(sys.argv[2]), secure))
