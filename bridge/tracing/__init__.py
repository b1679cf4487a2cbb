"""Traces of OpenTelemetry: what ``service.py`` puts in place of its usual parts to have them.

A span for each request, below it one for each step, and one for each publish from the spool. The
message carries its trace: ``traceparent`` is the context of its publish, and what happens to it
later, on disk and in the drain, finds its trace there. So nothing is held for a message that waits.

Only ``[tracing] enabled`` imports this package, and with it OpenTelemetry.
"""

from bridge.tracing.exporting import opened
from bridge.tracing.parts import Traces

__all__ = ["Traces", "opened"]
