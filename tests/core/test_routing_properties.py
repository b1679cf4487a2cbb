"""Every event has a legal routing key, and different events have different ones."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.core.event import Event
from bridge.core.routing import Route, Router, TopicPattern, encode, routing_key, topic
from tests.strategies.json_texts import texts
from tests.strategies.oracles import is_key, topic_matches
from tests.strategies.webhooks import delivered, names

LONG = st.one_of(
    st.builds(lambda text, end: "contact" * 40 + text + end, texts(), texts()),
    st.sampled_from((239, 240, 255, 256)).map("a".__mul__),  # a type has 16 bytes before its name
    st.builds(lambda length, end: "a" * length + end, st.integers(195, 255), st.text(max_size=3)),
)
"""Names that are cut, or just not, and differ only in what is cut off."""

PLACEHOLDERS = ("{context}", "{endpoint}", "{entity}", "{action}", "{primary_key}")

TEMPLATES = st.sampled_from(("{context}.{entity}.{action}", "{action}", "{primary_key}")) | (
    st.lists(st.sampled_from((*PLACEHOLDERS, *PLACEHOLDERS, ".", ".", "a", "crm-1_x")), min_size=1)
    .map("".join)
    .filter(lambda template: len(template) <= 255)
)
"""Templates that the configuration allows."""

PATTERNS = st.lists(
    st.sampled_from(("*", "*", "#", "#", "contact", "list", "created", "a", "%2e", "test")),
    min_size=1,
    max_size=4,
).map(".".join)
"""Topic patterns that the configuration allows."""

ROUTES = st.builds(
    Route,
    match=PATTERNS,
    exchange=st.sampled_from(("one", "two", "three")),
    routing_key=TEMPLATES | st.just("{entity}.{action}"),
    raw=st.booleans(),
)

EVENTS = delivered().map(lambda pair: pair[1])

OFTEN = settings(max_examples=5 * settings().max_examples)
"""For what is cheap to try."""


def event_of(
    name: str, *, primary_key: int | str | None = None, context: str | None = None
) -> Event:
    """Return an event of this entity and action, and of hardly more."""
    entity, dot, action = name.rpartition(".")
    return Event(
        id="id",
        event_id=None,
        name=name,
        entity=entity if dot else name,
        action=action,
        primary_key=primary_key,
        context=context,
        endpoint="superoffice",
        time="2026-03-02T09:15:27Z",
        type="com.superoffice.contact.created",
        record=None,
        data={},
    )


SMALL = st.sampled_from(("contact.created", "list.a.created", "test", "a.", ".b", ".", "list..a"))

SMALL_EVENTS = st.builds(
    event_of,
    SMALL | SMALL | names(),
    primary_key=st.sampled_from((None, 0, 1, "a")) | texts(),
    context=st.none() | texts(),
)


@given(names() | LONG)
def test_every_name_has_a_legal_key(name):
    """1 to 255 bytes of the promised alphabet, whatever the name of the event."""
    assert is_key(routing_key(name))


@given(EVENTS)
def test_every_event_has_a_legal_default_key(event):
    """The key of whatever was delivered is legal, and that of its entity and action."""
    target = Router((), exchange="superoffice").target(event)

    assert ("superoffice", False) == (target.exchange, target.raw)
    assert is_key(target.routing_key)
    assert routing_key(topic(event)) == target.routing_key


@given(names() | LONG, names() | LONG, st.data())
def test_different_names_have_different_keys(name, other, data):
    """Only what differs in nothing but its case shares a key; a cut hides no difference."""
    near = data.draw(st.sampled_from((other, name.swapcase(), name + ".", f"{name}%2e", name[:-1])))

    assert (name.lower() == near.lower()) == (routing_key(name) == routing_key(near))
    assert (name.lower() == near.lower()) == (encode(name) == encode(near))


@given(names() | LONG)
def test_a_key_tells_its_name(name):
    """A key that was not cut decodes to the name; one that was cut begins as the name does."""
    key, _, digest = routing_key(name).partition("~")
    whole = encode(name)

    assert (len(whole) > 255) == bool(digest)
    assert whole.startswith(key)
    assert len(key) >= 198 or not digest
    assert name.lower().encode() == _decoded(whole)


def _decoded(key: str) -> bytes:
    head, *escapes = key.split("%")
    return head.encode() + b"".join(bytes([int(e[:2], 16)]) + e[2:].encode() for e in escapes)


@given(EVENTS, st.lists(ROUTES, max_size=4))
@example(event_of("test"), [Route("#", "one", "{action}")])
@example(event_of("a."), [Route("#", "one", "{action}")])
@example(event_of(".a"), [Route("#", "one", "{entity}")])
def test_any_route_gives_a_legal_key(event, routes):
    """Any template filled with any event: 1 to 255 bytes of the promised alphabet."""
    assert is_key(Router(routes, exchange="superoffice").target(event).routing_key)


@OFTEN
@given(SMALL_EVENTS, st.lists(ROUTES, max_size=4))
def test_the_first_route_that_matches_decides(event, routes):
    """Exchange and format are those that a slow matcher finds, before and after caching."""
    words = routing_key(topic(event)).split(".")
    fitting = [route for route in routes if topic_matches(route.match.split("."), words)]
    first = fitting[0] if fitting else Route("#", "superoffice")
    router = Router(routes, exchange="superoffice")

    for _ in range(2):
        target = router.target(event)
        assert (first.exchange, first.raw) == (target.exchange, target.raw)


@OFTEN
@given(SMALL_EVENTS, TEMPLATES)
def test_a_template_is_filled_with_what_it_names(event, template):
    """Values that look like placeholders are text; a key that would be empty is the default."""
    values: dict[Any, str] = {
        "{context}": event.context or "unknown",
        "{endpoint}": event.endpoint,
        "{entity}": event.entity,
        "{action}": event.action,
        "{primary_key}": "none" if event.primary_key is None else str(event.primary_key),
    }
    if "." not in event.name:
        template = template.replace(".{action}", "")
    filled = "".join(str(values.get(part, part)) for part in re.split(r"(\{[a-z_]+\})", template))
    router = Router([Route("#", "one", template)], exchange="superoffice")

    assert routing_key(filled or topic(event)) == router.target(event).routing_key


@OFTEN
@given(
    st.lists(st.sampled_from(("*", "#", "#", "a", "b", "a.*", "")), max_size=7),
    st.lists(st.sampled_from(("a", "b", "", "%2e", "a-b")), max_size=7),
)
def test_patterns_match_as_in_amqp(pattern, words):
    """A pattern says what a recursive matcher says, empty words included; no text, no word."""
    both = [".".join(pattern), ".".join(words)]
    split = [text.split(".") if text else [] for text in both]

    assert topic_matches(*split) == TopicPattern(both[0]).matches(both[1])
