"""How many channels and connections RabbitMQ allows us.

The publisher needs one channel. Everything else (trials, looks at the topology) uses more of them.
RabbitMQ counts the channels and connections of a user, and closes the connection that asks for one
too many. That would cost the events in flight, so a channel that was refused once is never asked
for again on the connection that publishes.
"""

from __future__ import annotations

import asyncio

import structlog

from bridge.core.errors import NoRoom

_AGAIN_SECONDS = 60.0
"""How long after a refused connection the next one is asked for."""

_REMEDY = (
    "allow 20 connections and 20 channels: rabbitmqctl set_user_limits, set_vhost_limits,"
    " and channel_max of RabbitMQ; until then some things are tried on the channel of all events"
)

log = structlog.get_logger()


class BrokerLimits:
    """Remembers what RabbitMQ refused, and logs it once."""

    def __init__(self) -> None:
        self.allows_channel = True
        """Whether the connection that publishes may open more channels."""
        self._connection_at = 0.0
        self._is_logged = False

    @property
    def allows_connection(self) -> bool:
        """Return whether it is worth asking for another connection."""
        return asyncio.get_running_loop().time() >= self._connection_at

    def note_refused_channel(self, error: NoRoom) -> None:
        """Remember that the connection that publishes may have no further channel."""
        self.allows_channel = False
        self.log_once(str(error))

    def note_refused_connection(self, error: NoRoom) -> None:
        """Remember that no further connection, or no channel on it, was allowed just now."""
        self._connection_at = asyncio.get_running_loop().time() + _AGAIN_SECONDS
        self.log_once(str(error))

    def log_once(self, error: str) -> None:
        """Log that the broker's limits are too low, unless that was logged before."""
        if not self._is_logged:
            log.warning("channels_scarce", error=error, remedy=_REMEDY)
        self._is_logged = True
