"""bridge send --direct: what the bridge would publish, without a bridge."""

import asyncio
import json
import time
from collections import Counter
from typing import Any

import pytest

from bridge.cli.clients.direct import open_direct
from bridge.cli.clients.poster import open_poster
from bridge.cli.context import broker_settings
from bridge.core.message import UNROUTED
from bridge.dev.samples import sample
from tests.cli.conftest import invoke
from tests.helpers import amqp, consumer_queue, drain


def taken(url, queue):
    """Take everything out of a queue and return it without the delivery: what was published."""
    return [
        (
            method.routing_key,
            body,
            {name: value for name, value in vars(properties).items() if name != "timestamp"},
        )
        for method, properties, body in drain(url, queue)
    ]


async def both_ways(dev, content):
    """Send one sample to the bridge, and publish it without."""
    settings = broker_settings(None, None)
    endpoint = settings.endpoints[0]
    async with (
        open_poster(url=dev["url"], endpoint=endpoint) as bridge,
        open_direct(settings) as broker,
    ):
        return [await client.send(content, due=time.perf_counter()) for client in (bridge, broker)]


@pytest.mark.parametrize("event", ["contact.deleted", "y_rental.changed", "Window.Closed!"])
def test_byte_for_byte_what_the_bridge_publishes(dev, event):
    """Body, routing key, headers and all properties but the time of receipt are the same."""
    consumer_queue(dev["amqp_url"], "all", "#")

    results = asyncio.run(both_ways(dev, sample(event)))
    by_bridge, by_command = taken(dev["amqp_url"], "all")

    assert ["200 published", "published"] == [result.kind for result in results]
    assert by_bridge == by_command


def test_repeats_have_one_id(dev):
    """Each of two events three times: six messages, and copies are equal to the byte."""
    consumer_queue(dev["amqp_url"], "all", "#")

    args = ("contact.deleted", "--direct", "--count", "2", "--repeat", "3", "--json")
    found = json.loads(invoke("send", *args).stdout)
    messages = taken(dev["amqp_url"], "all")

    assert (6, {"published": 6}) == (found["sent"], found["answers"])
    assert [3, 3] == sorted(Counter(found["ids"]).values())
    assert [3, 3] == sorted(Counter(body for _, body, _ in messages).values())
    assert Counter(found["ids"]) == Counter(got["message_id"] for _, _, got in messages)


def test_repeats_to_a_bridge_are_duplicates(dev):
    """Over HTTP the bridge itself drops them."""
    found = json.loads(invoke("send", "contact.deleted", "--repeat", "3", "--json").stdout)

    assert {"200 published": 1, "200 duplicate": 2} == found["answers"]


def test_a_rabbitmq_is_enough(broker, directory):
    """No bridge, no configuration, no secret; the exchange is declared as the bridge does."""
    with amqp(broker) as channel:
        channel.exchange_delete("superoffice")

    result = invoke("send", "contact.deleted", "--direct", "--to", broker)
    with amqp(broker) as channel:
        channel.exchange_declare("superoffice", "topic", durable=True)

    assert 0 == result.exit_code
    assert result.stdout.startswith("unrouted\t")
    assert ["contact.deleted"] == [key for key, _, _ in taken(broker, UNROUTED)]


def test_an_exchange_that_differs_is_1(broker, directory):
    """Nothing is published, and the difference is named."""
    with amqp(broker) as channel:
        channel.exchange_delete("superoffice")
        channel.exchange_declare("superoffice", "fanout", durable=True)
    try:
        result = invoke("send", "contact.deleted", "--direct", "--to", broker)
    finally:
        with amqp(broker) as channel:
            channel.exchange_delete("superoffice")

    assert 1 == result.exit_code
    assert "exchange 'superoffice': asked for a durable topic exchange" in result.stderr


def test_what_a_full_queue_refuses_is_1(broker, directory):
    """What the broker does not confirm is said, with its reason."""
    limits: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    consumer_queue(broker, "full", "contact.deleted", **limits)

    result = invoke("send", "contact.deleted", "--direct", "--count", "2", "--to", broker)

    assert 1 == result.exit_code
    assert "1 of 2 not confirmed: refused" in result.stderr


def test_no_broker_is_69(directory):
    """The URL is named, the password is not."""
    url = "amqp://guest:s3cret@127.0.0.1:1/"
    result = invoke("send", "contact.deleted", "--direct", "--to", url)

    assert 69 == result.exit_code
    assert "127.0.0.1:1" in result.stderr
    assert "s3cret" not in result.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/webhook", "amqp:/x", "127.0.0.1:5672"])
def test_a_direct_url_is_one_of_a_broker(directory, url):
    """--direct takes amqp and amqps URLs only."""
    assert 2 == invoke("send", "x.y", "--direct", "--to", url).exit_code
