"""Holds messages to the contract: every test that takes one out of a queue comes by here.

The schemas let consumers meet members that they do not know; the bridge itself may not send any
that the contract does not name. So here the members are a closed list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import orjson

from bridge.contract import amqp, jsonschema
from bridge.core.message import CLOUDEVENTS_JSON
from bridge.core.reasons import Unreadable

SYNTHETIC = "text/x-synthetic"
"""The content type of messages that tests publish themselves: they keep no contract."""


def check_message(properties: Mapping[str, Any], headers: Mapping[str, Any], body: bytes) -> None:
    """Fail unless properties, headers and body are those of a message of the bridge.

    Of a raw route and of what was not understood the body is whatever was received.
    """
    _check("properties", properties)
    _check(_headers_of(headers), headers)
    if properties["content_type"] == CLOUDEVENTS_JSON:
        envelope = orjson.loads(body)
        _check("envelope", envelope)
        unclean = {name: text for name, text in envelope.items() if not _is_attribute(name, text)}
        assert not unclean, f"attributes that are not in visible ASCII: {unclean}"


def check_received(properties: Any, body: bytes) -> None:
    """Do so with a message as pika gives it; one that a test published itself is let through."""
    if properties.app_id == "superoffice-bridge" and properties.content_type != SYNTHETIC:
        names = amqp.PROPERTIES["properties"]
        given = {name: getattr(properties, name) for name in names}
        present = {name: value for name, value in given.items() if value is not None}
        # pika has a type of its own for 64-bit integers, and a quorum queue adds x-delivery-count.
        headers = {
            name: int(value) if isinstance(value, int) else value
            for name, value in properties.headers.items()
            if not name.startswith("x-")
        }
        check_message(present, headers, body)


def validator(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Return a validator that takes formats seriously."""
    return jsonschema_rs.Draft202012Validator(dict(schema), validate_formats=True)


def errors(checked: jsonschema_rs.Draft202012Validator, instance: Any) -> list[str]:
    """Return what is wrong, with the place."""
    return [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in checked.iter_errors(instance)
    ]


def _is_attribute(name: str, value: Any) -> bool:
    """Return whether it may be an attribute of a CloudEvent, as the bridge writes them."""
    return name == "data" or re.fullmatch(r"[!-~]+", value) is not None


def _headers_of(headers: Mapping[str, Any]) -> str:
    if headers.get("reason") in [*Unreadable]:
        return "not_understood_headers"
    if "reason" in headers:
        return "not_delivered_headers"
    return "unrouted_headers" if "original_exchange" in headers else "headers"


def _check(name: str, instance: Any) -> None:
    found = errors(_strict(name), instance)
    assert not found, f"{name} breaks the contract: {'; '.join(found)[:2000]}\n{instance}"


@cache
def _strict(name: str) -> jsonschema_rs.Draft202012Validator:
    if name == "properties":
        return validator(_closed(amqp.PROPERTIES))
    if name == "envelope":
        envelope = jsonschema.envelope({})
        kinds = {
            name: _closed(schema) if schema.get("type") == "object" else schema
            for name, schema in envelope["$defs"].items()
        }
        return validator(_closed({**envelope, "$defs": kinds}))
    return validator(_closed(amqp.HEADERS[name]))


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "additionalProperties": False}
