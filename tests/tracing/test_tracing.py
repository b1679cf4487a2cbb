"""Traces, from the request to a consumer, with OpenTelemetry's own SDK at both ends."""

import asyncio
import threading

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry import propagate, trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id
from structlog.testing import capture_logs

from bridge.core.errors import ConfigInvalid
from bridge.core.message import PARKED
from bridge.dev.rabbitmq import free_port
from bridge.spool import Row
from bridge.tracing import opened
from tests.helpers import consumer_queue, drain, eventually, id_of, message
from tests.serving import SECRET, sign, webhook
from tests.tracing.spans import Exported, finished, install, named, tree

ON = {"BRIDGE_TRACING__ENABLED": "true"}
PUBLISH = "publish superoffice"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def _memory(monkeypatch, tmp_path):
    """Let services export into memory."""
    install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "memory")
    monkeypatch.setattr(Exported, "made", [])


def traceparent_of(span):
    """Return a span's context as it stands in a header."""
    trace_id, span_id = span.context.trace_id, span.context.span_id
    flags = int(span.context.trace_flags)
    return f"00-{format_trace_id(trace_id)}-{format_span_id(span_id)}-{flags:02x}"


def failure(span):
    """Return the span's status and, if it failed, why."""
    return span.status.status_code, span.attributes.get("error.type")


def dead_broker():
    """Return the setting of a broker that nobody listens for."""
    return {"BRIDGE_BROKER__URLS": f"amqp://127.0.0.1:{free_port()}/"}


async def test_published(serving, broker):
    """One span for the request, one for each step; the publish says where to and how it ended."""
    consumer_queue(broker, "all", "#")
    body = webhook(EventId="event-1")
    async with serving(**ON) as client:
        await client.post(body)
        assert 0 == await client.metric("received_plain_total", endpoint="superoffice")

    spans = finished()
    request, *_, publish = spans
    size = publish.attributes["messaging.message.body.size"]
    assert tree(spans) == ["POST /webhook", "  verify", "  normalize", f"  {PUBLISH}"]
    assert (SpanKind.SERVER, None) == (request.kind, request.parent)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/webhook",
        "url.path": "/webhook",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "superoffice_bridge.endpoint": "superoffice",
        "superoffice_bridge.status": "published",
        "superoffice_bridge.event_id": id_of(body),
    }
    assert publish.kind is SpanKind.PRODUCER
    assert publish.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "superoffice:contact.changed",
        "messaging.rabbitmq.destination.routing_key": "contact.changed",
        "messaging.message.id": id_of(body),
        "messaging.message.body.size": size,
        "superoffice_bridge.outcome": "confirmed",
    }
    [(_, _, received)] = drain(broker, "all")
    assert size == len(received)
    assert {(StatusCode.UNSET, None)} == {failure(span) for span in spans}
    assert {"superoffice-bridge"} == {span.resource.attributes["service.name"] for span in spans}


async def test_consumer_continues_the_trace(serving, broker):
    """What OpenTelemetry extracts from the message is the publish, below the sender's own span."""
    consumer_queue(broker, "all", "#")
    async with serving(**ON) as client:
        await client.post(webhook(), headers={"traceparent": TRACEPARENT})

    [(_, properties, _)] = drain(broker, "all")
    context = propagate.extract(properties.headers)
    consumer = TracerProvider().get_tracer("consumer").start_span("process", context)
    request, *_, publish = finished()
    assert properties.headers["traceparent"] == traceparent_of(publish)
    assert trace.get_current_span(context).get_span_context().span_id == publish.context.span_id
    assert TRACE == format_trace_id(consumer.get_span_context().trace_id)
    assert 0x00F067AA0BA902B7 == request.parent.span_id
    assert "    process" == tree([*finished(), consumer])[-1]


@pytest.mark.parametrize(
    "sent", [["00-nonsense"], [TRACEPARENT, TRACEPARENT], [TRACEPARENT.replace("00", "ff", 1)]]
)
async def test_invalid_traceparent(serving, sent):
    """One that is not valid, or not the only one, begins a trace of its own."""
    async with serving(**ON, **dead_broker(), wait=False) as client:
        body = webhook()
        headers = [("X-SuperOffice-Signature", sign(body)), *(("traceparent", v) for v in sent)]
        url = f"{client.service.listener.url}/webhook"
        async with client._session.post(url, data=body, headers=headers) as response:
            assert 200 == response.status

    assert finished()[0].parent is None


