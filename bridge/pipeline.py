"""The whole story of one delivery: verify, parse, normalize, route, hand over.

Each delivery is answered once, at once or later. With a ``Receipt`` SuperOffice gets its 200. By
then the broker has confirmed the event, or it is on disk; or it repeats an event of which that is
true; or it is SuperOffice's own test. Everything else is answered with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from bridge.core.errors import EndpointUnknown, PayloadInvalid, Rejected
from bridge.core.event import Delivery, Payload
from bridge.core.message import Message, event_message, parked_message
from bridge.core.publish import Outbox, Outcome
from bridge.core.reasons import RejectReason, Status
from bridge.core.routing import Router
from bridge.core.times import rfc3339
from bridge.delivery.dedup import Claim, Memory
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

# Python 3.11 calls functions to look up a member of an enum, and to hash one: too slow for every
# event.
_CONFIRMED, _PUBLISHED = Outcome.CONFIRMED, Status.PUBLISHED

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


Answer = Callable[[Receipt | Exception], None]
"""Takes the answer to one delivery: a receipt, ``Rejected``, or a defect of ours. Never raises."""


class Wrap(Protocol):
    """Puts something around a step of the pipeline, such as a span."""

    def __call__(self, name: str, step: Callable[_P, _Result], /) -> Callable[_P, _Result]:
        """Return what the pipeline calls in place of the step."""
        ...


def unwrapped(name: str, step: Callable[_P, _Result], /) -> Callable[_P, _Result]:
    """Return the step itself: without tracing a step costs nothing more."""
    return step


class Acceptor(Protocol):
    """The port to the pipeline: ``Pipeline``, or the same with spans."""

    def use(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Go by these endpoints from the next delivery on; they have the same names."""
        ...

    def receive(self, delivery: Delivery, *, signatures: Sequence[str], answer: Answer) -> None:
        """Accept a delivery, or reject it."""
        ...

    def replay(self, delivery: Delivery, answer: Answer) -> None:
        """Accept a delivery that was parked; or reject it."""
        ...


class Pipeline:
    """Accepts deliveries, and answers for each with a receipt."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        router: Router,
        outbox: Outbox,
        dedup: Memory,
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

    def receive(self, delivery: Delivery, *, signatures: Sequence[str], answer: Answer) -> None:
        """Accept a delivery, or reject it.

        A signed body that is not a webhook is parked. ``SignatureInvalid`` and, where nothing is
        signed, ``PayloadInvalid`` are the two kinds of rejection with a class of their own.
        """
        try:
            endpoint = self._endpoints[delivery.endpoint]
            if not endpoint.allow_unsigned:
                self._verify(delivery.body, headers=signatures, secrets=endpoint.secrets)
            self._understand(endpoint, delivery, answer)
        except Exception as error:
            _refuse(error, answer)

    def replay(self, delivery: Delivery, answer: Answer) -> None:
        """Accept a delivery that was parked, so its signature was right then; or reject it.

        The answer is ``PayloadInvalid`` while the body still cannot be read, and
        ``EndpointUnknown`` when the configuration no longer has its endpoint.
        """
        try:
            endpoint = self._endpoints.get(delivery.endpoint)
            if endpoint is None:
                raise EndpointUnknown(f"no endpoint is called {delivery.endpoint!r}")
            self._accept(endpoint, delivery, parse(delivery.body), answer)
        except Exception as error:
            _refuse(error, answer)

    def _understand(self, endpoint: Endpoint, delivery: Delivery, answer: Answer) -> None:
        try:
            payload = parse(delivery.body)
        except PayloadInvalid as invalid:
            if endpoint.allow_unsigned:
                raise
            self._park(delivery, invalid.reason, answer)
            return
        self._accept(endpoint, delivery, payload, answer)

    def _accept(
        self, endpoint: Endpoint, delivery: Delivery, payload: Payload, answer: Answer
    ) -> None:
        identity = identify(payload, delivery)
        key, event_id = identity.key, identity.id
        if payload.event == TEST_EVENT and not endpoint.publish_test_events:
            answer(Receipt(Status.IGNORED, event_id))
            return
        _check_context(endpoint, payload, event_id)
        if self._dedup.was_accepted(key):
            answer(Receipt(Status.DUPLICATE, event_id))
        elif (first := self._dedup.under_way(key)) is not None:
            # SuperOffice tries again while we still work on its earlier attempt: one of the two
            # is published, and both get the answer of that one.
            first.on_end(partial(_answer_repeat, event_id, answer))
        else:
            claim = self._dedup.claim(key)
            try:
                message = self._message_for(endpoint, delivery, payload, identity)
                self._hand_over(message, answer, claim=claim)
            except BaseException:
                claim.end(succeeded=False)
                raise

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

    def _park(self, delivery: Delivery, reason: str, answer: Answer) -> None:
        time = rfc3339(delivery.received_ns)
        message = parked_message(delivery, reason=reason, time=time)
        self._hand_over(message, answer, parked_for=reason)

    def _hand_over(
        self,
        message: Message,
        answer: Answer,
        *,
        claim: Claim | None = None,
        parked_for: str | None = None,
    ) -> None:
        settled = partial(
            self._settled, message.message_id, answer, claim, parked_for, perf_counter()
        )
        self._outbox.deliver(message, settled)

    def _settled(
        self,
        event_id: str,
        answer: Answer,
        claim: Claim | None,
        parked_for: str | None,
        started: float,
        outcome: Outcome,
    ) -> None:
        status = _PUBLISHED if outcome is _CONFIRMED else _STATUS.get(outcome)
        try:
            if claim is not None:
                claim.end(succeeded=status is not None)
            self._metrics.stage_seconds.labels("deliver").observe(perf_counter() - started)
            if status is None:
                raise Rejected(outcome.value, event_id)
            receipt = Receipt(status if parked_for is None else Status.PARKED, event_id, parked_for)
        except Exception as error:
            _refuse(error, answer)
        else:
            answer(receipt)


def _refuse(error: Exception, answer: Answer) -> None:
    """Answer with an error. A rejection is no defect: nobody asks where it was raised."""
    # Its frames hold the answer, which may hold the error: such a circle lives until the garbage
    # collector comes, which is seldom.
    answer(error.with_traceback(None) if isinstance(error, Rejected) else error)


def _answer_repeat(event_id: str, answer: Answer, succeeded: bool) -> None:
    """Give a later attempt the answer of the first one."""
    if succeeded:
        answer(Receipt(Status.DUPLICATE, event_id))
    else:
        answer(Rejected(RejectReason.EARLIER_ATTEMPT_FAILED, event_id))


def _check_context(endpoint: Endpoint, payload: Payload, event_id: str) -> None:
    """Reject a ContextIdentifier that is there but is none of the endpoint's."""
    if not endpoint.contexts:
        return
    context = context_of(payload)
    # What is not a string may not be hashable, so it is not looked up.
    is_ours = isinstance(context, str) and context in endpoint.contexts
    if context is not None and not is_ours:
        raise Rejected(RejectReason.CONTEXT, event_id)
