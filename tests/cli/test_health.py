"""bridge health, against a bridge that runs and against none."""

import json

import pytest

from bridge.dev.rabbitmq import free_port
from tests.cli.conftest import invoke, running

SECRET = {"SUPEROFFICE_SECRET": "x"}


def test_alive_and_ready_are_0(dev):
    """A running bridge is found, alive, and ready as soon as its broker is."""
    alive, ready = invoke("health"), invoke("health", "--ready")

    assert (0, {"status": "alive"}) == (alive.exit_code, json.loads(alive.stdout))
    assert (0, True) == (ready.exit_code, json.loads(ready.stdout)["ready"])


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])  # noqa: S104  # as in a container
def test_ready_without_a_broker_as_the_spool_has_room(directory, host):
    """The variables that the service runs with are enough to find it, on any address too."""
    at = {"BRIDGE_SERVER__ADMIN_HOST": host, "BRIDGE_SERVER__ADMIN_PORT": f"{free_port()}"}
    env = {**SECRET, **at, "BRIDGE_BROKER__URLS": "amqp://127.0.0.1:1/"}
    with running("serve", cwd=directory, **env) as command:
        while '"service_started"' not in command.read_until('{"timestamp"'):
            pass
        result = invoke("health", "--ready", env=env)

    assert (0, "down") == (result.exit_code, json.loads(result.stdout)["broker"])


def test_an_answer_that_is_no_is_1(directory):
    """Only 200 is yes: whatever else has the port answers 404 to /healthz, as our webhook does."""
    port = {"BRIDGE_SERVER__PORT": f"{free_port()}"}
    env = {**SECRET, **port, "BRIDGE_BROKER__URLS": "amqp://127.0.0.1:1/"}
    with running("serve", cwd=directory, **env) as command:
        while '"service_started"' not in command.read_until('{"timestamp"'):
            pass
        public = {**SECRET, "BRIDGE_SERVER__ADMIN_PORT": port["BRIDGE_SERVER__PORT"]}
        result = invoke("health", env={**public, "BRIDGE_SERVER__PORT": "0"})

    assert 1 == result.exit_code
    assert "error: the bridge answers 404" in result.stderr


def test_nobody_there_is_69(directory):
    """The error names the address that was tried."""
    port = f"{free_port()}"
    result = invoke("health", env={**SECRET, "BRIDGE_SERVER__ADMIN_PORT": port})

    assert 69 == result.exit_code
    assert f"127.0.0.1 port {port}" in result.stderr


def test_the_token_of_the_configuration_is_sent(directory):
    """With it the whole answer comes, without it what probes are told."""
    at = {"BRIDGE_SERVER__ADMIN_PORT": f"{free_port()}"}
    env = {**SECRET, **at, "BRIDGE_BROKER__URLS": "amqp://127.0.0.1:1/"}
    token = {"BRIDGE_SERVER__ADMIN_TOKEN": "t0ken"}
    with running("serve", cwd=directory, **env, **token) as command:
        while '"service_started"' not in command.read_until('{"timestamp"'):
            pass
        known = invoke("health", "--ready", env={**env, **token})
        unknown = invoke("health", "--ready", env=env)

    assert (0, "down") == (known.exit_code, json.loads(known.stdout)["broker"])
    assert (0, {"ready": True}) == (unknown.exit_code, json.loads(unknown.stdout))
