"""Confirmed publishing to RabbitMQ, over connections that are made anew whenever one breaks.

``run`` connects to the first broker that answers, checks the topology on a connection of its own,
and opens the channel that ``submit`` writes to. Whatever breaks, the connection is thrown away and
a new one is made. aio-pika's robust connections are not used, because they try to restore a broken
one.

The library takes a while to load. ``run`` loads it on a thread, so a bridge that starts takes
events meanwhile; they go to the disk, as whenever there is no connection.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from importlib import import_module
from itertools import cycle
from typing import TYPE_CHECKING

import structlog

from bridge.aio import run_in_thread
from bridge.broker.limits import BrokerLimits
from bridge.broker.renewal import Renewal
from bridge.broker.topology import Mismatch, Mode, Topology
from bridge.broker.topology_watch import TopologyWatch
from bridge.core.backoff import delay
from bridge.core.errors import BrokerError
from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish

if TYPE_CHECKING:
    from bridge.broker.connection import Connection
    from bridge.broker.returns import Unrouted
    from bridge.broker.session import Session
    from bridge.broker.trials import Trials

_ELECTION_SECONDS = 1.0
"""Longest pause after the loss of a connection; the shortest is half of it.

If a node died, the others elect new leaders for its queues now. A channel that is opened too early
is only nacked (see ``refusals``).
"""

_RETRY_SECONDS = 0.25
"""First pause after no broker could be reached."""

_RETRY_LONGEST = 5.0

log = structlog.get_logger()


class RabbitPublisher:
    """Publishes messages to RabbitMQ; may be called at any time, connected or not.

    ``confirm_deadline`` in seconds: when publishes have waited that long and nothing at all was
    confirmed, the broker counts as down.
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
        self._deadline = confirm_deadline
        self._limits = BrokerLimits()
        self._renewal = Renewal()
        self._topology = TopologyWatch(wanted, mode, self._limits)
        self._unrouted: Unrouted
        """Made by ``run``, as the trials are: nothing needs either before there is a session."""
        self._trials: Trials
        self._session: Session | None = None
        self.connection = 0
        """The number of the session: each one has the next."""

    def __repr__(self) -> str:
        """Show the state."""
        return f"<RabbitPublisher broker {self.broker}, topology {self.topology}>"

    @property
    def broker(self) -> str:
        """Return ``up``, ``blocked`` (by an alarm of the broker) or ``down``."""
        return "down" if self._session is None else self._session.state

    @property
    def is_up(self) -> bool:
        """Return whether messages can be published now."""
        session = self._session
        return session is not None and session.is_up

    @property
    def topology(self) -> str:
        """Return ``verified``, ``pending`` (not all checked yet) or ``mismatch``."""
        return self._topology.state

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """Return what the last checks of the topology found wrong."""
        return self._topology.mismatches

    @property
    def is_ready(self) -> bool:
        """Return whether every exchange that messages may go to can be published to now."""
        return self.is_up and self._topology.is_complete

    @property
    def in_flight(self) -> int:
        """Return how many messages the broker has neither confirmed nor refused."""
        return 0 if self._session is None else self._session.channel.in_flight

    def can_publish_to(self, exchange: str) -> bool:
        """Return whether an exchange was verified; nothing is published to another one."""
        return self._topology.is_verified(exchange)

    def submit(self, message: Message) -> Publish:
        """Put the message on the wire, or settle it as ``NOT_SENT`` at once."""
        publish = Publish(message)
        session = self._session
        # The caller has asked both already. But a publish to a missing exchange would cost the
        # channel, so it is made sure of here, where no later caller can forget it.
        if session is not None and session.is_up and self._topology.is_verified(message.exchange):
            session.channel.send(publish)
        else:
            publish.settle(Outcome.NOT_SENT)
        return publish

    def try_alone(self, message: Message, *, apart: bool = False) -> Publish:
        """Publish a message under suspicion on a channel of its own, and close that afterwards.

        ``apart``: on a connection of its own, too.
        """
        session = self._session
        if session is not None and session.is_up and self.can_publish_to(message.exchange):
            return self._trials.start(message, session, apart=apart)
        publish = Publish(message)
        publish.settle(Outcome.NOT_SENT)
        return publish

    async def run(self) -> None:
        """Keep connected until cancelled.

        After a connection it is the turn of the next URL, not of the first one. A node that stands
        still would have to time out before each of the others.
        """
        await self._load()
        failures = 0
        while True:
            for _ in self._urls:
                if served := await self._serve(next(self._next_url)):
                    break
            failures = 1 if served else failures + 1
            base = _ELECTION_SECONDS if served else _RETRY_SECONDS
            pause = delay(failures, base=base, cap=_RETRY_LONGEST, spread=random.random())
            log.info("broker_reconnecting", in_seconds=round(pause, 2))
            await asyncio.sleep(pause)

    async def _load(self) -> None:
        """Load the library, and make what needs it."""
        await run_in_thread(import_module, f"{__package__}.trials", name="broker-library")
        from bridge.broker.returns import Unrouted
        from bridge.broker.trials import Trials

        self._unrouted = Unrouted(self._topology.is_verified)
        self._trials = Trials(self._unrouted, self._limits, patience=self._deadline)

    async def _serve(self, url: str) -> bool:
        """Serve on one connection until it is gone; return whether it ever served."""
        from bridge.broker.connection import connect

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
        finally:  # ``check_needed`` may have left a check running, also when ``connect`` failed
            self._topology.stop()

    async def _serve_on(self, connection: Connection, url: str) -> None:
        from bridge.broker.errors import broker_errors, safe_url

        try:
            with broker_errors(url):
                session = await self._open(connection, url)
                log.info("broker_connected", url=safe_url(url), topology=self.topology)
                if not connection.has_free_channel:
                    self._limits.log_once("one channel was negotiated (channel_max)")
                await session.watch()
        except BrokerError as error:
            self._topology.note_error(error)
            log.warning("broker_lost", error=str(error))
        finally:
            self._close()
            await connection.close()

    async def _open(self, connection: Connection, url: str) -> Session:
        from bridge.broker.session import Session

        channel = await connection.channel()
        self.connection += 1
        self._session = Session(
            url,
            connection,
            channel,
            deadline=self._deadline,
            limits=self._limits,
            renewal=self._renewal,
            topology=self._topology,
            unrouted=self._unrouted,
        )
        return self._session

    def _close(self) -> None:
        session, self._session = self._session, None
        self._trials.cancel()
        if session is not None:
            self._renewal.end(is_renewed=session.is_leaving)
            session.stop()