async def test_unsampled(serving, broker):
    """A sender that does not sample is followed: no span, and consumers are told so."""
    consumer_queue(broker, "all", "#")
    async with serving(**ON) as client:
        await client.post(webhook(), headers={"traceparent": f"{TRACEPARENT[:-2]}00"})

    [(_, properties, _)] = drain(broker, "all")
    version, number, span, flags = properties.headers["traceparent"].split("-")
    assert [] == finished()
    assert ("00", TRACE, "00") == (version, number, flags)
    assert "00f067aa0ba902b7" != span


@pytest.mark.parametrize(
    "variable", [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_SAMPLER", "always_off")]
)
async def test_variables_of_the_sdk_count(serving, broker, monkeypatch, variable):
    """Nothing is traced if they say so, and the message keeps the sender's trace."""
    consumer_queue(broker, "all", "#")
    monkeypatch.setenv(*variable)
    async with serving(**ON) as client:
        await client.post(webhook(), headers={"traceparent": TRACEPARENT})

    [(_, properties, _)] = drain(broker, "all")
    assert [] == finished()
    assert TRACE == properties.headers["traceparent"].split("-")[1]


async def test_duplicate(serving, broker):
    """A repeat is verified and no more; requests on one connection do not nest."""
    consumer_queue(broker, "all", "#")
    body = webhook()
    async with serving(**ON) as client:
        for _ in range(2):
            await client.post(body)

    spans = finished()
    first = ["POST /webhook", "  verify", "  normalize", f"  {PUBLISH}"]
    statuses = [
        span.attributes["superoffice_bridge.status"] for span in named(spans, "POST /webhook")
    ]
    assert tree(spans) == [*first, "POST /webhook", "  verify"]
    assert ["published", "duplicate"] == statuses


async def test_parked(serving, broker):
    """What cannot be read has no normalize, and its publish goes to superoffice.parked."""
    async with serving(**ON) as client:
        await client.post(b"{")

    [(_, properties, _)] = drain(broker, PARKED)
    request, _, publish = spans = finished()
    assert tree(spans) == ["POST /webhook", "  verify", f"  publish {PARKED}"]
    assert "parked" == request.attributes["superoffice_bridge.status"]
    assert "not_json" == request.attributes["superoffice_bridge.reason"]
    assert properties.headers["traceparent"] == traceparent_of(publish)


async def test_refused(serving):
    """A wrong signature fails in verify; to be refused is no failure of the bridge."""
    async with serving(**ON, **dead_broker(), wait=False) as client:
        await client.post(webhook(), signature=sign(b"other"))
        await client.post(webhook(), path="/guessed?token=s3cret")

    request, verify, unknown = spans = finished()
    assert ["POST /webhook", "  verify", "POST"] == tree(spans)
    assert (StatusCode.ERROR, "SignatureInvalid") == failure(verify)
    assert failure(request) == failure(unknown) == (StatusCode.UNSET, None)
    assert 401 == request.attributes["http.response.status_code"]
    assert "mismatch" == request.attributes["superoffice_bridge.reason"]
    assert 404 == unknown.attributes["http.response.status_code"]
    assert not {"url.path", "http.route"} & set(unknown.attributes)


async def test_not_taken(serving):
    """Neither broker nor disk: the publish failed, and so did the request."""
    environ = {"BRIDGE_SPOOL__MAX_BYTES": "1048576"}
    async with serving(**ON, **dead_broker(), **environ, wait=False) as client:
        status, *_ = await client.post(b" " * 1048576)

    request, _, publish = spans = finished()
    assert (status, tree(spans)[-1]) == (503, f"  publish {PARKED}")
    assert (StatusCode.ERROR, "unavailable") == failure(publish)
    assert (StatusCode.ERROR, "503") == failure(request)
    assert "unavailable" == request.attributes["superoffice_bridge.reason"]


async def test_spooled_and_drained(serving, broker):
    """Broker away: spool below publish. Its publish by another process is in the same trace."""
    body = webhook(EventId="event-1")
    consumer_queue(broker, "all", "#")
    async with serving(**ON, **dead_broker(), wait=False) as client:
        await client.post(body)
    before = finished()
    async with serving(**ON) as client:
        await eventually(lambda: client.service.spool.events == 0)

    [(_, properties, _)] = drain(broker, "all")
    publish, drained = named(finished(), PUBLISH)
    tree_before = ["POST /webhook", "  verify", "  normalize", f"  {PUBLISH}", "    spool"]
    assert tree(before) == tree_before
    assert tree(finished()) == [*tree_before, f"    {PUBLISH}"]
    assert properties.headers["traceparent"] == traceparent_of(publish)
    assert (SpanKind.PRODUCER, SpanKind.CLIENT) == (publish.kind, drained.kind)
    assert "spooled" == publish.attributes["superoffice_bridge.outcome"]
    assert "confirmed" == drained.attributes["superoffice_bridge.outcome"]
    assert drained.attributes["messaging.message.id"] == id_of(body)
    assert {(StatusCode.UNSET, None)} == {failure(span) for span in finished()}


async def test_no_secret_and_no_payload(serving):
    """Of a body and its headers only the id and the routing key are in the spans."""
    body = webhook(FieldValues={"phone": "+4712345678"}, PrimaryKey=998877, Changes=["iban"])
    headers = {"X-Own": "own-header", "traceparent": TRACEPARENT}
    async with serving(**ON, **dead_broker(), wait=False) as client:
        await client.post(body, headers=headers)
        await client.post(body, signature="c2VjcmV0")

    text = "".join(span.to_json() for span in finished())
    words = [SECRET.decode(), sign(body), "c2VjcmV0", "+4712345678", "998877", "iban", "own-header"]
    assert "contact.changed" in text
    assert [] == [word for word in [*words, "Cust20001", "crm-sync"] if word in text]


async def test_exported_over_http(serving, monkeypatch):
    """By default spans go to a collector as OTLP, under the name that OpenTelemetry's say."""
    received = []

    async def collect(request):
        received.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    async with TestServer(app) as collector:
        monkeypatch.delenv("OTEL_TRACES_EXPORTER")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "oslo")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with serving(**ON, **dead_broker(), wait=False) as client:
            await client.post(webhook())

    [resource] = [one for request in received for one in request.resource_spans]
    named = {item.key: item.value.string_value for item in resource.resource.attributes}
    names = {span.name for scope in resource.scope_spans for span in scope.spans}
    assert "oslo" == named["service.name"]
    assert {"POST /webhook", "verify", "normalize", PUBLISH, "spool"} == names


