"""Tasks that live as long as the service, whatever happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

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
