"""A bridge that runs as a pod would: its variables, its configuration, its probes."""

from __future__ import annotations

import json
import re
from http.client import HTTPConnection

import pytest
import trustme

from bridge.settings import load
from tests.cli.conftest import invoke, running
from tests.system.kubernetes.manifests import (
    SECRETS,
    configuration,
    container,
    image_environment,
    secret_keys,
    the,
)

EXAMPLES = ("base", "example")

SERVICE_LINKS = {
    "BRIDGE_PORT": "tcp://10.0.0.1:80",
    "BRIDGE_SERVICE_HOST": "10.0.0.1",
    "BRIDGE_SERVICE_PORT": "80",
    "BRIDGE_PORT_80_TCP": "tcp://10.0.0.1:80",
}


@pytest.fixture
def pod(tmp_path, monkeypatch):
    """Return what lays out a configuration and its secrets as the volumes of a pod do."""
    monkeypatch.chdir(tmp_path)

    def lay_out(directory="base"):
        secrets = tmp_path / "secrets"
        secrets.mkdir()
        for key in secret_keys(directory):
            (secrets / key).write_text(f"{key}-of-the-test\n")
        (tmp_path / "config").mkdir()
        text = configuration(directory).replace(SECRETS, f"{secrets}/")
        (tmp_path / "config" / "bridge.toml").write_text(text)
        return tmp_path

    return lay_out


def variables(directory):
    """Return the image's variables, with a spool and addresses of this machine's own."""
    ours = {name: value for name, value in image_environment().items() if "BRIDGE_" in name}
    return {
        **ours,
        "BRIDGE_SERVER__ADMIN_HOST": "127.0.0.1",
        "BRIDGE_SERVER__HOST": "127.0.0.1",
        "BRIDGE_SPOOL__PATH": f"{directory}/spool/spool.db",
    }


def get(port, path, **headers):
    """Return the status of a page."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_configuration_is_accepted(name, pod):
    """`bridge check` has nothing against it, with the variables of the image."""
    directory = pod(name)
    if "ca.crt" in secret_keys(name):  # any certificate will do
        trustme.CA().cert_pem.write_to_path(str(directory / "secrets" / "ca.crt"))
    result = invoke("check", "--json", env=variables(directory))

    assert 0 == result.exit_code, result.output
    assert json.loads(result.stdout)["ok"]


def test_without_a_secret_it_says_which(pod):
    """A key that the Secret lacks is named, so that the log of the pod tells what to do."""
    directory = pod()
    (directory / "secrets" / "broker_password").unlink()
    result = invoke("check", env=variables(directory))

    assert 78 == result.exit_code
    assert "broker_password" in result.stderr


def test_variables_of_service_links_only_warn(pod):
    """Without enableServiceLinks: false a Service called "bridge" would fill the log with these."""
    directory = pod()
    loaded = load(directory / "config/bridge.toml", {**variables(directory), **SERVICE_LINKS})
    warned = [name for name in SERVICE_LINKS if any(name in text for text in loaded.warnings)]

    assert list(SERVICE_LINKS) == warned


def test_probes_and_prometheus_are_answered(pod):
    """Each probe finds its page without a token, Prometheus needs the one of the Secret."""
    directory = pod()
    [endpoint] = the("ServiceMonitor")["spec"]["endpoints"]
    token = (directory / "secrets/admin_token").read_text().rstrip("\n")
    nobody = {"BRIDGE_BROKER__URLS": "amqp://127.0.0.1:1/"}  # a name would ask the network
    with running("serve", cwd=directory, **variables(directory), **nobody) as bridge:
        while '"service_started"' not in (line := bridge.read_until('{"timestamp"')):
            pass
        port = int(json.loads(line)["admin"].rpartition(":")[2])
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert 200 == get(port, container()[probe]["httpGet"]["path"]), probe
        assert 401 == get(port, endpoint["path"])
        assert 200 == get(port, endpoint["path"], Authorization=f"Bearer {token}")
        assert 0 == bridge.end()[0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_secrets_are_files_of_their_volume(name):
    """No secret stands in the ConfigMap, and none is looked for beside the mounted directory."""
    values = re.findall(r'(?:file|_file|env|default) = "([^"]*)"', configuration(name))

    assert len(values) >= len(secret_keys(name))
    assert all(value.startswith(SECRETS) for value in values)
