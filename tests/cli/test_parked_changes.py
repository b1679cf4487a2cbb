"""bridge parked replay / discard / export: what leaves the quarantine, and what never does."""

import json
import time

import pika
import pytest

from bridge.core.message import PARKED
from bridge.dev.samples import encode, sample
from tests.cli.conftest import invoke
from tests.contract.validation import SYNTHETIC
from tests.helpers import amqp, drain, id_of


@pytest.fixture
def quarantine(dev):
    """Return the URL of a broker whose quarantine is empty, with a queue bound to everything."""
    url = dev["amqp_url"]
    with amqp(url) as channel:
        channel.queue_purge(PARKED)
        channel.queue_declare("replayed", durable=True)
        channel.queue_purge("replayed")
        channel.queue_bind("replayed", "superoffice", "#")
    return url


def park(url, body, *, message_id, reason="not_json", endpoint="superoffice", **headers):
    """Put a message where the bridge would park it, and wait until the queue has it."""
    with amqp(url) as channel:
        properties = pika.BasicProperties(
            message_id=message_id,
            delivery_mode=2,
            content_type=SYNTHETIC,
            type="com.superoffice.parked",
            timestamp=1_772_442_927,
            headers={
                "reason": reason,
                "endpoint": endpoint,
                "time": "2026-03-02T09:15:27Z",
                **headers,
            },
        )
        channel.confirm_delivery()
        channel.basic_publish(PARKED, reason, body, properties, mandatory=True)


def remaining(url):
    """Return the ids of what is parked, without taking it; waits for what was just given back."""
    for _ in range(100):
        result = json.loads(invoke("parked", "list", "--json", "--limit", "100").stdout)
        if result["total"] == len(result["messages"]):
            break
        time.sleep(0.05)
    return sorted(message["id"] for message in result["messages"])


def test_replay_goes_the_whole_way_and_removes_what_was_confirmed(quarantine):
    """A delivery that can be read by now arrives as an event; one that cannot stays."""
    event = sample("contact.created", primary_key=4711)
    park(quarantine, encode(event), message_id="readable")
    park(quarantine, b"{", message_id="broken")
    result = invoke("parked", "replay", "--all")

    assert (
        1,
        ["replayed readable", "kept broken: still unreadable: not_json"],
    ) == (result.exit_code, result.stdout.splitlines())
    [(method, properties, body)] = drain(quarantine, "replayed")
    assert (method.routing_key, properties.message_id) == ("contact.created", id_of(encode(event)))
    assert 4711 == json.loads(body)["data"]["primary_key"]
    assert ["broken"] == remaining(quarantine)


def test_replay_of_a_refused_message_goes_to_its_exchange(quarantine):
    """A finished message is published as it was, without the headers of the quarantine."""
    origin = {"original_exchange": "superoffice", "original_routing_key": "sale.sold"}
    park(quarantine, b'{"id":"e"}', message_id="e", reason="refused", entity="sale", **origin)
    result = invoke("parked", "replay", "e")

    assert (0, "replayed e\n") == (result.exit_code, result.stdout)
    [(method, properties, body)] = drain(quarantine, "replayed")
    assert (
        "superoffice",
        "sale.sold",
        b'{"id":"e"}',
    ) == (method.exchange, method.routing_key, body)
    assert {"endpoint": "superoffice", "entity": "sale"} == properties.headers
    assert [] == remaining(quarantine)


def test_replay_without_its_endpoint_or_exchange_stays(quarantine):
    """What the configuration does not know any more is not lost, and the reason is told."""
    park(quarantine, encode(sample("sale.sold")), message_id="a", endpoint="gone")
    origin = {"original_exchange": "gone", "original_routing_key": "sale.sold"}
    park(quarantine, b"{}", message_id="b", reason="exchange_gone", **origin)
    result = invoke("parked", "replay", "--all")

    assert 1 == result.exit_code
    assert [
        "kept a: no endpoint is called 'gone'",
        "kept b: not confirmed: unavailable",
    ] == result.stdout.splitlines()
    assert ["a", "b"] == remaining(quarantine)


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        (["--all"], []),
        (["--all", "--reason", "not_json"], ["c"]),
        (["a1"], ["b", "c"]),
        (["a1", "c", "--reason", "not_utf8"], ["a1", "b"]),
    ],
)
def test_discard_deletes_what_was_chosen(quarantine, choice, kept):
    """Only the chosen messages go."""
    park(quarantine, b"1", message_id="a1")
    park(quarantine, b"2", message_id="b")
    park(quarantine, b"\xff", message_id="c", reason="not_utf8")
    result = invoke("parked", "discard", "--yes", *choice)

    assert 0 == result.exit_code
    assert remaining(quarantine) == kept


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_nothing_is_chosen_by_accident(quarantine, command):
    """Neither ids nor --all, or both: wrong usage; an unknown id: an error."""
    park(quarantine, b"1", message_id="a")

    assert 2 == invoke("parked", command).exit_code
    assert 2 == invoke("parked", command, "a", "--all").exit_code
    unknown = [command, "b", "--yes"] if command == "discard" else [command, "b"]
    result = invoke("parked", *unknown)
    assert (1, True) == (result.exit_code, "none of the 1 parked has such an id" in result.stderr)
    assert ["a"] == remaining(quarantine)


def test_discard_asks(quarantine):
    """Without --yes it asks, and no answer is a no."""
    park(quarantine, b"1", message_id="a")

    assert 1 == invoke("parked", "discard", "--all").exit_code
    assert ["a"] == remaining(quarantine)


def test_export_keeps_everything(quarantine):
    """Every message whole, a JSON object on a line; text stays text and bytes are base64."""
    park(quarantine, b"{", message_id="a")
    park(quarantine, b"\xff\xfe", message_id="b", reason="not_utf8")
    result = invoke("parked", "export")

    found = {line["message_id"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert ("{", "not_json") == (found["a"]["body"], found["a"]["headers"]["reason"])
    assert (None, "//4=") == (found["b"]["body"], found["b"]["body_base64"])
    assert ["a", "b"] == remaining(quarantine)


def test_fifty_looks_lose_nothing(quarantine):
    """A get with requeue counts as a delivery; the queue's limit is out of reach."""
    for number in range(3):
        park(quarantine, b"%d" % number, message_id=f"m{number}")
    for _ in range(50):
        assert 0 == invoke("parked", "list").exit_code

    assert ["m0", "m1", "m2"] == remaining(quarantine)
