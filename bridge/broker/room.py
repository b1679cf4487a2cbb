"""What the broker allows beside the one channel that a publisher cannot do without.

RabbitMQ counts a user's channels and connections over all that the user has open, and ends the
connection that asks for one too many. So nothing is asked for twice on the connection of the
publishes.
"""

from __future__ import annotations

import asyncio

import structlog

from bridge.core.errors import NoRoom

_AGAIN_SECONDS = 60.0
"""How long after a refusal no other connection is asked for."""

_REMEDY = (
    "allow 20 connections and 20 channels: rabbitmqctl set_user_limits, set_vhost_limits,"
    " and channel_max of RabbitMQ; until then some things are tried on the channel of all events"
)

log = structlog.get_logger()


class Room:
    """Remembers what was refused, and says so once."""

    def __init__(self) -> None:
        self.is_shared = True
        """Whether the connection of the publishes may have more channels."""
        self._elsewhere_at = 0.0
        self._is_told = False

    @property
    def is_elsewhere(self) -> bool:
        """Return whether it is worth asking for a channel on another connection."""
        return asyncio.get_running_loop().time() >= self._elsewhere_at

    def refused(self, error: NoRoom, *, elsewhere: bool) -> None:
        """Take note of a refusal, on another connection or on that of the publishes."""
        if elsewhere:
            self._elsewhere_at = asyncio.get_running_loop().time() + _AGAIN_SECONDS
        else:
            self.is_shared = False
        self.tell(str(error))

    def tell(self, error: str) -> None:
        """Log that room is scarce, once."""
        if not self._is_told:
            log.warning("channels_scarce", error=error, remedy=_REMEDY)
        self._is_told = True
