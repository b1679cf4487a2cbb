"""Posting sample events to a bridge, signed as SuperOffice signs them."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import orjson

from bridge.broker.connection import safe_url
from bridge.cli.errors import Unavailable
from bridge.dev.samples import encode, request_headers
from bridge.settings import EndpointSettings
from bridge.tls import trusting

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_CONTEXT = "Cust20001"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one event, after how many seconds.

    ``id`` is that of its message, or, for one that was not accepted, its EventId. ``kind`` is
    counted in a summary (``200 published``, ``503``); ``detail`` is more of a failure.
    """

    id: str
    kind: str
    seconds: float
    detail: str = ""
    accepted: bool = True

    @property
    def failure(self) -> str:
        """Return the kind and the detail, for one that was not accepted."""
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


class Sender(Protocol):
    """Sends samples somewhere."""

    async def send(self, content: dict[str, Any], *, due: float) -> Answer:
        """Send one sample, an object, and return the answer.

        ``due`` is the ``time.perf_counter()`` from which its latency counts.
        Raises ``Unavailable`` when nobody is there to take it.
        """
        ...


class HttpSender:
    """Posts samples to one URL; made by ``sending``."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, secret: bytes | None) -> None:
        self._session = session
        self._url = url
        self._secret = secret

    async def send(self, content: dict[str, Any], *, due: float) -> Answer:
        """Post one sample, signed, and return the answer; see ``Sender``."""
        try:
            status, text = await self._post(content)
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(
                f"no bridge answers at {safe_url(self._url)}: {_reason(error.os_error)}: start"
                " one with `make run`, or name another with --to URL"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            kind = f"no answer: {_cause(error)}"
            return Answer(content["EventId"], kind, time.perf_counter() - due, accepted=False)
        seconds = time.perf_counter() - due
        if status == 200:
            return _accepted(content, text, seconds)
        return Answer(content["EventId"], f"{status}", seconds, text, accepted=False)

    async def _post(self, content: dict[str, Any]) -> tuple[int, str]:
        body = encode(content)
        headers = request_headers(
            body, event=content["Event"], event_id=content["EventId"], secret=self._secret
        )
        async with self._session.post(self._url, data=body, headers=headers) as response:
            return response.status, await response.text(errors="replace")


def context_of(endpoint: EndpointSettings) -> str:
    """Return a ContextIdentifier that the endpoint accepts."""
    return next(iter(endpoint.contexts), _CONTEXT)


def _accepted(content: dict[str, Any], text: str, seconds: float) -> Answer:
    """Return what became of the event too, if whoever answered says so: ``200 published``."""
    try:
        answer = orjson.loads(text)
        return Answer(str(answer["id"]), f"200 {answer['status']}", seconds)
    except (ValueError, LookupError, TypeError):
        return Answer(content["EventId"], "200", seconds)


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"timeout after {_TIMEOUT.total:.0f} s"
    return str(error) or type(error).__name__


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


@asynccontextmanager
async def sending(
    *, url: str, endpoint: EndpointSettings, certificate: Path | None = None
) -> AsyncIterator[HttpSender]:
    """Open a session that signs with the endpoint's first secret.

    With a ``certificate`` whoever shows it is trusted: the bridge of this configuration, which is
    called by an address that it was hardly issued for.
    """
    connector = aiohttp.TCPConnector(limit=0, ssl=trusting(certificate) if certificate else True)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        yield HttpSender(session, url=url, secret=next(iter(endpoint.secret_keys), None))
