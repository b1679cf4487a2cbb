"""Any bytes are a webhook of which nothing is lost, or it is said why they are none."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bridge.core.errors import PayloadInvalid
from bridge.core.event import Payload
from bridge.superoffice.payload import parse
from tests.strategies.json_texts import joined, texts, unreadable, values
from tests.strategies.oracles import date_time, integer, read, text_of
from tests.strategies.webhooks import KNOWN, bodies, column_values, date_times

OFTEN = settings(max_examples=5 * settings().max_examples)
"""For what is cheap to try."""

TYPED = {
    "EventId": "event_id",
    "Timestamp": "timestamp",
    "PrimaryKey": "primary_key",
    "Changes": "changes",
    "Values": "values",
    "FieldValues": "field_values",
    "ContextIdentifier": "context_identifier",
    "ChangedByAssociateId": "changed_by_associate_id",
    "WebhookName": "webhook_name",
}
"""Where each property is found once it is typed."""


def outcome(body: bytes) -> Payload | str:
    """Return the payload, or the reason why there is none."""
    try:
        return parse(body)
    except PayloadInvalid as invalid:
        return invalid.reason


def expected(body: bytes) -> Any:
    """Return the document, or the reason why it is not a webhook."""
    try:
        return read(body)
    except ValueError as invalid:
        return str(invalid)


def check(body: bytes) -> None:
    """Compare what becomes of the bytes with what should."""
    document, payload = expected(body), outcome(body)
    if isinstance(document, str) or isinstance(payload, str):
        assert document == payload
        return
    assert document["Event"] == payload.event
    check_types(payload)
    rest = [name for name in document if name in payload.properties]
    assert rest == list(payload.properties)
    for name, value in document.items():
        if name in rest:
            assert text_of(value) == text_of(payload.properties[name])
        else:
            assert is_typed(name, value, payload), name


def check_types(payload: Payload) -> None:
    """Look whether the typed properties have their types."""
    for text in (payload.event_id, payload.context_identifier, payload.webhook_name):
        assert type(text) in (str, type(None))
    assert type(payload.changed_by_associate_id) in (int, type(None))
    assert type(payload.primary_key) in (int, str, type(None))
    assert all(type(change) is str for change in payload.changes)
    assert (dict, dict) == (type(payload.values), type(payload.field_values))


def is_typed(name: str, value: Any, payload: Payload) -> bool:
    """Return whether a property that is no longer among the others was understood."""
    if value is None:
        return name in KNOWN
    if name == "Event":
        return True
    if name == "Entity":
        return bool(value == payload.entity)
    if name == "PrimaryKey" and isinstance(value, str):
        number = integer(value)
        value = value if number is None else number
    return text_of(value) == text_of(getattr(payload, TYPED[name]))


@given(
    st.one_of(
        st.binary(max_size=99), st.text(max_size=99).map(str.encode), unreadable().map(str.encode)
    )
)
def test_any_bytes(body):
    """What is not a webhook is refused with the reason that a second reader finds too."""
    check(body)


@given(bodies())
def test_nothing_of_a_webhook_is_lost(body):
    """Every property is found again: typed, or under its own name as it was, in its place."""
    check(body)


@given(st.lists(st.tuples(st.sampled_from(KNOWN), values()), max_size=12))
def test_nothing_of_a_wrong_type_is_lost(pairs):
    """Known names with any values, again and again: the last counts."""
    check(joined([("Event", '"contact.changed"'), *pairs]).encode())


@given(bodies(), st.data())
def test_a_damaged_body_is_judged_rightly(body, data):
    """A cut, a flipped byte, a byte order mark, a foreign value: still no surprise."""
    at = data.draw(st.integers(0, len(body)))
    instead = data.draw(st.binary(max_size=2) | st.sampled_from((b"\xef\xbb\xbf", b"\xed\xa0\x80")))
    gone = data.draw(st.integers(0, 2) | st.just(len(body)))

    check(body[:at] + instead + body[at + gone :])


@given(unreadable(), texts())
def test_what_no_message_could_carry_is_not_accepted(value, name):
    """One value that cannot be read, or not be written again, and the body is not JSON."""
    body = joined([("Event", '"contact.changed"'), (name, value)]).encode()
    assume(expected(body) == "not_json")

    assert "not_json" == outcome(body)


@OFTEN
@given(date_times() | texts())
@example("2026-03-02T10:15:27+00:60")
def test_a_timestamp_is_one_of_rfc_3339(text):
    """Consumers can read it; any other text stays among the properties."""
    payload = parse(joined([("Event", '"a.b"'), ("Timestamp", json.dumps(text))]).encode())
    is_one = date_time(text) is not None

    assert (text if is_one else None) == payload.timestamp
    assert ({} if is_one else {"Timestamp": text}) == payload.properties


@OFTEN
@given(st.builds(str.__mul__, st.sampled_from("g é名😀\0"), st.integers(0, 210)) | texts())
def test_an_event_id_is_one_that_fits(text):
    """Up to 200 visible letters of ASCII, not zeros and signs alone; any other is a property."""
    payload = parse(joined([("Event", '"a.b"'), ("EventId", json.dumps(text))]).encode())
    is_visible = all("!" <= letter <= "~" for letter in text) and len(text) <= 200
    is_one = is_visible and any(letter.isalnum() and letter != "0" for letter in text)

    assert (text if is_one else None) == payload.event_id
    assert ({} if is_one else {"EventId": text}) == payload.properties


@given(st.integers(0, 99), st.integers(0, 99).map(str) | column_values())
def test_a_state_event_keeps_both_its_keys(number, value):
    """The key is in the name; a PrimaryKey that says something else is not lost."""
    event = f"webhook{number}.errors"
    body = joined([("Event", f'"{event}"'), ("PrimaryKey", value)]).encode()
    check(body)

    assert number == parse(body).primary_key


@given(bodies())
def test_the_name_is_split_without_loss(body):
    """Entity, action and number together are the name of the event."""
    payload = outcome(body)
    assume(isinstance(payload, Payload))
    assert isinstance(payload, Payload)
    entity, action = payload.entity, payload.action
    numbered = f"{entity}{payload.primary_key}.{action}"

    assert payload.event in {f"{entity}.{action}", numbered} or (payload.event, "") == (
        entity,
        action,
    )
    assert "." not in action
