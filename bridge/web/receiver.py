"""The public side: an HTTP request becomes a delivery, an outcome becomes a status.

SuperOffice takes ``200`` for success and nothing else, tries three times within about five seconds
and switches the webhook off after nine failures (for good on ``410``, which is never sent). Checks
come in this order: path, method, encoding, size, signature, JSON, test, contexts, duplicates.
Whoever fails the signature too often is told 429; what is signed is never measured by that.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from aiohttp import hdrs, web

from bridge.core.errors import ContextRefused, NotAccepted, PayloadInvalid, SignatureInvalid
from bridge.core.event import Delivery
from bridge.metrics import Metrics
from bridge.pipeline import Pipeline, Receipt
from bridge.sampling import Sampled
from bridge.superoffice.signature import HEADER as SIGNATURE
from bridge.web.answers import REJECTIONS
from bridge.web.responses import HttpResponse, ok, reject
from bridge.web.throttle import Failures

EVENT = "X-SuperOffice-Event"
EVENT_ID = "X-SuperOffice-EventId"
RETRY = "X-SuperOffice-Retry"

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
"""https://www.w3.org/TR/trace-context/#traceparent-header"""

NO_ENDPOINT = "-"
"""The label of requests for unknown paths; no endpoint can be called so."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Refused(Exception):
    """A request that is turned away before, or because of, what the pipeline says.

    ``values`` are for the places in the texts of its ``Rejection``.
    """

    reason: str
    event_id: str | None = None
    values: Mapping[str, float] = field(default_factory=dict)


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
        """Take the endpoints' names by path, who failed, the body limit in bytes, its time."""
        self._paths = paths
        self._pipeline = pipeline
        self._metrics = metrics
        self._failures = failures
        self._max_body = max_body
        self._read_timeout = read_timeout
        self._refusals = Sampled()
        self._log = log.bind()  # once: a lazy logger looks up its configuration for every record

    def renew_log(self) -> None:
        """Log from the level up that is configured by now."""
        self._log = log.bind()

    async def handle(self, request: web.BaseRequest) -> HttpResponse:
        """Answer one request."""
        started = time.perf_counter()
        endpoint = self._paths.get(request.path)
        if endpoint is not None:
            self._metrics.received.labels(endpoint).inc()
        try:
            answer = await self._answer(request, endpoint)
        except _Refused as refused:
            return self._refuse(request, endpoint or NO_ENDPOINT, refused)
        self._count(endpoint or NO_ENDPOINT, answer)
        self._metrics.stage_seconds.labels("total").observe(time.perf_counter() - started)
        content = {"status": answer.status, "id": answer.id}
        if answer.reason is not None:
            content["reason"] = answer.reason
        return ok(request, content)

    async def _answer(self, request: web.BaseRequest, endpoint: str | None) -> Receipt:
        if endpoint is None:
            raise _Refused("path")
        if request.method != hdrs.METH_POST:
            raise _Refused("method")
        body = await self._read(request)
        headers = request.headers
        delivery = Delivery(
            endpoint,
            body,
            time.time_ns(),
            _retry(headers.get(RETRY)),
            _traceparent(headers.getall("traceparent", ())),
            headers.get(EVENT),
            headers.get(EVENT_ID),
        )
        try:
            return await self._pipeline.receive(delivery, signatures=headers.getall(SIGNATURE, ()))
        except SignatureInvalid as error:
            raise self._unsigned(error, request.remote) from error
        except (ContextRefused, PayloadInvalid, NotAccepted) as error:
            raise _refused(error) from error

    def _unsigned(self, error: SignatureInvalid, remote: str | None) -> _Refused:
        """Count who failed the signature; beyond the limit one line stands for all that follow."""
        limited = self._failures.add(remote)
        if limited is None:
            return _Refused(f"signature_{error.reason}")
        if limited.first and self._refusals.lets("rate_limited"):
            self._log.warning("source_limited", source=limited.source, seconds=limited.seconds)
        return _Refused("rate_limited", values={"seconds": limited.seconds})

    async def _read(self, request: web.BaseRequest) -> bytes:
        encodings, content = request.headers.getall(hdrs.CONTENT_ENCODING, ()), request.content
        if encodings and {"identity"} != {encoding.lower() for encoding in encodings}:
            raise _Refused("encoding")
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
            raise _Refused("timeout", values={"seconds": self._read_timeout}) from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except (web.RequestPayloadError, ConnectionError):  # or the client hung up
            raise _Refused("malformed") from None

    def _too_large(self) -> _Refused:
        return _Refused("size", values={"bytes": self._max_body})

    def _refuse(self, request: web.BaseRequest, endpoint: str, refused: _Refused) -> web.Response:
        refusal = REJECTIONS[refused.reason]
        self._metrics.rejected.labels(endpoint, refused.reason).inc()
        # Of 429 the first had its line, source_limited.
        if refusal.status != 429 and self._refusals.lets(refused.reason):
            log.warning(
                "request_refused",
                status=refusal.status,
                reason=refused.reason,
                endpoint=endpoint,
                event_id=refused.event_id or request.headers.get(EVENT_ID, "")[:200],
                remote=request.remote,
            )
        return reject(refusal, **refused.values)

    def _count(self, endpoint: str, answer: Receipt) -> None:
        self._metrics.accepted.labels(endpoint, answer.status).inc()
        match answer.status:
            case "published":
                self._metrics.published.labels(endpoint).inc()
                self._log.debug("event_published", endpoint=endpoint, event_id=answer.id)
            case "unrouted":
                self._metrics.unrouted.labels(endpoint).inc()
                self._log.warning("event_unrouted", endpoint=endpoint, event_id=answer.id)
            case "parked":
                reason = answer.reason or ""
                self._metrics.parked.labels(endpoint, reason).inc()
                self._log.warning(
                    "delivery_parked", endpoint=endpoint, event_id=answer.id, reason=reason
                )
            case "spooled":
                self._log.debug("event_spooled", endpoint=endpoint, event_id=answer.id)
            case "duplicate":
                self._log.info("event_duplicate", endpoint=endpoint, event_id=answer.id)
            case _:
                self._log.info("event_ignored", endpoint=endpoint, event_id=answer.id)


def _refused(error: ContextRefused | PayloadInvalid | NotAccepted) -> _Refused:
    """Return the HTTP side of an error of the pipeline."""
    return _Refused(error.reason, None if isinstance(error, PayloadInvalid) else error.event_id)


def _retry(value: str | None) -> int | None:
    """Return the number of earlier attempts, when the header holds one."""
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 6 else None


def _traceparent(values: Sequence[str]) -> str | None:
    """Return the trace context, when it came once and is valid."""
    return values[0] if len(values) == 1 and _TRACEPARENT.fullmatch(values[0]) else None
