"""The ServiceMonitor finds the admin port, under the job that the alerts go by."""

from __future__ import annotations

import re

from tests.docs.documents import ROOT
from tests.kubernetes.manifests import objects, secret_keys, the

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
