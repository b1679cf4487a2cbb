"""docs/reference/http.md lists every answer, in the order of the checks."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import hdrs

from bridge import outbox, pipeline, receiver
from bridge.core.answers import ACCEPTED, OF_THE_SERVER, REFUSALS, UNREADABLE
from bridge.ports import Outcome
from bridge.service import Service, running
from bridge.settings import load
from bridge.superoffice.signature import sign
from bridge.testing.rabbitmq import free_port
from tests.docs.documents import section, span, spans, table
from tests.docs.source import answer_statuses, calls, first_texts, texts, tree

PAGE = "reference/http.md"
SECRET = b"s3cret"

ENDPOINTS = [
    {
        "name": "signed",
        "path": "/webhook",
        "secrets": [{"env": "SUPEROFFICE_SECRET"}],
        "contexts": ["Cust1"],
    },
    {"name": "open", "path": "/open", "allow_unsigned": True, "contexts": ["Cust2"]},
]


def not_accepted() -> set[str]:
    """Return the reasons for which nobody takes an event."""
    source = tree(Path(outbox.__file__))
    named = {ast.unparse(node) for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    outcomes = {one for one in Outcome if f"Outcome.{one.name}" in named}
    refused = {outcome.value for outcome in outcomes - pipeline._STATUS.keys()}
    return refused | first_texts("NotAccepted", "pipeline.py")


def reasons() -> set[str]:
    """Return every reason that the receiver, or what it calls, gives for a refusal."""
    signature = first_texts("SignatureInvalid", "superoffice/signature.py")
    unreadable = first_texts("PayloadInvalid", "superoffice/payload.py")
    own = {
        text
        for call in calls("_Refused", "receiver.py")
        if isinstance(call.args[0], ast.Constant)
        for text in texts(call.args[0])
    }
    late = unreadable | not_accepted() | {"context"}
    return own | {f"signature_{reason}" for reason in signature} | late


def test_every_reason_has_its_answer() -> None:
    """The receiver finds each of them, and there is no answer that it never gives."""
    assert reasons() == set(REFUSALS)
    assert answer_statuses() == set(ACCEPTED)
    assert set(UNREADABLE) == first_texts("PayloadInvalid", "superoffice/payload.py")


def test_every_refusal_is_listed() -> None:
    """Each status with its reason has a line, and no line is without."""
    listed = [(int(row["Status"]), span(row["Reason"])) for row in table(PAGE, "Refused")]

    assert sorted((one.status, reason) for reason, one in REFUSALS.items()) == sorted(listed)


def test_every_status_of_an_accepted_event_is_listed() -> None:
    """What can stand in the member ``status`` of a 200 has a line, and nothing else has."""
    assert answer_statuses() == {span(row["`status`"]) for row in table(PAGE, "Accepted: 200")}


def test_answers_of_the_server_itself_are_listed() -> None:
    """Malformed HTTP and our own defects are logged under the actions that the page names."""
    rows = table(PAGE, "Refused", number=1)

    listed = {span(row["When"]): row["Status"] for row in rows}
    assert listed == {action: f"{one.status}" for action, one in OF_THE_SERVER.items()}
    assert listed.keys() == {
        action
        for name in ("log.warning", "log.error")
        for action in first_texts(name, "http.py", "limits.py")
    }


def test_every_header_that_is_read_is_listed() -> None:
    """The page names the headers that the receiver looks at, and no other."""
    scope = {**vars(receiver), **{f"hdrs.{name}": value for name, value in vars(hdrs).items()}}
    reads = [
        ast.unparse(call.args[0])
        for name in ("headers.get", "headers.getall", "request.headers.get")
        for call in calls(name, "receiver.py")
    ]
    read = {ast.literal_eval(name) if name[0] in "'\"" else str(scope[name]) for name in reads}

    assert read | {"Content-Length"} == {
        span(row["Header"]) for row in table(PAGE, "Headers of the request")
    }


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run a service that has no broker and takes its spool for full."""
    environ = {
        "SUPEROFFICE_SECRET": SECRET.decode(),
        "BRIDGE_BROKER__URLS": f"amqp://127.0.0.1:{free_port()}/",
        "BRIDGE_ENDPOINTS": json.dumps(ENDPOINTS),
        "BRIDGE_SERVER__HOST": "127.0.0.1",
        "BRIDGE_SERVER__PORT": "0",
        "BRIDGE_SERVER__ADMIN_PORT": "0",
        "BRIDGE_SERVER__MAX_BODY_BYTES": "2000",
        "BRIDGE_SERVER__READ_TIMEOUT_SECONDS": "0.1",
        "BRIDGE_SPOOL__PATH": str(tmp_path / "spool.db"),
    }
    config = tmp_path / "bridge.toml"
    config.touch()
    async with running(load(config, environ).settings) as service:
        service.spool.bytes = 2**40
        yield service


Headers = list[tuple[str, str]]


