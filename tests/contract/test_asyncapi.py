"""The AsyncAPI document says where each message is, whatever the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bridge.contract import asyncapi
from bridge.contract.channels import channels
from bridge.core.message import (
    PARKED,
    UNROUTED,
    Message,
    event_message,
    refused_message,
    unrouted_message,
)
from bridge.core.routing import Router, Target
from bridge.settings import EndpointSettings, RouteSettings, Settings, load
from bridge.spool.rowcodec import row_of
from bridge.superoffice.catalogue import ENTITIES
from bridge.superoffice.names import source_uri
from tests.contract.generated import default_settings, examples
from tests.strategies.webhooks import delivered

ROUTED = Path(__file__).with_name("routed.toml")


def document_of(path: Path) -> Any:
    """Return the document of a configuration."""
    settings = load(path, {"SUPEROFFICE_SECRET": "s3cret"}).settings
    return asyncapi.document(settings, examples())


DEFAULT = asyncapi.document(default_settings(), examples())
CONFIGURED = document_of(ROUTED)

PUBLISHES_TESTS = EndpointSettings(name="oslo", path="/oslo", publish_test_events=True)

each_document = pytest.mark.parametrize(
    "document", [DEFAULT, CONFIGURED], ids=["default", "routed"]
)


def where(document: Any, channel: str) -> tuple[str, str]:
    """Return exchange and routing key of a channel."""
    found = document["channels"][channel]
    return found["bindings"]["amqp"]["exchange"]["name"], found["address"]


def references(node: Any) -> Iterator[str]:
    """Yield every reference below a node."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from [value] if key == "$ref" else references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


@each_document
def test_references_lead_somewhere(document):
    """Each is a pointer to something in the document itself."""
    for reference in set(references(document)):
        node = document
        for name in reference.removeprefix("#/").split("/"):
            node = node[name]


@each_document
def test_every_channel_is_sent_to(document):
    """Each has its operation, and each message is that of a channel."""
    sent = {operation["channel"]["$ref"] for operation in document["operations"].values()}
    used = {name for channel in document["channels"].values() for name in channel["messages"]}

    assert sent == {f"#/channels/{name}" for name in document["channels"]}
    assert used == document["components"]["messages"].keys()


@each_document
def test_examples_are_what_their_message_is(document):
    """Headers and payload; every golden event is an example once, but for those not published."""
    shown = []
    for message in document["components"]["messages"].values():
        for part in ("headers", "payload"):
            schema = {**message[part], "components": document["components"]}
            checked = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
            for example in message.get("examples", []):
                assert [] == [error.message for error in checked.iter_errors(example[part])]
        shown += [example["name"] for example in message.get("examples", [])]

    published = {"test"} if document is DEFAULT else set()
    assert len(shown) == len(examples()) - len(published)
    assert len(shown) == len(set(shown))


def test_every_action_of_every_entity_has_its_channel():
    """By default all are on one exchange, their routing key is their name, their type tells it."""
    for entity in ENTITIES:
        for action in entity.actions:
            name = f"{entity.name}.{action}"
            message = DEFAULT["components"]["messages"][name]

            assert ("superoffice", name) == where(DEFAULT, name)
            assert f"com.superoffice.{name}" == message["bindings"]["amqp"]["messageType"]
            assert "application/cloudevents+json" == message["contentType"]
    assert ("superoffice", "list.{name}.changed") == where(DEFAULT, "list.changed")
    assert ("superoffice", "y_{table}.changed") == where(DEFAULT, "extra_table.changed")
    assert ("superoffice", "{routing_key}") == where(DEFAULT, "any")
    assert "test" not in DEFAULT["channels"]


def test_routes_show():
    """The first that matches says where an event is; raw ones are webhooks as they came."""
    assert ("crm.contacts", "{context}.contact.created") == where(CONFIGURED, "contact.created")
    assert ("crm.contacts", "{context}.{entity}.{action}") == where(CONFIGURED, "route.1")
    assert ("crm.raw", "{routing_key}") == where(CONFIGURED, "route.2")
    assert ("crm", "money.{endpoint}.{primary_key}") == where(CONFIGURED, "sale.sold")
    assert ("crm.deleted", "sale.deleted") == where(CONFIGURED, "sale.deleted")
    assert ("crm.deleted", "y_{table}.deleted") == where(CONFIGURED, "extra_table.deleted")
    assert ("crm", "test") == where(CONFIGURED, "test")
    assert "route.3" not in CONFIGURED["channels"]
    raw = CONFIGURED["components"]["messages"]["route.2"]
    assert "application/json" == raw["contentType"]
    assert {"y_rental.created", "y_rental.changed", "y_rental.deleted"} == {
        example["name"] for example in raw["examples"]
    }


