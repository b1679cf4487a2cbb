"""Rules that involve several keys.

They look at the values before the model validates them, so that a mistake in one key does not hide
a broken rule.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from bridge.settings.fields import switch
from bridge.settings.keys import dotted, tables
from bridge.settings.report import Report

ON_SITE = "Default"
"""The ContextIdentifier of every on-site installation of SuperOffice."""


def check_together(tree: dict[str, Any], report: Report) -> None:
    """Report values that contradict other keys. Secrets are not resolved yet."""
    for section, key in (("endpoints", "name"), ("endpoints", "path"), ("queues", "name")):
        _unique(tree, section, key, report)
    _one_on_site(tree, report)
    for index, endpoint in tables(tree.get("endpoints")):
        _signed_or_not(endpoint, index, report)
    for index, queue in tables(tree.get("queues")):
        _one_reader(queue, index, report)
    _traceable(tree.get("tracing"), report)


def _unique(tree: dict[str, Any], section: str, key: str, report: Report) -> None:
    seen: dict[str, int] = {}
    for index, table in tables(tree.get(section)):
        value = table.get(key)
        if not isinstance(value, str):
            continue
        first = seen.setdefault(value, index)
        if first != index:
            other = dotted((section, first))
            report.add((section, index, key), f"a {key} of its own; {other} has the same")


def _one_on_site(tree: dict[str, Any], report: Report) -> None:
    """Report endpoints that may receive the same context Default, from different installations."""
    places = [i for i, endpoint in tables(tree.get("endpoints")) if _may_be_on_site(endpoint)]
    for index in places[1:]:
        report.add(
            ("endpoints", index, "source"),
            f'a source, or contexts without "{ON_SITE}": {dotted(("endpoints", places[0]))} takes'
            f' "{ON_SITE}" as well, which is what every on-site installation calls itself, and'
            " consumers could not tell their events apart",
        )


def _may_be_on_site(endpoint: dict[str, Any]) -> bool:
    contexts = endpoint.get("contexts") or [ON_SITE]
    unnamed = endpoint.get("source") is None
    return unnamed and isinstance(contexts, list) and ON_SITE in contexts


def _signed_or_not(endpoint: dict[str, Any], index: int, report: Report) -> None:
    unsigned = endpoint.get("allow_unsigned", False)
    secrets = bool(endpoint.get("secrets"))
    if unsigned is True and secrets:
        report.add(
            ("endpoints", index, "allow_unsigned"),
            "false, or no secrets: with both, an unsigned request would be taken all the same",
        )
    if unsigned is False and not secrets:
        report.add(
            ("endpoints", index, "secrets"),
            'at least one { env = "NAME" } or { file = "/path" }; without a secret anybody could'
            " post events (allow_unsigned = true permits just that)",
        )


def _one_reader(queue: dict[str, Any], index: int, report: Report) -> None:
    if queue.get("type") == "stream" and queue.get("single_active_consumer") is True:
        report.add(
            ("queues", index, "single_active_consumer"),
            "false: a stream is read by each of its consumers in order, from where that one was",
        )


def _traceable(tracing: Any, report: Report) -> None:
    """Report that tracing is on without OpenTelemetry, which few installations have."""
    enabled = isinstance(tracing, dict) and switch(tracing.get("enabled")) is True
    if enabled and not _is_installed("opentelemetry.sdk.trace"):
        report.add(
            ("tracing", "enabled"),
            "false, or OpenTelemetry installed: an image built with LOCK=requirements/otel.lock, or"
            " in a checkout .venv/bin/pip install --require-hashes -r requirements/otel.lock",
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that should contain it is missing
        return False
