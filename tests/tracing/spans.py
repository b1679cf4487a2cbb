"""Spans that services of this process exported, found under the name ``memory``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Exported(InMemorySpanExporter):
    """The SDK's exporter into memory; a service makes it, so those that were made are kept."""

    made: ClassVar[list[Exported]] = []

    def __init__(self) -> None:
        super().__init__()
        self.made.append(self)


def install(directory: Path) -> None:
    """Make a distribution that names the exporter, as installing one does."""
    info = directory / "memory-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: memory\nVersion: 1\n")
    group = "opentelemetry_traces_exporter"
    (info / "entry_points.txt").write_text(f"[{group}]\nmemory = {__name__}:Exported\n")


Span = Any  # ReadableSpan, of which the SDK says that everything may be None


def finished() -> list[Span]:
    """Return what was exported so far, in the order in which it began."""
    spans = [span for exporter in Exported.made for span in exporter.get_finished_spans()]
    return sorted(spans, key=lambda span: span.start_time or 0)


def named(spans: Sequence[Span], name: str) -> list[Span]:
    """Return the spans of a name."""
    return [span for span in spans if span.name == name]


def tree(spans: Sequence[Span]) -> list[str]:
    """Return the names, each below its parent and indented by two."""
    known = {span.context.span_id for span in spans}

    def below(parent: int | None, indent: str) -> Iterator[str]:
        for span in spans:
            above = span.parent.span_id if span.parent else None
            if (above if above in known else None) == parent:
                yield f"{indent}{span.name}"
                yield from below(span.context.span_id, f"{indent}  ")

    return list(below(None, ""))
