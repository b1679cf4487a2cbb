"""The public side: an HTTP request becomes a delivery, a receipt becomes a 200.

Only 200 is success for SuperOffice. It tries three times within about five seconds, and switches
the webhook off after nine failures: for good after a 410, which the bridge never sends.

The checks come in this order: path, method, encoding, size, signature, JSON, test, contexts,
duplicates. A source with too many bad signatures gets 429. A correct signature is never limited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog
from aiohttp import hdrs, web

from bridge.aio import called_back
from bridge.core.errors import Rejected, SignatureInvalid
from bridge.core.event import Delivery
from bridge.core.reasons import RejectReason, Status
from bridge.metrics import Metrics
from bridge.pipeline import Pipeline, Receipt
from bridge.sampling import Sampled
from bridge.superoffice.headers import (
    EVENT,
    EVENT_ID,
    SIGNATURE,
    retry_of,
    traceparent_of,
)
from bridge.web.answers import REJECTIONS
from bridge.web.responses import HttpResponse, ok, reject
from bridge.web.throttle import Failures

NO_ENDPOINT = "-"
"""The label of requests for unknown paths; no endpoint can be called so."""

log = structlog.get_logger()


class Receiver:
    """Handles every request of the public listener."""

    def __init__(
        self,
        paths: Mapping[str, str],
        pipeline: Pipeline,
        metrics: Metrics,
        *,
        failures: Failures,
        max_body: int,
        read_timeout: float,
    ) -> None:
        """Take the endpoints' names by path; limits are in bytes and in seconds."""
        self._paths = paths
        self._pipeline = pipeline
        self._metrics = metrics
        self._failures = failures
        self._max_body = max_body
        self._read_timeout = read_timeout
        self._refusals = Sampled()
        self._log = log.bind()  # now: a lazy logger looks up its configuration for every record

    def renew_log(self) -> None:
        """Log from the level that is configured now."""
        self._log = log.bind()

    async def handle(self, request: web.BaseRequest) -> HttpResponse:
        """Answer one request."""
        started = time.perf_counter()
        endpoint = self._paths.get(request.path)
        if endpoint is not None:
            self._metrics.received.labels(endpoint).inc()
        try:
            receipt = await self._receive(request, endpoint)
        except SignatureInvalid as invalid:
            return self._reject(request, endpoint, self._limited(request.remote) or invalid)
        except Rejected as rejected:
            return self._reject(request, endpoint, rejected)
        self._count(endpoint or NO_ENDPOINT, receipt)
        self._metrics.stage_seconds.labels("total").observe(time.perf_counter() - started)
        content = {"status": receipt.status, "id": receipt.id}
        if receipt.reason is not None:
            content["reason"] = receipt.reason
        return ok(request, content)

    async def _receive(self, request: web.BaseRequest, endpoint: str | None) -> Receipt:
        if endpoint is None:
            raise Rejected(RejectReason.PATH)
        if request.method != hdrs.METH_POST:
            raise Rejected(RejectReason.METHOD)
        body = await self._read(request)
        headers = request.headers
        delivery = Delivery(
            endpoint,
            body,
            time.time_ns(),
            retry_of(headers),
            traceparent_of(headers),
            headers.get(EVENT),
            headers.get(EVENT_ID),
        )
        signatures = headers.getall(SIGNATURE, ())
        return await called_back(
            lambda answer: self._pipeline.receive(delivery, signatures=signatures, answer=answer)
        )

    def _limited(self, remote: str | None) -> Rejected | None:
        """Count a failed signature; return the rejection of a source that has too many of them.

        One line in the log stands for all rejections that follow.
        """
        limited = self._failures.add(remote)
        if limited is None:
            return None
        if limited.first and self._refusals.lets(RejectReason.RATE_LIMITED):
            self._log.warning("source_limited", source=limited.source, seconds=limited.seconds)
        return Rejected(RejectReason.RATE_LIMITED, seconds=limited.seconds)

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
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # nothing of the answer itself is out yet
        try:
            async with asyncio.timeout(self._read_timeout):
                return await request.read()
        except TimeoutError:
            raise Rejected(RejectReason.TIMEOUT, seconds=self._read_timeout) from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except (web.RequestPayloadError, ConnectionError):  # or the client hung up
            raise Rejected(RejectReason.MALFORMED) from None

    def _too_large(self) -> Rejected:
        return Rejected(RejectReason.SIZE, bytes=self._max_body)

    def _reject(
        self, request: web.BaseRequest, endpoint: str | None, rejected: Rejected
    ) -> web.Response:
        reason, label = rejected.reason, endpoint or NO_ENDPOINT
        rejection = REJECTIONS[reason]
        self._metrics.rejected.labels(label, reason).inc()
        # The first 429 of a source has had its line: source_limited.
        if reason != RejectReason.RATE_LIMITED and self._refusals.lets(reason):
            log.warning(
                "request_refused",
                status=rejection.status,
                reason=reason,
                endpoint=label,
                event_id=rejected.event_id or request.headers.get(EVENT_ID, "")[:200],
                remote=request.remote,
            )
        return reject(rejection, **rejected.values)

    def _count(self, endpoint: str, receipt: Receipt) -> None:
        self._metrics.accepted.labels(endpoint, receipt.status).inc()
        match receipt.status:
            case Status.PUBLISHED:
                self._metrics.published.labels(endpoint).inc()
                self._log.debug("event_published", endpoint=endpoint, event_id=receipt.id)
            case Status.UNROUTED:
                self._metrics.unrouted.labels(endpoint).inc()
                self._log.warning("event_unrouted", endpoint=endpoint, event_id=receipt.id)
            case Status.PARKED:
                reason = receipt.reason or ""
                self._metrics.parked.labels(endpoint, reason).inc()
                self._log.warning(
                    "delivery_parked", endpoint=endpoint, event_id=receipt.id, reason=reason
                )
            case Status.SPOOLED:
                self._log.debug("event_spooled", endpoint=endpoint, event_id=receipt.id)
            case Status.DUPLICATE:
                self._log.info("event_duplicate", endpoint=endpoint, event_id=receipt.id)
            case Status.IGNORED:
                self._log.info("event_ignored", endpoint=endpoint, event_id=receipt.id)
