"""Each answer on the wire is one that the OpenAPI document has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema_rs
import pytest

from bridge.contract import openapi
from bridge.contract.rendering import Documents
from bridge.metrics import Metrics
from bridge.service import Service
from bridge.settings import Settings, load
from bridge.web.admin import Admin
from bridge.web.answers import PROBLEM, REJECTIONS
from tests.project.docs.requests import BODY, CASES, ENDPOINTS, ENVIRON, post

EVERYWHERE = {"Content-Length", "Content-Type", "Date"}
"""The headers that no description of an answer names."""

NO_OPERATION = {"path": "NotFound", "method": "MethodNotAllowed"}
"""The answers to what the document has no operation for, by reason."""


SCHEMAS = "/contract/schemas/{file}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of the service that the requests go to, but for where things are."""
    (tmp_path / "bridge.toml").touch()
    return load(tmp_path / "bridge.toml", ENVIRON).settings


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document of that service."""
    return openapi.document(settings, {})


def resolved(document: Mapping[str, Any], item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a reference leads to, and anything else as it is."""
    while "$ref" in item:
        found: Any = document
        for name in item["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        item = found
    return item


def is_valid(document: Mapping[str, Any], schema: Mapping[str, Any], value: object) -> bool:
    """Return whether a value keeps to a schema of the document."""
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(whole).is_valid(value)


def conforms(
    document: Mapping[str, Any],
    described: Mapping[str, Any],
    headers: Mapping[str, str],
    content: Any,
) -> None:
    """Fail unless an answer has the content, and neither more nor fewer headers, of a response."""
    response = resolved(document, described)
    media = response["content"][headers["Content-Type"].partition(";")[0]]
    named = response.get("headers", {})

    assert is_valid(document, media["schema"], content), (content, media)
    assert {name for name, header in named.items() if header["required"]} <= headers.keys()
    assert headers.keys() - EVERYWHERE <= named.keys()
    for name in headers.keys() & named.keys():
        schema, text = named[name]["schema"], headers[name]
        assert is_valid(document, schema, int(text) if text.isdecimal() else text), (name, text)


@pytest.mark.parametrize("reason", CASES)
async def test_a_refusal_is_one_of_the_document(
    service: Service, document: dict[str, Any], reason: str
) -> None:
    """Status, content and headers of each are those of the operation, and of an example."""
    body, headers, how = CASES[reason]
    status, answered, content = await post(service, body, headers, **how)
    if reason in NO_OPERATION:
        described = document["components"]["responses"][NO_OPERATION[reason]]
    else:
        path = how.get("path", "/webhook")
        described = document["paths"][path]["post"]["responses"][f"{status}"]

    conforms(document, described, answered, content)
    [media] = resolved(document, described)["content"].values()
    assert content == media["examples"][reason]["value"]
    assert status == REJECTIONS[reason].status


async def test_malformed_http_is_in_the_document(
    service: Service, document: dict[str, Any]
) -> None:
    """Either listener closes the connection, as the description of the admin's says."""
    answer = await post(service, BODY, [], method="NO SUCH")
    responses = document["components"]["responses"]

    conforms(document, responses["BadRequest"], *answer[1:])
    conforms(document, responses["AdminBadRequest"], *answer[1:])
    assert 400 == answer[0]


def test_admin_pages_are_those_of_the_listener(
    settings: Settings, document: dict[str, Any]
) -> None:
    """The document has each of them and no other."""
    reading = {path: item["get"] for path, item in document["paths"].items() if "get" in item}
    listed = [path for path in reading if "{" not in path]
    listed += [SCHEMAS.format(file=name) for name in schema_files(document)]
    documents = Documents(settings)
    admin = Admin(status=dict, metrics=Metrics(), documents=documents, token=None)

    assert sorted(admin.paths) == sorted(listed)


def schema_files(document: Mapping[str, Any]) -> list[str]:
    """Return the names that can stand for the parameter of the path of schemas."""
    [parameter] = document["paths"][SCHEMAS]["get"]["parameters"]
    return list(parameter["schema"]["enum"])


def test_public_paths_are_those_of_the_endpoints(document: dict[str, Any]) -> None:
    """Each endpoint has its path in the document, and no other path takes a POST."""
    posting = {path for path, item in document["paths"].items() if "post" in item}

    assert posting == {endpoint["path"] for endpoint in ENDPOINTS}


async def test_admin_pages_answer_as_the_document_says(
    service: Service, document: dict[str, Any]
) -> None:
    """The answer to GET is as described, and HEAD has the same headers."""
    for path, item in document["paths"].items():
        if "get" in item:
            url = path.format(file="contact.json")
            status, headers, content = await ask(service, "GET", url)
            conforms(document, item["get"]["responses"][f"{status}"], headers, content)
            head = await ask(service, "HEAD", url)

            assert (status, headers["Content-Type"]) == (head[0], head[1]["Content-Type"])


async def test_other_admin_requests_answer_as_the_document_says(
    service: Service, document: dict[str, Any]
) -> None:
    """Other pages and other methods have no operation, but their answers are there."""
    named = document["components"]["responses"]
    for method, path, name, status in (
        ("GET", "/other", "AdminNotFound", 404),
        ("POST", "/metrics", "AdminMethodNotAllowed", 405),
    ):
        answer = await ask(service, method, path)
        conforms(document, named[name], *answer[1:])
        [example] = named[name]["content"][PROBLEM]["examples"].values()

        assert (status, example["value"]) == (answer[0], answer[2])


async def ask(service: Service, method: str, path: str) -> tuple[int, Mapping[str, str], Any]:
    """Ask the admin listener; return status, headers and content, as JSON if it is JSON."""
    async with (
        aiohttp.ClientSession(service.admin.url) as session,
        session.request(method, path) as answer,
    ):
        text = await answer.text()
        is_json = text and answer.content_type.endswith("json")
        return answer.status, dict(answer.headers), json.loads(text) if is_json else text