async def post(
    service: Service,
    body: bytes,
    headers: Headers,
    *,
    method: str = "POST",
    path: str = "/webhook",
    length: int | None = None,
) -> tuple[int, Mapping[str, str], Any]:
    """Send a request as it is given; return status, headers and content."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.listener.port)
    given = [("Host", "x"), ("Content-Length", str(len(body) if length is None else length))]
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in given + headers)]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    answered = dict(line.split(": ", 1) for line in head[1:] if line)
    content = await reader.readexactly(int(answered["Content-Length"]))
    writer.close()
    await writer.wait_closed()
    return int(head[0].split()[1]), answered, json.loads(content)


def webhook(**properties: Any) -> bytes:
    """Return the body of a webhook."""
    return json.dumps({"Event": "contact.created", **properties}).encode()


BODY = webhook(ContextIdentifier="Cust1")
FOREIGN = webhook(ContextIdentifier="Cust3")
OTHER_SECRET = ("X-SuperOffice-Signature", sign(BODY, secret=b"other"))


def signed(body: bytes) -> Headers:
    """Return the header that signs a body."""
    return [("X-SuperOffice-Signature", sign(body, secret=SECRET))]


CASES: dict[str, tuple[bytes, Headers, dict[str, Any]]] = {
    "not_utf8": (b'{"\xff"}', [], {"path": "/open"}),
    "not_json": (b"{", [], {"path": "/open"}),
    "not_object": (b"[]", [], {"path": "/open"}),
    "no_event": (b"{}", [], {"path": "/open"}),
    "signature_missing": (BODY, [], {}),
    "signature_repeated": (BODY, signed(BODY) * 2, {}),
    "signature_malformed": (BODY, [("X-SuperOffice-Signature", "x")], {}),
    "signature_mismatch": (BODY, [OTHER_SECRET], {}),
    "context": (FOREIGN, signed(FOREIGN), {}),
    "path": (BODY, signed(BODY), {"path": "/webhook/"}),
    "method": (BODY, signed(BODY), {"method": "PUT"}),
    "timeout": (b"{", [], {"length": 100}),
    "size": (b"", [], {"length": 2001}),
    "encoding": (BODY, [*signed(BODY), ("Content-Encoding", "gzip")], {}),
    "unavailable": (BODY, signed(BODY), {}),
}
"""Of each reason a request that is refused for it; three reasons need more than one request."""


async def test_refusals_are_answered_as_listed(service: Service) -> None:
    """Status and headers of each line are those on the wire, and the content is a problem."""
    rows = {span(row["Reason"]): row for row in table(PAGE, "Refused")}
    for reason, (body, headers, how) in CASES.items():
        status, answered, content = await post(service, body, headers, **how)

        assert rows[reason]["Status"] == str(status), reason
        assert {"title", "status", "detail"} == set(content)
        assert set(spans(rows[reason]["Headers"])) == {
            f"{name}: {text}"
            for name, text in answered.items()
            if name not in ("Content-Type", "Content-Length", "Date")
        }
    assert {"malformed", "earlier_attempt_failed", "rate_limited"} == rows.keys() - CASES.keys()


async def test_checks_come_in_the_order_listed(service: Service) -> None:
    """A request that is wrong in every way is refused for one after the other as it is mended."""
    gzip = ("Content-Encoding", "gzip")
    unreadable = b"{"
    ignored = webhook(Event="test", ContextIdentifier="Cust3")
    wrong: list[tuple[bytes, Headers, dict[str, Any]]] = [
        (b"", [gzip], {"method": "PUT", "path": "/other", "length": 2001}),
        (b"", [gzip], {"method": "PUT", "length": 2001}),
        (b"", [gzip], {"length": 2001}),
        (b"", [], {"length": 2001}),
        (b"{", [], {"length": 100}),
        (unreadable, [], {}),
        (unreadable, signed(unreadable), {}),
        (ignored, signed(ignored), {}),
        (FOREIGN, signed(FOREIGN), {}),
        (BODY, signed(BODY), {}),
    ]
    answers = [(await post(service, body, headers, **how))[0] for body, headers, how in wrong]

    assert [404, 405, 415, 413, 408, 401, 503, 200, 403, 503] == answers


def test_the_order_of_checks_names_every_early_refusal() -> None:
    """The list of checks has the reasons of the table, but for those of JSON and of the end."""
    listed = re.findall(r"`([a-z_]+)`", section(PAGE, "Order of checks"))
    late = UNREADABLE.keys() | {"malformed"} | not_accepted()

    assert REFUSALS.keys() - late == set(listed) - {"test"}


async def test_members_of_readyz_are_listed(service: Service) -> None:
    """The page has every member, those of the spool with a dot, and no other."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{service.admin.url}/readyz") as page,
    ):
        content = await page.json()
    spool = {f"spool.{name}" for name in content.pop("spool")}

    assert spool | content.keys() == {
        span(row["Member of `/readyz`"]) for row in table(PAGE, "Admin listener", number=1)
    }


async def test_pages_of_the_admin_listener_are_listed(service: Service) -> None:
    """Those exist; any other page and method is answered as the page says."""
    rows = {span(row["Page"]) or row["Page"]: row for row in table(PAGE, "Admin listener")}
    pages = {"/healthz", "/readyz", "/metrics", "/contract"}
    async with aiohttp.ClientSession(service.admin.url) as session:
        for path in pages:
            async with session.get(path) as page:
                assert str(page.status) in rows[path]["Status"]
        for path in (await (await session.get("/contract")).json())["documents"]:
            async with session.get(path) as page:
                assert str(page.status) == rows["/contract/..."]["Status"]
        async with session.get("/other") as page:
            assert rows["any other"]["Status"] == str(page.status)
        async with session.post("/metrics") as page:
            assert rows["with another method"]["Status"] == str(page.status)
            assert page.headers["Allow"] in rows["with another method"]["Content"]

    others = {"any other", "with another method", "without the token"}
    assert pages | others | {"/contract/..."} == rows.keys()
