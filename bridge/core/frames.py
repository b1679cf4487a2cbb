"""The AMQP 0-9-1 frames of one publish (specification sections 2.3.5 and 4.2).

Written out here instead of left to a codec for two reasons: the contract says that an integer
header is an int64 (field type ``l``), while codecs pick the smallest type that fits; and this runs
once for every event.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bridge.core.errors import MessageInvalid
from bridge.core.message import Headers, Message

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

FRAME_OVERHEAD = _FRAME.size + len(_END)
"""Bytes of a frame around its payload."""


def publish_frames(message: Message, *, channel: int, frame_max: int) -> bytes:
    """Return the frames of a persistent, mandatory publish; ``frame_max`` is what was negotiated.

    Raises ``MessageInvalid`` for what AMQP cannot carry.
    """
    try:
        return b"".join(_frames(message, channel, frame_max - FRAME_OVERHEAD))
    except (struct.error, UnicodeEncodeError) as error:
        raise MessageInvalid(f"{message.message_id!r}: {error}") from error


def _frames(message: Message, channel: int, chunk: int) -> Iterator[bytes]:
    method = _BASIC_PUBLISH + _short(message.exchange) + _short(message.routing_key) + _MANDATORY
    yield _frame(_METHOD, channel, method)
    yield _frame(_HEADER, channel, _content_header(message))
    for start in range(0, len(message.body), chunk):
        yield _frame(_BODY, channel, message.body[start : start + chunk])


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + _END


def _content_header(message: Message) -> bytes:
    return b"".join(
        (
            _CONTENT_HEADER.pack(60, 0, len(message.body), _FLAGS),
            _short(message.content_type),
            _table(message.headers),
            _PERSISTENT,
            _short(message.message_id),
            _TIMESTAMP.pack(message.timestamp),
            _short(message.type),
            _short("superoffice-bridge"),
        )
    )


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise MessageInvalid(f"{text[:40]!r}... is longer than 255 bytes")
    return bytes((len(data),)) + data


def _table(headers: Headers) -> bytes:
    fields = b"".join(_field(name, value) for name, value in headers.items())
    return _LONG.pack(len(fields)) + fields


def _field(name: str, value: str | int) -> bytes:
    if isinstance(value, int):
        return _short(name) + b"l" + _INT64.pack(value)
    data = value.encode()
    return _short(name) + b"S" + _LONG.pack(len(data)) + data
