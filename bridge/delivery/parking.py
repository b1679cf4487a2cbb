"""The copy of a message that goes to ``superoffice.parked`` when its row is given up."""

from __future__ import annotations

from datetime import UTC, datetime

from bridge.core.message import Message, refused_message


def parked(message: Message, reason: str) -> Message:
    """Return the copy of a message for ``superoffice.parked``."""
    time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return refused_message(message, reason=reason, time=time)
