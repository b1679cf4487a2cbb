"""The pages of the admin listener, in OpenAPI's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.contract import responses
from bridge.contract.names import DOCUMENTS
from bridge.settings import Settings

CONTRACT: Final = "/contract"
"""Path of the list of documents. The documents are below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """One page. ``answers`` has the meaning of each status.

    A ``probe`` is answered without a token, too.
    """

    name: str
    summary: str
    answers: Mapping[int, str]
    media: str
    schema: Mapping[str, Any]
    probe: bool = False
    parameters: list[dict[str, Any]] = field(default_factory=list)


def operations(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the operations of every page, by its path."""
    pages = {**_PAGES, **_contract_pages()}
    return {path: _operations(settings, page) for path, page in pages.items()}


def readiness(settings: Settings) -> dict[str, Any]:
    """Return the schema of ``/readyz``. Requests without a needed token see only ``ready``."""
    members = {
        "ready": {"description": "Whether a 200 can be earned now.", "type": "boolean"},
        "broker": {"enum": ["up", "blocked", "down"]},
        "topology": {"enum": ["verified", "pending", "mismatch"]},
        "spool": responses.closed(
            {
                "events": {"description": "Events on disk.", "type": "integer", "minimum": 0},
                "bytes": {
                    "description": "What they count against `max_bytes`.",
                    "type": "integer",
                    "minimum": 0,
                },
                "oldest_seconds": {
                    "description": "Age of the oldest.",
                    "type": "number",
                    "minimum": 0,
                },
            }
        ),
        "aside": {
            "description": "Where events wait that RabbitMQ does not take, the first twenty.",
            "type": "array",
            "items": responses.closed(
                {
                    "exchange": {"type": "string"},
                    "key": {"description": "Routing key, or event type.", "type": "string"},
                    "why": {"enum": ["refused", "silent", "closes", "gone"]},
                    "full": {
                        "description": "Whether events for it are answered 503.",
                        "type": "boolean",
                    },
                }
            ),
        },
    }
    required = ["ready"] if settings.server.admin_token else list(members)
    return {"title": "Readiness", **responses.closed(members), "required": required}


def _operations(settings: Settings, page: _Page) -> dict[str, Any]:
    trusted: dict[str, Any] = {"token": []}
    security = [{}, trusted] if page.probe else [trusted]
    operation: dict[str, Any] = {
        "summary": page.summary,
        "tags": ["admin"],
        "security": security if settings.server.admin_token else [],
        "responses": _answers(settings, page),
    }
    if page.parameters:
        operation["parameters"] = page.parameters
    return {
        "get": {"operationId": f"get_{page.name}", **operation},
        "head": {"operationId": f"head_{page.name}", **operation},
    }


def _answers(settings: Settings, page: _Page) -> dict[str, Any]:
    own = {
        f"{status}": {"description": about, "content": {page.media: {"schema": page.schema}}}
        for status, about in page.answers.items()
    }
    others = responses.of_page(
        *(["token"] if settings.server.admin_token and not page.probe else []),
        *(["path"] if page.parameters else []),
    )
    both = {status: responses.or_busy(own[status]) for status in own.keys() & others.keys()}
    return dict(sorted({**others, **own, **both}.items()))


def _contract_pages() -> dict[str, _Page]:
    """Return the pages of the documents. Documents in a directory share a page with a parameter."""
    by_directory: dict[str, list[str]] = {}
    for file in DOCUMENTS:
        directory, _, name = file.rpartition("/")
        by_directory.setdefault(directory, []).append(name)
    single = by_directory.pop("", [])
    return {f"{CONTRACT}/{name}": _document(name) for name in single} | {
        f"{CONTRACT}/{directory}/{{file}}": _document(directory, names)
        for directory, names in by_directory.items()
    }


def _document(name: str, files: Sequence[str] = ()) -> _Page:
    file = {
        "name": "file",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": list(files)},
    }
    return _Page(
        name=f"contract_{name.partition('.')[0]}",
        summary=f"The document {name} of the contract." if not files else f"One of the {name}.",
        answers={200: "The document."},
        media="application/json",
        schema={"type": "object"},
        parameters=[file] if files else [],
    )


_PAGES: Final[Mapping[str, _Page]] = {
    "/healthz": _Page(
        name="health",
        summary="Whether the process answers.",
        answers={200: "It does."},
        media="application/json",
        schema=responses.closed({"status": {"const": "alive"}}),
        probe=True,
    ),
    "/readyz": _Page(
        name="readiness",
        summary="Whether events can be accepted durably.",
        answers={200: "They can.", 503: "Neither broker nor disk takes any."},
        media="application/json",
        schema={"$ref": "#/components/schemas/Readiness"},
        probe=True,
    ),
    "/metrics": _Page(
        name="metrics",
        summary="What was counted, for Prometheus.",
        answers={200: "The text format of Prometheus."},
        media="text/plain",
        schema={"type": "string"},
    ),
    CONTRACT: _Page(
        name="documents",
        summary="Where the documents of the contract are.",
        answers={200: "Their paths."},
        media="application/json",
        schema=responses.closed(
            {"documents": {"type": "array", "items": {"type": "string", "minLength": 1}}}
        ),
    ),
}
"""Pages that do not depend on the settings, in the order of the listener."""

NAMES: Final = tuple(_PAGES)
