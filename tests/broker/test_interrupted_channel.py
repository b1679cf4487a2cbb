"""An error at any instruction of confirmed publishing: nobody is told of another one's confirm."""

import asyncio
import dis
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.broker import window
from bridge.broker.channel import ConfirmChannel
from bridge.broker.incoming import Incoming
from bridge.broker.refusals import RefusalWatch
from bridge.broker.returns import Return
from bridge.broker.tap import Tap
from bridge.broker.window import Window
from bridge.core.publish import Outcome, Publish
from tests.broker.test_channel_properties import STRAY, Wire
from tests.helpers import message


class Exit(BaseException):
    """What is no ``Exception``, as a signal handler may raise it."""


CASES: list[tuple[Callable[..., Any], type[BaseException]]] = [
    (ConfirmChannel.send, MemoryError),
    (ConfirmChannel._send, MemoryError),
    (ConfirmChannel._send, Exit),
    (ConfirmChannel._flush, MemoryError),
    (ConfirmChannel._flush, Exit),
    (ConfirmChannel._fill_up, MemoryError),
    (ConfirmChannel.on_confirm, MemoryError),
    (Window.add, MemoryError),
    (Window.add, Exit),
    (Window.pop, MemoryError),
    (Window.pop_all, MemoryError),
    (Window.confirmed, MemoryError),
    (ConfirmChannel._settle, MemoryError),
    (ConfirmChannel._settle, Exit),
    (ConfirmChannel.on_return, MemoryError),
    (ConfirmChannel._after_return, MemoryError),
    (ConfirmChannel.abandon, MemoryError),
    (ConfirmChannel._settle_all, MemoryError),
    (Incoming._handle, MemoryError),
    (Incoming._on_confirm, MemoryError),
    (Incoming._on_return, MemoryError),
    (Incoming._on_content, MemoryError),
    (Return.add, MemoryError),
    (Return.find, MemoryError),
    (RefusalWatch.note, MemoryError),
    (Tap.data_received, MemoryError),
    (Tap._settle, MemoryError),
    (Tap._settle, Exit),
    (Tap.attach, MemoryError),
    (Tap.detach, MemoryError),
]
TELLING = {ConfirmChannel._send, ConfirmChannel._flush, Return.add, Return.find, RefusalWatch.note}
"""Where also no publish stays without an outcome."""


class Fault:
    """Raises an error once: before an instruction of a function that is run so many times."""

    def __init__(self, part: Any, error: type[BaseException]) -> None:
        self._code = part.__code__
        self._error = error
        self._raised = False
        self.runs: Counter[int] = Counter()
        """How often each instruction that may fail was come to."""
        self._sites = {
            each.offset
            for each in dis.get_instructions(self._code)
            if each.opname not in ("RESUME", "NOP")
        }
        self.at, self.run = -1, 0

    @contextmanager
    def is_set(self) -> Iterator[None]:
        """Follow the function for the length of the block."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, *_: Any) -> Any:
        if frame.f_code is not self._code or self._raised:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._step

    def _step(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode" and frame.f_lasti in self._sites and not self._raised:
            self.runs[frame.f_lasti] += 1
            if (frame.f_lasti, self.runs[frame.f_lasti]) == (self.at, self.run):
                self._raised = True
                raise self._error
        return self._step


class Play:
    """A broker returns one message, acks all others but the last, and closes the channel."""

    def __init__(self) -> None:
        self.wire = Wire(waits=(True, True, False))
        self.channel = self.wire.channel
        self.sent: list[Publish] = []
        self.untold: set[Publish] = set()
        """Those for whom ``send`` has raised an error."""
        self.is_deaf = False

    def send(self, count: int) -> None:
        """Publish so many more."""
        for _ in range(count):
            publish = Publish(message(len(self.sent)))
            self.sent.append(publish)
            try:
                self.channel.send(publish)
            except (MemoryError, Exit):
                self.untold.add(publish)

    async def run(self) -> None:
        """Publish, let the broker say what it says, and publish more meanwhile."""
        self.send(3)
        await asyncio.sleep(0)
        if 1 in self.wire.published:
            await self.say(self.wire.give_back(1))
            await self.say(self.wire.confirm("ack", 1, True))
        self.send(6)  # two of them wait for their place in the window
        for tag in range(2, 10):
            await asyncio.sleep(0)
            if tag < len(self.wire.published):
                await self.say(self.wire.confirm("ack", tag, False))
        await self.say(self.wire.confirm("nack", len(self.wire.published), False))
        self.send(2)
        await self.say(self.wire.say(STRAY["close"]))

    async def say(self, what: Coroutine[Any, Any, None]) -> None:
        """Let the broker say something; the reader of aiormq ends at an error, and all with it."""
        if self.is_deaf:
            what.close()
            return
        try:
            await what
        except (MemoryError, Exit):
            self.is_deaf = True
            self.channel.abandon("the connection was lost")

    def check(self) -> None:
        """Nothing counts as confirmed that was not, or that came back; the end is told once."""
        for publish in self.sent:
            tags = self.wire.tags_of(publish)
            if publish.outcome is not None and publish.outcome.is_with_broker:
                assert tags & self.wire.meant["ack"], publish
            if publish.outcome is Outcome.CONFIRMED:
                assert not tags & self.wire.returned, publish
        assert self.channel.is_closed


async def play(fault: Fault) -> Play:
    """Play with a fault."""
    # From its beginning on: behind a call that is not followed, Python 3.13 shows none of the next.
    with fault.is_set():
        played = Play()
        await played.run()
    return played


@pytest.mark.parametrize(("part", "error"), CASES, ids=lambda each: each.__qualname__)
async def test_no_confirm_is_that_of_another(monkeypatch, part, error):
    """Wherever the error comes from when something is in flight already."""
    monkeypatch.setattr(window, "WINDOW", 5)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    seen = Fault(part, error)
    with capture_logs():
        await play(Fault(part, error))  # Python 3.13 shows instructions from the second call on
        await play(seen)
        assert seen.runs
        for at, runs in seen.runs.items():
            fault = Fault(part, error)
            fault.at, fault.run = at, min(2, runs)
            played = await play(fault)
            played.check()
            if part is not ConfirmChannel.abandon:
                assert 1 == len(played.wire.reasons), at
            if part in TELLING:
                left = {each for each in played.sent if each.outcome is None}
                assert left <= played.untold, at
