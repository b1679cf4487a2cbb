"""The OpenAPI document itself, for deployments of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import SecretBytes

from bridge.contract import payload
from bridge.contract.documents import document, encode
from bridge.core.errors import PayloadInvalid
from bridge.settings import EndpointSettings, ServerSettings, Settings
from bridge.superoffice.payload import parse
from tests.contract.generated import default_settings, examples, golden
from tests.strategies.webhooks import KNOWN

CROWDED = Settings(
    endpoints=(
        EndpointSettings(name="superoffice", path="/webhook"),
        EndpointSettings(name="open", path="/open", allow_unsigned=True),
        EndpointSettings(
            name="tests", path="/so/tests", contexts=("Cust1",), publish_test_events=True
        ),
        EndpointSettings(name="odd", path="/readyz"),
    ),
    server=ServerSettings(
        port=8443, tls_certificate=Path("server.pem"), admin_token=SecretBytes(b"t0ken")
    ),
)


def made(settings: Settings) -> dict[str, Any]:
    """Return the document for these settings, as who reads its file has it."""
    return dict(orjson.loads(encode(document("openapi.json", settings, examples()))))


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every operation."""
    items = document["paths"].values()
    return [found for item in items for key, found in item.items() if key != "servers"]


@pytest.mark.parametrize("settings", [default_settings(), CROWDED], ids=["default", "crowded"])
def test_it_is_openapi(settings: Settings) -> None:
    """It keeps to OpenAPI 3.1, and no two operations have the same id."""
    found = made(settings)
    ids = [operation["operationId"] for operation in operations(found)]

    assert [] == [*OpenAPIV31SpecValidator(found).iter_errors()]
    assert len(ids) == len(set(ids))


def test_a_path_of_both_listeners_names_the_server_of_each() -> None:
    """An endpoint may have the path of an admin page: POST goes to one, GET to the other."""
    item = made(CROWDED)["paths"]["/readyz"]
    urls = {method: operation["servers"][0]["url"] for method, operation in item.items()}

    assert {
        "post": "https://{host}:8443",
        "get": "http://{host}:8081",
        "head": "http://{host}:8081",
    } == urls


def test_what_a_request_needs() -> None:
    """A signature where the endpoint is signed; the token, which probes may leave out."""
    paths = made(CROWDED)["paths"]
    needed = {
        (path, method): operation["security"]
        for path, item in paths.items()
        for method, operation in item.items()
        if method != "servers"
    }

    assert [{"signature": []}] == needed["/webhook", "post"]
    assert [] == needed["/open", "post"]
    assert [{"token": []}] == needed["/metrics", "get"] == needed["/contract", "head"]
    assert [{}, {"token": []}] == needed["/healthz", "get"]
    assert "401" not in paths["/open"]["post"]["responses"]


def test_nobody_needs_a_token_that_there_is_not() -> None:
    """Without ``admin_token`` only webhooks need something."""
    secured = [one["tags"] for one in operations(made(default_settings())) if one["security"]]

    assert [["public"]] == secured


@pytest.mark.parametrize("name", golden())
def test_golden_requests_keep_to_the_schema(name: str) -> None:
    """The body is described as SuperOffice sends it."""
    jsonschema_rs.validate(payload.schema(), orjson.loads(golden()[name]["body"]))


def test_every_property_that_is_read_is_described() -> None:
    """The documented ones, and no other; a value of the type described is understood."""
    described = payload.schema()["properties"]
    date = "2026-03-02T09:15:27Z"
    values = {"string": date, "integer": 7, "array": ["name"], "object": {"a": 1}}
    body = {name: values[_type(schema)] for name, schema in described.items()}
    body |= {"Event": "any.thing", "Entity": "any"}

    assert set(KNOWN) == described.keys()
    assert {} == parse(orjson.dumps(body)).properties


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a property, the first if there are more."""
    first, *_ = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return str(first)


@pytest.mark.parametrize(
    "event", ["", " ", "\t\r\n", "\x1c\x1f", "\x85\xa0", "\u2003\u3000", "a", " a.b ", "\x00"]
)
def test_names_that_are_blank_are_no_names(event: str) -> None:
    """What the schema takes for the name of an event the bridge takes too."""
    body = {"Event": event}
    try:
        parse(orjson.dumps(body))
        is_read = True
    except PayloadInvalid:
        is_read = False

    assert jsonschema_rs.is_valid(payload.schema(), body) == is_read
