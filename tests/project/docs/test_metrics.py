"""docs/reference/metrics.md lists every metric with its labels and their values."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import Metric

from bridge.core.reasons import Status
from bridge.exposition import registry_of
from bridge.metrics import Counter, Metrics
from bridge.service import Service
from bridge.settings import load
from bridge.spool import opened
from bridge.superoffice.normalize import ODDITIES
from tests.project.docs.documents import span, spans, table
from tests.project.docs.source import PACKAGE, tree

PAGE = "reference/metrics.md"
PREFIX = "superoffice_bridge_"


@pytest.fixture
async def metrics(tmp_path: Path) -> AsyncIterator[Metrics]:
    """Return the metrics of a service that was built but not started."""
    config = tmp_path / "bridge.toml"
    config.touch()
    settings = load(config, {"SUPEROFFICE_SECRET": "s3cret"}).settings
    async with opened(tmp_path / "spool.db", max_bytes=2**20, lock_wait=0) as spool:
        yield Service(settings, spool).metrics


def listed() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return type and labels by name, as the page has them."""
    return {
        span(row["Metric"]): (row["Type"], tuple(spans(row["Labels"])))
        for row in table(PAGE, "Metrics")
    }


def families(metrics: Metrics) -> dict[str, Metric]:
    """Return what is exposed, by the name that a query uses."""
    found = registry_of(metrics).collect()
    return {f"{m.name}_total" if m.type == "counter" else m.name: m for m in found}


def labelled(metrics: Metrics) -> None:
    """Give every counter a value under as many labels as the page has for it.

    Another number of labels than the metric's own is refused.
    """
    for name, (_, labels) in listed().items():
        counter = getattr(metrics, name.removeprefix(PREFIX).removesuffix("_total"), None)
        if isinstance(counter, Counter):
            counter.labels(*("x" for _ in labels))


async def test_every_metric_is_listed(metrics: Metrics) -> None:
    """Names and types are those of the registry of a service."""
    found = {name: family.type for name, family in families(metrics).items()}

    assert found == {name: kind for name, (kind, _) in listed().items()}


async def test_every_metric_has_the_labels_listed(metrics: Metrics) -> None:
    """A metric has the labels of its line, and no other."""
    labelled(metrics)
    found = {
        name: {label for sample in family.samples for label in sample.labels} - {"le"}
        for name, family in families(metrics).items()
    }

    assert found == {name: set(labels) for name, (_, labels) in listed().items()}
    assert all(family.samples for family in families(metrics).values())


def values(metric: str, label: str) -> set[str]:
    """Return the values of a label, as the page has them."""
    [row] = [
        row
        for row in table(PAGE, "Labels")
        if (span(row["Metric"]), span(row["Label"])) == (PREFIX + metric, label)
    ]
    return set(spans(row["Values"]))


def test_every_label_has_its_values() -> None:
    """The table of labels covers every label of the table of metrics, and no other."""
    used = {(name, label) for name, (_, labels) in listed().items() for label in labels}
    rows = {(span(row["Metric"]), span(row["Label"])) for row in table(PAGE, "Labels")}
    of_all = {label for metric, label in rows if not metric}

    assert {(name, label) for name, label in used if label not in of_all} == {
        (metric, label) for metric, label in rows if metric and label not in of_all
    }
    assert {"endpoint"} == of_all


async def test_states_are_those_listed(metrics: Metrics) -> None:
    """A state has the values of its line."""
    for name in ("broker_state", "topology_state"):
        family = families(metrics)[PREFIX + name]
        assert {sample.labels["state"] for sample in family.samples} == values(name, "state")


def test_statuses_are_those_of_the_answers() -> None:
    """What is accepted is counted by the status of its answer."""
    assert set(Status) == values("accepted_total", "status")


def test_reasons_to_park_are_those_of_the_messages() -> None:
    """What is parked is counted by the reason that its message gives."""
    rows = table("reference/message.md", "Parked messages", number=2)

    assert {span(row["Reason"]) for row in rows} == values("parked_total", "reason")


def test_stages_are_those_observed() -> None:
    """The stages of the page are those that the code measures."""
    nodes = (node for path in PACKAGE.rglob("*.py") for node in ast.walk(tree(path)))
    observed = {
        ast.literal_eval(node.args[0])
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("stage_seconds.labels")
    }

    assert observed == values("stage_seconds", "stage")


def test_kinds_are_the_oddities() -> None:
    """Every oddity has its line, in the order of the code's list."""
    assert list(ODDITIES) == [span(row["`kind`"]) for row in table(PAGE, "Labels", number=1)]
