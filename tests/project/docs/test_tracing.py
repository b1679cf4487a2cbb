"""docs/reference/tracing.md lists every attribute and span, and its consumer finds the trace."""

from __future__ import annotations

import ast
import re
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import format_trace_id

from bridge.core.publish import Outcome
from bridge.tracing.exporting import FLUSH_SECONDS
from tests.project.docs.documents import blocks, document, section, span, spans, table
from tests.project.docs.source import PACKAGE, first_texts, tree

PAGE = "reference/tracing.md"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def listed() -> list[tuple[str, str]]:
    """Return the attributes of the page, each with what it says about the value."""
    lines = re.findall(r"^- `([\w.]+)`.*?: (.+)$", section(PAGE, "Attributes"), flags=re.MULTILINE)
    assert lines
    return lines


def values(attribute: str) -> set[str]:
    """Return the values of an attribute that the page has."""
    [value] = [value for name, value in listed() if name == attribute]
    return set(spans(value))


def test_every_attribute_is_listed() -> None:
    """The lists have each name that the code writes, once."""
    nodes = (node for path in PACKAGE.glob("tracing/*.py") for node in ast.walk(tree(path)))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    written = {t for t in texts if isinstance(t, str) and re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", t)}

    assert sorted(written - {"service.name", "service.version"}) == sorted(dict(listed()))
    assert len(listed()) == len(dict(listed()))


def test_values_are_those_of_the_code() -> None:
    """What can become of a publish."""
    assert {outcome.value for outcome in Outcome} == values("superoffice_bridge.outcome")


def test_every_step_is_listed() -> None:
    """A step of the pipeline has its line."""
    shown = {span(row["Span"]) for row in table(PAGE, "Spans")}

    assert first_texts("around", "pipeline.py") | {"spool"} <= shown


def test_the_wait_is_the_one_described() -> None:
    """How long a stop waits for the last spans."""
    assert f"waits {FLUSH_SECONDS:g} seconds at most" in document(PAGE)


def test_the_consumer_of_the_page_continues_the_trace() -> None:
    """Within its code the current span is in the trace of the message."""
    found: list[str] = []

    class Properties:
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}  # noqa: RUF012

    def note() -> None:
        found.append(format_trace_id(trace.get_current_span().get_span_context().trace_id))

    [code] = blocks(section(PAGE, "Spans"), "python")
    scope: dict[str, Any] = {"note": note}
    exec(code.replace("...", "note()"), scope)  # noqa: S102  # the page's own code
    scope["on_message"](None, None, Properties(), b"")

    assert [TRACE] == found
