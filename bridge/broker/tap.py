"""Confirms, taken out of the bytes from the broker before aiormq reads them.

aiormq needs three reads, a decoder and a queue for every frame. Most frames are confirms, and these
have 21 octets of one shape. So this protocol stands in front of aiormq's and settles them itself,
but only while aiormq waits for a frame to begin: then nothing that came earlier is under way there.
Everything else passes as it came, and so does what follows it, until aiormq waits again. So the
order of the wire is kept, whatever the broker says (docs/decisions/0034).
"""

from __future__ import annotations

import struct
from asyncio import Protocol as StreamProtocol
from collections.abc import Callable
from typing import Final, Protocol, final

from bridge.core.publish import Outcome

_START: Final = struct.Struct(">BHIHH")  # type, channel, payload size; class, method
_REST: Final = struct.Struct(">qBB")  # delivery tag (signed, as pamqp has it), bits, end octet
_START_SIZE: Final = _START.size
_FRAME_SIZE: Final = _START.size + _REST.size

_METHOD: Final = 1
_PAYLOAD_SIZE: Final = 13
_BASIC: Final = 60
_ACK: Final = 80
_NACK: Final = 120
_MULTIPLE: Final = 1
_END: Final = 0xCE

_UNHEARD_SECONDS: Final = 1.0
"""How long everything may be taken until aiormq gets what comes, whatever it is.

aiormq ends a connection on which it has read no frame for some heartbeats. It reads a few of those
that there are, so it needs no other watch, and still notices a broker that says nothing.
"""


class Confirmed(Protocol):
    """The one that is told what becomes of delivery tags."""

    def on_confirm(self, tag: int, multiple: bool, outcome: Outcome) -> None:
        """Take what became of a delivery tag, or with ``multiple`` of all up to it."""
        ...

    def on_error(self, error: BaseException) -> None:
        """Take note that an error kept the bridge from handling a frame."""
        ...


@final
class Tap:
    """Stands between a transport and the protocol of its stream."""

    __slots__ = ("_clock", "_fail", "_heard", "_inner", "_meanings", "is_between_frames")

    def __init__(
        self,
        inner: StreamProtocol,
        *,
        clock: Callable[[], float],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Stand in front of a protocol.

        ``clock`` returns seconds. ``fail`` raises an error where aiormq reads, which ends the
        connection.
        """
        self._inner = inner
        self._clock = clock
        self._fail = fail
        self._meanings: dict[bytes, tuple[Confirmed, Outcome]] = {}
        """Whom a frame is for and what it says, by how it begins."""
        self._heard = clock()
        self.is_between_frames = False
        """Whether aiormq has read all that came and waits for the next frame; its reader says."""

    def attach(self, channel: int, owner: Confirmed) -> None:
        """Tell the owner about the confirms of a channel from now on."""
        self._meanings[_start(channel, _ACK)] = (owner, Outcome.CONFIRMED)
        self._meanings[_start(channel, _NACK)] = (owner, Outcome.REFUSED)

    def detach(self, channel: int) -> None:
        """Let the confirms of a channel pass."""
        self._meanings.pop(_start(channel, _ACK), None)
        self._meanings.pop(_start(channel, _NACK), None)

    # What the transport calls. It has called ``connection_made`` before there was a tap.

    def data_received(self, data: bytes) -> None:
        """Settle the confirms that the data begins with, if it may be done; pass on the rest."""
        now, at = self._clock(), 0
        if self.is_between_frames and now - self._heard < _UNHEARD_SECONDS:
            try:
                at = self._settle(data)
            except BaseException as error:  # here it would end up in the transport
                self.is_between_frames = False
                self._fail(error)
                return
        if at < len(data):
            self.is_between_frames = False
            self._heard = now
            self._inner.data_received(data[at:] if at else data)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._inner.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Pass it on."""
        self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._inner.resume_writing()

    def _settle(self, data: bytes) -> int:
        """Settle the confirms that the data begins with; return how many octets they have."""
        at, last = 0, len(data) - _FRAME_SIZE
        while at <= last:
            meaning = self._meanings.get(data[at : at + _START_SIZE])
            if meaning is None:
                break
            tag, bits, end = _REST.unpack_from(data, at + _START_SIZE)
            if end != _END:
                break
            at += _FRAME_SIZE
            owner, outcome = meaning
            try:
                owner.on_confirm(tag, bits & _MULTIPLE != 0, outcome)
            except BaseException as error:
                owner.on_error(error)
        return at


def _start(channel: int, method: int) -> bytes:
    """Return how a confirm of a channel begins."""
    return _START.pack(_METHOD, channel, _PAYLOAD_SIZE, _BASIC, method)
