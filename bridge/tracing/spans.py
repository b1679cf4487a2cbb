"""What a span says, and which context it belongs to.

The names are those of the semantic conventions (https://opentelemetry.io/docs/specs/semconv/, HTTP
server and RabbitMQ); where these have none, they begin with ``superoffice_bridge``. No attribute
holds a secret or a header. Of a body they have the event's id and the parts of its routing key.
"""

from __future__ import annotations

from aiohttp import hdrs, web
from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bridge.core.message import Message
from bridge.core.publish import Outcome

TRACEPARENT = "traceparent"

_EARN_A_200 = (Outcome.CONFIRMED, Outcome.UNROUTED, Outcome.SPOOLED)
_W3C = TraceContextTextMapPropagator()


def request_context(request: web.BaseRequest) -> Context:
    """Return the context that the request came with; none if there are several."""
    found = request.headers.getall(TRACEPARENT, ())
    return _context(found[0] if len(found) == 1 else "")


def message_context(message: Message) -> Context:
    """Return the context that the message carries."""
    return _context(str(message.headers.get(TRACEPARENT, "")))


def _context(traceparent: str) -> Context:
    """Return the context of a header's value, one without a span if it is not valid."""
    return _W3C.extract({TRACEPARENT: traceparent}, Context())


def carrying(span: Span, message: Message) -> Message:
    """Return the message with the context of the span in place of its own."""
    headers = dict(message.headers)
    _W3C.inject(headers, set_span_in_context(span, Context()))
    return message.changed(headers=headers)


def request_name(request: web.BaseRequest, route: str | None) -> str:
    """Return the name of a request's span; ``route`` is None when there is no such endpoint."""
    method = request.method if request.method in hdrs.METH_ALL else "HTTP"
    return method if route is None else f"{method} {route}"


def request_attributes(request: web.BaseRequest, route: str | None) -> dict[str, str]:
    """Return what is known before the answer. Other paths than ours may hold secrets."""
    method = request.method if request.method in hdrs.METH_ALL else "_OTHER"
    attributes = {"http.request.method": method, "url.scheme": request.scheme}
    return attributes if route is None else {**attributes, "http.route": route, "url.path": route}


def publish_name(message: Message) -> str:
    """Return the name of a publish. The routing key is left out: it may name a single record."""
    return f"publish {message.exchange}"


def publish_attributes(message: Message) -> dict[str, str | int]:
    """Return what is known before the outcome."""
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": f"{message.exchange}:{message.routing_key}",
        "messaging.rabbitmq.destination.routing_key": message.routing_key,
        "messaging.message.id": message.message_id,
        "messaging.message.body.size": len(message.body),
    }


def answered(span: Span, status: int) -> None:
    """Say how a request was answered; only a 5xx is a failure of the bridge."""
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        fail(span, str(status))


def conclude(span: Span, outcome: Outcome) -> None:
    """Say what became of a publish."""
    span.set_attribute("superoffice_bridge.outcome", outcome.value)
    if outcome not in _EARN_A_200:
        fail(span, outcome.value)


def fail(span: Span, kind: str) -> None:
    """Mark a span as failed. ``kind`` is one of few words, never the text of an exception."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
