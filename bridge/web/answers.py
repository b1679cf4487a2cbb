"""Every rejection that either listener can send, and the words of a 200. OpenAPI is made of these.

There is no 410, which would disable the webhook for good, no redirect, and no 2xx but 200.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.core.reasons import RejectReason, Status, Unreadable
from bridge.superoffice.headers import SIGNATURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A response that is not 200.

    ``detail`` is for the client, ``when`` for readers of the contract. ``detail`` and the values of
    ``headers`` may have places for values, such as ``{seconds}``. With ``close`` the connection
    ends behind it.
    """

    status: int
    detail: str
    when: str
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False

    def problem(self, **values: Any) -> dict[str, Any]:
        """Return its body, a problem of RFC 9457."""
        detail = self.detail.format(**values)
        return {"title": TITLES[self.status], "status": self.status, "detail": detail}


PROBLEM: Final = "application/problem+json"
"""The media type of every rejection. Only ``/readyz`` also has a 503 with a body of its own."""

TITLES: Final[Mapping[int, str]] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
"""The reason phrases of RFC 9110 and 6585. Python has them too, but they vary with its version."""

ACCEPTED: Final[Mapping[str, str]] = {
    Status.PUBLISHED: "Confirmed by the broker, in at least one queue.",
    Status.UNROUTED: "Confirmed by the broker, but no queue was bound: now in"
    " `superoffice.unrouted`.",
    Status.SPOOLED: "On disk, fsynced: the broker is away, refuses it, is slower than the"
    " deadline, or earlier events wait.",
    Status.DUPLICATE: "Accepted already, within the window of `[dedup]`.",
    Status.IGNORED: "SuperOffice's `test` event.",
    Status.PARKED: "Authentic, but not a webhook: now in `superoffice.parked`, or on disk on its"
    " way there.",
}
"""Meaning of a 200, by its member ``status``."""

UNREADABLE: Final[Mapping[str, str]] = {
    Unreadable.NOT_UTF8: "The body is not UTF-8.",
    Unreadable.NOT_JSON: "The body is not JSON, or has a number, a string or a depth that cannot"
    " be read.",
    Unreadable.NOT_OBJECT: "The JSON is not an object.",
    Unreadable.NO_EVENT: "`Event` is absent, not a string, or blank.",
}
"""Why a body is not a webhook. A signed one is parked, any other is rejected with 400."""

_CHALLENGE = {"WWW-Authenticate": 'SuperOffice-Signature realm="webhook"'}
_LATER = {"Retry-After": "5"}


def _unreadable(reason: str, when: str) -> Rejection:
    detail = f"The body is not a SuperOffice webhook: {reason}."
    return Rejection(status=400, detail=detail, when=f"Only with `allow_unsigned`: {when}")


def _unsigned(reason: str, when: str) -> Rejection:
    detail = f"{SIGNATURE} is {reason}."
    return Rejection(status=401, detail=detail, when=when, headers=_CHALLENGE)


def _not_accepted(when: str) -> Rejection:
    detail = "The event cannot be stored now; try again."
    return Rejection(status=503, detail=detail, when=when, headers=_LATER)


REJECTIONS: Final[Mapping[str, Rejection]] = {
    RejectReason.PATH: Rejection(
        status=404,
        detail="No endpoint has this path.",
        when="No endpoint has this path; a slash more is another path.",
    ),
    RejectReason.METHOD: Rejection(
        status=405,
        detail="Webhooks are sent with POST.",
        when="Not a POST.",
        headers={"Allow": "POST"},
    ),
    RejectReason.ENCODING: Rejection(
        status=415,
        detail="Send the body without Content-Encoding: the signature covers its bytes.",
        when="Content-Encoding other than `identity`: the signature covers the bytes of the wire.",
        headers={"Accept-Encoding": "identity"},
        close=True,
    ),
    RejectReason.SIZE: Rejection(
        status=413,
        detail="The body is larger than {bytes} bytes.",
        when="The body is larger than `max_body_bytes`.",
        close=True,
    ),
    RejectReason.TIMEOUT: Rejection(
        status=408,
        detail="The body was not complete within {seconds:g} s.",
        when="The body was not complete within `read_timeout_seconds`.",
        close=True,
    ),
    RejectReason.MALFORMED: Rejection(
        status=400,
        detail="The body is not valid HTTP, or ended early.",
        when="The body breaks the rules of HTTP, or the sender hung up before it was complete.",
        close=True,
    ),
    RejectReason.SIGNATURE_MISSING: _unsigned("missing", "The request has no signature."),
    RejectReason.SIGNATURE_REPEATED: _unsigned(
        "repeated", "The request has more than one signature."
    ),
    RejectReason.SIGNATURE_MALFORMED: _unsigned(
        "malformed", "The signature is not the base64 of 32 bytes."
    ),
    RejectReason.SIGNATURE_MISMATCH: _unsigned(
        "mismatch", "Signed with another secret, or the body was changed on its way."
    ),
    RejectReason.RATE_LIMITED: Rejection(
        status=429,
        detail="Too many requests failed the signature.",
        when="The signature is missing or wrong, and so it was in `max_signature_failures` requests"
        " of the same source before. What is signed never gets this.",
        headers={"Retry-After": "{seconds}"},
    ),
    **{reason: _unreadable(reason, when) for reason, when in UNREADABLE.items()},
    RejectReason.CONTEXT: Rejection(
        status=403,
        detail="This endpoint does not accept the body's ContextIdentifier.",
        when="A ContextIdentifier is there and is not one of the endpoint's `contexts`.",
    ),
    RejectReason.UNAVAILABLE: _not_accepted("Neither broker nor disk takes the event."),
    RejectReason.EARLIER_ATTEMPT_FAILED: _not_accepted(
        "The same event was under way when this attempt came, and failed."
    ),
}
"""What the receiver rejects, by reason, in the order of its checks."""

SERVER_REJECTIONS: Final[Mapping[str, Rejection]] = {
    "request_malformed": Rejection(
        status=400,
        detail="The request is not valid HTTP/1.1.",
        when="The request breaks the rules of HTTP, or its head is too large.",
        close=True,
    ),
    "request_failed": Rejection(
        status=500,
        detail="The request failed; the cause is in the service's log.",
        when="A defect of the bridge.",
        close=True,
    ),
    "memory_exhausted": Rejection(
        status=503,
        detail="There is no memory left for the request; try again.",
        when="There was no memory left for the request.",
        headers=_LATER,
        close=True,
    ),
    "connections_refused": Rejection(
        status=503,
        detail="There are too many connections; try again.",
        when="There are too many connections; nothing was read.",
        headers=_LATER,
        close=True,
    ),
}
"""What either listener answers without its handler, by the action that is logged."""

ADMIN_REJECTIONS: Final[Mapping[str, Rejection]] = {
    "token": Rejection(
        status=401,
        detail="Send the token of the admin listener.",
        when="`admin_token` is configured, and the request does not have it.",
        headers={"WWW-Authenticate": 'Bearer realm="admin"'},
    ),
    "path": Rejection(
        status=404,
        detail="There are {pages}.",
        when="There is no such page.",
    ),
    "method": Rejection(
        status=405,
        detail="Read with GET.",
        when="Neither GET nor HEAD.",
        headers={"Allow": "GET, HEAD"},
        close=True,
    ),
}
"""What the admin listener rejects, in the order of its checks."""
