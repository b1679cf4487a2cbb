"""docs/reference/metrics.md lists every metric with its labels and their values."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import Metric

from bridge.exposition import registry_of
from bridge.metrics import Counter, Metrics
from bridge.service import Service
from bridge.settings import load
from bridge.spool import opened
from bridge.superoffice.normalize import ODDITIES
from tests.project.docs.documents import items, section, span, spans, table
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


def listed() -> dict[str, tuple[str, ...]]:
    """Return the labels by name, as the page has them."""
    return {span(row["Metric"]): tuple(spans(row["Labels"])) for row in table(PAGE, "Metrics")}


def kind_of(name: str) -> str:
    """Return the type that a metric has by the rule of the page."""
    [histogram] = re.findall(r"`(\w+)` a histogram", section(PAGE, "Metrics"))
    assert "ends in `_total` is a counter" in section(PAGE, "Metrics")
    if name.endswith("_total"):
        return "counter"
    return "histogram" if name == histogram else "gauge"


def families(metrics: Metrics) -> dict[str, Metric]:
    """Return what is exposed, by the name that a query uses."""
    found = registry_of(metrics).collect()
    return {f"{m.name}_total" if m.type == "counter" else m.name: m for m in found}


def labelled(metrics: Metrics) -> None:
    """Give every counter a value under as many labels as the page has for it.

    Another number of labels than the metric's own is refused.
    """
    for name, labels in listed().items():
        counter = getattr(metrics, name.removeprefix(PREFIX).removesuffix("_total"), None)
        if isinstance(counter, Counter):
            counter.labels(*("x" for _ in labels))


async def test_every_metric_is_listed(metrics: Metrics) -> None:
    """Names and types are those of the registry of a service."""
    found = {name: family.type for name, family in families(metrics).items()}

    assert found == {name: kind_of(name) for name in listed()}


async def test_every_metric_has_the_labels_listed(metrics: Metrics) -> None:
    """A metric has the labels of its line, and no other."""
    labelled(metrics)
    found = {
        name: {label for sample in family.samples for label in sample.labels} - {"le"}
        for name, family in families(metrics).items()
    }

    assert found == {name: set(labels) for name, labels in listed().items()}
    assert all(family.samples for family in families(metrics).values())


def label_values() -> dict[tuple[str, str], set[str]]:
    """Return the values of each label that a metric has to itself, by metric and label."""
    said = items(section(PAGE, "Labels"))
    named = {tuple(spans(name)): set(spans(text)) for name, text in said.items() if " of `" in name}
    return {(metric, label): found for (label, metric), found in named.items()}


def values(metric: str, label: str) -> set[str]:
    """Return the values of a label, as the page has them."""
    return label_values()[PREFIX + metric, label]


def test_every_label_has_its_values() -> None:
    """The list covers every label of the table of metrics, and no other."""
    used = {(name, label) for name, labels in listed().items() for label in labels}

    assert {(name, label) for name, label in used if label != "endpoint"} == label_values().keys()
    assert "`endpoint` of any metric" in items(section(PAGE, "Labels"))


async def test_states_are_those_listed(metrics: Metrics) -> None:
    """A state has the values of its line."""
    for name in ("broker_state", "topology_state"):
        family = families(metrics)[PREFIX + name]
        assert {sample.labels["state"] for sample in family.samples} == values(name, "state")


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
    kinds = section(PAGE, "Labels").partition("Each `kind`")[2]

    assert list(ODDITIES) == spans("\n".join(items(kinds)))
