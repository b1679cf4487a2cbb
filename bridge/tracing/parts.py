"""The usual parts, with spans around what they do."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from time import time_ns
from typing import Any, ParamSpec, TypeVar

from aiohttp import web
from opentelemetry.trace import Span, SpanKind, Tracer, get_current_span, use_span

from bridge.core.errors import Rejected
from bridge.core.event import Delivery
from bridge.core.message import Message
from bridge.core.publish import Outbox, Outcome, Publish, Publisher
from bridge.delivery.outbox import Store
from bridge.pipeline import Acceptor, Answer, Endpoint, Pipeline, Receipt
from bridge.spool import OnWritten, Row, SpoolFull
from bridge.tracing import spans
from bridge.web.responses import Handler, HttpResponse, JsonOk

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


class Traces:
    """Puts spans around the parts of a service."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def handler(self, handle: Handler, paths: Container[str]) -> Handler:
        """Return a handler with a span around each request; ``paths`` are the endpoints'."""

        async def traced(request: web.BaseRequest) -> HttpResponse:
            route = request.path if request.path in paths else None
            span = self._tracer.start_span(
                spans.request_name(request, route),
                spans.request_context(request),
                kind=SpanKind.SERVER,
                attributes=spans.request_attributes(request, route),
            )
            # Not the exception: its text may be of the body.
            options = {"record_exception": False, "set_status_on_exception": False}
            with use_span(span, end_on_exit=True, **options):
                try:
                    answer = await handle(request)
                except Exception:
                    spans.answered(span, 500)
                    raise
                spans.answered(span, 200 if isinstance(answer, JsonOk) else answer.status)
                return answer

        return traced

    def pipeline(
        self, endpoints: Mapping[str, Endpoint], *, outbox: Outbox, **parts: Any
    ) -> Acceptor:
        """Return a pipeline whose steps are spans below the one of the request."""
        traced = _TracedOutbox(self._tracer, outbox)
        return _TracedPipeline(Pipeline(endpoints, outbox=traced, wrap=self._wrap, **parts))

    def _wrap(self, name: str, step: Callable[_P, _Result], /) -> Callable[_P, _Result]:
        """Return a step of the pipeline with a span around it."""

        def traced(*args: _P.args, **kwargs: _P.kwargs) -> _Result:
            span = self._tracer.start_span(name)
            try:
                return step(*args, **kwargs)
            except Exception as error:
                spans.fail(span, type(error).__name__)
                raise
            finally:
                span.end()

        return traced

    def store(self, store: Store) -> Store:
        """Return a spool with a span around each message's way to the disk."""
        return _TracedStore(self._tracer, store)

    def publisher(self, publisher: Publisher) -> Publisher:
        """Return a publisher for the drain, with a span around each publish."""
        return _TracedPublisher(self._tracer, publisher)


class _TracedPipeline:
    """Says on the span of the request what became of the delivery."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.use = pipeline.use
        self.replay = pipeline.replay

    def receive(self, delivery: Delivery, *, signatures: Sequence[str], answer: Answer) -> None:
        span = get_current_span()
        span.set_attribute("superoffice_bridge.endpoint", delivery.endpoint)
        answered = partial(_answered, span, answer)
        self._pipeline.receive(delivery, signatures=signatures, answer=answered)


def _answered(span: Span, answer: Answer, found: Receipt | Exception) -> None:
    if isinstance(found, Rejected):
        # The attribute had this form before the reasons of the metrics had their prefix.
        reason = found.reason.removeprefix("signature_")
        span.set_attribute("superoffice_bridge.reason", reason)
    elif isinstance(found, Receipt):
        span.set_attribute("superoffice_bridge.status", found.status)
        span.set_attribute("superoffice_bridge.event_id", found.id)
        if found.reason is not None:
            span.set_attribute("superoffice_bridge.reason", found.reason)
    answer(found)


class _TracedOutbox:
    """Puts a span around a publish. Consumers find it as the origin of their message."""

    def __init__(self, tracer: Tracer, outbox: Outbox) -> None:
        self._tracer = tracer
        self._outbox = outbox

    def deliver(self, message: Message, settled: Callable[[Outcome], None]) -> None:
        span = self._tracer.start_span(
            spans.publish_name(message),
            kind=SpanKind.PRODUCER,
            attributes=spans.publish_attributes(message),
        )

        def end(outcome: Outcome) -> None:
            spans.conclude(span, outcome)
            span.end()
            settled(outcome)

        try:
            self._outbox.deliver(spans.carrying(span, message), end)
        except BaseException:  # then nothing calls back
            span.end()
            raise


class _TracedStore:
    """Puts a span around the way to the disk, in the trace of the message."""

    def __init__(self, tracer: Tracer, store: Store) -> None:
        self._tracer = tracer
        self._store = store

    @property
    def fullness(self) -> float:
        return self._store.fullness

    def append(self, message: Message, *, on_written: OnWritten) -> Row:
        return self._store.append(message, on_written=partial(self._written, time_ns(), on_written))

    def _written(
        self, started: int, on_written: OnWritten, row: Row, refusal: SpoolFull | None
    ) -> None:
        context = spans.message_context(row.message)
        span = self._tracer.start_span("spool", context, start_time=started)
        if refusal is not None:
            spans.fail(span, type(refusal).__name__)
        span.end()
        on_written(row, refusal)


class _TracedPublisher:
    """Puts a span around a publish from the spool, in the trace of the message.

    The message leaves as it is. The span is made when the outcome is there, so a message that was
    not sent has none.
    """

    def __init__(self, tracer: Tracer, publisher: Publisher) -> None:
        self._tracer = tracer
        self._publisher = publisher

    @property
    def is_up(self) -> bool:
        return self._publisher.is_up

    @property
    def connection(self) -> int:
        return self._publisher.connection

    def can_publish_to(self, exchange: str) -> bool:
        return self._publisher.can_publish_to(exchange)

    def submit(self, message: Message) -> Publish:
        return self._traced(self._publisher.submit(message))

    def try_alone(self, message: Message, *, apart: bool = False) -> Publish:
        return self._traced(self._publisher.try_alone(message, apart=apart))

    def _traced(self, publish: Publish) -> Publish:
        # A publish has only one callback, and the drain needs that: so it gets a second publish.
        traced = Publish(publish.message)
        publish.on_settled(partial(self._settled, time_ns(), traced))
        return traced

    def _settled(self, started: int, traced: Publish, publish: Publish) -> None:
        outcome, message = publish.outcome, publish.message
        assert outcome is not None  # noqa: S101  # it is settled
        if outcome is not Outcome.NOT_SENT:
            span = self._tracer.start_span(
                spans.publish_name(message),
                spans.message_context(message),
                kind=SpanKind.CLIENT,  # the message was created by an earlier span
                attributes=spans.publish_attributes(message),
                start_time=started,
            )
            spans.conclude(span, outcome)
            span.end()
        traced.suspect, traced.culprit = publish.suspect, publish.culprit
        traced.straggler = publish.straggler
        traced.settle(outcome)
