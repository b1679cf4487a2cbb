"""Exchange and routing key of an event."""

import pytest

from bridge.core.event import Event
from bridge.core.routing import Route, Router, TopicPattern, encode, routing_key, shorten


def event(name="contact.created", *, entity=None, action=None, key=4711, context="Cust20001"):
    """Build an event of which only the name and the record matter."""
    split = name.rpartition(".") if "." in name else (name, "", "")
    return Event(
        id="id",
        event_id=None,
        name=name,
        entity=split[0] if entity is None else entity,
        action=split[2] if action is None else action,
        primary_key=key,
        context=context,
        endpoint="superoffice",
        time="2026-03-02T09:15:27Z",
        type="com.superoffice.contact.created",
        record=None,
        data={},
    )


def target(name, *routes, **kwargs):
    """Return what a router with these routes says of an event."""
    return Router(routes, exchange="superoffice").target(event(name, **kwargs))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("contact.created", "contact.created"),
        ("list.category.created", "list.category.created"),
        ("list.110.changed", "list.110.changed"),
        ("Contact.Created", "contact.created"),
        ("window", "window"),
        ("contact.", "contact."),
        (".created", ".created"),
        ("a..b", "a..b"),
        ("sale.*", "sale.%2a"),
        ("sale.#", "sale.%23"),
        ("my event.done", "my%20event.done"),
        ("100%.done", "100%25.done"),
        ("a~b.c", "a%7eb.c"),
        ("kjøp.skjedd", "kj%c3%b8p.skjedd"),
        ("KJØP.skjedd", "kj%c3%b8p.skjedd"),
        ("a\nb.c", "a%0ab.c"),
    ],
)
def test_key_is_the_encoded_name(name, key):
    """A routing key is the name in lower case, percent-encoded where AMQP or a binding minds."""
    assert key == target(name).routing_key


def test_state_event_goes_by_entity_and_action():
    """webhook123.errors is entity webhook, action errors, and its key says so."""
    found = target("webhook123.errors", entity="webhook", action="errors")

    assert "webhook.errors" == found.routing_key


@pytest.mark.parametrize("length", [1, 199, 200, 255])
def test_key_of_at_most_255_bytes_stays(length):
    """A key that fits is not touched."""
    assert "a" * length == shorten("a" * length)


def test_longer_key_is_cut_and_hashed():
    """A key over 255 bytes is its first 200, a tilde, and 16 hex digits of its SHA-256."""
    key = shorten("a" * 256)

    assert 217 == len(key)
    assert ("a" * 200, "02d7160d77e18c64") == tuple(key.split("~"))


@pytest.mark.parametrize(("offset", "kept"), [(197, 200), (198, 198), (199, 199), (200, 200)])
def test_cut_never_splits_an_escape(offset, kept):
    """An escape that lies across the cut is left out whole."""
    key = shorten("a" * offset + "%c3" + "b" * 100)

    assert kept == len(key.split("~")[0])


def test_long_keys_that_differ_late_stay_different():
    """The hash covers the whole key, not the part that is kept."""
    assert routing_key("a" * 300 + "x.created") != routing_key("a" * 300 + "y.created")


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("contact.*", "contact.created", True),
        ("contact.*", "contact", False),
        ("contact.*", "contact.a.b", False),
        ("*.created", "list.category.created", False),
        ("#.created", "list.category.created", True),
        ("#.created", "created", True),
        ("#", "anything.at.all", True),
        ("list.#", "list", True),
        ("list.#", "list.110.changed", True),
        ("list.#", "lists.110", False),
        ("*", "window", True),
        ("*.*", "window", False),
        ("#.*", "window", True),
        ("a.#.z", "a.z", True),
        ("a.#.z", "a.b.c.z", True),
        ("a.b", "axb", False),
    ],
)
def test_pattern_matches_as_a_topic_exchange_does(pattern, key, matches):
    """A star is one word, a hash any number of words."""
    assert matches == TopicPattern(pattern).matches(key)


def test_first_matching_route_wins():
    """Routes are tried in order; without a match the default exchange and key are used."""
    routes = (
        Route("contact.deleted", "crm.deletions", raw=True),
        Route("contact.*", "crm.contacts", "{context}.{entity}.{action}"),
    )

    assert ("crm.deletions", "contact.deleted", True) == _tuple(target("contact.deleted", *routes))
    assert (
        "crm.contacts",
        "cust20001.contact.changed",
        False,
    ) == _tuple(target("contact.changed", *routes))
    assert ("superoffice", "sale.created", False) == _tuple(target("sale.created", *routes))


def test_template_knows_every_placeholder():
    """A route may build its key from the event's context, endpoint, entity, action and key."""
    template = "{endpoint}.{context}.{entity}.{action}.{primary_key}"

    found = target("contact.created", Route("#", "x", template))

    assert "superoffice.cust20001.contact.created.4711" == found.routing_key


def test_template_without_values():
    """What an event does not have is spelled out, except the action of a name without a dot."""
    template = "{context}.{entity}.{action}"

    assert "unknown.window" == target("window", Route("#", "x", template), context=None).routing_key
    keyed = target("window.opened", Route("#", "x", "{entity}.{primary_key}"), key=None)
    assert "window.none" == keyed.routing_key


def test_values_in_a_template_are_encoded():
    """A context with odd characters cannot break out of its place."""
    found = target("contact.created", Route("#", "x", "{context}.{entity}"), context="A #*/{x}")

    assert "a%20%23%2a%2f%7bx%7d.contact" == found.routing_key


def test_encode_is_stable():
    """Legal names are their own encoding."""
    assert "abc-1_2.x" == encode("abc-1_2.x")


def _tuple(found):
    return (found.exchange, found.routing_key, found.raw)
