"""No sender can forge, colour or hide a line of the log, in either of its formats."""

import asyncio
import io
import json
import re

import pytest
import structlog

from bridge import log
from bridge.web.listener import Listener
from bridge.web.server import HttpServer, Limits
from tests.serving import webhook
from tests.web.test_receiver import OPEN, OSLO, raw

FORGED = "12:00:00 info    service_stopped spooled=666"
RECORD = re.compile(r"\d\d:\d\d:\d\d (debug  |info   |warning|error  ) [a-z_]+( [a-z_]+=|$)")

EVIL = {
    "line feed": f"x\n{FORGED}",
    "carriage return": f"x\r{FORGED}",
    "next line": f"x\x85{FORGED}",
    "line separator": f"x\u2028{FORGED}",
    "form feed": f"x\x0c{FORGED}",
    "colour": "\x1b[31mx\x1b[0m",
    "colour of C1": "\x9b31mx",
    "title of the terminal": "\x1b]0;x\x07",
    "backspaces": "x\b\b\b\b",
    "right to left": "x\u202egnp.exe",
    "isolate": "\u2066x\u2069",
    "delete": "\x7f",
    "null": "\0",
    "lone surrogate": "\ud800",
    "fields": "x level=error action=y",
    "quotes": '"},{"action":"y" \'x\' \\',
}


@pytest.fixture(params=["json", "console"])
def lines(request):
    """Log in one format and return a function that returns the lines, which it has checked."""
    stream = io.StringIO()
    log.configure(level="debug", format=request.param, stream=stream)

    def read():
        written = stream.getvalue().removesuffix("\n").split("\n")
        for line in written:
            assert line.isprintable(), ascii(line)
            assert not line.startswith(FORGED)
            if request.param == "json":
                assert {"timestamp", "level", "action"} < json.loads(line).keys()
            else:
                assert RECORD.match(line) or line.startswith("    "), line
        return written

    return read


def with_action(lines, action):
    """Return the lines of an action, in either format."""
    forms = (f" {action} ", f'"action":"{action}"')
    return [line for line in lines if any(form in f"{line} " for form in forms)]


async def test_ids_of_bodies(serving, lines):
    """The EventId of a body is logged, whatever became of the event."""
    endpoints = json.dumps([{**OSLO, "contexts": ["Cust1"]}, {**OPEN, "contexts": []}])
    ids = [text for text in EVIL.values() if text != "\ud800"]  # no JSON may hold it
    async with serving(BRIDGE_ENDPOINTS=endpoints) as client:
        for text in ids:
            ours = webhook(EventId=text, ContextIdentifier="Cust1")
            for body in (ours, ours, webhook(EventId=text), webhook(EventId=text, Event="test")):
                await client.post(body, path="/oslo")
            await client.post(webhook(EventId=text, ContextIdentifier=text), path="/open")

    found = lines()
    assert len(with_action(found, "event_unrouted")) == 2 * len(ids)
    assert len(with_action(found, "event_duplicate")) == len(ids)
    assert len(with_action(found, "event_ignored")) == len(ids)
    assert len(with_action(found, "request_refused")) == len(ids)


EVERYWHERE = b"""\
POST /webhook?{evil} HTTP/1.1
Host: {evil}
User-Agent: {evil}
X-Forwarded-For: {evil}
X-SuperOffice-Event: {evil}
X-SuperOffice-EventId: {evil}
X-SuperOffice-Retry: {evil}
X-SuperOffice-Signature: {evil}
traceparent: {evil}
Connection: close
Content-Length: 0

""".replace(b"\n", b"\r\n")


def heads():
    """Yield requests with each text in their headers alone, and in their path as well."""
    for text in EVIL.values():
        for evil in (text.encode("utf-8", "surrogatepass"), text.encode("latin-1", "replace")):
            yield EVERYWHERE.replace(b"/webhook?{evil}", b"/webhook").replace(b"{evil}", evil)
            yield EVERYWHERE.replace(b"/webhook?", b"/").replace(b"{evil}", evil)


async def test_paths_and_headers(serving, lines):
    """All of a request's head, in UTF-8 and in Latin-1: refused or malformed, with a line each."""
    requests = [*heads()]
    async with serving(BRIDGE_SERVER__MAX_SIGNATURE_FAILURES="0") as client:
        for request in requests:
            answer = await raw(client.service, request, until=None)
            assert answer.split()[1] in (b"400", b"401", b"404"), (request, answer)

    found = lines()
    refused = with_action(found, "request_refused")
    assert len(refused) + len(with_action(found, "request_malformed")) == len(requests)
    assert len(refused) > 10


async def test_errors_of_ours(lines):
    """A traceback quotes what led to it: in JSON it is one line, on a console it is indented."""

    async def fail(request):
        raise RuntimeError(await request.text())

    limits = Limits(10, head=5, idle=5)
    server = HttpServer(fail, max_body=10_000, limits=limits)
    listener = Listener(server, host="127.0.0.1", port=0, grace=0)
    await listener.start()
    for text in EVIL.values():
        body = text.encode("utf-8", "surrogatepass")
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert b"500" == (await reader.read()).split()[1]
        writer.close()
        await writer.wait_closed()
    await listener.stop()

    assert len(with_action(lines(), "request_failed")) == len(EVIL)


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_whatever_is_logged(lines, text):
    """The forms themselves hold for any text, of brokers and libraries as well."""
    try:
        raise ValueError(text)
    except ValueError as error:
        structlog.get_logger().error("library_message", text=text, library=text, exc_info=error)

    assert 1 == len(with_action(lines(), "library_message"))
