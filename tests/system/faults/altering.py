"""What a broker with ``message_interceptors`` returns: messages with a header more, or another."""

from __future__ import annotations

import struct

import pamqp.frame
from pamqp.header import ContentHeader

_HEAD = struct.Struct(">BHI")  # type, channel, payload size


class Altering:
    """Changes the headers of every message in a stream of frames."""

    def __init__(self) -> None:
        self._buffer = b""
        self._altered = 0

    def count(self) -> int:
        """Return how many messages were changed since the last call."""
        count, self._altered = self._altered, 0
        return count

    def feed(self, data: bytes) -> bytes:
        """Return the whole frames so far, changed."""
        self._buffer += data
        out = []
        while (frame := self._next()) is not None:
            out.append(self._changed(frame))
        return b"".join(out)

    def _next(self) -> bytes | None:
        if len(self._buffer) < _HEAD.size:
            return None
        end = _HEAD.size + _HEAD.unpack_from(self._buffer)[2] + 1
        if len(self._buffer) < end:
            return None
        frame, self._buffer = self._buffer[:end], self._buffer[end:]
        return frame

    def _changed(self, frame: bytes) -> bytes:
        if frame[0] != 2:
            return frame
        _, channel, header = pamqp.frame.unmarshal(frame)
        assert isinstance(header, ContentHeader)
        headers = header.properties.headers or {}
        header.properties.headers = {
            **headers,
            "x-routed-by": "rabbit@a",
            "primary_key": str(headers.get("primary_key")),
            "entity": "replaced",
        }
        self._altered += 1
        return pamqp.frame.marshal(header, channel)
