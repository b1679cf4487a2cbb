"""What a delivery is answered: the pipeline's answer becomes a reply, is counted and is logged.

Nothing here waits, and nothing knows how the request was read: by aiohttp (``receiver``) or at once
(``plain``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.core.errors import Rejected, SignatureInvalid
from bridge.core.event import Delivery
from bridge.core.reasons import RejectReason, Status
from bridge.metrics import Metrics
from bridge.pipeline import Acceptor, Receipt
from bridge.sampling import Sampled
from bridge.superoffice.headers import retry_number, trace_context
from bridge.web.answers import REJECTIONS
from bridge.web.replies import Reply, accepted, rejected
from bridge.web.throttle import Failures

if TYPE_CHECKING:
    from bridge.web.heads import Head

NO_ENDPOINT = "-"
"""The label of requests for unknown paths; no endpoint can be called so."""

_PUBLISHED = Status.PUBLISHED  # Python 3.11 calls a function to look up a member of an enum

Tell = Callable[[Reply | Exception], None]
"""Takes the reply to one request, or a defect of ours. Never raises."""

log = structlog.get_logger()


class Client(Protocol):
    """Whoever has sent a request."""

    @property
    def remote(self) -> str | None:
        """Return the address, None when it is gone."""


class Responder:
    """Asks the pipeline about each delivery, and makes the reply of its answer."""

    def __init__(self, pipeline: Acceptor, metrics: Metrics, *, failures: Failures) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._failures = failures
        self._refusals = Sampled()
        self._log = log.bind()  # now: a lazy logger looks up its configuration for every record

    def renew_log(self) -> None:
        """Log from the level that is configured now."""
        self._log = log.bind()

    def respond(
        self,
        delivery: Delivery,
        signatures: tuple[str, ...],
        client: Client,
        *,
        started: float,
        tell: Tell,
    ) -> None:
        """Tell the reply once, now or later; ``started`` is a time of ``perf_counter``."""
        answer = partial(self._answered, delivery, client, started, tell)
        self._pipeline.receive(delivery, signatures=signatures, answer=answer)

    def respond_to(self, head: Head, body: bytes, client: Client, tell: Tell) -> None:
        """Tell the reply to a plain request once, now or later.

        Raises what goes wrong before the pipeline has the delivery; nothing is told then.
        """
        started = time.perf_counter()
        self._metrics.received.labels(head.endpoint).inc()
        self._metrics.received_plain.labels(head.endpoint).inc()
        delivery = Delivery(
            head.endpoint,
            body,
            time.time_ns(),
            retry_number(head.retry),
            trace_context(head.traceparent),
            head.event,
            head.event_id,
        )
        signatures = () if head.signature is None else (head.signature,)
        self.respond(delivery, signatures, client, started=started, tell=tell)

    def _answered(
        self,
        delivery: Delivery,
        client: Client,
        started: float,
        tell: Tell,
        found: Receipt | Exception,
    ) -> None:
        reply: Reply | Exception
        try:
            if isinstance(found, Receipt):
                reply = self._accept(delivery.endpoint, found, started)
            elif isinstance(found, Rejected):
                event_id = found.event_id or delivery.header_event_id
                reply = self.reject(found, delivery.endpoint, client, event_id=event_id)
            else:
                reply = found
        except Exception as error:
            reply = error
        tell(reply)

    def reject(
        self,
        rejection: Rejected,
        endpoint: str | None,
        client: Client,
        *,
        event_id: str | None,
    ) -> Reply:
        """Return the reply to what is rejected, counted and logged."""
        if isinstance(rejection, SignatureInvalid):
            rejection = self._limited(client.remote) or rejection
        reason, label = rejection.reason, endpoint or NO_ENDPOINT
        self._metrics.rejected.labels(label, reason).inc()
        # The first 429 of a source has had its line: source_limited.
        if reason != RejectReason.RATE_LIMITED and self._refusals.lets(reason):
            log.warning(
                "request_refused",
                status=REJECTIONS[reason].status,
                reason=reason,
                endpoint=label,
                event_id=(event_id or "")[:200],
                remote=client.remote,
            )
        return rejected(REJECTIONS[reason], **rejection.values)

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

    def _accept(self, endpoint: str, receipt: Receipt, started: float) -> Reply:
        self._count(endpoint, receipt)
        self._metrics.stage_seconds.labels("total").observe(time.perf_counter() - started)
        content: dict[str, str] = {"status": receipt.status, "id": receipt.id}
        if receipt.reason is not None:
            content["reason"] = receipt.reason
        return accepted(content)

    def _count(self, endpoint: str, receipt: Receipt) -> None:
        self._metrics.accepted.labels(endpoint, receipt.status).inc()
        if receipt.status is _PUBLISHED:
            self._metrics.published.labels(endpoint).inc()
            self._log.debug("event_published", endpoint=endpoint, event_id=receipt.id)
            return
        match receipt.status:
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
