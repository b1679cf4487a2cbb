"""A changed configuration takes effect while requests go on.

``bridge/settings/changes.py`` says which keys may change. A configuration with a mistake changes
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import structlog

from bridge.aio import run_in_thread, set_within
from bridge.core.errors import BridgeError, CertificateUnusable, ConfigInvalid, Problem
from bridge.service import Service
from bridge.settings import Loaded, adopted, differences

POLL_SECONDS = 2.0
"""Pause between two looks at the files. Kubernetes takes up to a minute to replace them."""

_READ_SECONDS = 10.0
"""Maximum time to read the files: a disk may hang, and a pipe may never be written to."""

_HUNG_POLL_SECONDS = 300.0
"""Pause after files could not be read in time. HUP ends it."""

_UNREAD = Problem(
    "configuration",
    "file",
    f"files that can be read within {_READ_SECONDS:g} s: see whether a disk hangs or a file is a"
    " pipe, then send HUP",
)

_Result = TypeVar("_Result")
_Stamp = tuple[int, ...]

log = structlog.get_logger()


class Reloader:
    """Keeps a service at what its configuration says now.

    ``load`` reads the configuration anew, on a thread. It raises ``ConfigInvalid``.
    """

    def __init__(self, service: Service, loaded: Loaded, load: Callable[[], Loaded]) -> None:
        self._service = service
        self._settings = loaded.settings
        self._load = load
        # None is the stamp of no file, so the first look finds what changed since the start.
        self._stamps: dict[Path, _Stamp | None] = dict.fromkeys(loaded.files)
        self._refused: list[str] = []
        self._waiting: list[str] = []

    async def run(self, asked: asyncio.Event) -> None:
        """Reload whenever the event is set, or a file has changed, until cancelled."""
        pause = POLL_SECONDS
        while True:
            now = await set_within(asked, pause)
            asked.clear()
            pause = POLL_SECONDS
            try:
                stamps = await _in_time(_stamps, self._stamps)
                # After a mistake every look reads all: the file that was missing may be one whose
                # name we do not know.
                if now or self._refused or stamps != self._stamps:
                    await self._reload(stamps, asked=now)
            except TimeoutError:
                self._refuse(ConfigInvalid((_UNREAD,)), asked=now)
                pause = _HUNG_POLL_SECONDS  # each look may leave a thread behind

    async def _reload(self, stamps: dict[Path, _Stamp | None], *, asked: bool) -> None:
        try:
            loaded = await _in_time(self._load)
            server = loaded.settings.server
            renewed = await _in_time(self._service.renew_certificate, server)
        except (ConfigInvalid, CertificateUnusable) as error:
            self._stamps = stamps
            self._refuse(error, asked=asked)
            return
        self._refused = []
        self._stamps = {file: stamps.get(file) for file in loaded.files}
        self._adopt(loaded, asked=asked, renewed=renewed)

    def _refuse(self, error: BridgeError, *, asked: bool) -> None:
        """Say what is wrong, but not every two seconds."""
        problems = str(error).splitlines()
        if asked or problems != self._refused:
            log.error("configuration_refused", problems=problems)
        self._refused = problems

    def _adopt(self, loaded: Loaded, *, asked: bool, renewed: bool) -> None:
        settings = adopted(self._settings, loaded.settings)
        changed = differences(self._settings, settings)
        if renewed and "server.tls_certificate" not in changed:
            changed.append("server.tls_certificate")
        waiting = differences(settings, loaded.settings)
        self._service.adopt(settings)
        self._settings = settings
        if asked or changed:
            log.info("configuration_reloaded", changed=changed)
        if waiting and (asked or waiting != self._waiting):
            log.warning("configuration_needs_restart", keys=waiting)
        self._waiting = waiting


async def _in_time(work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Work on a thread. Raises TimeoutError, and then leaves the thread behind."""
    async with asyncio.timeout(_READ_SECONDS):
        return await run_in_thread(work, *arguments, name="reload")


def _stamps(files: Iterable[Path]) -> dict[Path, _Stamp | None]:
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> _Stamp:
    """Return what changes with the content. It follows links, which Kubernetes turns."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
