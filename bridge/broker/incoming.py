"""What the broker says about the publishes on one channel, put together from its frames.

aiormq matches a returned message to its publish by ``message_id``, and resolves the acks of a run
later than the frames arrive. Both misreport under concurrency (docs/decisions/0002). So the bridge
takes these frames where aiormq's reader hands them over, before aiormq sees them. Most confirms do
not even come that far (``tap``).
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import aiormq
from aiormq.abc import FrameType
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bridge.broker.returns import Return
from bridge.broker.tap import Confirmed, Tap
from bridge.core.publish import Outcome

_Confirm = commands.Basic.Ack | commands.Basic.Nack

# Python 3.11 calls a function to look up a member of an enum: too slow for every confirm.
_CONFIRMED = Outcome.CONFIRMED


class Owner(Confirmed, Protocol):
    """The one that is told, in the order of the wire."""

    def on_return(self, returned: Return) -> None:
        """Take a whole returned message."""
        ...

    def on_close(self, reason: str) -> None:
        """Take note that the broker closes the channel."""
        ...

    def on_anomaly(self, what: str) -> None:
        """Take note that what the broker says makes no sense."""
        ...


def intercept(channel: aiormq.Channel, owner: Owner, tap: Tap) -> None:
    """Tell the owner what the broker says about publishes; aiormq gets all other frames."""
    # The reader of aiormq's connection awaits ``channel.frames.put`` for each frame of the channel,
    # and a task of the channel awaits ``get``. Whatever stands there instead of the queue sees each
    # frame first, in the order of the wire.
    incoming = Incoming(channel.frames, owner, tap, channel.number)
    channel.frames = incoming  # type: ignore[assignment]


class Incoming:
    """Stands in for aiormq's queue of incoming frames, and keeps those of confirms from it."""

    def __init__(self, queue: asyncio.Queue[Any], owner: Owner, tap: Tap, number: int) -> None:
        self._queue = queue
        self._owner = owner
        self._tap = tap
        self._number = number
        self._return: Return | None = None
        """The returned message whose frames are arriving; until then all confirms come here."""
        tap.attach(number, owner)

    async def put(self, item: tuple[int, FrameType]) -> None:
        """Handle the next frame of the channel, or pass it on to aiormq."""
        if not self._handle(item[1]):
            await self._queue.put(item)

    async def get(self) -> Any:
        """Return the next frame that is for aiormq."""
        return await self._queue.get()

    def task_done(self) -> None:
        """Note that aiormq has handled a frame."""
        self._queue.task_done()

    def _handle(self, frame: FrameType) -> bool:
        """Handle a frame; return False if it is for aiormq."""
        try:
            match frame:
                case commands.Basic.Ack():
                    self._on_confirm(frame, _CONFIRMED)
                case commands.Basic.Nack():
                    self._on_confirm(frame, Outcome.REFUSED)
                case commands.Basic.Return():
                    self._on_return(frame)
                case ContentHeader() | ContentBody():
                    self._on_content(frame)
                case commands.Channel.Close():
                    self._tap.detach(self._number)
                    self._owner.on_close(f"{frame.reply_code} {frame.reply_text}")
                    return False  # aiormq answers with Channel.CloseOk
                case commands.Channel.CloseOk():  # the number is free for another channel
                    self._tap.detach(self._number)
                    return False
                case _:
                    return False
        except BaseException as error:
            # The frame may have been part of a returned message. The ack of that message would now
            # count as a confirm, so the owner must trust no later frame.
            self._owner.on_error(error)
            return not isinstance(frame, commands.Channel.Close)
        return True

    def _on_confirm(self, confirm: _Confirm, outcome: Outcome) -> None:
        if self._return is None:
            self._owner.on_confirm(confirm.delivery_tag or 0, confirm.multiple, outcome)
        else:
            self._owner.on_anomaly("a confirm in the middle of a returned message")

    def _on_return(self, method: commands.Basic.Return) -> None:
        if self._return is None:
            self._return = Return(method)
            self._tap.detach(self._number)
        else:
            self._owner.on_anomaly("a returned message in the middle of another")

    def _on_content(self, frame: ContentHeader | ContentBody) -> None:
        if self._return is None or not self._return.add(frame):
            self._owner.on_anomaly("content that belongs to no returned message")
        elif self._return.is_complete:
            returned, self._return = self._return, None
            self._owner.on_return(returned)
            self._tap.attach(self._number, self._owner)
