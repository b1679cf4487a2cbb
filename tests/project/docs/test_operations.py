"""docs/operations.md has what the alerts refer to; alerts and dashboard ask for what there is."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from typing import Any

import pika
import pytest
import yaml
from pika.adapters.blocking_connection import BlockingChannel

from bridge.broker.topology import Topology
from bridge.core.message import UNROUTED
from tests.helpers import amqp, drain, eventually, ids
from tests.project.docs.documents import ROOT, blocks, document, section, span, spans, table
from tests.project.docs.test_bindings import DEFAULT_URL
from tests.project.docs.test_http import accepted, rejected
from tests.project.docs.test_message import parked_for
from tests.project.docs.test_metrics import label_values

PAGE = "operations.md"
CONFIG = ROOT / "config"
PREFIX = "superoffice_bridge_"
RUNBOOK = "docs/operations.md#"

Labels = dict[str, str]


def read(name: str) -> Any:
    """Return what a YAML file of the configuration says."""
    return yaml.safe_load((CONFIG / name).read_text(encoding="utf-8"))


ALERTS = [rule for group in read("prometheus/alerts.yml")["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((CONFIG / "grafana/dashboards/bridge.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """Yield every query of the alerts and of the dashboard."""
    yield from (alert["expr"] for alert in ALERTS)
    yield from (target["expr"] for panel in PANELS for target in panel["targets"])
    variables = DASHBOARD["templating"]["list"]
    yield from (v["query"]["query"] for v in variables if v["type"] == "query")


def selectors(expression: str) -> Iterator[tuple[str, Labels]]:
    """Yield each metric that is asked for, with the labels that it is chosen by."""
    for name, chosen in re.findall(rf"((?:{PREFIX}|process_)\w+)(?:\{{([^}}]*)\}})?", expression):
        yield name.removesuffix("_bucket"), dict(re.findall(r'(\w+)(?:=|=~|!=)"([^"]*)"', chosen))


def listed() -> dict[str, set[str]]:
    """Return the labels of every metric of the reference, which is tied to the code."""
    rows = table("reference/metrics.md", "Metrics")
    return {span(row["Metric"]): set(spans(row["Labels"])) for row in rows}


def known_values() -> dict[tuple[str, str], set[str]]:
    """Return the values that the reference lists for a label of a metric."""
    return label_values() | {
        (f"{PREFIX}accepted_total", "status"): accepted(),
        (f"{PREFIX}rejected_total", "reason"): set(rejected()),
        (f"{PREFIX}parked_total", "reason"): parked_for("understood") | parked_for("delivered"),
    }


def alert_sections() -> list[str]:
    """Return the headings below "Alerts", in order."""
    [text] = re.findall(r"^## Alerts\n(.*?)^## ", document(PAGE), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^### (.+)$", text, flags=re.MULTILINE)


def test_every_alert_has_its_section_and_no_section_is_without() -> None:
    """Sections and alerts have the same names, in the same order."""
    assert [alert["alert"] for alert in ALERTS] == alert_sections()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    """Severity, texts, the link to its own section, and three things to do there."""
    annotations = alert["annotations"]

    assert alert["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook_url"} == annotations.keys()
    assert annotations["runbook_url"] == RUNBOOK + alert["alert"].lower()
    steps = re.findall(r"^(\d)\. ", section(PAGE, alert["alert"]), flags=re.MULTILINE)
    assert ["1", "2", "3"] == steps


def test_every_alert_is_made_to_fire() -> None:
    """promtool's tests expect each alert at some time; `make alerts-check` runs them."""
    tests = read("prometheus/alerts_test.yml")["tests"]
    expected = [one for test in tests for one in test.get("promql_expr_test", [])]
    samples = [sample["labels"] for one in expected for sample in one["exp_samples"]]
    fired = {name for labels in samples for name in re.findall(r'alertname="(\w+)"', labels)}

    assert {alert["alert"] for alert in ALERTS} == fired


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_a_query_asks_for_what_there_is(expression: str) -> None:
    """Its metrics are listed in the reference, and so are labels and values it selects by."""
    known, values = listed(), known_values()
    for name, chosen in selectors(expression):
        assert name in known
        assert chosen.keys() - {"job", "instance"} <= known[name]
        for label, wanted in chosen.items():
            if (name, label) in values and label != "endpoint":
                assert any(re.fullmatch(wanted, value) for value in values[name, label]), wanted


