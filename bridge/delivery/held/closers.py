"""Which kinds of events have rows that close a channel: these rows are published alone.

A *kind* is an exchange and an event type. This module keeps books; it does nothing itself.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from bridge.core.message import Message

CLEARED_AFTER = 32
"""Number of rows of a kind confirmed in a run after which the kind is trusted again."""

_KINDS = 1000
_KEYS = 100
"""Maximum numbers of kinds, and of routing keys of each, that are remembered."""


@dataclass(slots=True)
class _Found:
    """By routing key the latest record that closed a channel; and the rows confirmed since."""

    records: dict[str, Hashable] = field(default_factory=dict)
    confirmed: int = 0


class Closers:
    """The kinds of rows that were alone on a channel when the broker closed it."""

    def __init__(self) -> None:
        self.kinds: dict[tuple[str, str], _Found] = {}

    def suspects(self, message: Message) -> bool:
        """Return whether a message must not be published with others."""
        return bool(self.kinds) and (message.exchange, message.type) in self.kinds

    def found(self, message: Message, record: Hashable) -> bool:
        """Note that a message closed a channel on which it was alone.

        Return whether the one before it with this routing key did so too and was of another record
        (or had none). Then the place is to blame, not the record.
        """
        kind = message.exchange, message.type
        found = self.kinds.setdefault(kind, _Found())
        found.confirmed = 0
        before = found.records.pop(message.routing_key, None)
        found.records[message.routing_key] = record
        _forget_oldest(found.records, _KEYS)
        _forget_oldest(self.kinds, _KINDS)
        return before is not None and before != record

    def confirmed(self, message: Message) -> None:
        """Take note of a confirm."""
        kind = message.exchange, message.type
        found = self.kinds.get(kind)
        if found is None:
            return
        found.records.pop(message.routing_key, None)
        found.confirmed += 1
        if found.confirmed >= CLEARED_AFTER:
            del self.kinds[kind]


def _forget_oldest(known: dict[Any, Any], most: int) -> None:
    if len(known) > most:
        del known[next(iter(known))]
