"""Two events have one id if they are one: for the bridge and for its consumers alike."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.event import Delivery
from bridge.core.message import MAX_ID_BYTES
from bridge.superoffice.identity import KEY_BYTES, Identity, identify
from bridge.superoffice.payload import parse
from tests.strategies.webhooks import delivered
from tests.values import changed, parts

LONG = "x" * 190
EVENT_IDS = (
    *("0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11", "0B7E5B0C-6F3D-4F7E-9A51-0D0C2F6F9B11"),
    *("3fa85f64-5717-7562-b3fc-2c963f66afa6", "3fa85f64-5717-0562-b3fc-2c963f66afa6"),
    *("0b7e5b0c", "0b7e5b0c.", "0b7e5b0c.0", LONG, f"{LONG}y", f"{LONG}z", "ø" * 100, "ø" * 99),
    *("00000000-0000-0000-0000-000000000000", "", 7, None),
)
GUIDS = EVENT_IDS[:3]
"""Those that are UUIDs of RFC 9562, and so tell events apart: as SuperOffice's do."""

KEYS = (1, 2, "1x", "sha256-", 1.5, 2.5, [1], [2], {"a": 1}, "", 0, True, None)
TEXTS = ("Cust1", "Cust2", "", 1, 2, None)

EVENTS = st.fixed_dictionaries(
    {"Event": st.sampled_from(("a.b", "a.c", "webhook1.errors"))},
    optional={
        "EventId": st.sampled_from(EVENT_IDS),
        "PrimaryKey": st.sampled_from(KEYS),
        "ContextIdentifier": st.sampled_from(TEXTS),
        "WebhookName": st.sampled_from(TEXTS),
        "Entity": st.sampled_from(("a", "b", "webhook", None)),
    },
)
ATTEMPTS = st.tuples(
    st.sampled_from(("one", "two")),
    EVENTS,
    st.sampled_from(("2026-03-02T09:15:27Z", "2026-03-02T09:15:28Z")),
)

Attempt = tuple[str, dict[str, Any], str]

NAMED = ("Event", "EventId", "PrimaryKey", "ContextIdentifier", "WebhookName", "Entity")


def identity_of(attempt: Attempt) -> Identity:
    """Return the identity of an attempt."""
    endpoint, event, time = attempt
    body = json.dumps({**event, "Timestamp": time}).encode()
    return identify(parse(body), Delivery(endpoint, body, 0))


def names(attempt: Attempt) -> str:
    """Return all that may tell an event from others, whether it is needed or not."""
    endpoint, event, time = attempt
    found = {name: event.get(name) for name in NAMED}
    is_known = event.get("EventId") in GUIDS
    is_of_a_record = event["Event"].startswith("webhook") or (
        type(event.get("PrimaryKey")) in (int, str) and event["PrimaryKey"] != ""
    )
    if found["Entity"] == event["Event"].partition(".")[0]:
        found["Entity"] = None
    body = None if is_known and is_of_a_record else [event, time]
    if event["Event"].startswith("webhook") and found["PrimaryKey"] == 1:
        found["PrimaryKey"] = None  # the number in the name says so already
    return json.dumps([endpoint, found, body and sorted(event.items(), key=str), body and time])


@given(st.lists(ATTEMPTS, min_size=2, max_size=8))
def test_ids_are_equal_if_and_only_if_events_are(attempts):
    """One difference makes two events; what attempts may differ in makes none."""
    for one, other in pairwise(attempts):
        same = names(one) == names(other)
        mine, others = identity_of(one), identity_of(other)

        assert (mine.key == others.key, mine.id == others.id) == (same, same)


@given(ATTEMPTS, st.data())
def test_one_change_makes_another_event(attempt, data):
    """The same in all but one property: as near as two events can be."""
    endpoint, event, time = attempt
    name, values = data.draw(
        st.sampled_from((("EventId", EVENT_IDS), ("PrimaryKey", KEYS), ("WebhookName", TEXTS)))
    )
    other = (endpoint, {**event, name: data.draw(st.sampled_from(values))}, time)
    same = names(attempt) == names(other)

    assert (identity_of(attempt).id == identity_of(other).id) == same


@given(st.lists(delivered(), min_size=2, max_size=4))
def test_ids_and_keys_agree_whatever_comes(given):
    """Two forms of one identity; an id fits into any message and begins with what is readable."""
    read = [(delivery, parse(delivery.body)) for delivery, _ in given]
    made = [identify(payload, delivery) for delivery, payload in read]

    for one, other in pairwise(made):
        assert (one.key == other.key) == (one.id == other.id)
    for identity, (_, payload) in zip(made, read, strict=True):
        name, _, digits = identity.id.rpartition(".")
        assert digits == identity.key.hex()
        assert (payload.event_id or identity.id).startswith(name)
        assert KEY_BYTES == len(identity.key)
        assert len(identity.id.encode()) <= MAX_ID_BYTES


@given(delivered())
def test_an_attempt_more_has_the_same_id(pair):
    """Whatever its headers say, and whenever it comes."""
    delivery, event = pair
    later = changed(delivery, received_ns=delivery.received_ns + 1, retry=2, header_event="x.y")
    identity = identify(parse(later.body), later)

    assert event.id == identity.id
    assert parts(identify(parse(delivery.body), delivery)) == parts(identity)
