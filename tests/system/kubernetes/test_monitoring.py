"""The ServiceMonitor finds the admin port, under the job of the alerts; they can be wrapped."""

from __future__ import annotations

import re
import subprocess

import yaml

from tests.project.docs.documents import ROOT, blocks, section
from tests.system.kubernetes.manifests import objects, secret_keys, the

PAGE = "kubernetes.md"
APPLY = "kubectl apply --filename -"
ENDPOINT = {"port", "path", "interval", "authorization"}


def test_it_selects_the_service_with_the_admin_port():
    """That one alone: by the public Service no pod could be told from another."""
    spec = the("ServiceMonitor")["spec"]
    chosen = spec["selector"]["matchLabels"].items()
    services = [each for each in objects() if each["kind"] == "Service"]
    [found] = [each for each in services if chosen <= each["metadata"]["labels"].items()]
    [endpoint] = spec["endpoints"]

    assert [endpoint["port"]] == [port["name"] for port in found["spec"]["ports"]]
    assert found["spec"]["publishNotReadyAddresses"]


def test_the_job_is_the_one_of_the_alerts():
    """The value of the Service's label named by jobLabel becomes the job."""
    spec = the("ServiceMonitor")["spec"]
    labels = the("Service", "superoffice-bridge-pods")["metadata"]["labels"]
    alerts = (ROOT / "config/prometheus/alerts.yml").read_text("utf-8")

    assert {labels[spec["jobLabel"]]} == set(re.findall(r'job="([^"]+)"', alerts))


def test_it_has_only_fields_that_were_checked():
    """Its kind has no schema here: these fields were held to the operator's own by hand."""
    spec = the("ServiceMonitor")["spec"]
    [endpoint] = spec["endpoints"]

    assert {"jobLabel", "selector", "endpoints"} == set(spec)
    assert ENDPOINT == set(endpoint)
    assert {"credentials": {"name": "superoffice-bridge", "key": "admin_token"}} == endpoint[
        "authorization"
    ]
    assert "admin_token" in secret_keys()


def test_the_rules_for_the_operator_are_the_rules():
    """The command of docs/kubernetes.md wraps them, and changes nothing."""
    [command] = [
        each for each in blocks(section(PAGE, "Install"), "sh") if "PrometheusRule" in each
    ]
    assert 1 == command.count(APPLY)
    shown = ["sh", "-euc", command.replace(APPLY, "cat")]
    done = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=True)
    rule = yaml.safe_load(done.stdout)
    alerts = yaml.safe_load((ROOT / "config/prometheus/alerts.yml").read_text("utf-8"))

    assert ("monitoring.coreos.com/v1", "PrometheusRule") == (rule["apiVersion"], rule["kind"])
    assert alerts == rule["spec"]


def test_the_secret_of_the_page_has_what_the_base_needs():
    """The command that makes it names each key that bridge.toml looks for."""
    [command] = [each for each in blocks(section(PAGE, "Install"), "sh") if "create secret" in each]

    assert secret_keys() == set(re.findall(r"--from-(?:literal|file)=(\w+)", command))
