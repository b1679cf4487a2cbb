"""bridge check."""

import json

from tests.cli.conftest import ROOT, invoke

SECRET = {"SUPEROFFICE_SECRET": "Hemmelig!"}


def test_the_example_is_fine(directory):
    """The shipped configuration needs only the secret, which is never shown."""
    result = invoke("check", "--config", ROOT / "config" / "bridge.toml", env=SECRET)

    assert 0 == result.exit_code
    assert "ok" == result.stdout.splitlines()[0]
    assert "endpoint\tsuperoffice\t/webhook" in result.stdout
    assert "Hemmelig" not in result.output


def test_everything_asked_for_is_summarized(directory):
    """Routes, queues and brokers are listed, passwords are not."""
    config = directory / "mine.toml"
    config.write_text(
        '[broker]\nurls = ["amqp://u:Passord@there/"]\n'
        '[[routes]]\nmatch = "contact.*"\nexchange = "crm.contacts"\n'
        '[[queues]]\nname = "billing"\nbindings = ["contact.deleted", "associate.#"]\n'
    )
    result = invoke("check", "--config", config, env=SECRET)

    assert 0 == result.exit_code
    assert "route\tcontact.*\tcrm.contacts {entity}.{action} (cloudevents)" in result.stdout
    assert "queue\tbilling\tquorum, superoffice: contact.deleted associate.#" in result.stdout
    assert "broker\tamqp://u@there/" in result.stdout
    assert "Passord" not in result.output


def test_problems_for_programs(directory):
    """--json names each problem with source, key and what is allowed."""
    found = json.loads(invoke("check", "--json").stdout)

    assert found["ok"] is False
    assert {"source", "key", "allowed"} == set(found["problems"][0])


def test_summary_for_programs(directory):
    """--json holds the summary, and no secret."""
    result = invoke("check", "--json", env=SECRET)
    found = json.loads(result.stdout)

    assert (True, "superoffice") == (found["ok"], found["exchange"])
    assert 1 == found["endpoints"][0]["secrets"]
    assert "Hemmelig" not in result.output


def test_an_unreachable_broker_is_69(directory):
    """--connect names each broker that does not answer, and the remedy."""
    env = {**SECRET, "BRIDGE_BROKER__URLS": "amqp://127.0.0.1:1/,amqp://127.0.0.1:2/"}
    result = invoke("check", "--connect", env=env)

    assert 69 == result.exit_code
    assert "127.0.0.1:1/: " in result.stderr
    assert "127.0.0.1:2/: " in result.stderr
    assert "make run" in result.stderr
    assert "ok" not in result.stdout.splitlines()


def test_what_is_missing_is_1_and_stays_missing(broker, directory):
    """--connect declares nothing, and says what would."""
    env = {**SECRET, "BRIDGE_BROKER__URLS": broker}
    first, second = (invoke("check", "--connect", "--json", env=env) for _ in range(2))

    assert (1, 1) == (first.exit_code, second.exit_code)
    assert first.stdout == second.stdout
    assert 5 == len(json.loads(first.stdout)["brokers"][0]["mismatches"])
    assert "bridge topology apply" in first.stderr


def test_what_is_there_is_0(dev):
    """--connect finds the broker of a running dev, and all that is needed in it."""
    result = invoke("check", "--connect")

    assert (0, "ok") == (result.exit_code, result.stdout.splitlines()[0])
    assert "has all that is needed" in result.stdout
