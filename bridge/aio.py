"""Helpers for asyncio: tasks that start again after an error, and threads that may hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import structlog

_Result = TypeVar("_Result")

_PAUSE_SECONDS = 1.0
"""How long after its failure a task starts again."""

log = structlog.get_logger()


def is_cancelled() -> bool:
    """Return whether the current task was asked to end.

    A library may cancel what the task waits for, for instance when a connection is lost. That
    raises ``CancelledError`` as well, but nobody asked the task to end.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until an event is set, at most so long; return whether it is."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


async def called_back(begin: Callable[[Callable[[_Result | Exception], None]], None]) -> _Result:
    """Begin what calls back once, with its result or its error; return the one or raise the other.

    A caller that is cancelled gives up the answer, not what was begun.
    """
    found: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
    begin(partial(_settle, found))
    try:
        return await found
    finally:  # else the error holds this frame, which holds the error
        del found


def _settle(found: asyncio.Future[_Result], result: _Result | Exception) -> None:
    if found.done():
        return
    if isinstance(result, Exception):
        found.set_exception(result)
    else:
        found.set_result(result)


@asynccontextmanager
async def keep_running(
    name: str, run: Callable[[], Coroutine[Any, Any, None]]
) -> AsyncIterator[None]:
    """Run a task for the length of the block, and start it again after an unexpected error."""
    task = asyncio.create_task(_again_and_again(name, run))
    try:
        yield
    finally:
        while not task.done():
            # Once is not enough: a library may swallow a cancellation while it closes something.
            task.cancel()
            await asyncio.wait({task}, timeout=_PAUSE_SECONDS)


def run_in_thread(
    work: Callable[..., _Result], *arguments: Any, name: str
) -> asyncio.Future[_Result]:
    """Run a function on a thread of its own; the caller awaits it, and may give up waiting."""
    return asyncio.wrap_future(start_thread(work, *arguments, name=name))


def start_thread(work: Callable[..., _Result], *arguments: Any, name: str) -> Future[_Result]:
    """Run a function on a thread of its own; the future has its result or its error.

    Python does not wait for such a thread when it exits. A pool's threads would keep a process
    alive, for instance while a disk hangs.
    """
    done: Future[_Result] = Future()
    done.set_running_or_notify_cancel()  # so that nobody can cancel it: the thread goes on anyway
    args = (partial(work, *arguments), done)
    threading.Thread(target=_work, args=args, name=name, daemon=True).start()
    return done


def _work(work: Callable[[], _Result], done: Future[_Result]) -> None:
    try:
        found = work()
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(found)


@contextmanager
def watch_threads(failed: Callable[[str], None]) -> Iterator[None]:
    """Call ``failed`` on the event loop when a thread ends with an unexpected error.

    Nothing starts such a thread again, so its work is not done any more.
    """
    loop = asyncio.get_running_loop()
    before = threading.excepthook

    def note(ended: threading.ExceptHookArgs) -> None:
        name = ended.thread.name if ended.thread else "unknown"
        why = f"the thread {name} has ended: {ended.exc_type.__name__}: {ended.exc_value}"
        with suppress(Exception):  # without memory there is no report
            log.error("thread_failed", thread=name, exc_info=ended.exc_value)
        with suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(failed, why)

    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = before


async def _again_and_again(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await run()
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            _report(name, error)
        except Exception as error:
            _report(name, error)
        await asyncio.sleep(_PAUSE_SECONDS)


def _report(name: str, error: BaseException) -> None:
    with suppress(Exception):  # without memory there is no report, but still a task
        log.error("task_failed", task=name, again_in_seconds=_PAUSE_SECONDS, exc_info=error)
