"""A part with spans around it behaves as the part itself."""

import pytest
from opentelemetry.trace import NoOpTracer

from bridge.core.publish import Outcome, Publish
from bridge.tracing.parts import Traces
from tests.helpers import message


class Scripted:
    """A publisher that returns what it was given."""

    is_up, connection = True, 1

    def __init__(self, publish):
        self._publish = publish

    def can_publish_to(self, exchange):
        return True

    def submit(self, message):
        return self._publish

    def try_alone(self, message, *, apart=False):
        return self._publish


@pytest.mark.parametrize("way", ["submit", "try_alone"])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_drain_learns_of_a_traced_publish_what_the_publisher_says(way, outcome):
    """Its outcome, whether it is to blame, and which earlier publish may still settle."""
    one = message(1)
    publish, straggler = Publish(one), Publish(one)
    traced = getattr(Traces(NoOpTracer()).publisher(Scripted(publish)), way)(one)
    publish.suspect, publish.culprit, publish.straggler = True, True, straggler
    publish.settle(outcome)

    assert (outcome, True, True) == (traced.outcome, traced.suspect, traced.culprit)
    assert straggler is traced.straggler
