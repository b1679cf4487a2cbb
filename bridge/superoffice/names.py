"""What the bridge calls SuperOffice's events: their type and their source in CloudEvents."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from bridge.core.routing import encode, remembered, shorten

TEST_EVENT: Final = "test"
"""The event with which SuperOffice tries a webhook out. It is about no record."""

TYPE_PREFIX: Final = "com.superoffice."
"""Start of every CloudEvents ``type``; the encoded topic follows."""


@remembered
def event_type(topic: str) -> str:
    """Return the CloudEvents ``type`` of a topic, which is also the AMQP property.

    That is a short string: at most 255 bytes.
    """
    return shorten(f"{TYPE_PREFIX}{encode(topic)}")


def source_uri(context: str | None) -> str:
    """Return the CloudEvents ``source`` of an installation, ``unknown`` if it does not say."""
    return _source_of(context or "unknown")


@remembered
def _source_of(context: str) -> str:
    return f"/superoffice/{quote(context, safe='')}"