def test_a_route_that_takes_everything_leaves_no_rest():
    """No channel is there that nothing ever goes to."""
    matches = {"contact.*": "a", "#": "b", "x.*": "c"}
    routes = tuple(RouteSettings(match=key, exchange=value) for key, value in matches.items())

    assert {"a", "b"} == {one.route.exchange for one in channels(Settings(routes=routes))}


def test_an_event_without_an_action_has_a_key():
    """Where a route's key is the action alone, it is the name, as the router does it."""
    route = RouteSettings(match="test", exchange="crm", routing_key="{action}")
    settings = Settings(routes=(route,), endpoints=(PUBLISHES_TESTS,))

    assert ["test"] == [one.address for one in channels(settings) if one.name == "test"]


def test_brokers_show_without_credentials():
    """Host, port, protocol and virtual host, and that of the exchanges."""
    servers = CONFIGURED["servers"]
    binding = CONFIGURED["channels"]["any"]["bindings"]["amqp"]

    assert [("mq1.example.com:5671", "amqps", "/crm%2Fevents"), ("[::1]:5672", "amqp", "/")] == [
        (server["host"], server["protocol"], server["pathname"]) for server in servers.values()
    ]
    assert "crm/events" == binding["exchange"]["vhost"]
    assert "s3cret" not in json.dumps(CONFIGURED)
    assert "heartbeat" not in json.dumps(CONFIGURED)


@given(delivered(), st.booleans())
def test_what_is_kept_is_a_message_of_its_channel(pair, raw):
    """Of an event, raw or not, and of a row that is damaged: format, headers and body."""
    delivery, event = pair
    message = event_message(
        event, delivery=delivery, target=Target("crm", "a.b", raw), source=source_uri(event.context)
    )
    left = row_of((1, 0, 1, 0, "crm", "a.b", event.id, b"damaged", message.body)).message

    assert_in(UNROUTED, unrouted_message(message))
    for kept, reason in ((message, "refused"), (left, "spool_unreadable")):
        assert_in(PARKED, refused_message(kept, reason=reason, time="2026-03-02T09:15:27Z"))


def assert_in(channel: str, message: Message) -> None:
    """Fail unless one of the channel's messages is like this one."""
    names = CONFIGURED["channels"][channel]["messages"]
    described = [CONFIGURED["components"]["messages"][name] for name in names]
    found = [one for one in described if one["contentType"] == message.content_type]
    is_json = message.content_type != "application/octet-stream"
    body = orjson.loads(message.body) if is_json else message.body.hex()
    headers = dict(message.headers)

    assert any(
        checked(one["headers"]["$ref"]).is_valid(headers)
        and checked(one["payload"]["$ref"]).is_valid(body)
        for one in found
    )


@cache
def checked(reference: str) -> jsonschema_rs.Draft7Validator:
    """Return the validator of a schema of the document."""
    schema = {"$ref": reference, "components": CONFIGURED["components"]}
    return jsonschema_rs.Draft7Validator(schema, validate_formats=True)


ROUTES = st.builds(
    RouteSettings,
    match=st.sampled_from(("contact.*", "#", "*.changed", "list.#", "y_rental.*", "sale.sold")),
    exchange=st.sampled_from(("a", "b")),
    routing_key=st.sampled_from(("{entity}.{action}", "{context}.{action}", "x.{primary_key}")),
    format=st.sampled_from(("cloudevents", "raw")),
)


@given(delivered(), st.lists(ROUTES, max_size=3))
def test_every_message_is_in_a_channel(pair, routes):
    """Its exchange, format and routing key are those of a channel, unless the key was shortened."""
    delivery, event = pair
    settings = Settings(routes=tuple(routes), endpoints=(PUBLISHES_TESTS,))
    target = Router(settings.router_routes(), exchange="superoffice").target(event)
    assume("." in event.name and len(target.routing_key) < 200)
    found = channels(settings)

    assert any(
        (target.exchange, target.raw) == (channel.route.exchange, channel.route.raw)
        and re.fullmatch(pattern(channel.address), target.routing_key)
        for channel in found
    )
    message = event_message(
        event, delivery=delivery, target=target, source=source_uri(event.context)
    )
    assert target.raw or orjson.loads(message.body)["type"] == message.type


def pattern(address: str) -> str:
    """Return the regular expression of an address whose parameters may be anything."""
    return re.sub(r"\\\{\w+\\\}", ".*", re.escape(address))
