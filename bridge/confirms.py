"""One AMQP channel in confirm mode, settled in the order of the wire.

aiormq matches a returned message to its publish by ``message_id`` and resolves acks of a run later
than the frames arrive; both misreport under concurrency (docs/decisions). So this module takes the
incoming frames where aiormq's reader hands them over, before they are queued, and is the only owner
of what happens to a publish: Ack, Nack, Return with its header and body, Channel.Close, and the
loss of the connection.

Rules it rests on (https://www.rabbitmq.com/docs/confirms):
a returned message is returned before it is acked; an ack with ``multiple`` settles every tag up to
its own. Work goes by what is in flight, never by the numbers that the broker names.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import aiormq
import structlog
from aiormq.abc import FrameType
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bridge.connection import describe
from bridge.core.errors import MessageInvalid
from bridge.core.frames import publish_frames
from bridge.core.message import unrouted_message
from bridge.ports import Outcome, Publish
from bridge.refusals import Refusals
from bridge.returns import Return

WINDOW = 256
"""Publishes on the wire at a time: more of them add latency, and nothing else."""

WINDOW_BYTES = 16 * 1024 * 1024
"""Bytes of their bodies, when those are large."""

_ANOMALY = "protocol anomaly"

log = structlog.get_logger()


class _Inbox:
    """Stands in for aiormq's queue of incoming frames and lets one owner see each frame first."""

    def __init__(self, queue: asyncio.Queue[Any], handle: Callable[[FrameType], bool]) -> None:
        self._queue = queue
        self._handle = handle

    async def put(self, item: tuple[int, FrameType]) -> None:
        if not self._handle(item[1]):
            await self._queue.put(item)

    async def get(self) -> Any:
        return await self._queue.get()

    def task_done(self) -> None:
        self._queue.task_done()