class Disk:
    """Takes every message at once."""

    fullness = 0.0

    def append(self, message, *, on_written):
        """Call back."""
        row = Row(1, 0.0, 0, 0, message)
        on_written(row, None)
        return row


async def test_silent_collector_does_not_hold_up_the_end(monkeypatch):
    """A stop waits for the last spans as long as it was told, and the loop goes on meanwhile."""
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def say_nothing(reader, writer):
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    turning = asyncio.create_task(turn())
    async with silent:
        with capture_logs() as logs:
            async with opened(flush_seconds=0.3) as traces:
                traces.store(Disk()).append(message(), on_written=lambda row, refusal: None)
                before = turns
        [sending] = [thread for thread in threading.enumerate() if thread.name == "traces"]
        turning.cancel()
        await asyncio.to_thread(sending.join)

    assert turns - before > 10
    assert "traces_unsent" == logs[0]["event"]


async def test_unknown_exporter(monkeypatch):
    """An exporter that is not installed is a mistake in the configuration, and says what there is.

    ``none`` is one that sends nothing.
    """
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    async with opened():
        pass
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "memory,zipkin")
    with pytest.raises(ConfigInvalid, match=r"OTEL_TRACES_EXPORTER: zipkin: .*console.*otlp"):
        async with opened():
            pass
