"""Returned messages: which publish each of them was, and whether a copy of it may be sent.

AMQP gives no delivery tag with a return, so the bridge compares what came back with what is in
flight. Some brokers change a message on entry: RabbitMQ's ``message_interceptors`` add or replace
headers. So the parts that are least likely to change are compared first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bridge.core.message import UNROUTED, Message, unrouted_message
from bridge.core.publish import Publish, Stage
from bridge.sampling import Sampled, note_events

log = structlog.get_logger()


class Return:
    """A returned message: its frames, and once they are complete, the publish that it was."""

    def __init__(self, method: commands.Basic.Return) -> None:
        self._method = method
        self._header: ContentHeader | None = None
        self._body = bytearray()
        self.is_complete = False

    def add(self, frame: ContentHeader | ContentBody) -> bool:
        """Add the next frame; return False if it cannot be part of this message."""
        if isinstance(frame, ContentHeader) is not (self._header is None):
            return False
        if isinstance(frame, ContentHeader):
            self._header = frame
        else:
            self._body += frame.value
        missing = self._size - len(self._body)
        self.is_complete = missing == 0
        return missing >= 0

    def find(self, in_flight: Mapping[int, Publish], *, up_to: int) -> Publish | None:
        """Return the publish that it was, of those in flight up to a tag; None if that is unclear.

        Publishes with the same exchange, key, id and body are the same event in the same place. Any
        of them will do; one whose headers came back is best. Where even the id or the body was
        changed, there must be only one publish with this exchange and key.
        """
        near: list[Publish] = []
        for tag, publish in in_flight.items():
            if publish.stage.is_returned or tag > up_to or not self._is_to_place_of(publish):
                continue
            if self._has_content_of(publish) and self._has_headers_of(publish):
                return publish
            near.append(publish)
        same = (publish for publish in near if self._has_content_of(publish))
        return next(same, near[0] if len(near) == 1 else None)

    @property
    def _size(self) -> int:
        return (self._header.body_size or 0) if self._header else 0

    def _is_to_place_of(self, publish: Publish) -> bool:
        method, message = self._method, publish.message
        exchange = UNROUTED if publish.stage.is_copy else message.exchange
        return method.routing_key == message.routing_key and method.exchange == exchange

    def _has_content_of(self, publish: Publish) -> bool:
        assert self._header is not None  # noqa: S101  # it is complete
        message = publish.message
        same_id = self._header.properties.message_id == message.message_id
        return same_id and self._body == message.body

    def _has_headers_of(self, publish: Publish) -> bool:
        """Return whether all headers came back; the broker may have added some."""
        assert self._header is not None  # noqa: S101  # it is complete
        found = self._header.properties.headers or {}
        return all(
            # As texts, because an interceptor may change the type of a header.
            name in found and str(found[name]) == str(value)
            for name, value in _sent(publish).headers.items()
        )


def _sent(publish: Publish) -> Message:
    return unrouted_message(publish.message) if publish.stage.is_copy else publish.message


class Unrouted:
    """The way out for returned messages: the exchange ``superoffice.unrouted``."""

    def __init__(self, is_verified: Callable[[str], bool]) -> None:
        self._is_verified = is_verified
        self._lines = Sampled(note_events)

    def accepts(self, publish: Publish) -> bool:
        """Return whether a copy of a returned message may be sent there; log it if not."""
        if publish.stage is Stage.RETURNED and self._is_verified(UNROUTED):
            return True
        if self._lines.lets("unrouted_refused"):
            event_id = publish.message.message_id
            log.error("unrouted_refused", event_id=event_id, exchange=UNROUTED)
        return False