class ConfirmChannel:
    """Publishes persistent, mandatory messages on one channel and settles each of them once."""

    def __init__(
        self,
        channel: aiormq.Channel,
        *,
        write: Callable[[bytes], None],
        returned: Callable[[Publish], None],
        closed: Callable[[str], None],
    ) -> None:
        """Take what puts bytes on the channel's connection, and what to tell of the outcome."""
        self._channel = channel
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._returned = returned
        self._closed = closed
        self._number = channel.number
        self._frame_max = channel.connection.connection_tune.frame_max
        self._tag = 0
        self._written = 0
        self._in_flight: dict[int, Publish] = {}
        self._in_flight_bytes = 0
        self._queued: deque[Publish] = deque()
        self._outgoing: list[bytes] = []
        self._return: Return | None = None
        self._quiet_since = 0.0
        self._looks: deque[tuple[float, int]] = deque()
        self._overdue_up_to = 0
        self.overdue = 0
        """Number of publishes that have waited too long: they take no place of the window."""
        self._refusals = Refusals()
        self.is_closed = False
        channel.frames = _Inbox(channel.frames, self._on_frame)  # type: ignore[assignment]
        channel.closing.add_done_callback(self._on_closing)

    def __repr__(self) -> str:
        """Show the load and the state."""
        state = "closed" if self.is_closed else "open"
        return f"<ConfirmChannel {state}, {len(self._in_flight)} in flight>"

    @property
    def in_flight(self) -> int:
        """Return how many publishes are unresolved."""
        return len(self._in_flight) + len(self._queued)

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is unresolved but what waits too long already."""
        return self.in_flight == self.overdue

    @property
    def refused_for(self) -> float:
        """Return for how many seconds all was refused that has one exchange and key."""
        return self._refusals.seconds

    def quiet_for(self) -> float:
        """Return for how many seconds publishes have waited while nothing was settled."""
        return self._loop.time() - self._quiet_since if self._in_flight else 0.0

    def note_answer(self) -> None:
        """Take note that the broker answers on this connection, if not to the publishes."""
        self._quiet_since = self._loop.time()

    def note_overdue(self, patience: float) -> None:
        """Let what was sent so long ago take no place of the window; called every moment."""
        now = self._loop.time()
        self._looks.append((now, self._tag))
        while self._looks[0][0] <= now - patience:
            _, up_to = self._looks.popleft()
            for tag in self._up_to(up_to):
                if tag > self._overdue_up_to:
                    self.overdue += 1
                    self._in_flight_bytes -= len(self._in_flight[tag].message.body)
            self._overdue_up_to = max(self._overdue_up_to, up_to)
        self._fill_up()

    def send(self, publish: Publish) -> None:
        """Put a message on the wire, or in line for it while the window is full.

        One that AMQP cannot carry is refused before it takes a delivery tag: a tag without its
        message would shift the outcome of every later one.
        """
        if self._is_full():
            self._queued.append(publish)
        else:
            self._send(publish)

    def _is_full(self) -> bool:
        return (
            len(self._in_flight) - self.overdue >= WINDOW or self._in_flight_bytes >= WINDOW_BYTES
        )

    def _send(self, publish: Publish) -> None:
        message = unrouted_message(publish.message) if publish.rerouted else publish.message
        try:
            frames = publish_frames(message, channel=self._number, frame_max=self._frame_max)
        except MessageInvalid as invalid:
            log.error("message_invalid", event_id=message.message_id, error=str(invalid))
            publish.settle(Outcome.REFUSED)
            return
        if not self._in_flight:
            self._quiet_since = self._loop.time()
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(frames)
        # Last, so that an error before leaves no tag without frames: all later ones would be wrong.
        self._tag += 1
        self._in_flight[self._tag] = publish
        self._in_flight_bytes += len(message.body)

    def abandon(self, reason: str, *, by_broker: bool = False) -> None:
        """Settle everything in flight as unknown: nothing more will be heard of it.

        When the broker closes a channel, or we do because of what it says, one of the messages in
        flight is the reason. A single one is refused by that; among several each is suspect.
        """
        if self.is_closed:
            return
        self.is_closed = True
        lost, queued = list(self._in_flight.values()), list(self._queued)
        self._in_flight.clear()
        self.overdue = 0
        self._queued.clear()
        self._outgoing.clear()
        blamed = by_broker or reason.startswith(_ANOMALY)
        culprit = blamed and len(lost) == 1
        for publish in lost:
            publish.suspect, publish.culprit = blamed and not culprit, culprit
            publish.settle(Outcome.REFUSED if culprit else Outcome.UNKNOWN)
        for publish in queued:
            publish.settle(Outcome.AWAY)
        self._closed(reason)

    def _flush(self) -> None:
        if self._outgoing:
            self._write(b"".join(self._outgoing))
            self._outgoing.clear()
            self._written = self._tag

    def _on_frame(self, frame: FrameType) -> bool:
        """Take a frame of the confirm protocol; return whether aiormq must not see it."""
        match frame:
            case commands.Basic.Ack() | commands.Basic.Nack() | commands.Basic.Return():
                if self._return is not None:
                    self._anomaly("a returned message ends before it is complete")
                else:
                    self._on_method(frame)
            case ContentHeader() | ContentBody():
                self._on_content(frame)
            case commands.Channel.Close():
                self.abandon(f"{frame.reply_code} {frame.reply_text}", by_broker=True)
                return False  # aiormq answers with Channel.CloseOk
            case _:
                return False
        return True

    def _on_method(
        self, method: commands.Basic.Ack | commands.Basic.Nack | commands.Basic.Return
    ) -> None:
        if isinstance(method, commands.Basic.Return):
            self._return = Return(method)
            return
        confirmed = isinstance(method, commands.Basic.Ack)
        outcome = Outcome.CONFIRMED if confirmed else Outcome.REFUSED
        self._settle(method.delivery_tag or 0, method.multiple, outcome)

    def _on_content(self, frame: ContentHeader | ContentBody) -> None:
        if self._return is None or not self._return.add(frame):
            self._anomaly("content that belongs to no returned message")
        elif self._return.is_complete:
            returned, self._return = self._return, None
            self._on_return(returned)

    def _settle(self, tag: int, multiple: bool, outcome: Outcome) -> None:
        self._quiet_since = self._loop.time()
        tags = self._meant(tag, multiple)
        if not tags and (tag or not multiple):
            self._anomaly(f"a confirm for delivery tag {tag}, which is not in flight")
        for each in tags:
            self._settle_one(each, outcome)
        self._fill_up()

    def _meant(self, tag: int, multiple: bool) -> list[int]:
        """Return the tags in flight that a confirm is for; of several, 0 means all so far.

        What waits to be written cannot have been confirmed.
        """
        if tag > self._written:
            return []
        if multiple:
            return self._up_to(tag or self._written)
        return [tag] if tag in self._in_flight else []

    def _up_to(self, last: int) -> list[int]:
        """Return the tags in flight up to one of them; they are in order."""
        return list(takewhile(last.__ge__, self._in_flight))

    def _fill_up(self) -> None:
        while self._queued and not self._is_full():
            self._send(self._queued.popleft())

    def _settle_one(self, tag: int, outcome: Outcome) -> None:
        """Settle a publish if it is in flight; one that was returned waits for its copy."""
        publish = self._in_flight.pop(tag, None)
        if publish is None:
            return
        if tag <= self._overdue_up_to:
            self.overdue -= 1
        else:
            self._in_flight_bytes -= len(publish.message.body)
        if publish.returned:
            self._returned(publish)
            return
        self._refusals.note(publish, outcome, self._quiet_since)
        if publish.rerouted and outcome is Outcome.CONFIRMED:
            publish.settle(Outcome.UNROUTED)
        else:
            publish.settle(outcome)

    def _on_return(self, returned: Return) -> None:
        publish = returned.find(self._in_flight, up_to=self._written)
        if publish is None:
            self._anomaly("a message was returned that is not in flight")
        else:
            publish.returned = True

    def _anomaly(self, what: str) -> None:
        """Throw the channel away: after a wrong confirm no later one can be trusted."""
        self.abandon(f"{_ANOMALY}: {what}")

    def _on_closing(self, closing: asyncio.Future[Any]) -> None:
        cause = None if closing.cancelled() else closing.exception()
        self.abandon(describe(cause) if cause else "closed")