def test_a_query_without_a_metric_of_ours_asks_whether_the_bridge_is_there() -> None:
    """All others name one, so the test above cannot pass for want of something to look at."""
    others = {query for query in expressions() if not list(selectors(query))}

    assert all(re.search(r"\bup\{", query) for query in others)


def test_the_dashboard_shows_every_metric() -> None:
    """No metric of the reference is without a panel."""
    shown = {name for panel in PANELS for t in panel["targets"] for name, _ in selectors(t["expr"])}

    assert listed().keys() == shown


def test_the_dashboard_is_sound() -> None:
    """Ids are unique, panels do not overlap, and the data source is the one that is chosen."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    [source] = [v for v in DASHBOARD["templating"]["list"] if v["type"] == "datasource"]
    used = {part["datasource"]["uid"] for p in PANELS for part in [p, *p["targets"]]}

    assert len(ids) == len(set(ids))
    assert len(places) == len(set(places))
    assert {x for x, _ in places} == set(range(24))
    assert used == {f"${{{source['name']}}}"}
    assert all(panel["description"] and panel["title"] for panel in PANELS)


def test_the_job_of_the_alerts_is_scraped() -> None:
    """Compose's Prometheus scrapes the admin port under the name that the alerts go by."""
    config = read("prometheus/prometheus.yml")
    jobs = {job["job_name"]: job["static_configs"] for job in config["scrape_configs"]}
    [name] = [name for name in jobs if f'job="{name}"' in ALERTS[0]["expr"]]

    assert [{"targets": ["bridge:8081"]}] == jobs[name]
    assert ["alerts.yml"] == config["rule_files"]


async def test_unrouted_events_are_moved_by_the_code_of_the_page(broker: str) -> None:
    """What somebody is bound for by now is published there, as it was; the others stay."""
    [code] = blocks(section(PAGE, "Move unrouted events"), "python")
    assert 1 == code.count(DEFAULT_URL)
    with amqp(broker) as channel:
        declare_quarantine(channel)
        for key in ("sale.sold", "contact.created", "sale.lost"):
            meant = {"original_exchange": "superoffice", "original_routing_key": key}
            properties = pika.BasicProperties(headers={"entity": "x", **meant}, message_id=key)
            channel.basic_publish(UNROUTED, key, key.encode(), properties)
        channel.queue_declare("bound", durable=True)
        channel.queue_bind("bound", "superoffice", "sale.*")
        exec(code.replace(DEFAULT_URL, broker), {})  # noqa: S102  # the page's own code
        moved = drain(broker, "bound")

    assert [("sale.sold", b"sale.sold"), ("sale.lost", b"sale.lost")] == [
        (properties.message_id, body) for _, properties, body in moved
    ]
    assert all({"entity": "x"} == properties.headers for _, properties, _ in moved)
    await eventually(lambda: ["contact.created"] == ids(broker, UNROUTED))


def declare_quarantine(channel: BlockingChannel) -> None:
    """Declare what the bridge declares, and wait for the confirms of what is published."""
    topology = Topology.of(["superoffice"])
    for exchange in topology.exchanges:
        channel.exchange_declare(exchange.name, exchange.type, durable=True)
    for queue in topology.quarantines:
        channel.queue_declare(queue.name, durable=True, arguments=dict(queue.all_arguments))
        channel.queue_bind(queue.name, queue.exchange, "")
    channel.confirm_delivery()


@pytest.mark.parametrize(
    ("unit", "name", "prefix"),
    [("superoffice-bridge", "public", ""), ("superoffice-bridge-admin", "admin", "admin_")],
)
def test_the_sockets_of_systemd_are_the_listeners(unit: str, name: str, prefix: str) -> None:
    """They have the names that the bridge knows, and listen where it would itself."""
    socket, service = ini(f"{unit}.socket")["Socket"], ini("superoffice-bridge.service")["Service"]
    server = tomllib.loads((CONFIG / "bridge.toml").read_text())["server"]

    assert name == socket["FileDescriptorName"]
    assert f"{server[f'{prefix}host']}:{server[f'{prefix}port']}" == socket["ListenStream"]
    assert "superoffice-bridge.service" == socket.get("Service", f"{unit}.service")
    assert f"{unit}.socket" in service["Sockets"].split()


def ini(file: str) -> ConfigParser:
    """Return a unit of systemd."""
    found = ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(CONFIG / "systemd" / file)
    return found
