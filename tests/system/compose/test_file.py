"""docker-compose.yml is what the Compose specification allows, and keeps to our own rules."""

import subprocess
import sys
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge.settings import ServerSettings
from tests.project.docs.documents import ROOT

FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = YAML(typ="safe").load(FILE)
SERVICES: dict[str, Any] = COMPOSE["services"]

each_service = pytest.mark.parametrize("name", SERVICES)


def test_it_is_valid():
    """The schema of the specification, which comes with the tool, has nothing against it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, FILE], capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout


@each_service
def test_no_service_can_gain_rights(name):
    """Nobody keeps capabilities but the proxy, whose ports are below 1024, or can gain new ones."""
    service = SERVICES[name]

    assert (["ALL"], ["no-new-privileges:true"]) == (service["cap_drop"], service["security_opt"])
    assert ("cap_add" in service) == (name == "caddy")
    assert service.get("read_only") or "rabbitmq" == name


@each_service
def test_what_is_mounted_exists(name):
    """Files of this directory that a service mounts are here, and it cannot write to them."""
    for volume in SERVICES[name].get("volumes", []):
        source, _, *mode = volume.split(":")
        if source.startswith("./"):
            assert ["ro"] == mode
            assert (ROOT / source).exists()
        else:
            assert source in COMPOSE["volumes"]


def test_only_the_proxy_is_open_to_other_machines():
    """Everything else is published on the loopback interface, if at all."""
    ports = {name: service.get("ports", []) for name, service in SERVICES.items()}
    opened = {name for name, of in ports.items() if not all(p.startswith("127.0.0.1:") for p in of)}

    assert {"caddy"} == opened


@each_service
def test_secrets_are_files(name):
    """No variable holds a password, every secret is declared, and `make secrets` makes it."""
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        assert "PASSWORD" not in variable or value.startswith("/run/secrets/")
    made = (ROOT / ".ci" / "secrets").read_text()
    for secret in service.get("secrets", []):
        assert f"./secrets/{secret}" == COMPOSE["secrets"][secret]["file"]
        assert secret in made


def test_a_stop_is_longer_than_the_bridge_needs():
    """The bridge gets its own grace to finish before it is killed."""
    grace = int(SERVICES["bridge"]["stop_grace_period"].removesuffix("s"))

    assert grace > ServerSettings().shutdown_grace_seconds
