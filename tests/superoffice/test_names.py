"""What SuperOffice's events are called in CloudEvents."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.superoffice.names import event_type, source_uri
from tests.strategies.json_texts import texts
from tests.strategies.oracles import is_key
from tests.strategies.webhooks import names

LONG = st.text("aø.", min_size=200, max_size=300)


def test_type_is_a_short_string():
    """A type never exceeds the 255 bytes of its AMQP property."""
    assert 217 == len(event_type("x" * 250))


@given(names() | LONG)
def test_every_name_has_a_legal_type(name):
    """1 to 255 bytes of the promised alphabet, whatever the name of the event."""
    assert is_key(event_type(name))
    assert event_type(name).startswith("com.superoffice.")


@given(names() | LONG, names() | LONG, st.data())
def test_different_names_have_different_types(name, other, data):
    """Only what differs in nothing but its case shares a type; a cut hides no difference."""
    near = data.draw(st.sampled_from((other, name.swapcase(), name + ".", f"{name}%2e", name[:-1])))

    assert (name.lower() == near.lower()) == (event_type(name) == event_type(near))


@pytest.mark.parametrize(
    ("context", "source"),
    [
        ("Cust20001", "/superoffice/Cust20001"),
        (None, "/superoffice/unknown"),
        ("a b/ø", "/superoffice/a%20b%2F%C3%B8"),
    ],
)
def test_source(context, source):
    """The source is a URI reference made of the context."""
    assert source_uri(context) == source


@given(st.none() | texts(), st.none() | texts())
@example("a/b", "a%2Fb")
def test_every_context_has_a_source_of_its_own(context, other):
    """One segment of a path for any ContextIdentifier; the absent and the empty share one."""
    assert re.fullmatch(r"/superoffice/(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", source_uri(context))
    assert (source_uri(context) == source_uri(other)) == (
        (context or "unknown") == (other or "unknown")
    )
