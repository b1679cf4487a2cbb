"""Running a command on the event loop, and ending it when it is told to."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import stat
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, NoReturn, TypeVar

import uvloop

from bridge import log
from bridge.cli import output
from bridge.cli.errors import PIPE_CLOSED, OutputClosed, lines
from bridge.core.errors import BridgeError

_Result = TypeVar("_Result")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Main = Coroutine[Any, Any, _Result]

_END_SECONDS = 2.0
"""How long the loop may take to end when all else has ended. Only threads can hold it up: one that
looks up a name which no server answers for, or one that reads a file from a disk that hangs."""

_TELL_SECONDS = 1.0
"""How long the last words may take to print: the pipe may be full and its reader asleep."""


def run(main: _Main[_Result]) -> _Result:
    """Run the coroutine to its end on uvloop."""
    with warnings.catch_warnings(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(main)
        finally:
            # A client in the middle of a TLS handshake belongs to no server yet: its socket ends
            # with the loop. uvloop warns of each such socket, and where a warning is an error
            # (-W error) it stops closing the others: the loop would hang and then fail with EBUSY.
            warnings.simplefilter("ignore", ResourceWarning)


def run_until_stopped(
    main: _Main[_Result],
    *,
    on_hangup: Callable[[], None] | None = None,
    stopped: int = 0,
    unread_ends: bool = True,
) -> _Result | None:
    """Run the coroutine, or cancel it and return None once INT, TERM or HUP arrives.

    A pipe on standard output whose reader has gone stops the coroutine too, and ``OutputClosed`` is
    raised, unless ``unread_ends`` is false. Further signals are ignored while it cleans up. With
    ``on_hangup`` HUP calls that instead, unless it was our own terminal that hung up. ``stopped``
    is the exit code of a command that a signal has stopped.
    """
    with ExitStack() as stack:

        def ended(error: BaseException | None) -> None:
            stack.callback(_in_time(_leave, error, stopped).cancel)

        return run(_until_stopped(main, on_hangup, ended, unread_ends))


def end_in_time(code: int) -> None:
    """Exit soon, even if the interpreter waits for a thread before it ends."""
    _in_time(os._exit, code)


def _in_time(leave: Callable[..., None], *how: object) -> threading.Timer:
    timer = threading.Timer(_END_SECONDS, leave, how)
    timer.daemon = True
    timer.start()
    return timer


def _leave(error: BaseException | None, stopped: int) -> None:
    """Exit with the code that the command would have, if no thread held it up."""
    if isinstance(error, BridgeError):
        _exit(error.exit_code, [f"error: {line}" for line in lines(error)])
    _exit(PIPE_CLOSED if error else stopped)


def _exit(code: int, last_words: Sequence[str] = ()) -> NoReturn:
    """Exit at once, whatever threads do; print the last words if somebody reads them."""
    try:
        telling = threading.Thread(target=_tell, args=(last_words,), daemon=True)
        telling.start()
        telling.join(_TELL_SECONDS)
    finally:  # the system may refuse another thread
        os._exit(code)


def _tell(last_words: Sequence[str]) -> None:
    for line in last_words:
        output.notice(line)
    log.wait()


async def _until_stopped(
    main: _Main[_Result],
    on_hangup: Callable[[], None] | None,
    ended: Callable[[BaseException | None], None],
    unread_ends: bool,
) -> _Result | None:
    signalled, closed = asyncio.Event(), asyncio.Event()
    _on_signals(signalled.set)
    if on_hangup is not None:
        _on_hangup(on_hangup, signalled.set)
    if unread_ends:
        _on_closed_output(closed.set)
    task = asyncio.create_task(main)
    stops = {asyncio.create_task(event.wait()) for event in (signalled, closed)}
    await asyncio.wait({task, *stops}, return_when=asyncio.FIRST_COMPLETED)
    for stop in stops:
        stop.cancel()
    if not task.done():
        _ignore_signals()
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        if isinstance(error := task.exception(), BridgeError):
            ended(error)
        return task.result()
    if closed.is_set():
        ended(OutputClosed())
        raise OutputClosed
    ended(None)
    return None


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, stop)


def _on_hangup(act: Callable[[], None], stop: Callable[[], None]) -> None:
    """Call ``act`` on HUP, or ``stop`` if it came because the terminal we write to is gone."""
    had_terminal = _has_terminal()

    def handle() -> None:
        (stop if had_terminal and not _has_terminal() else act)()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, handle)


def _has_terminal() -> bool:
    with suppress(OSError, ValueError):
        return os.isatty(sys.stdout.fileno())
    return False


def _ignore_signals() -> None:
    """Ignore signals from now on: a second Ctrl-C must not interrupt the cleanup.

    The loop keeps its handlers, although nothing calls them any more. Removing one would restore
    the default action for a moment, and that is to die.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _on_closed_output(stop: Callable[[], None]) -> None:
    """Call ``stop`` as soon as the reader of our output has gone, not only at our next write."""
    with suppress(OSError, ValueError):
        output = sys.stdout.fileno()
        if stat.S_ISFIFO(os.fstat(output).st_mode):
            loop = asyncio.get_running_loop()
            threading.Thread(target=_watch, args=(output, loop, stop), daemon=True).start()


def _watch(output: int, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    poll = select.poll()
    poll.register(output, 0)  # no event but an error, which poll always reports
    poll.poll()
    with suppress(RuntimeError):  # the loop has closed meanwhile
        loop.call_soon_threadsafe(stop)


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a task group that raises its first error alone, not a group of errors."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


@asynccontextmanager
async def run_beside(work: _Main[None]) -> AsyncIterator[None]:
    """Run ``work`` beside the block and cancel it at the end; an error of either ends both."""
    async with task_group() as tasks:
        task = tasks.create_task(work)
        yield
        task.cancel()
