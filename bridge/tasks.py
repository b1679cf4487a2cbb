"""Tasks that live as long as the service, whatever happens to them, and threads that may hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import structlog

_Result = TypeVar("_Result")

_PAUSE_SECONDS = 1.0
"""After a task has failed, until it starts again."""

log = structlog.get_logger()


@asynccontextmanager
async def kept_running(
    name: str, run: Callable[[], Coroutine[Any, Any, None]]
) -> AsyncIterator[None]:
    """Run a task for the length of the block; what it does not expect must not be its end."""
    task = asyncio.create_task(_again_and_again(name, run))
    try:
        yield
    finally:
        while not task.done():  # a library may lose a cancellation while it closes something
            task.cancel()
            await asyncio.wait({task}, timeout=_PAUSE_SECONDS)


def on_a_thread(
    work: Callable[..., _Result], *arguments: Any, name: str
) -> asyncio.Future[_Result]:
    """Do something on a thread of its own, which nobody has to wait for at the end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()
    args = (partial(work, *arguments), loop, done)
    threading.Thread(target=_work, args=args, name=name, daemon=True).start()
    return done


def _work(
    work: Callable[[], _Result], loop: asyncio.AbstractEventLoop, done: asyncio.Future[_Result]
) -> None:
    try:
        settle: Callable[..., None] = done.set_result
        found: Any = work()
    except BaseException as error:
        settle, found = done.set_exception, error
    with suppress(RuntimeError):  # the loop is closed already
        loop.call_soon_threadsafe(_settle, done, settle, found)


def _settle(done: asyncio.Future[Any], settle: Callable[..., None], found: object) -> None:
    if not done.done():  # who waited may have given up
        settle(found)


async def _again_and_again(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await run()
        except asyncio.CancelledError as error:
            if _is_told_to_end():
                raise
            _report(name, error)
        except Exception as error:
            _report(name, error)
        await asyncio.sleep(_PAUSE_SECONDS)


def _is_told_to_end() -> bool:
    """Return whether it is we who are cancelled, not something that we waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _report(name: str, error: BaseException) -> None:
    log.error("task_failed", task=name, again_in_seconds=_PAUSE_SECONDS, exc_info=error)
