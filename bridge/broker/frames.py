"""The AMQP 0-9-1 frames of one publish (specification sections 2.3.5 and 4.2).

They are written here instead of by a codec for two reasons. The contract says that an integer
header is an int64 (field type ``l``), while codecs pick the smallest type that fits. And this runs
once for every event, so it has to be fast.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from bridge.core.errors import MessageInvalid
from bridge.core.message import MAX_HEADER_BYTES, Message

_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
_FRAME = struct.Struct(">BHI")  # type, channel, payload size
_BASIC_PUBLISH = struct.pack(">HHH", 60, 40, 0)  # class, method, a reserved short
_MANDATORY = b"\x01"
_CONTENT_HEADER = struct.Struct(">HHQH")  # class, weight, body size, property flags
# content-type, headers, delivery-mode, message-id, timestamp, type, app-id: in this order
_FLAGS = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 3
_PERSISTENT = b"\x02"
_TIMESTAMP = struct.Struct(">Q")
_INT64 = struct.Struct(">q")
_LONG = struct.Struct(">I")

_FRAME_MIN = 4096
"""Size in bytes of a frame that every peer has to accept (specification section 4.2.3)."""

_FRAME_LARGEST = 2**31 - 1
"""Maximum size in bytes when the broker sets no limit: the size field has 32 bits."""

FRAME_OVERHEAD = _FRAME.size + len(_END)
"""Number of bytes of a frame around its payload."""


def publish_frames(message: Message, *, channel: int, frame_max: int) -> bytes:
    """Return the frames of a persistent, mandatory publish.

    ``frame_max`` is the negotiated size in bytes; 0 means no limit. Raises ``MessageInvalid`` if
    AMQP cannot carry the message.
    """
    limit = max(frame_max, _FRAME_MIN) if frame_max else _FRAME_LARGEST
    try:
        method = _method_frame(channel, message.exchange, message.routing_key)
        header = _frame(_HEADER, channel, _content_header(message))
    except (struct.error, UnicodeEncodeError) as error:
        raise MessageInvalid(f"{message.message_id!r}: {error}") from error
    if len(header) > limit:  # only bodies are split; the broker would close the connection
        raise MessageInvalid(f"{message.message_id!r}: its properties do not fit in a frame")
    body, chunk = message.body, limit - FRAME_OVERHEAD
    if 0 < len(body) <= chunk:
        head = _FRAME.pack(_BODY, channel, len(body))
        return b"".join((method, header, head, body, _END))
    parts = (body[start : start + chunk] for start in range(0, len(body), chunk))
    return b"".join((method, header, *(_frame(_BODY, channel, part) for part in parts)))


@lru_cache(maxsize=1024)
def _method_frame(channel: int, exchange: str, routing_key: str) -> bytes:
    return _frame(
        _METHOD, channel, _BASIC_PUBLISH + _short(exchange) + _short(routing_key) + _MANDATORY
    )


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + _END


def _content_header(message: Message) -> bytes:
    # Written out here, not in ``_field``: a call for each header of each event would be felt.
    fields = b"".join(
        [
            _known_text_field(name, value)
            if type(value) is str and len(value) <= MAX_HEADER_BYTES
            else _field(name, value)
            for name, value in message.headers.items()
        ]
    )
    return b"".join(
        (
            _CONTENT_HEADER.pack(60, 0, len(message.body), _FLAGS),
            _known_short(message.content_type),
            _LONG.pack(len(fields)),
            fields,
            _PERSISTENT,
            _short(message.message_id),
            _TIMESTAMP.pack(message.timestamp),
            _known_short(message.type),
            _APP_ID,
        )
    )


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise MessageInvalid(f"{text[:40]!r}... is longer than 255 bytes")
    return bytes((len(data),)) + data


_known_short = lru_cache(maxsize=1024)(_short)
_APP_ID = _short("superoffice-bridge")


def _field(name: str, value: str | int) -> bytes:
    if isinstance(value, int):
        return _known_short(name) + b"l" + _INT64.pack(value)
    # A long text comes from a program that parks something, or from an older spool. It is not
    # cached, because the cache would take too much memory.
    return _text_field(name, value)


def _text_field(name: str, value: str) -> bytes:
    data = value.encode()
    return _short(name) + b"S" + _LONG.pack(len(data)) + data


_known_text_field = lru_cache(maxsize=4096)(_text_field)
"""Cached, because entity, action, endpoint and context come again and again."""
