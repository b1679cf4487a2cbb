"""The OpenAPI 3.1 document: requests over HTTP, and every response to them.

The two listeners are two servers of one document. Each path names its server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge import __version__
from bridge.contract import pages, payload, responses
from bridge.contract.examples import Examples
from bridge.settings import EndpointSettings, Settings
from bridge.superoffice import headers

_ABOUT = """\
What the SuperOffice event bridge takes in over HTTP, and what it answers.

Two listeners: the public one has the paths of the webhooks and no other, with POST and no other \
method; the admin one is the operator's, with GET and HEAD. Any other path gets the response \
`NotFound`, any other method of HTTP `MethodNotAllowed`; of the admin listener `AdminNotFound` and \
`AdminMethodNotAllowed`. A method that HTTP does not know is malformed: 400.

**200 means: confirmed by the broker, or fsynced on disk.** An authentic delivery is never refused \
for its content: what is signed but is not a webhook is parked, and answered 200."""

_SIGNATURE = f"""\
base64 of the HMAC-SHA256 of the body's bytes, as they are on the wire. The key is the secret that \
the webhook was registered with, in UTF-8, neither trimmed nor decoded. 44 characters, in the one \
canonical spelling, in one `{headers.SIGNATURE}`."""


def document(settings: Settings, examples: Examples) -> dict[str, Any]:
    """Return the document for these settings."""
    receiving = {
        endpoint.path: {"servers": [_public(settings)], "post": _post(endpoint)}
        for endpoint in settings.endpoints
    }
    reading = {
        path: {"servers": [_admin(settings)], **operations}
        for path, operations in pages.operations(settings).items()
    }
    shared = {path: _joined(receiving[path], reading[path]) for path in receiving.keys() & reading}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SuperOffice event bridge: HTTP",
            "version": __version__,
            "summary": "Receiver of SuperOffice CRM webhooks, and the operator's pages.",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [_public(settings)],
        "tags": [
            {"name": "public", "description": "The listener that SuperOffice calls."},
            {"name": "admin", "description": "The listener of operators, probes and Prometheus."},
        ],
        "paths": receiving | reading | shared,
        "components": _components(settings, examples),
    }


def _joined(*items: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item of a path that both listeners have: its operations name their servers."""
    return {
        method: {**operation, "servers": item["servers"]}
        for item in items
        for method, operation in item.items()
        if method != "servers"
    }


def _post(endpoint: EndpointSettings) -> dict[str, Any]:
    return {
        "operationId": f"receive_{endpoint.name}",
        "summary": f"Take in a webhook of the endpoint {endpoint.name}.",
        "description": _described(endpoint),
        "tags": ["public"],
        "security": [] if endpoint.allow_unsigned else [{"signature": []}],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _parameters()],
        "requestBody": {"$ref": "#/components/requestBodies/Webhook"},
        "responses": responses.of_webhook(endpoint),
    }


def _described(endpoint: EndpointSettings) -> str:
    unreadable = (
        "Requests need no signature here. A body that is not a webhook is refused."
        if endpoint.allow_unsigned
        else "A signed body that is not a webhook is parked with its bytes, and answered 200."
    )
    test = "published like any other" if endpoint.publish_test_events else "answered, not published"
    return f"{unreadable} SuperOffice's `test` event is {test}."


def _components(settings: Settings, examples: Examples) -> dict[str, Any]:
    schemes: dict[str, Any] = {
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": headers.SIGNATURE,
            "description": _SIGNATURE,
        }
    }
    if settings.server.admin_token is not None:
        schemes["token"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of `admin_token`.",
        }
    return {
        "schemas": {
            "Webhook": payload.schema(),
            "Accepted": responses.accepted(),
            "Problem": responses.problem(),
            "Readiness": pages.readiness(settings),
        },
        "responses": responses.shared(settings, pages=pages.NAMES),
        "parameters": _parameters(),
        "requestBodies": {"Webhook": _body(settings, examples)},
        "securitySchemes": schemes,
    }


def _body(settings: Settings, examples: Examples) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Webhook"}}
    shown = payload.examples(examples)
    if shown:
        media["examples"] = {name: {"value": value} for name, value in shown.items()}
    return {
        "description": f"One event, up to {settings.server.max_body_bytes} bytes. They are taken as"
        " they come: without Content-Encoding, because the signature covers what is on the wire,"
        " and whatever the Content-Type.",
        "required": True,
        "content": {"application/json": media},
    }


def _parameters() -> dict[str, Any]:
    """Return the headers that are read. None is signed, so nothing in an event relies on them."""
    return {
        "Event": _header(
            headers.EVENT,
            "The name of the event. Compared with the body; a difference is counted.",
            "contact.created",
        ),
        "EventId": _header(
            headers.EVENT_ID,
            "The id of the event. Compared with the body; a difference is counted.",
            "0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11",
        ),
        "Retry": _header(
            headers.RETRY,
            "How many attempts came before. Passed on if it is a number of up to five digits.",
            "1",
        ),
        "Encoding": _header(
            "Content-Encoding",
            "The signature covers the bytes of the wire; nothing is decompressed.",
            "identity",
            schema={"const": "identity"},
        ),
        "Trace": _header(
            headers.TRACEPARENT,
            "A trace context (W3C). Passed on, or the parent of a span, if it is valid.",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    }


def _header(
    name: str, description: str, example: str, *, schema: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": schema or {"type": "string"},
        "example": example,
    }


def _server(scheme: str, port: int, description: str) -> dict[str, Any]:
    host = {"default": "localhost", "description": "Where the bridge runs, or what stands before."}
    return {
        "url": f"{scheme}://{{host}}:{port}",
        "description": description,
        "variables": {"host": host},
    }


def _public(settings: Settings) -> dict[str, Any]:
    scheme = "http" if settings.server.tls_certificate is None else "https"
    return _server(scheme, settings.server.port, "The public listener.")


def _admin(settings: Settings) -> dict[str, Any]:
    return _server("http", settings.server.admin_port, "The admin listener.")
