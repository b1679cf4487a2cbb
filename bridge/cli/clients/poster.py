"""Sample events, signed as SuperOffice signs them and posted to a bridge."""

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

from bridge.broker.errors import safe_url
from bridge.cli.errors import Unavailable
from bridge.dev.samples import encode, request_headers
from bridge.settings import EndpointSettings
from bridge.tls import trusting

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_CONTEXT = "Cust20001"


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one sample, and after how many seconds.

    ``id`` is the id of its message, or its EventId when it failed. ``kind`` is what a summary
    counts (``200 published``, ``503``), and ``detail`` says more about a failure.
    """

    id: str
    kind: str
    seconds: float
    detail: str = ""
    ok: bool = True

    @property
    def failure(self) -> str:
        """Return the kind and the detail, for a sample that failed."""
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


class SampleClient(Protocol):
    """Brings samples somewhere: to a bridge over HTTP, or to RabbitMQ directly."""

    async def send(self, content: dict[str, Any], *, due: float) -> SendResult:
        """Send one sample, a JSON object, and return what became of it.

        Latency counts from ``due``, a time of ``time.perf_counter()``.
        Raises ``Unavailable`` when nothing listens there.
        """
        ...


class Poster:
    """Posts samples to one URL; made by ``open_poster``."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, secret: bytes | None) -> None:
        self._session = session
        self._url = url
        self._secret = secret

    async def send(self, content: dict[str, Any], *, due: float) -> SendResult:
        """Sign and post one sample; see ``SampleClient``."""
        try:
            status, text = await self._post(content)
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(
                f"no bridge answers at {safe_url(self._url)}: {_reason(error.os_error)}: start"
                " one with `make run`, or name another with --to URL"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            kind = f"no answer: {_cause(error)}"
            return SendResult(content["EventId"], kind, time.perf_counter() - due, ok=False)
        seconds = time.perf_counter() - due
        if status == 200:
            return _succeeded(content, text, seconds)
        return SendResult(content["EventId"], f"{status}", seconds, text, ok=False)

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


def _succeeded(content: dict[str, Any], text: str, seconds: float) -> SendResult:
    """Return the result of a 200, with the status and the id that a bridge answers."""
    try:
        answer = orjson.loads(text)
        return SendResult(str(answer["id"]), f"200 {answer['status']}", seconds)
    except (ValueError, LookupError, TypeError):
        return SendResult(content["EventId"], "200", seconds)


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"timeout after {_TIMEOUT.total:.0f} s"
    return str(error) or type(error).__name__


def _reason(error: OSError) -> str:
    # A failed look-up of a name has a negative number, which strerror does not know.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


@asynccontextmanager
async def open_poster(
    *, url: str, endpoint: EndpointSettings, certificate: Path | None = None
) -> AsyncIterator[Poster]:
    """Open an HTTP session that signs with the endpoint's first secret.

    With a ``certificate`` the server that shows it is trusted. It is the certificate of our own
    bridge, which was hardly issued for the address by which this machine reaches it.
    """
    connector = aiohttp.TCPConnector(limit=0, ssl=trusting(certificate) if certificate else True)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        yield Poster(session, url=url, secret=next(iter(endpoint.secret_keys), None))
