"""docs/reference/http.md lists every answer, in the order of the checks."""

from __future__ import annotations

import ast
import re
from typing import Any

import aiohttp
from aiohttp import hdrs

from bridge.core.publish import Outcome
from bridge.core.reasons import RejectReason, Status, Unreadable
from bridge.service import Service
from bridge.superoffice import headers as superoffice
from bridge.web import receiver
from bridge.web.answers import ACCEPTED, REJECTIONS, SERVER_REJECTIONS, UNREADABLE
from tests.project.docs.documents import Row, items, section, span, spans, table
from tests.project.docs.requests import BODY, CASES, FOREIGN, Headers, post, signed, webhook
from tests.project.docs.source import calls, first_texts

PAGE = "reference/http.md"


LATE = {*Unreadable, RejectReason.UNAVAILABLE, RejectReason.EARLIER_ATTEMPT_FAILED}
"""Reasons that the list of checks does not name one by one."""


def accepted() -> set[str]:
    """Return what can stand in the member ``status`` of a 200."""
    return {span(row["`status`"]) for row in table(PAGE, "Accepted: 200")}


def rejected() -> dict[str, Row]:
    """Return the line of each reason; answers that differ in nothing else share one."""
    rows = table(PAGE, "Rejected")
    return {spans(part)[0]: row for row in rows for part in row["Reason"].split("<br>")}


def test_every_reason_has_its_answer() -> None:
    """The receiver finds each of them, and there is no answer that it never gives."""
    assert {*RejectReason, *Unreadable} == set(REJECTIONS)
    assert set(Status) == set(ACCEPTED)
    assert set(Unreadable) == set(UNREADABLE)
    assert Outcome(RejectReason.UNAVAILABLE) is Outcome.NOT_SENT


def test_every_refusal_is_listed() -> None:
    """Each status with its reason has a line, and no line is without."""
    listed = {reason: int(row["Status"]) for reason, row in rejected().items()}

    assert {reason: one.status for reason, one in REJECTIONS.items()} == listed


def test_every_status_of_an_accepted_event_is_listed() -> None:
    """What can stand in the member ``status`` of a 200 has a line, and nothing else has."""
    assert set(Status) == accepted()


def test_answers_of_the_server_itself_are_listed() -> None:
    """Malformed HTTP and our own defects are logged under the actions that the page names."""
    rows = table(PAGE, "Rejected", number=1)

    listed = {span(row["When"]): row["Status"] for row in rows}
    assert listed == {action: f"{one.status}" for action, one in SERVER_REJECTIONS.items()}
    assert listed.keys() == {
        action
        for name in ("log.warning", "log.error")
        for action in first_texts(name, "web/server.py")
    }


def test_every_header_that_is_read_is_listed() -> None:
    """The page names the headers that the bridge looks at, and no other."""
    scope = {
        **vars(receiver),
        **vars(superoffice),
        **{f"hdrs.{name}": value for name, value in vars(hdrs).items()},
    }
    reads = [
        ast.unparse(call.args[0])
        for reader in ("headers.get", "headers.getall")
        for name in (reader, f"request.{reader}")
        for call in calls(name, "web/receiver.py", "superoffice/headers.py")
    ]
    read = {ast.literal_eval(name) if name[0] in "'\"" else str(scope[name]) for name in reads}

    listed = items(section(PAGE, "Headers of the request"))

    assert read | {"Content-Length"} == {span(name) for name in listed}


async def test_refusals_are_answered_as_listed(service: Service) -> None:
    """Status and headers of each line are those on the wire, and the content is a problem."""
    rows = rejected()
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

    assert REJECTIONS.keys() - LATE - {RejectReason.MALFORMED} == set(listed) - {"test"}


async def test_members_of_readyz_are_listed(service: Service) -> None:
    """The page has every member, those of the spool with a dot, and no other."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{service.admin.url}/readyz") as page,
    ):
        content = await page.json()
    spool = {f"spool.{name}" for name in content.pop("spool")}

    listed = items(section(PAGE, "Admin listener").partition("Members of `/readyz`")[2])

    assert spool | content.keys() == {spans(name)[0] for name in listed}


async def test_pages_of_the_admin_listener_are_listed(service: Service) -> None:
    """Those exist; any other page and method is answered as the page says."""
    listed = items(section(PAGE, "Admin listener").partition("`bridge health`")[0])
    answers = {span(name) or name: text for name, text in listed.items()}
    pages = {"/healthz", "/readyz", "/metrics", "/contract"}
    async with aiohttp.ClientSession(service.admin.url) as session:
        for path in pages:
            async with session.get(path) as page:
                assert str(page.status) in answers[path]
        for path in (await (await session.get("/contract")).json())["documents"]:
            async with session.get(path) as page:
                assert answers["/contract/..."].startswith(f"{page.status}, ")
        async with session.get("/other") as page:
            assert answers["any other"].startswith(f"{page.status}, ")
        async with session.post("/metrics") as page:
            assert answers["with another method"].startswith(f"{page.status}, ")
            assert f"`Allow: {page.headers['Allow']}`" in answers["with another method"]

    others = {"any other", "with another method", "without the token"}
    assert pages | others | {"/contract/..."} == answers.keys()
