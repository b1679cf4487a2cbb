"""Posting sample events to a bridge, signed as SuperOffice signs them."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from bridge.cli.errors import Unavailable
from bridge.settings import EndpointSettings
from bridge.testing.samples import encode, request_headers, sample
from bridge.tls import trusting

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_CONTEXT = "Cust20001"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the bridge said to one event, after how many seconds; ``status`` 0: nothing."""

    event_id: str
    status: int
    text: str
    seconds: float

    @property
    def kind(self) -> str:
        """Return the status, of a 200 with what became of the event: ``200 published``."""
        if self.status != 200:
            return f"{self.status}" if self.status else f"no answer: {self.text}"
        try:
            return f"200 {orjson.loads(self.text)['status']}"
        except (ValueError, LookupError, TypeError):
            return "200"


class Sender:
    """Sends events to one URL; made by ``sending``."""

    def __init__(
        self, session: aiohttp.ClientSession, *, url: str, endpoint: EndpointSettings
    ) -> None:
        self._session = session
        self._url = url
        self._secret = next(iter(endpoint.secret_keys), None)
        self._context = next(iter(endpoint.contexts), _CONTEXT)

    async def send(self, event: str, *, primary_key: int, due: float) -> Answer:
        """Send one sample and return the answer.

        ``due`` is the ``time.perf_counter()`` from which its latency counts.
        Raises ``Unavailable`` when nobody listens at the URL.
        """
        content = sample(event, primary_key=primary_key, context=self._context)
        status, text = await self._post(content)
        return Answer(content["EventId"], status, text, time.perf_counter() - due)

    async def _post(self, content: dict[str, Any]) -> tuple[int, str]:
        body = encode(content)
        headers = request_headers(
            body, event=content["Event"], event_id=content["EventId"], secret=self._secret
        )
        try:
            async with self._session.post(self._url, data=body, headers=headers) as response:
                return response.status, await response.text(errors="replace")
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(
                f"no bridge answers at {self._url}: {_reason(error.os_error)}: start one with"
                " `make run`, or name another with --to URL"
            ) from error
        except aiohttp.ClientError as error:
            return 0, str(error) or type(error).__name__
        except TimeoutError:
            return 0, f"timeout after {_TIMEOUT.total:.0f} s"


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


@asynccontextmanager
async def sending(
    *, url: str, endpoint: EndpointSettings, certificate: Path | None = None
) -> AsyncIterator[Sender]:
    """Open a session that signs with the endpoint's first secret.

    With a ``certificate`` whoever shows it is trusted: the bridge of this configuration, which is
    called by an address that it was hardly issued for.
    """
    connector = aiohttp.TCPConnector(limit=0, ssl=trusting(certificate) if certificate else True)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        yield Sender(session, url=url, endpoint=endpoint)
