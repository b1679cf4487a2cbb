"""Traces of OpenTelemetry: wrapped parts, which the service uses in place of the usual ones.

There is a span for each request, below it one for each step, and one for each publish from the
spool. The message carries its trace in its header ``traceparent``: what happens to it later, on
disk and in the drain, finds the trace there. So a message that waits needs no memory for it.

Only ``[tracing] enabled`` imports this package, and with it OpenTelemetry.
"""

from bridge.tracing.exporting import opened
from bridge.tracing.parts import Traces

__all__ = ["Traces", "opened"]
