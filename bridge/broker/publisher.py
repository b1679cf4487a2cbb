"""Confirmed publishing on one connection that is kept alive.

``run`` keeps a connection to the first broker that answers, checks the topology on a connection of
its own, and opens the channel that ``submit`` writes to. Whatever breaks, the connection is thrown
away and a new one made; nothing of aio-pika's robust connections is used.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import cycle

import aiormq
import structlog

from bridge.aio import set_within
from bridge.broker.channel import ConfirmChannel
from bridge.broker.connection import HEARTBEAT, Connection, broker_errors, connect, safe_url
from bridge.broker.limits import BrokerLimits
from bridge.broker.liveness import LivenessCheck
from bridge.broker.returns import Unrouted
from bridge.broker.topology import Mismatch, Mode, Topology
from bridge.broker.topology_watch import TopologyWatch
from bridge.broker.trials import Site, Trials
from bridge.core.backoff import delay
from bridge.core.errors import BrokerError
from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish

REFUSING_SECONDS = 2.0
"""For how long one connection may refuse messages until it is renewed; twice as long each time."""

_LONGEST_PATIENCE = 600.0

_ELECTION_SECONDS = 1.0
"""At most so long, and at least half of it, is waited after a connection: if its node died, the
others elect new leaders for its queues now, and a channel that comes too early only refuses."""

_OVERDUE_AT_MOST = 16
"""Maximum number of publishes on a channel that are not confirmed in time, until it is renewed: a
quorum queue without a majority stops RabbitMQ from reading the connection (from 32 on)."""

OVERDUE_SECONDS = 600.0
"""For how long one publish may be overdue until its confirm counts as lost, and the connection is
renewed; twice as long after each renewal, up to an hour, for a queue may never confirm."""

_OVERDUE_LONGEST = 3600.0

_TICK_SECONDS = 0.1
_DEAF_SECONDS = 2 * HEARTBEAT

log = structlog.get_logger()


class RabbitPublisher:
    """Takes messages to RabbitMQ; may be called at any time, connected or not.

    ``confirm_deadline`` in seconds: when publishes have waited that long and nothing at all was
    confirmed, the broker counts as away.
    """

    def __init__(
        self,
        urls: Sequence[str],
        wanted: Topology,
        *,
        mode: Mode = "declare",
        confirm_deadline: float = 2.0,
    ) -> None:
        self._urls = tuple(urls)
        self._next_url = cycle(self._urls)
        self._limits = BrokerLimits()
        self._topology = TopologyWatch(wanted, mode, self._limits)
        self._deadline = confirm_deadline
        self._channel: ConfirmChannel | None = None
        self._gone = asyncio.Event()
        self._blocked = False
        self._renewing = False
        self._renewals = 0
        self._opened_at = 0.0
        self._overdue = 0
        """How many were at the latest look, if the broker was up."""
        self._oldest = (0, 0.0)
        """The delivery tag of the oldest publish in flight, and since when it is that."""
        self._site: Site | None = None
        self._liveness = LivenessCheck(self._limits)
        self._unrouted = Unrouted(self.can_publish_to)
        self._trials = Trials(self._unrouted, self._limits, patience=confirm_deadline)
        self.connection = 0

    def __repr__(self) -> str:
        """Show the state."""
        return f"<Publisher broker {self.broker}, topology {self.topology}>"

    @property
    def broker(self) -> str:
        """Return ``up``, ``blocked`` (by an alarm of the broker) or ``down``."""
        channel = self._channel
        if channel is None or channel.is_closed:
            return "down"
        if self._blocked:  # then it is silent too
            return "blocked"
        return "down" if channel.quiet_for() >= self._deadline else "up"

    @property
    def is_up(self) -> bool:
        """Return whether messages are taken now: ``broker`` is ``up``, and not being left."""
        channel = self._channel
        if channel is None or channel.is_closed or self._blocked or self._renewing:
            return False
        return channel.quiet_for() < self._deadline

    @property
    def topology(self) -> str:
        """Return ``verified``, ``pending`` (not all looked at yet) or ``mismatch``."""
        return self._topology.state

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """Return what the last look at the topology found wrong."""
        return self._topology.mismatches

    @property
    def is_ready(self) -> bool:
        """Return whether every exchange that messages may go to can be published to now."""
        return self.is_up and self._topology.is_complete

    @property
    def in_flight(self) -> int:
        """Return how many messages the broker has neither confirmed nor refused."""
        return self._channel.in_flight if self._channel else 0

    def can_publish_to(self, exchange: str) -> bool:
        """Return whether an exchange was verified; nothing is published to another one."""
        return self._topology.is_verified(exchange)

    def submit(self, message: Message) -> Publish:
        """Put the message on the wire, or settle it as ``NOT_SENT`` at once."""
        publish = Publish(message)
        if self._channel is not None and self.is_up and self.can_publish_to(message.exchange):
            self._channel.send(publish)
        else:
            publish.settle(Outcome.NOT_SENT)
        return publish

    def try_alone(self, message: Message, *, apart: bool = False) -> Publish:
        """Put a message under suspicion on a channel of its own, which is closed afterwards.

        ``apart``: on a connection of its own, too.
        """
        if self._site is not None and self.is_up and self.can_publish_to(message.exchange):
            return self._trials.begin(message, self._site, apart=apart)
        publish = Publish(message)
        publish.settle(Outcome.NOT_SENT)
        return publish

    async def run(self) -> None:
        """Keep connected until cancelled.

        What comes after a connection is the next URL, not the first: a node that stands still
        would have to be waited for before each of the others.
        """
        failures = 0
        while True:
            for _ in self._urls:
                if served := await self._serve(next(self._next_url)):
                    break
            failures = 1 if served else failures + 1
            base = _ELECTION_SECONDS if served else 0.25
            pause = delay(failures, base=base, cap=5, spread=random.random())
            log.info("broker_reconnecting", in_seconds=round(pause, 2))
            await asyncio.sleep(pause)

    async def _serve(self, url: str) -> bool:
        """Serve on one connection until it is gone; return whether it ever served."""
        try:
            await self._topology.check_needed(url)
            connection = await connect(url, purpose="publisher")
        except BrokerError as error:
            self._topology.note_error(error)
            log.warning("broker_unreachable", error=str(error))
            return False
        else:
            await self._serve_on(connection, url)
            return True
        finally:  # a look that goes on beside the publishing has begun before it
            self._topology.stop()

    async def _serve_on(self, connection: Connection, url: str) -> None:
        try:
            with broker_errors(url):
                self._open(await connection.channel(), connection, url)
                log.info("broker_connected", url=safe_url(url), topology=self.topology)
                if not connection.has_free_channel:
                    self._limits.log_once("one channel was negotiated (channel_max)")
                await self._watch(connection, url)
        except BrokerError as error:
            self._topology.note_error(error)
            log.warning("broker_lost", error=str(error))
        finally:
            if not self._renewing:
                self._renewals = 0
            self._site = None
            self._trials.cancel()
            self._liveness.stop()
            self._close()
            await connection.close()

    def _open(self, channel: aiormq.Channel, connection: Connection, url: str) -> None:
        self._gone.clear()
        self._opened_at = asyncio.get_running_loop().time()
        self._blocked = self._renewing = False
        self._overdue, self._oldest = 0, (0, 0.0)
        self.connection += 1
        self._channel = ConfirmChannel(
            channel, write=connection.write, unrouted=self._unrouted, closed=self._on_closed
        )
        self._site = Site(connection, self._channel, url)

    def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abandon("stopped")

    def _on_closed(self, reason: str) -> None:
        self._gone.set()
        if self._channel is not None:  # else it is we who stop
            log.warning("channel_closed", reason=reason)

    async def _watch(self, connection: Connection, url: str) -> None:
        """Return when the channel is gone, or was cut because nothing is confirmed any more."""
        while not await set_within(self._gone, _TICK_SECONDS):
            channel = self._channel
            if channel is None or channel.is_closed:  # and an error kept it from saying so
                return
            self._note_blocked(connection.is_blocked)
            channel.note_overdue(self._deadline)
            if self._site is not None and channel.quiet_for() >= self._deadline / 2:
                self._liveness.start(self._site)
            if not self._blocked and channel.quiet_for() >= _DEAF_SECONDS:
                log.warning("broker_silent", seconds=_DEAF_SECONDS, in_flight=self.in_flight)
                connection.abort()
                return
            if self._is_to_leave(channel):
                await self._retire()
                if channel.overdue:  # a channel that waits for its queue answers no handshake
                    connection.abort()
                return
            self._topology.check_when_due(url)

    def _is_to_leave(self, channel: ConfirmChannel) -> bool:
        """Return whether another connection is to be made, and say why.

        RabbitMQ (3.10 at least) remembers for each channel where the leader of a quorum queue is. A
        channel that was opened before a new leader was elected refuses every message of that queue
        as long as it lives. A queue that was full all the time looks the same: for its sake the
        next renewal is ever later.
        """
        if channel.refused_for >= self._patience:
            log.warning("connection_renewed", refused_for_seconds=round(channel.refused_for, 1))
        elif self._is_stuck(channel) or self._has_lost(channel):
            log.warning("connection_replaced", overdue=channel.overdue)
        elif self._topology.waits_for_connection and self._age >= self._patience:
            log.info("connection_lent", seconds=round(self._age))
        else:
            return False
        return True

    def _is_stuck(self, channel: ConfirmChannel) -> bool:
        """Return whether too many are overdue, and none of them is confirmed any more.

        A broker that goes on after a pause is up with its first answer, and then confirms them all.
        """
        before, self._overdue = self._overdue, channel.overdue if self.is_up else 0
        return 0 < before <= self._overdue >= _OVERDUE_AT_MOST

    def _has_lost(self, channel: ConfirmChannel) -> bool:
        """Return whether one is overdue for so long that its confirm will hardly come.

        Nothing is confirmed while an alarm blocks: that does not count.
        """
        now = asyncio.get_running_loop().time()
        if self._blocked or channel.oldest != self._oldest[0]:
            self._oldest = (channel.oldest, now)
        attempt = self._renewals + 1
        patience = delay(attempt, base=OVERDUE_SECONDS, cap=_OVERDUE_LONGEST, spread=0)
        return channel.overdue > 0 and self.is_up and now - self._oldest[1] >= patience

    @property
    def _patience(self) -> float:
        attempt = self._renewals + 1
        return delay(attempt, base=REFUSING_SECONDS, cap=_LONGEST_PATIENCE, spread=0)

    @property
    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._opened_at

    async def _retire(self) -> None:
        """Let what is in flight be settled, so that nothing of it is published twice."""
        self._renewing = True
        self._renewals += 1
        loop = asyncio.get_running_loop()
        end = loop.time() + self._deadline
        while self._channel and not self._channel.is_idle and loop.time() < end:
            if await set_within(self._gone, _TICK_SECONDS):
                return

    def _note_blocked(self, blocked: bool) -> None:
        if blocked != self._blocked:
            log.warning("broker_blocked" if blocked else "broker_unblocked")
        self._blocked = blocked
