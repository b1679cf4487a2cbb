"""The copy of a message that goes to ``superoffice.parked`` when its row is given up."""

from __future__ import annotations

import time

from bridge.core.message import Message, refused_message
from bridge.core.times import rfc3339


def parked(message: Message, reason: str) -> Message:
    """Return the copy of a message for ``superoffice.parked``."""
    return refused_message(message, reason=reason, time=rfc3339(time.time_ns()))
