"""The public side: an HTTP request becomes a delivery, and its reply becomes a response.

Only 200 is success for SuperOffice. It tries three times within about five seconds, and switches
the webhook off after nine failures: for good after a 410, which the bridge never sends.

The checks come in this order: path, method, encoding, size, signature, JSON, test, contexts,
duplicates. A source with too many bad signatures gets 429. A correct signature is never limited.

A request that nothing is odd about does not come here: see ``plain``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from aiohttp import hdrs, web

from bridge.aio import called_back
from bridge.core.errors import Rejected
from bridge.core.event import Delivery
from bridge.core.reasons import RejectReason
from bridge.metrics import Metrics
from bridge.superoffice.headers import (
    EVENT,
    EVENT_ID,
    SIGNATURE,
    retry_of,
    traceparent_of,
)
from bridge.web.replies import Reply
from bridge.web.responder import Responder
from bridge.web.responses import HttpResponse, response_to

if TYPE_CHECKING:
    from bridge.web.connection import Connection


class Receiver:
    """Handles every request of the public listener that aiohttp reads."""

    def __init__(
        self,
        paths: Mapping[str, str],
        responder: Responder,
        metrics: Metrics,
        *,
        max_body: int,
        read_timeout: float,
    ) -> None:
        """Take the endpoints' names by path; limits are in bytes and in seconds."""
        self._paths = paths
        self._responder = responder
        self._metrics = metrics
        self._max_body = max_body
        self._read_timeout = read_timeout

    async def handle(self, request: web.BaseRequest) -> HttpResponse:
        """Answer one request."""
        started = time.perf_counter()
        endpoint = self._paths.get(request.path)
        if endpoint is not None:
            self._metrics.received.labels(endpoint).inc()
        try:
            delivery = await self._delivery(request, endpoint)
        except Rejected as rejected:
            event_id = request.headers.get(EVENT_ID)
            reply = self._responder.reject(rejected, endpoint, request, event_id=event_id)
        else:
            reply = await self._reply(delivery, request, started)
        return response_to(request, reply)

    async def _reply(self, delivery: Delivery, request: web.BaseRequest, started: float) -> Reply:
        signatures = tuple(request.headers.getall(SIGNATURE, ()))
        return await called_back(
            lambda tell: self._responder.respond(
                delivery, signatures, request, started=started, tell=tell
            )
        )

    async def _delivery(self, request: web.BaseRequest, endpoint: str | None) -> Delivery:
        if endpoint is None:
            raise Rejected(RejectReason.PATH)
        if request.method != hdrs.METH_POST:
            raise Rejected(RejectReason.METHOD)
        body = await self._read(request)
        headers = request.headers
        return Delivery(
            endpoint,
            body,
            time.time_ns(),
            retry_of(headers),
            traceparent_of(headers),
            headers.get(EVENT),
            headers.get(EVENT_ID),
        )

    async def _read(self, request: web.BaseRequest) -> bytes:
        encodings, content = request.headers.getall(hdrs.CONTENT_ENCODING, ()), request.content
        if encodings and {"identity"} != {encoding.lower() for encoding in encodings}:
            raise Rejected(RejectReason.ENCODING)
        if (request.content_length or 0) > self._max_body:
            raise self._too_large()
        if not content.is_eof() or content.exception() is not None:
            return await self._wait_for(request)
        body = content.read_nowait()  # it came with the headers, as almost every body does
        if len(body) > self._max_body:
            raise self._too_large()
        return body

    async def _wait_for(self, request: web.BaseRequest) -> bytes:
        """Read a body that is not complete yet."""
        # The plain path may have waited already, and has said by then that it does.
        waited = cast("Connection", request.protocol).waited
        if waited is None and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # nothing of the answer itself is out yet
        try:
            async with asyncio.timeout(self._read_timeout - (waited or 0.0)):
                return await request.read()
        except TimeoutError:
            raise Rejected(RejectReason.TIMEOUT, seconds=self._read_timeout) from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except (web.RequestPayloadError, ConnectionError):  # or the client hung up
            raise Rejected(RejectReason.MALFORMED) from None

    def _too_large(self) -> Rejected:
        return Rejected(RejectReason.SIZE, bytes=self._max_body)
