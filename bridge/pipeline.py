"""The whole story of one event: verify, understand, normalize, route, hand over.

A 200 is earned when ``receive`` returns: the broker has confirmed the event, or it is on disk, or
it is a duplicate of such a one, or the sender's test. Everything else is an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

from bridge.core.errors import ContextRefused, EndpointUnknown, NotAccepted, PayloadInvalid
from bridge.core.event import Delivery, Payload
from bridge.core.identity import Identity, identify
from bridge.core.message import Message, event_message, parked_message, source_uri
from bridge.core.publish import Outbox, Outcome
from bridge.core.routing import Router
from bridge.core.times import rfc3339
from bridge.delivery.dedup import Dedup
from bridge.metrics import Metrics
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse
from bridge.superoffice.signature import verify

_STATUS = {
    Outcome.CONFIRMED: "published",
    Outcome.UNROUTED: "unrouted",
    Outcome.SPOOLED: "spooled",
}
"""What a sender is told of an outcome that earned a 200."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One registered webhook URL: who may call it and what it stands for.

    ``contexts`` empty accepts any; ``source`` None derives it from the ContextIdentifier.
    """

    name: str
    secrets: Sequence[bytes]
    allow_unsigned: bool = False
    contexts: frozenset[str] = frozenset()
    publish_test_events: bool = False
    source: str | None = None


class Receipt(NamedTuple):
    """What the sender is told with its 200."""

    status: str
    id: str
    reason: str | None = None


class Pipeline:
    """Takes deliveries in and answers for them."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        router: Router,
        outbox: Outbox,
        dedup: Dedup,
        metrics: Metrics,
    ) -> None:
        self._endpoints = endpoints
        self._router = router
        self._outbox = outbox
        self._dedup = dedup
        self._metrics = metrics

    def use(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Go by these endpoints from the next delivery on; they have the same names."""
        self._endpoints = endpoints

    async def receive(self, delivery: Delivery, *, signatures: Sequence[str]) -> Receipt:
        """Accept a delivery or raise.

        Raises ``SignatureInvalid`` and ``ContextRefused`` (the request is refused),
        ``PayloadInvalid`` (only on an unsigned endpoint, elsewhere the delivery is parked), and
        ``NotAccepted`` (the sender must try again).
        """
        endpoint = self._endpoints[delivery.endpoint]
        if not endpoint.allow_unsigned:
            self._verify(endpoint, delivery, signatures)
        try:
            payload = parse(delivery.body)
        except PayloadInvalid as invalid:
            if endpoint.allow_unsigned:
                raise
            return await self._park(delivery, invalid.reason)
        return await self._accept(endpoint, delivery, payload)

    async def replay(self, delivery: Delivery) -> Receipt:
        """Accept a delivery that was parked, and so was authentic then.

        Raises ``PayloadInvalid`` while nobody can read it, ``ContextRefused``, ``NotAccepted``, and
        ``EndpointUnknown`` when the configuration has no endpoint of that name any more.
        """
        endpoint = self._endpoints.get(delivery.endpoint)
        if endpoint is None:
            raise EndpointUnknown(f"no endpoint is called {delivery.endpoint!r}")
        return await self._accept(endpoint, delivery, parse(delivery.body))

    async def _accept(self, endpoint: Endpoint, delivery: Delivery, payload: Payload) -> Receipt:
        identity = identify(payload, delivery)
        key, event_id = identity
        if payload.event == "test" and not endpoint.publish_test_events:
            return Receipt("ignored", event_id)
        _check_context(endpoint, payload, event_id)
        if self._dedup.was_accepted(key):
            return Receipt("duplicate", event_id)
        if (first := self._dedup.under_way(key)) is not None:
            if await first.result():
                return Receipt("duplicate", event_id)
            raise NotAccepted("earlier_attempt_failed", event_id)
        with self._dedup.claim(key) as claim:
            outcome = await self._hand_over(self._message(endpoint, delivery, payload, identity))
            claim.succeeded = True
            return Receipt(_STATUS[outcome], event_id)

    def _verify(self, endpoint: Endpoint, delivery: Delivery, signatures: Sequence[str]) -> None:
        verify(delivery.body, headers=signatures, secrets=endpoint.secrets)

    def _message(
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
        return Receipt("parked", message.message_id, reason)

    async def _hand_over(self, message: Message) -> Outcome:
        started = perf_counter()
        outcome = await self._outbox.deliver(message)
        self._metrics.stage_seconds.labels("deliver").observe(perf_counter() - started)
        if outcome not in _STATUS:
            raise NotAccepted(outcome.value, message.message_id)
        return outcome


def _check_context(endpoint: Endpoint, payload: Payload, event_id: str) -> None:
    """A ContextIdentifier that is present must be one of the endpoint's, whatever its type."""
    context: object = payload.context_identifier
    if context is None:
        context = payload.properties.get("ContextIdentifier")  # of a type that is not a string
    accepted = not endpoint.contexts or context is None
    if not accepted and not (isinstance(context, str) and context in endpoint.contexts):
        raise ContextRefused(event_id)
