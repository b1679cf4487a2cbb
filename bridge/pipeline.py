"""The whole story of one delivery: verify, parse, normalize, route, hand over.

When ``receive`` returns, SuperOffice gets its 200. By then the broker has confirmed the event, or
it is on disk; or it repeats an event of which that is true; or it is SuperOffice's own test.
Everything else is an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from bridge.core.errors import EndpointUnknown, PayloadInvalid, Rejected
from bridge.core.event import Delivery, Payload
from bridge.core.message import Message, event_message, parked_message
from bridge.core.publish import Outbox, Outcome
from bridge.core.reasons import RejectReason, Status
from bridge.core.routing import Router
from bridge.core.times import rfc3339
from bridge.delivery.dedup import Dedup
from bridge.metrics import Metrics
from bridge.superoffice.identity import Identity, identify
from bridge.superoffice.names import TEST_EVENT, source_uri
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import context_of, parse
from bridge.superoffice.signature import verify

_STATUS = {
    Outcome.CONFIRMED: Status.PUBLISHED,
    Outcome.UNROUTED: Status.UNROUTED,
    Outcome.SPOOLED: Status.SPOOLED,
}
"""The outcomes that earn a 200, and what SuperOffice is told of them."""

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One registered webhook URL: whose deliveries it accepts, and what it does with them.

    Empty ``contexts`` accept any installation. Without ``source`` the CloudEvents source is made
    of the ContextIdentifier.
    """

    name: str
    secrets: Sequence[bytes]
    allow_unsigned: bool = False
    contexts: frozenset[str] = frozenset()
    publish_test_events: bool = False
    source: str | None = None


class Receipt(NamedTuple):
    """What the pipeline answers about a delivery that it has accepted."""

    status: Status
    id: str
    reason: str | None = None


class Wrap(Protocol):
    """Puts something around a step of the pipeline, such as a span."""

    def __call__(self, name: str, step: Callable[_P, _Result], /) -> Callable[_P, _Result]:
        """Return what the pipeline calls in place of the step."""
        ...


def unwrapped(name: str, step: Callable[_P, _Result], /) -> Callable[_P, _Result]:
    """Return the step itself: without tracing a step costs nothing more."""
    return step


class Pipeline:
    """Accepts deliveries, and answers for each with a receipt."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        router: Router,
        outbox: Outbox,
        dedup: Dedup,
        metrics: Metrics,
        wrap: Wrap = unwrapped,
    ) -> None:
        self._endpoints = endpoints
        self._router = router
        self._outbox = outbox
        self._dedup = dedup
        self._metrics = metrics
        self._verify = wrap("verify", verify)
        self._message_for = wrap("normalize", self._build)

    def use(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Go by these endpoints from the next delivery on; they have the same names."""
        self._endpoints = endpoints

    async def receive(self, delivery: Delivery, *, signatures: Sequence[str]) -> Receipt:
        """Accept a delivery, or raise ``Rejected``.

        A signed body that is not a webhook is parked. ``SignatureInvalid`` and, where nothing is
        signed, ``PayloadInvalid`` are the two kinds of rejection with a class of their own.
        """
        endpoint = self._endpoints[delivery.endpoint]
        if not endpoint.allow_unsigned:
            self._verify(delivery.body, headers=signatures, secrets=endpoint.secrets)
        try:
            payload = parse(delivery.body)
        except PayloadInvalid as invalid:
            if endpoint.allow_unsigned:
                raise
            return await self._park(delivery, invalid.reason)
        return await self._accept(endpoint, delivery, payload)

    async def replay(self, delivery: Delivery) -> Receipt:
        """Accept a delivery that was parked, so its signature was right then.

        Raises ``Rejected``, ``PayloadInvalid`` while the body still cannot be read, and
        ``EndpointUnknown`` when the configuration no longer has its endpoint.
        """
        endpoint = self._endpoints.get(delivery.endpoint)
        if endpoint is None:
            raise EndpointUnknown(f"no endpoint is called {delivery.endpoint!r}")
        return await self._accept(endpoint, delivery, parse(delivery.body))

    async def _accept(self, endpoint: Endpoint, delivery: Delivery, payload: Payload) -> Receipt:
        identity = identify(payload, delivery)
        key, event_id = identity.key, identity.id
        if payload.event == TEST_EVENT and not endpoint.publish_test_events:
            return Receipt(Status.IGNORED, event_id)
        _check_context(endpoint, payload, event_id)
        if self._dedup.was_accepted(key):
            return Receipt(Status.DUPLICATE, event_id)
        if (first := self._dedup.under_way(key)) is not None:
            # SuperOffice tries again while we still work on its earlier attempt: one of the two
            # is published, and both get the answer of that one.
            if await first.result():
                return Receipt(Status.DUPLICATE, event_id)
            raise Rejected(RejectReason.EARLIER_ATTEMPT_FAILED, event_id)
        with self._dedup.claim(key) as claim:
            outcome = await self._hand_over(
                self._message_for(endpoint, delivery, payload, identity)
            )
            claim.succeeded = True
            return Receipt(_STATUS[outcome], event_id)

    def _build(
        self, endpoint: Endpoint, delivery: Delivery, payload: Payload, identity: Identity
    ) -> Message:
        event, oddities = normalize(payload, delivery=delivery, identity=identity)
        for kind in oddities:
            self._metrics.oddities.labels(kind).inc()
        return event_message(
            event,
            delivery=delivery,
            target=self._router.target(event),
            source=endpoint.source or source_uri(event.context),
        )

    async def _park(self, delivery: Delivery, reason: str) -> Receipt:
        time = rfc3339(delivery.received_ns)
        message = parked_message(delivery, reason=reason, time=time)
        await self._hand_over(message)
        return Receipt(Status.PARKED, message.message_id, reason)

    async def _hand_over(self, message: Message) -> Outcome:
        started = perf_counter()
        outcome = await self._outbox.deliver(message)
        self._metrics.stage_seconds.labels("deliver").observe(perf_counter() - started)
        if outcome not in _STATUS:
            raise Rejected(outcome.value, message.message_id)
        return outcome


def _check_context(endpoint: Endpoint, payload: Payload, event_id: str) -> None:
    """Reject a ContextIdentifier that is there but is none of the endpoint's."""
    if not endpoint.contexts:
        return
    context = context_of(payload)
    # What is not a string may not be hashable, so it is not looked up.
    is_ours = isinstance(context, str) and context in endpoint.contexts
    if context is not None and not is_ours:
        raise Rejected(RejectReason.CONTEXT, event_id)
