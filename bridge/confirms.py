"""One AMQP channel in confirm mode, settled in the order of the wire.

aiormq matches a returned message to its publish by ``message_id`` and resolves acks of a run later
than the frames arrive; both misreport under concurrency (docs/decisions). So this module takes the
incoming frames where aiormq's reader hands them over, before they are queued, and is the only owner
of what happens to a publish: Ack, Nack, Return with its header and body, Channel.Close, and the
loss of the connection.

Rules it rests on (https://www.rabbitmq.com/docs/confirms):
a returned message is returned before it is acked; returns come in publish order; an ack with
``multiple`` settles every tag up to its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import aiormq
import structlog
from aiormq.abc import FrameType
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bridge.core.errors import MessageInvalid
from bridge.core.frames import publish_frames
from bridge.core.message import UNROUTED, unrouted_message
from bridge.ports import Outcome, Publish

WINDOW = 256
"""Publishes on the wire at a time: more of them add latency, and nothing else."""

WINDOW_BYTES = 16 * 1024 * 1024
"""Bytes of their bodies, when those are large."""

_PLACES = 10_000
"""Pairs of exchange and routing key, at the most, that are remembered: the keys are a sender's."""

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
        self._settled_up_to = 0
        self._returned_up_to = 0
        self._in_flight: dict[int, Publish] = {}
        self._in_flight_bytes = 0
        self._queued: deque[Publish] = deque()
        self._outgoing: list[bytes] = []
        self._return: _Return | None = None
        self._quiet_since = 0.0
        self._looks: deque[tuple[float, int]] = deque()
        self._overdue_up_to = 0
        self.overdue = 0
        """Number of publishes that have waited too long: they take no place of the window."""
        self._taken: set[tuple[str, str]] = set()
        self._refused_since: dict[tuple[str, str], float] = {}
        self.refused_for = 0.0
        """For how many seconds all was refused that has one exchange and key, from the first on."""
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

    def quiet_for(self) -> float:
        """Return for how many seconds publishes have waited while nothing was settled."""
        return self._loop.time() - self._quiet_since if self._in_flight else 0.0

    def note_answer(self) -> None:
        """Take note that the broker answers on this connection, if not to the publishes."""
        self._quiet_since = self._loop.time()

    def note_overdue(self, patience: float) -> None:
        """Let what was sent so many seconds ago take no place of the window any more.

        Called every moment: what has been sent until then is as old as the call.
        """
        now = self._loop.time()
        self._looks.append((now, self._tag))
        while self._looks[0][0] <= now - patience:
            _, up_to = self._looks.popleft()
            for tag in range(self._overdue_up_to + 1, up_to + 1):
                if (publish := self._in_flight.get(tag)) is not None:
                    self.overdue += 1
                    self._in_flight_bytes -= len(publish.message.body)
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
        self._tag += 1
        self._in_flight[self._tag] = publish
        self._in_flight_bytes += len(message.body)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(frames)

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
            publish.suspect = blamed and not culprit
            publish.settle(Outcome.REFUSED if culprit else Outcome.UNKNOWN)
        for publish in queued:
            publish.settle(Outcome.AWAY)
        self._closed(reason)

    def _flush(self) -> None:
        if self._outgoing:
            self._write(b"".join(self._outgoing))
            self._outgoing.clear()

    def _on_frame(self, frame: FrameType) -> bool:
        """Take a frame of the confirm protocol; return whether aiormq must not see it."""
        match frame:
            case commands.Basic.Ack():
                self._settle(frame.delivery_tag or 0, frame.multiple, Outcome.CONFIRMED)
            case commands.Basic.Nack():
                self._settle(frame.delivery_tag or 0, frame.multiple, Outcome.REFUSED)
            case commands.Basic.Return():
                self._return = _Return(frame)
            case ContentHeader() | ContentBody() if self._return is not None:
                if self._return.complete(frame):
                    returned, self._return = self._return, None
                    self._on_return(returned)
            case commands.Channel.Close():
                self.abandon(f"{frame.reply_code} {frame.reply_text}", by_broker=True)
                return False  # aiormq answers with Channel.CloseOk
            case _:
                return False
        return True

    def _settle(self, tag: int, multiple: bool, outcome: Outcome) -> None:
        self._quiet_since = self._loop.time()
        if multiple:
            for earlier in range(self._settled_up_to + 1, tag):
                self._settle_one(earlier, outcome)
            self._settled_up_to = max(self._settled_up_to, tag)
        if not self._settle_one(tag, outcome) and not self.is_closed:
            self._anomaly(f"confirm for unknown delivery tag {tag}")
        self._fill_up()

    def _fill_up(self) -> None:
        while self._queued and not self._is_full():
            self._send(self._queued.popleft())

    def _settle_one(self, tag: int, outcome: Outcome) -> bool:
        """Settle a publish if it is in flight; one that was returned waits for its copy."""
        publish = self._in_flight.pop(tag, None)
        if publish is None:
            return False
        if tag <= self._overdue_up_to:
            self.overdue -= 1
        else:
            self._in_flight_bytes -= len(publish.message.body)
        if publish.returned:
            self._returned(publish)
            return True
        self._note(publish, outcome)
        if publish.rerouted and outcome is Outcome.CONFIRMED:
            publish.settle(Outcome.UNROUTED)
        else:
            publish.settle(outcome)
        return True

    def _note(self, publish: Publish, outcome: Outcome) -> None:
        """Note who refuses: a queue that is full, or one that took nothing on this channel yet.

        A channel that took more kinds than are remembered is a good one: no new kind is judged.
        """
        message = publish.message
        place = (UNROUTED, "") if publish.rerouted else (message.exchange, message.routing_key)
        taken, refused_since = self._taken, self._refused_since
        if outcome is Outcome.CONFIRMED:
            if place not in taken:
                refused_since.pop(place, None)
                if len(taken) < _PLACES:
                    taken.add(place)
        elif place in refused_since:
            self.refused_for = max(self.refused_for, self._quiet_since - refused_since[place])
        elif place not in taken and max(len(taken), len(refused_since)) < _PLACES:
            refused_since[place] = self._quiet_since

    def _on_return(self, returned: _Return) -> None:
        for tag in range(self._returned_up_to + 1, self._tag + 1):  # they come in publish order
            publish = self._in_flight.get(tag)
            if publish is not None and returned.is_of(publish):
                publish.returned = True
                self._returned_up_to = tag
                return
        self._anomaly("a message was returned that is not in flight")

    def _anomaly(self, what: str) -> None:
        """Throw the channel away: after a wrong confirm no later one can be trusted."""
        self.abandon(f"{_ANOMALY}: {what}")

    def _on_closing(self, closing: asyncio.Future[Any]) -> None:
        cause = None if closing.cancelled() else closing.exception()
        self.abandon(f"{type(cause).__name__}: {cause}" if cause else "closed")


class _Return:
    """A returned message while its frames come in."""

    def __init__(self, method: commands.Basic.Return) -> None:
        self._method = method
        self._header: ContentHeader | None = None
        self._body = bytearray()

    def complete(self, frame: ContentHeader | ContentBody) -> bool:
        """Add a frame; return whether the message is complete."""
        if isinstance(frame, ContentHeader):
            self._header = frame
        else:
            self._body += frame.value
        return self._header is not None and len(self._body) >= (self._header.body_size or 0)

    def is_of(self, publish: Publish) -> bool:
        """Return whether this is the message of that publish, to the last byte.

        AMQP returns no delivery tag. Two publishes that are equal in all of this are the same
        message in the same place, and it does not matter which of them was returned.
        """
        message = publish.message
        assert self._header is not None  # noqa: S101  # complete() came first
        properties = self._header.properties
        if properties.message_id != message.message_id:
            return False
        if publish.rerouted:
            message = unrouted_message(message)
        return (
            self._method.exchange == message.exchange
            and self._method.routing_key == message.routing_key
            and properties.headers == message.headers
            and self._body == message.body
        )
