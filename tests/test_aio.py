"""What runs in the background goes on after what nobody expected."""

import asyncio
import gc
import weakref
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from bridge import aio
from bridge.core.errors import Rejected
from tests.helpers import eventually
from tests.serving import webhook

WEBHOOK = webhook()


async def test_a_task_that_fails_starts_again(serving, monkeypatch):
    """An unexpected error in the drain is logged and not its end: what is spooled is published."""
    monkeypatch.setattr(aio, "_PAUSE_SECONDS", 0.05)
    async with serving() as bridge:
        service, failures = bridge.service, ["once"]
        read = service.spool.read

        async def fail_once(**options):
            if failures:
                raise RuntimeError(failures.pop())
            return await read(**options)

        monkeypatch.setattr(service.spool, "read", fail_once)
        service.publisher._session.channel.abandon("test")
        status, answer, _ = await bridge.post(WEBHOOK)
        await eventually(lambda: not service.spool.events)

        assert (200, "spooled") == (status, answer["status"])
        assert not failures
        assert 1 == await bridge.metric("drained_total")


async def test_a_cancellation_that_nobody_asked_for_is_an_error_too(monkeypatch):
    """When what a task waits for was cancelled by its library, the task starts again."""
    monkeypatch.setattr(aio, "_PAUSE_SECONDS", 0.05)
    runs = []

    async def run():
        waits_for = asyncio.get_running_loop().create_future()
        runs.append(waits_for)
        if len(runs) == 1:
            waits_for.cancel()
        await waits_for

    async with aio.keep_running("test", run):
        await eventually(lambda: len(runs) == 2)

    assert runs[1].cancelled()


async def test_an_event_is_waited_for_so_long():
    """The answer tells whether the event was set in time."""
    never, soon = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().call_soon(soon.set)

    assert not await aio.set_within(never, 0.01)
    assert await aio.set_within(soon, 60)


async def test_only_a_task_that_was_asked_to_end_is_cancelled():
    """What a task waits for may be cancelled; that does not ask the task itself to end."""
    seen = []

    async def wait(what):
        try:
            await what
        except asyncio.CancelledError:
            seen.append(aio.is_cancelled())

    loop = asyncio.get_running_loop()
    for_itself, for_another = loop.create_future(), loop.create_future()
    tasks = [asyncio.create_task(wait(each)) for each in (for_itself, for_another)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    for_another.cancel()
    await asyncio.gather(*tasks)

    assert [True, False] == seen


async def test_unrouted_events_of_the_drain_are_counted(serving):
    """An event that no queue was bound for counts as such also when it came from the spool."""
    async with serving() as bridge:
        bridge.service.publisher._session.channel.abandon("test")
        await bridge.post(WEBHOOK)
        await eventually(lambda: not bridge.service.spool.events)

        assert 1 == await bridge.metric("unrouted_total", endpoint="superoffice")


async def test_what_calls_back_is_awaited():
    """At once or later, a result is returned and an error raised."""
    assert 1 == await aio.called_back(partial(_settle_with, [1]))
    assert 2 == await aio.called_back(partial(_settle_later, 2))
    with pytest.raises(Rejected):
        await aio.called_back(partial(_settle_later, Rejected("context")))


async def test_who_is_cancelled_may_be_called_back():
    """The result comes too late, and that is no error."""
    callbacks: list[Any] = []
    waiting = asyncio.create_task(aio.called_back(callbacks.append))
    await eventually(lambda: callbacks)
    waiting.cancel()
    callbacks[0](1)
    callbacks[0](Rejected("context"))

    assert [asyncio.CancelledError] == [
        type(each) for each in await asyncio.gather(waiting, return_exceptions=True)
    ]


async def test_an_error_that_is_called_back_goes_when_it_was_handled():
    """It is part of no circle, which would stay until the garbage collector comes."""
    gc.disable()
    try:
        rejected = Rejected("context")
        gone = weakref.ref(rejected)
        with suppress(Rejected):
            await aio.called_back(partial(_settle_with, [rejected]))
        del rejected

        assert gone() is None
    finally:
        gc.enable()


def _settle_later(result, settle):
    asyncio.get_running_loop().call_soon(settle, result)


def _settle_with(results, settle):
    settle(results.pop())
