"""One connection that events are published on, from its opening to its end."""

from __future__ import annotations

import asyncio

import aiormq
import structlog

from bridge.aio import set_within
from bridge.broker.channel import ConfirmChannel
from bridge.broker.connection import HEARTBEAT, Connection
from bridge.broker.limits import BrokerLimits
from bridge.broker.liveness import LivenessCheck
from bridge.broker.renewal import Look, Reason, Renewal
from bridge.broker.returns import Unrouted
from bridge.broker.topology_watch import TopologyWatch

_TICK_SECONDS = 0.1
"""How often the bridge looks at the connection."""

_SILENT_SECONDS = 2 * HEARTBEAT
"""How long nothing may be confirmed until the connection is cut."""

log = structlog.get_logger()


class Session:
    """A connection and its channel, and whether messages can be published on it now.

    ``deadline`` in seconds: when publishes have waited that long and nothing at all was confirmed,
    the broker counts as down.
    """

    def __init__(
        self,
        url: str,
        connection: Connection,
        channel: aiormq.Channel,
        *,
        deadline: float,
        limits: BrokerLimits,
        renewal: Renewal,
        topology: TopologyWatch,
        unrouted: Unrouted,
    ) -> None:
        self.url = url
        self.connection = connection
        self.channel = ConfirmChannel(
            channel,
            write=connection.write,
            tap=connection.tap,
            unrouted=unrouted,
            closed=self._on_closed,
        )
        self._deadline = deadline
        self._liveness = LivenessCheck(url, connection, limits, on_answer=self.channel.note_answer)
        self._loop = asyncio.get_running_loop()
        self._topology = topology
        self._renewal = renewal
        self._renewal.begin()
        self._opened_at = self._loop.time()
        self._gone = asyncio.Event()
        self._is_blocked = False
        self._is_stopping = False
        self.is_leaving = False
        """Whether another connection is about to be made."""

    @property
    def state(self) -> str:
        """Return ``up``, ``blocked`` (by an alarm of the broker) or ``down``."""
        if self.channel.is_closed:
            return "down"
        if self._is_blocked:  # nothing is confirmed then, so ask this before the silence
            return "blocked"
        return "down" if self.channel.quiet_for() >= self._deadline else "up"

    @property
    def is_up(self) -> bool:
        """Return whether messages can be published now: ``up``, and not about to be left."""
        if self.channel.is_closed or self._is_blocked or self.is_leaving:
            return False
        return self.channel.quiet_for() < self._deadline

    async def watch(self) -> None:
        """Return when the channel is gone, or when the connection is to be replaced."""
        while not await set_within(self._gone, _TICK_SECONDS):
            if self.channel.is_closed:  # an error kept it from setting ``_gone``
                return
            self._note_blocked(self.connection.is_blocked)
            self.channel.note_overdue(self._deadline)
            if self.channel.quiet_for() >= self._deadline / 2:
                self._liveness.start()
            if self._is_silent():
                self.connection.abort()
                return
            if self._is_to_leave():
                await self._leave()
                return
            self._topology.check_when_due(self.url)

    def stop(self) -> None:
        """Settle what is in flight as unknown: the connection is about to be closed."""
        self._is_stopping = True
        self._liveness.stop()
        self.channel.abandon("stopped")

    def _on_closed(self, reason: str) -> None:
        self._gone.set()
        if not self._is_stopping:
            log.warning("channel_closed", reason=reason)

    def _note_blocked(self, blocked: bool) -> None:
        if blocked != self._is_blocked:
            log.warning("broker_blocked" if blocked else "broker_unblocked")
        self._is_blocked = blocked

    def _is_silent(self) -> bool:
        if self._is_blocked or self.channel.quiet_for() < _SILENT_SECONDS:
            return False
        log.warning("broker_silent", seconds=_SILENT_SECONDS, in_flight=self.channel.in_flight)
        return True

    def _is_to_leave(self) -> bool:
        """Return whether the connection is to be replaced, and log why."""
        look = self._look()
        match self._renewal.reason(look):
            case Reason.REFUSING:
                log.warning("connection_renewed", refused_for_seconds=round(look.refused_for, 1))
            case Reason.OVERDUE:
                log.warning("connection_replaced", overdue=look.overdue)
            case Reason.CHECK:
                log.info("connection_lent", seconds=round(look.age))
            case None:
                return False
        return True

    def _look(self) -> Look:
        now = self._loop.time()
        return Look(
            now=now,
            age=now - self._opened_at,
            is_up=self.is_up,
            is_blocked=self._is_blocked,
            refused_for=self.channel.refusals.seconds,
            overdue=self.channel.window.overdue,
            oldest=self.channel.window.oldest,
            is_check_waiting=self._topology.waits_for_connection,
        )

    async def _leave(self) -> None:
        """Publish nothing more, and wait for the confirms that may still come.

        What is confirmed now need not be published again on the next connection.
        """
        self.is_leaving = True
        end = self._loop.time() + self._deadline
        while not self.channel.is_idle and self._loop.time() < end:
            if await set_within(self._gone, _TICK_SECONDS):
                return
        # RabbitMQ answers no closing handshake while a queue does not confirm.
        if self.channel.window.overdue:
            self.connection.abort()
