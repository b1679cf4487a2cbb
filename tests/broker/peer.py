"""A broker that says what a test wants on the wire, frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import pamqp.frame
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

_ANSWERS: dict[str, Any] = {
    "Connection.StartOk": None,  # depends on what is tuned
    "Connection.Open": commands.Connection.OpenOk(),
    "Connection.Close": commands.Connection.CloseOk(),
    "Channel.Open": commands.Channel.OpenOk(),
    "Channel.Close": commands.Channel.CloseOk(),
    "Confirm.Select": commands.Confirm.SelectOk(),
    "Exchange.Declare": commands.Exchange.DeclareOk(),
    "Queue.Declare": commands.Queue.DeclareOk("", 0, 0),
    "Queue.Bind": commands.Queue.BindOk(),
}


SILENCE = object()
"""In place of an answer: none."""


class Published:
    """A message that came, and what can be done with it."""

    def __init__(self, peer: Peer, writer: asyncio.StreamWriter, channel: int, tag: int) -> None:
        self._peer = peer
        self._writer = writer
        self._channel = channel
        self.tag = tag
        self.method: Any = None
        self.header: Any = None
        self.body = b""

    def say(self, *frames: Any) -> None:
        """Send frames on the channel it came on; the header ``unreadable`` is what it is called."""
        for frame in frames:
            data = pamqp.frame.marshal(frame, self._channel)
            self._writer.write(data.replace(b"unreadableS", b"unreadableZ"))

    def ack(self, tag: int | None = None, *, multiple: bool = False) -> None:
        """Confirm it."""
        self.say(commands.Basic.Ack(self.tag if tag is None else tag, multiple))

    def give_back(self, **headers: Any) -> None:
        """Return it, with headers more or other than it had."""
        self.header.properties.headers = {**self.header.properties.headers, **headers}
        method = self.method
        self.say(
            commands.Basic.Return(312, "NO_ROUTE", method.exchange, method.routing_key),
            ContentHeader(0, len(self.body), self.header.properties),
            ContentBody(self.body),
        )


class Peer:
    """Listens, lets everybody in, and hands each message to ``on_publish``.

    ``refuse`` may answer any other method instead: it returns the frame to send, or None.
    """

    def __init__(
        self,
        *,
        frame_max: int = 131_072,
        channel_max: int = 2047,
        heartbeat: int = 60,
        on_publish: Callable[[Published], None] = Published.ack,
        refuse: Callable[[Any], Any] = lambda _: None,
    ) -> None:
        self._tune = commands.Connection.Tune(channel_max, frame_max, heartbeat)
        self._on_publish = on_publish
        self._refuse = refuse
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.published: list[Published] = []
        self._methods: list[Any] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Peer:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Hang up."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Return where it listens."""
        assert self._server is not None
        return f"amqp://guest:guest@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    def declared(self, name: str) -> list[Any]:
        """Return the methods of a name that came."""
        return [frame for frame in self._methods if frame.name == name]

    def hang_up(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        with suppress(EOFError, OSError, asyncio.CancelledError):
            await reader.readexactly(8)
            capabilities: Any = {"publisher_confirms": True, "basic.nack": True}
            start = commands.Connection.Start(0, 9, {"capabilities": capabilities}, "PLAIN", "C")
            writer.write(pamqp.frame.marshal(start, 0))
            tags: dict[int, int] = {}
            coming: dict[int, Published] = {}
            while True:
                head = await reader.readexactly(7)
                rest = await reader.readexactly(int.from_bytes(head[3:7], "big") + 1)
                _, channel, frame = pamqp.frame.unmarshal(head + rest)
                if isinstance(frame, commands.Basic.Publish):
                    tags[channel] = tags.get(channel, 0) + 1
                    coming[channel] = Published(self, writer, channel, tags[channel])
                    coming[channel].method = frame
                elif isinstance(frame, ContentHeader | ContentBody):
                    self._take(coming[channel], frame)
                else:
                    if isinstance(frame, commands.Channel.Open):
                        tags.pop(channel, None)
                    self._answer(writer, channel, frame)
        writer.close()

    def _take(self, published: Published, frame: ContentHeader | ContentBody) -> None:
        if isinstance(frame, ContentHeader):
            published.header = frame
        else:
            published.body += frame.value
        if len(published.body) == published.header.body_size:
            self.published.append(published)
            self._on_publish(published)

    def _answer(self, writer: asyncio.StreamWriter, channel: int, frame: Any) -> None:
        self._methods.append(frame)
        answer = self._refuse(frame) or _ANSWERS.get(frame.name)
        if frame.name == "Connection.StartOk":
            answer = self._tune
        if answer is not None and answer is not SILENCE:
            on = 0 if answer.name.startswith("Connection.") else channel
            writer.write(pamqp.frame.marshal(answer, on))
