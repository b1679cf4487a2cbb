"""One AMQP channel in confirm mode, settled in the order of the wire.

This module is the only owner of what happens to a publish: Ack, Nack, Return with its header and
body, Channel.Close, and the loss of the connection.

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

from bridge.broker.connection import describe
from bridge.broker.frames import publish_frames
from bridge.broker.incoming import Incoming
from bridge.broker.refusals import RefusalWatch
from bridge.broker.returns import Return, Unrouted
from bridge.core.errors import MessageInvalid
from bridge.core.message import UNROUTED, unrouted_message
from bridge.core.publish import Outcome, Publish, Stage

WINDOW = 256
"""Publishes on the wire at a time: more of them add latency, and nothing else."""

WINDOW_BYTES = 16 * 1024 * 1024
"""Bytes of their bodies, when those are large."""

# Python 3.11 calls a function to look up a member of an enum: too slow for every event.
_SENT = Stage.SENT

_UNROUTED_PLACE = (UNROUTED, "")

_ANOMALY = "protocol anomaly"

log = structlog.get_logger()


class ConfirmChannel:
    """Publishes persistent, mandatory messages on one channel and settles each of them once."""

    def __init__(
        self,
        channel: aiormq.Channel,
        *,
        write: Callable[[bytes], None],
        unrouted: Unrouted,
        closed: Callable[[str], None],
    ) -> None:
        """Take what puts bytes on the channel's connection, and what to tell of the outcome."""
        self._channel = channel
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._unrouted = unrouted
        self._closed = closed
        self._number = channel.number
        self._frame_max = channel.connection.connection_tune.frame_max
        self._tag = 0
        self._written = 0
        self._in_flight: dict[int, Publish] = {}
        self._in_flight_bytes = 0
        self._queued: deque[Publish] = deque()
        self._outgoing: list[bytes] = []
        self._quiet_since = 0.0
        self._looks: deque[tuple[float, int]] = deque()
        self._overdue_up_to = 0
        self.overdue = 0
        """Number of publishes that have waited too long: they take no place of the window."""
        self._refusals = RefusalWatch()
        self.is_closed = False
        channel.frames = Incoming(channel.frames, self)  # type: ignore[assignment]
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
    def oldest(self) -> int:
        """Return the delivery tag of what was published first of all in flight, 0 if nothing is."""
        return next(iter(self._in_flight), 0)

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

        One that AMQP cannot carry is refused before it takes a delivery tag. Messages and tags are
        counted as one by one or the channel is given up: a tag without its message, or the other
        way round, would shift the outcome of every later one.
        """
        if self.is_closed:
            publish.settle(Outcome.NOT_SENT)
        elif self._is_full():
            self._queued.append(publish)
        else:
            self._send(publish)

    def _is_full(self) -> bool:
        return (
            len(self._in_flight) - self.overdue >= WINDOW or self._in_flight_bytes >= WINDOW_BYTES
        )

    def _send(self, publish: Publish) -> None:
        try:
            message = publish.message
            if publish.stage is not _SENT:
                message = unrouted_message(message)
            frames = publish_frames(message, channel=self._number, frame_max=self._frame_max)
        except Exception as error:
            _refuse(publish, error)
            return
        try:
            if not self._in_flight:
                self._quiet_since = self._loop.time()
            if not self._outgoing:
                self._loop.call_soon(self._flush)
            self._outgoing.append(frames)
            self._tag += 1
            self._in_flight[self._tag] = publish
            self._in_flight_bytes += len(message.body)
        except BaseException as error:
            # Tags and frames may differ by one now, and every later confirm would be for another
            # message. So none counts any more, and what was not written never is.
            self.on_error(error, publish)

    def abandon(self, reason: str, *, by_broker: bool = False) -> None:
        """Settle everything in flight as unknown: nothing more will be heard of it.

        When the broker closes a channel, or we do because of what it says, one of the messages in
        flight is the reason. A single one is refused by that; among several each is suspect, or the
        one that is on trial.
        """
        if self.is_closed:
            return
        try:
            self.is_closed = True
            self._written = 0  # no confirm means anything from now on
            self._settle_all(blamed=by_broker or reason.startswith(_ANOMALY))
        finally:
            self._closed(reason)

    def _settle_all(self, *, blamed: bool) -> None:
        self._outgoing.clear()
        self.overdue = 0
        on_trial = sum(each.suspect for each in self._in_flight.values())
        is_alone = (on_trial or len(self._in_flight)) == 1
        while self._in_flight:
            publish = self._in_flight.pop(next(iter(self._in_flight)))
            accused = blamed and (publish.suspect or not on_trial)
            publish.culprit, publish.suspect = accused and is_alone, accused and not is_alone
            _tell(publish, Outcome.REFUSED if publish.culprit else Outcome.UNKNOWN)
        while self._queued:
            _tell(self._queued.popleft(), Outcome.NOT_SENT)

    def on_error(self, error: BaseException, publish: Publish | None = None) -> None:
        """Give the channel up because of an error nobody expects, met with a publish or not."""
        try:
            self.abandon(f"an unexpected error: {error!r}")
            log.error("request_failed", exc_info=error)
        finally:
            if publish is not None and publish.outcome is None:  # it has not become one in flight
                _tell(publish, Outcome.NOT_SENT)
        if not isinstance(error, Exception):
            raise error

    def _flush(self) -> None:
        try:
            if self._outgoing and not self.is_closed:
                self._write(b"".join(self._outgoing))
                self._outgoing.clear()
                self._written = self._tag
        except BaseException as error:  # what waits would wait for ever
            self.on_error(error)

    def on_confirm(self, tag: int, multiple: bool, outcome: Outcome) -> None:
        """Settle the publishes that a confirm is for."""
        self._quiet_since = self._loop.time()
        tags = self._meant(tag, multiple)
        if not tags and (tag or not multiple):
            self.on_anomaly(f"a confirm for delivery tag {tag}, which is not in flight")
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
        try:
            if publish.stage is _SENT:
                message = publish.message
                if not publish.suspect:  # a message on trial is expected to be refused
                    place = (message.exchange, message.routing_key)
                    self._refusals.note(place, outcome, self._quiet_since)
            elif (final := self._after_return(publish, outcome)) is not None:
                outcome = final
            else:
                return
        except BaseException:
            _tell(publish, Outcome.UNKNOWN)
            raise
        try:  # as ``_tell`` does, without its call: this runs for every event
            publish.settle(outcome)
        except Exception as error:
            log.error("request_failed", exc_info=error)

    def on_return(self, returned: Return) -> None:
        """Take note of whose message came back: its confirm means that no queue has it."""
        publish = returned.find(self._in_flight, up_to=self._written)
        if publish is None:
            self.on_anomaly("a message was returned that is not in flight")
        else:
            publish.stage = publish.stage.when_returned()

    def _after_return(self, publish: Publish, outcome: Outcome) -> Outcome | None:
        """Take the next step with a message that was returned, now that its confirm is here.

        First a copy of it goes to ``superoffice.unrouted``, on the same channel: no outcome yet.
        Then the outcome is that of the copy.
        """
        if publish.stage is Stage.COPY:
            if not publish.suspect:
                self._refusals.note(_UNROUTED_PLACE, outcome, self._quiet_since)
            return Outcome.UNROUTED if outcome is Outcome.CONFIRMED else outcome
        if self._unrouted.accepts(publish):
            publish.stage = Stage.COPY
            self.send(publish)
            return None
        return Outcome.REFUSED

    def on_close(self, reason: str) -> None:
        """Give the channel up because the broker has closed it."""
        self.abandon(reason, by_broker=True)

    def on_anomaly(self, what: str) -> None:
        """Throw the channel away: after a wrong confirm no later one can be trusted."""
        self.abandon(f"{_ANOMALY}: {what}")

    def _on_closing(self, closing: asyncio.Future[Any]) -> None:
        reason = "closed"
        try:
            if (cause := None if closing.cancelled() else closing.exception()) is not None:
                reason = describe(cause)
        finally:
            self.abandon(reason)


def _tell(publish: Publish, outcome: Outcome) -> None:
    """Settle a publish; whoever fails at the news keeps it from nobody else."""
    try:
        publish.settle(outcome)
    except Exception as error:
        log.error("request_failed", exc_info=error)


def _refuse(publish: Publish, error: Exception) -> None:
    """Settle what has no frames, and so no tag; without memory for them, it may have some later."""
    _tell(publish, Outcome.NOT_SENT if isinstance(error, MemoryError) else Outcome.REFUSED)
    said = str(error) if isinstance(error, MessageInvalid) else repr(error)
    log.error("message_invalid", event_id=publish.message.message_id, error=said)
