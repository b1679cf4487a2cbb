"""The responses in OpenAPI's form, made from the tables that the listeners use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from bridge.core.reasons import Status, Unreadable
from bridge.settings import EndpointSettings, Settings
from bridge.web.answers import (
    ACCEPTED,
    ADMIN_REJECTIONS,
    PROBLEM,
    REJECTIONS,
    SERVER_REJECTIONS,
    TITLES,
    UNREADABLE,
    Rejection,
)


def accepted() -> dict[str, Any]:
    """Return the schema of a 200 for a webhook."""
    usual = [status for status in ACCEPTED if status != Status.PARKED]
    identifier = {
        "description": "The id of the message, the same for every attempt.",
        "type": "string",
        "minLength": 1,
    }
    parked = {
        "status": {"const": Status.PARKED},
        "id": identifier,
        "reason": {"description": _list(UNREADABLE), "enum": list(UNREADABLE)},
    }
    return {
        "title": "Accepted",
        "description": _list(ACCEPTED),
        "oneOf": [
            closed({"status": {"enum": usual}, "id": identifier}),
            closed(parked),
        ],
    }


def problem() -> dict[str, Any]:
    """Return the schema of every other response to a webhook: a problem as in RFC 9457."""
    return {
        "title": "Problem",
        "description": "Says nothing of the request, and no secret.",
        **closed(
            {
                "title": {"type": "string", "enum": list(TITLES.values())},
                "status": {"type": "integer", "enum": list(TITLES)},
                "detail": {"type": "string", "minLength": 1},
            }
        ),
    }


def closed(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with exactly these members."""
    return {
        "type": "object",
        "required": list(members),
        "properties": dict(members),
        "additionalProperties": False,
    }


def of_webhook(endpoint: EndpointSettings) -> dict[str, Any]:
    """Return the responses to a webhook, by status."""
    refusals = {**REJECTIONS, **SERVER_REJECTIONS}
    never = {404, 405, 401, 429} if endpoint.allow_unsigned else {404, 405}
    statuses = sorted({refusal.status for refusal in refusals.values()} - never)
    return {"200": _reference("Accepted"), **_references(statuses)}


def of_page(*reasons: str) -> dict[str, Any]:
    """Return what is answered in place of a page of the admin listener, by status.

    ``reasons`` are those of the listener that can come in addition to those of any server.
    """
    refusals = [*SERVER_REJECTIONS.values(), *(ADMIN_REJECTIONS[reason] for reason in reasons)]
    return _references(sorted(refusal.status for refusal in refusals), prefix=_ADMIN)


def or_busy(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a 503 that is either the page's own answer or the server's."""
    own = {reason: one for reason, one in SERVER_REJECTIONS.items() if one.status == 503}
    busy = _response(own, {})
    headers = {name: header | {"required": False} for name, header in busy["headers"].items()}
    return {
        "description": f"{answer['description']} Or, as a problem:\n{busy['description']}",
        "headers": headers,
        "content": {**answer["content"], **busy["content"]},
    }


def _references(statuses: Iterable[int], prefix: str = "") -> dict[str, Any]:
    return {f"{status}": _reference(_name(status, prefix)) for status in statuses}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{name}"}


def _name(status: int, prefix: str) -> str:
    return prefix + TITLES[status].replace(" ", "")


def shared(settings: Settings, *, pages: Iterable[str]) -> dict[str, Any]:
    """Return all responses of both listeners, including those that belong to no operation."""
    values = {
        "bytes": settings.server.max_body_bytes,
        "seconds": settings.server.read_timeout_seconds,
        "pages": ", ".join(pages),
    }
    return {
        "Accepted": _accepted(),
        **_by_status({**REJECTIONS, **SERVER_REJECTIONS}, values, prefix=""),
        **_by_status({**ADMIN_REJECTIONS, **SERVER_REJECTIONS}, values, prefix=_ADMIN),
    }


def _accepted() -> dict[str, Any]:
    answers = {status: {"status": status, "id": _ID} for status in ACCEPTED}
    answers[Status.PARKED] |= {"id": _HASH, "reason": Unreadable.NOT_JSON}
    return {
        "description": "The event is safe: the broker has confirmed it, or it is on disk, or it is"
        " a repeat of one that is; or it is a test.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Accepted"},
                "examples": {status: {"value": value} for status, value in answers.items()},
            }
        },
    }


def _by_status(
    refusals: Mapping[str, Rejection], values: Mapping[str, Any], *, prefix: str
) -> dict[str, Any]:
    ordered = sorted(refusals.items(), key=lambda item: item[1].status)
    return {
        _name(status, prefix): _response(dict(group), values)
        for status, group in groupby(ordered, key=lambda item: item[1].status)
    }


def _response(refusals: Mapping[str, Rejection], values: Mapping[str, Any]) -> dict[str, Any]:
    examples = {reason: {"value": one.problem(**values)} for reason, one in refusals.items()}
    return {
        "description": _list({reason: one.when for reason, one in refusals.items()}),
        "headers": _headers(list(refusals.values())),
        "content": {
            PROBLEM: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": examples,
            }
        },
    }


def _headers(refusals: Sequence[Rejection]) -> dict[str, Any]:
    """Return the headers of some of the refusals; one that all of them have is required."""
    all_given = [{**one.headers, **(_CLOSE if one.close else {})} for one in refusals]
    names = dict.fromkeys(name for given in all_given for name in given)
    return {
        name: {
            "description": _MEANINGS[name],
            "required": all(name in given for given in all_given),
            "schema": _value({given[name] for given in all_given if name in given}),
        }
        for name in names
    }


def _value(texts: set[str]) -> dict[str, Any]:
    if all(text.isdecimal() or "{" in text for text in texts):
        return {"type": "integer", "minimum": 1}
    return {"type": "string", "enum": sorted(texts)}


def _list(items: Mapping[str, str]) -> str:
    return "\n".join(f"- `{name}`: {text}" for name, text in items.items())


_ADMIN: Final = "Admin"
_CLOSE: Final = {"Connection": "close"}
_ID: Final = "0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11.5ae6e8a8cf0e6d880dcf24dd297256c1"
_HASH: Final = "sha256-021fb596db81e6d02bf3d2586ee3981fe519f275c0ac9ca76bbcf2ebb4097d96"
_MEANINGS: Final = {
    "Accept-Encoding": "What is taken.",
    "Allow": "What is taken.",
    "Connection": "The connection ends with this answer.",
    "Retry-After": "How many seconds to wait.",
    "WWW-Authenticate": "What is missing.",
}
