"""``bridge serve`` without its command line: the service as a process."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from bridge import log
from bridge.aio import keep_running, run_in_thread, watch_threads
from bridge.cli import systemd
from bridge.cli.deadline import read_in_time
from bridge.cli.errors import Unavailable, Unread
from bridge.cli.runtime import run_until_stopped
from bridge.lifecycle import ADMIN, NO_SOCKETS, PUBLIC, running
from bridge.settings import Loaded, ServerSettings, Settings, load
from bridge.spool import SpoolDamaged

if TYPE_CHECKING:
    from bridge.service import Service

_NEEDED_SOON = ("bridge.exposition", "bridge.broker.trials")
"""Modules with large libraries, which no request needs before the bridge listens."""

_LEAST_DESCRIPTORS = 64
"""How many files the process needs open for itself, plus a few connections."""

_RAISE_THE_LIMIT = (
    "raise the limit of open files above max_connections by a hundred (ulimit -n, LimitNOFILE= of"
    " systemd, ulimits of compose)"
)


def serve(config: Path | None) -> None:
    """Run the service until INT or TERM."""
    _need_descriptors()
    shared = systemd.sockets(os.environ, names=(PUBLIC, ADMIN))
    read = partial(load, config, os.environ)
    loaded = read_in_time(read, is_slow=_exit_as_unread_when_stopped)
    wanted = loaded.settings.log
    log.configure(level=wanted.level, format=wanted.format, stream=sys.stdout, waits=False)
    for warning in loaded.warnings:
        structlog.get_logger().warning("config_warning", detail=warning)
    hangup = asyncio.Event()
    main = _serve(loaded, read, hangup, shared)
    run_until_stopped(main, on_hangup=hangup.set, unread_ends=False)


def _exit_as_unread_when_stopped() -> None:
    """Let a stop end the process at once while it still waits for its configuration.

    The exit code is that of a file that cannot be read, not 0: the service never began.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(Unread.exit_code))


def _need_descriptors() -> None:
    """Raise the limit of open files, or ``Unavailable`` when it is too low to begin with.

    Without this check the first call that gets no descriptor would blame something else: the disk,
    the port or the broker.
    """
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (now, most) and most < _LEAST_DESCRIPTORS:
        raise Unavailable(f"at most {most} files may be open: {_RAISE_THE_LIMIT}")
    if 0 <= now < _LEAST_DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_LEAST_DESCRIPTORS, most))


async def _serve(
    loaded: Loaded,
    read: Callable[[], Loaded],
    hangup: asyncio.Event,
    shared: Mapping[str, Sequence[socket.socket]],
) -> None:
    async with run_service(loaded.settings, shared) as service:
        systemd.notify(os.environ, "READY=1")
        from bridge.reload import Reloader

        _switch_threads_sooner()
        reloader = Reloader(service, loaded, read)
        async with keep_running("reloader", partial(reloader.run, hangup)):
            with watch_threads(service.spool.give_up):
                await run_in_thread(_import_the_rest, name="libraries")
                _collect_less_garbage()
                await service.spool.damaged.wait()
    raise SpoolDamaged(
        f"{loaded.settings.spool.path}: {service.spool.damage}:"
        " start again, and what can be read goes on"
    )


def _import_the_rest() -> None:
    for name in _NEEDED_SOON:
        import_module(name)


def _collect_less_garbage() -> None:
    """Take everything that exists now out of garbage collection, and collect less often.

    Modules and long-lived objects are never garbage, and a request leaves no cycles behind. With
    Python's default thresholds a few requests in flight would start a collection, and each full
    collection would look at every object of the process. Nor is it worth a look now: that would
    hold up the first requests by a tenth of a start.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


def _switch_threads_sooner() -> None:
    """Let the thread of the spool run soon after its fsync, however busy the event loop is.

    The thread needs the interpreter for some microseconds only. With Python's default of 5 ms it
    would wake up in vain whenever the event loop releases the interpreter for a system call, and
    that slows down both of them.
    """
    sys.setswitchinterval(0.0005)


@asynccontextmanager
async def run_service(
    settings: Settings, shared: Mapping[str, Sequence[socket.socket]] = NO_SOCKETS
) -> AsyncIterator[Service]:
    """Run the service for the length of the block; raises ``Unavailable`` for a busy port."""
    async with AsyncExitStack() as stack:
        try:
            service = await stack.enter_async_context(running(settings, shared))
        except OSError as error:
            raise Unavailable(_why_not(error, settings.server)) from error
        yield service


def _why_not(error: OSError, server: ServerSettings) -> str:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error.strerror}: {_RAISE_THE_LIMIT}"
    addresses = f"{server.host} {server.port} and {server.admin_host} {server.admin_port}"
    if error.errno != errno.EADDRINUSE:
        return (
            f"cannot listen on {addresses}: {error.strerror}: change [server] host and port,"
            " or admin_host and admin_port"
        )
    return (
        f"{error.strerror}: stop the program that has the port, or choose another in [server]"
        " port or admin_port (BRIDGE_SERVER__PORT, BRIDGE_SERVER__ADMIN_PORT)"
    )
