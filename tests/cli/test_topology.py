"""bridge topology show / apply."""

import json

from bridge.core.message import PARKED, UNROUTED
from tests.cli.conftest import invoke
from tests.helpers import amqp


def environ(url):
    """Return an environment for a broker."""
    return {"SUPEROFFICE_SECRET": "x", "BRIDGE_BROKER__URLS": url}


def states(result):
    """Return what a JSON answer says of each object."""
    objects = json.loads(result.stdout)["objects"]
    return {(item["kind"], item["name"]): item["state"] for item in objects}


def test_show_looks_and_apply_declares(broker, directory):
    """What show misses, apply declares, and then show finds it."""
    before = invoke("topology", "show", "--json", env=environ(broker))
    apply = invoke("topology", "apply", "--json", env=environ(broker))
    after = invoke("topology", "show", "--json", env=environ(broker))

    assert [1, 0, 0] == [before.exit_code, apply.exit_code, after.exit_code]
    assert "missing" == states(before)["exchange", "superoffice"]
    assert {"there"} == set(states(apply).values())
    assert "there" == states(after)["queue", PARKED]
    assert "not visible" == states(after)["binding", f"{UNROUTED} <- {UNROUTED}"]


def test_a_difference_names_both_sides(broker, directory):
    """An exchange of another type is reported by apply, with what was asked and what is there."""
    with amqp(broker) as channel:
        channel.exchange_declare("superoffice", "direct", durable=True)
    result = invoke("topology", "apply", env=environ(broker))

    assert 1 == result.exit_code
    assert "exchange\tsuperoffice\ttopic, durable\tdifferent" in result.stdout
    assert "asked for a durable topic exchange" in result.stderr
    assert "current is 'direct'" in result.stderr


def test_consumers_queues_are_shown(broker, directory):
    """A queue of the configuration is listed with its arguments and bindings."""
    queues = '[{"name": "billing", "bindings": ["contact.deleted"]}]'
    env = {**environ(broker), "BRIDGE_QUEUES": queues}
    result = invoke("topology", "apply", env=env)

    assert 0 == result.exit_code
    assert "queue\tbilling\tdurable, x-queue-type=quorum\tthere" in result.stdout
    assert "binding\tbilling <- superoffice contact.deleted\t\tthere" in result.stdout


def test_consumers_queues_with_one_active_consumer(broker, directory):
    """It is an argument of the queue, shown with the others."""
    queue = '{"name": "billing", "bindings": ["#"], "single_active_consumer": true}'
    result = invoke("topology", "apply", env={**environ(broker), "BRIDGE_QUEUES": f"[{queue}]"})
    with amqp(broker) as channel:
        one = {"x-queue-type": "quorum", "x-single-active-consumer": True}
        channel.queue_declare("billing", durable=True, arguments=one)

    assert 0 == result.exit_code
    shown = "queue\tbilling\tdurable, x-queue-type=quorum, x-single-active-consumer=True\tthere"
    assert shown in result.stdout


def test_a_running_dev_has_it_all(dev):
    """Without --config the commands look at the broker of a running dev."""
    assert 0 == invoke("topology", "show").exit_code


def test_an_unreachable_broker_is_69(directory):
    """Every URL is tried before the command gives up."""
    result = invoke("topology", "show", env=environ("amqp://127.0.0.1:1/,amqp://127.0.0.1:2/"))

    assert 69 == result.exit_code
    assert "127.0.0.1:2/" in result.stderr
