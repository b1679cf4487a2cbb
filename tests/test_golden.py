"""Every golden request end to end: over HTTP, through RabbitMQ, to an independent consumer."""

import json
import re
import urllib.parse
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.helpers import amqp, drain

SAMPLES = sorted(path.parent for path in Path(__file__).parent.glob("samples/*/body.*"))


class Golden:
    """One golden request and what is expected of it."""

    def __init__(self, directory):
        request = json.loads((directory / "request.json").read_text())
        [body] = directory.glob("body.*")
        self.name = directory.name
        self.body = body.read_bytes()
        self.secret = request["secret"]
        self.headers = request["headers"]
        self.expected = json.loads((directory / "expected.json").read_text())

    @property
    def is_test(self):
        """Return whether it is the sender's test, which is not published."""
        return self.expected["name"] == "test"


GOLDEN = [Golden(directory) for directory in SAMPLES]
EVENTS = {golden.expected["id"]: golden for golden in GOLDEN if not golden.is_test}


@pytest.fixture
async def delivered(serving, broker):
    """Send every golden request and return what three consumers received."""
    bindings = {"all": "#", "deleted": "contact.deleted", "associates": "associate.*"}
    with amqp(broker) as channel:
        channel.exchange_declare("superoffice", "topic", durable=True)
        for queue, key in bindings.items():
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, "superoffice", key)
    answers = {}
    async with serving(secret=GOLDEN[0].secret.encode()) as client, aiohttp.ClientSession() as http:
        for golden in GOLDEN:
            url = f"{client.service.listener.url}/webhook"
            async with http.post(url, data=golden.body, headers=golden.headers) as response:
                answers[golden.name] = response.status, (await response.json())["status"]
    return answers, {queue: drain(broker, queue) for queue in bindings}


def test_there_are_samples():
    """The directory is found, its ids are distinct, and all share the secret."""
    assert len(GOLDEN) >= 60
    assert len(EVENTS) == sum(not golden.is_test for golden in GOLDEN)
    assert {golden.secret for golden in GOLDEN} == {GOLDEN[0].secret}


async def test_golden_requests_arrive_as_expected(delivered):
    """Each is answered 200, and arrives as the CloudEvent and with the properties it should."""
    answers, received = delivered
    expected = {g.name: (200, "ignored" if g.is_test else "published") for g in GOLDEN}
    assert answers == expected

    found = {
        properties.message_id: (m, properties, body) for m, properties, body in received["all"]
    }
    assert set(EVENTS) == set(found)
    assert len(received["all"]) == len(EVENTS)
    for event_id, (method, properties, body) in found.items():
        check_message(EVENTS[event_id].expected, method, properties, json.loads(body))


def check_message(expected, method, properties, envelope):
    """Compare one message with its golden event, by the words of the contract."""
    entity, action = expected["entity"], expected["action"]
    key = encoded(f"{entity}.{action}" if action else entity)
    context = expected["context"] or "unknown"
    assert method.routing_key == key
    assert properties.type == envelope["type"] == f"com.superoffice.{key}"
    assert "application/cloudevents+json" == properties.content_type
    assert "1.0" == envelope["specversion"]
    assert envelope["id"] == expected["id"]
    assert envelope.get("eventid") == expected["event_id"]
    assert envelope["source"] == f"/superoffice/{context}"
    assert "application/json" == envelope["datacontenttype"]
    assert envelope["dataschema"] == f"urn:superoffice-bridge:{encoded(entity)}:1"
    assert envelope["data"] == expected["data"]
    check_time(expected["time"], envelope["time"])
    check_key(expected, envelope, properties.headers)
    assert properties.headers["entity"] == entity
    assert properties.headers["action"] == action
    assert "superoffice" == properties.headers["endpoint"]
    assert properties.headers.get("context") == expected["context"]


def encoded(name):
    """Return the name as it stands in keys and types."""
    quoted = urllib.parse.quote(name.lower(), safe="_.-").replace("~", "%7e")
    return re.sub(r"%[0-9A-F]{2}", lambda escape: escape.group().lower(), quoted)


def check_time(expected, found):
    """The event's own time, or that of the receipt, which a golden file cannot know."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", found)
    if not expected.startswith("2026-03-02T09:15:27.123456Z"):
        assert found == expected


def check_key(expected, envelope, headers):
    """The subject and the header exist exactly when the event has a primary key."""
    key = expected["primary_key"]
    if key is None:
        assert "subject" not in envelope
        assert "primary_key" not in headers
    else:
        assert envelope["subject"] == f"{encoded(expected['entity'])}/{key}"
        beyond = isinstance(key, int) and not -(2**63) <= key < 2**63
        assert headers["primary_key"] == (str(key) if beyond else key)


async def test_consumers_get_what_they_bound(delivered):
    """contact.deleted is one event, associate.* are all actions of one entity."""
    _, received = delivered
    keys = {queue: {method.routing_key for method, *_ in got} for queue, got in received.items()}

    assert {"contact.deleted"} == keys["deleted"]
    assert {"associate.created", "associate.changed", "associate.deleted"} == keys["associates"]
    assert len(keys["all"]) > 50


async def test_cloudevents_sdk_reads_every_message(delivered):
    """The official SDK accepts each message and finds the same event in it."""
    _, received = delivered
    for _, properties, body in received["all"]:
        event = JSONFormat().read(CloudEvent, body)
        assert event.get_id() == properties.message_id
        assert event.get_type() == properties.type
        assert isinstance(event.get_time(), datetime)
        assert event.get_data() == EVENTS[properties.message_id].expected["data"]
