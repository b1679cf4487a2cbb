"""One AMQP channel in confirm mode, settled in the order of the wire.

This module alone decides what becomes of a publish: on Ack, Nack, Return with its header and body,
Channel.Close, and the loss of the connection.

It rests on two rules (https://www.rabbitmq.com/docs/confirms): a returned message is returned
before it is acked, and a confirm with ``multiple`` is for every tag up to its own. The work that a
confirm causes depends on what is in flight, never on how large the broker's numbers are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import aiormq
import structlog

from bridge.broker.errors import describe
from bridge.broker.frames import publish_frames
from bridge.broker.incoming import intercept
from bridge.broker.refusals import RefusalWatch
from bridge.broker.returns import Return, Unrouted
from bridge.broker.tap import Tap
from bridge.broker.window import Window
from bridge.core.errors import MessageInvalid
from bridge.core.message import UNROUTED, unrouted_message
from bridge.core.publish import Outcome, Publish, Stage

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
        tap: Tap,
        unrouted: Unrouted,
        closed: Callable[[str], None],
    ) -> None:
        """Take over the confirms of aiormq's channel.

        ``write`` puts bytes on its connection, ``tap`` takes confirms from it. ``closed`` is called
        with the reason once the channel is given up.
        """
        self._write = write
        self._unrouted = unrouted
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._number = channel.number
        self._frame_max = channel.connection.connection_tune.frame_max
        self.window = Window()
        self._queued: deque[Publish] = deque()
        """Publishes that wait for a place of the window. They have no delivery tag yet."""
        self._outgoing: list[bytes] = []
        """Frames of this turn of the event loop: one write at its end sends them all."""
        self._quiet_since = 0.0
        self.refusals = RefusalWatch()
        self.is_closed = False
        intercept(channel, self, tap)
        channel.closing.add_done_callback(self._on_closing)

    def __repr__(self) -> str:
        """Show the load and the state."""
        state = "closed" if self.is_closed else "open"
        return f"<ConfirmChannel {state}, {len(self.window.publishes)} in flight>"

    # What others ask about

    @property
    def in_flight(self) -> int:
        """Return how many publishes are unresolved."""
        return len(self.window.publishes) + len(self._queued)

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is unresolved except overdue publishes."""
        return self.in_flight == self.window.overdue

    def quiet_for(self) -> float:
        """Return for how many seconds publishes have waited while nothing was settled."""
        return self._loop.time() - self._quiet_since if self.window.publishes else 0.0

    def note_answer(self) -> None:
        """Note that the broker answers on this connection, if not to the publishes."""
        self._quiet_since = self._loop.time()

    def note_overdue(self, patience: float) -> None:
        """Let publishes older than that take no place of the window; called every moment."""
        self.window.note_overdue(self._loop.time(), patience)
        self._fill_up()

    # Publishing

    def send(self, publish: Publish) -> None:
        """Put a message on the wire, or in line for it while the window is full."""
        if self.is_closed:
            publish.settle(Outcome.NOT_SENT)
        elif self.window.is_full:
            self._queued.append(publish)
        else:
            self._send(publish)

    def _send(self, publish: Publish) -> None:
        """Give a message a delivery tag and queue its frames, both or neither.

        The broker counts the messages that it gets. One tag without its message, or the other way
        round, would shift the outcome of every later message. So a message that AMQP cannot carry
        is refused before it takes a tag.
        """
        try:
            message = publish.message
            if publish.stage is not _SENT:
                message = unrouted_message(message)
            frames = publish_frames(message, channel=self._number, frame_max=self._frame_max)
        except Exception as error:
            _refuse(publish, error)
            return
        try:
            if not self.window.publishes:
                self._quiet_since = self._loop.time()
            if not self._outgoing:
                self._loop.call_soon(self._flush)
            self._outgoing.append(frames)
            self.window.add(publish)
        except BaseException as error:
            # Tags and frames may differ by one now, and every later confirm would be for another
            # message. So none counts any more, and what was not written never is.
            self.on_error(error, publish)

    def _flush(self) -> None:
        try:
            if self._outgoing and not self.is_closed:
                self._write(b"".join(self._outgoing))
                self._outgoing.clear()
                self.window.written = self.window.latest
        except BaseException as error:  # what was not written would wait for its confirm for ever
            self.on_error(error)

    def _fill_up(self) -> None:
        while self._queued and not self.window.is_full:
            self._send(self._queued.popleft())

    # What the broker says, called by ``tap`` and ``incoming``

    def on_confirm(self, tag: int, multiple: bool, outcome: Outcome) -> None:
        """Settle the publishes that a confirm is for."""
        self._quiet_since = self._loop.time()
        tags = self.window.confirmed(tag, multiple)
        if not tags and (tag or not multiple):
            self.on_anomaly(f"a confirm for delivery tag {tag}, which is not in flight")
        for each in tags:
            self._settle(each, outcome)
        if self._queued:
            self._fill_up()

    def _settle(self, tag: int, outcome: Outcome) -> None:
        """Settle the publish with a tag; one that was returned goes on as its copy."""
        publish = self.window.pop(tag)
        if publish is None:  # a callback of the publish before it has given the channel up
            return
        try:
            if publish.stage is not _SENT:
                final = self._after_return(publish, outcome)
                if final is None:
                    return
                outcome = final
            elif not publish.suspect:  # a message on trial is expected to be refused
                message = publish.message
                place = (message.exchange, message.routing_key)
                self.refusals.note(place, outcome, self._quiet_since)
        except BaseException:
            _settle_safely(publish, Outcome.UNKNOWN)
            raise
        try:  # as ``_settle_safely`` does, without its call: this runs for every event
            publish.settle(outcome)
        except Exception as error:
            log.error("request_failed", exc_info=error)

    def on_return(self, returned: Return) -> None:
        """Find the publish that came back. Its confirm follows, and means that no queue has it."""
        publish = returned.find(self.window.publishes, up_to=self.window.written)
        if publish is None:
            self.on_anomaly("a message was returned that is not in flight")
        else:
            publish.stage = publish.stage.when_returned()

    def _after_return(self, publish: Publish, outcome: Outcome) -> Outcome | None:
        """Take the next step with a message that was returned, now that its confirm is here.

        First a copy of it goes to ``superoffice.unrouted``, on the same channel: no outcome yet.
        Then the outcome of the copy decides.
        """
        if publish.stage is Stage.COPY:
            if not publish.suspect:
                self.refusals.note(_UNROUTED_PLACE, outcome, self._quiet_since)
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
        """Give the channel up: after one wrong confirm no later one can be trusted."""
        self.abandon(f"{_ANOMALY}: {what}")

    def on_error(self, error: BaseException, publish: Publish | None = None) -> None:
        """Give the channel up because of an unexpected error, met with a publish or not."""
        try:
            self.abandon(f"an unexpected error: {error!r}")
            log.error("request_failed", exc_info=error)
        finally:
            if publish is not None and publish.outcome is None:  # it has not become one in flight
                _settle_safely(publish, Outcome.NOT_SENT)
        if not isinstance(error, Exception):
            raise error

    # The end

    def abandon(self, reason: str, *, by_broker: bool = False) -> None:
        """Settle everything in flight as unknown, because no confirm will be heard any more.

        When the broker closes a channel, or the bridge does because of what the broker says, one of
        the messages in flight is the reason. If there is only one, it is the culprit, and refused.
        Otherwise each of them is a suspect; but if one is on trial, only that one.
        """
        if self.is_closed:
            return
        try:
            self.is_closed = True
            self.window.written = 0  # so that no confirm means anything from now on
            self._settle_all(blamed=by_broker or reason.startswith(_ANOMALY))
        finally:
            self._closed(reason)

    def _settle_all(self, *, blamed: bool) -> None:
        self._outgoing.clear()
        in_flight = self.window.publishes.values()
        on_trial = sum(each.suspect for each in in_flight)
        is_alone = (on_trial or len(in_flight)) == 1
        for publish in self.window.pop_all():
            accused = blamed and (publish.suspect or not on_trial)
            publish.culprit, publish.suspect = accused and is_alone, accused and not is_alone
            _settle_safely(publish, Outcome.REFUSED if publish.culprit else Outcome.UNKNOWN)
        while self._queued:
            _settle_safely(self._queued.popleft(), Outcome.NOT_SENT)

    def _on_closing(self, closing: asyncio.Future[Any]) -> None:
        """Give the channel up because aiormq has: the connection is lost, or was closed."""
        reason = "closed"
        try:
            if (cause := None if closing.cancelled() else closing.exception()) is not None:
                reason = describe(cause)
        finally:
            self.abandon(reason)


def _settle_safely(publish: Publish, outcome: Outcome) -> None:
    """Settle a publish; a callback that fails keeps no other publish from its outcome."""
    try:
        publish.settle(outcome)
    except Exception as error:
        log.error("request_failed", exc_info=error)


def _refuse(publish: Publish, error: Exception) -> None:
    """Settle a publish that has no frames, and so no tag.

    Without memory for the frames it was not sent: there may be memory later.
    """
    _settle_safely(publish, Outcome.NOT_SENT if isinstance(error, MemoryError) else Outcome.REFUSED)
    said = str(error) if isinstance(error, MessageInvalid) else repr(error)
    log.error("message_invalid", event_id=publish.message.message_id, error=said)
