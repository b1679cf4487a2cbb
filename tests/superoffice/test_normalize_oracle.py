"""What a rule names becomes what the rule says, and everything else stays what it was."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bridge.core.errors import PayloadInvalid
from bridge.core.event import Delivery, Payload
from bridge.superoffice.catalogue import ENTITIES, Kind
from bridge.superoffice.normalize import ODDITIES, Normalized, normalize
from bridge.superoffice.normalize import snake_case as product_snake_case
from bridge.superoffice.payload import parse
from tests.strategies.json_texts import joined, texts, values
from tests.strategies.oracles import fields, integer, read, snake_case, text_of
from tests.strategies.webhooks import (
    KNOWN,
    brackets,
    column_names,
    column_values,
    columns,
    date_times,
    deliveries,
)

OFTEN = settings(max_examples=5 * settings().max_examples)
"""For what is cheap to try."""

RULED = sorted(
    (entity.name, column)
    for entity in ENTITIES
    for column, kind in entity.fields.items()
    if kind in (Kind.FLAG, Kind.DATE, Kind.NUMERIC)
)
"""The columns whose values some rule may change."""

CATALOGUED = st.sampled_from([entity.name for entity in ENTITIES] + ["y_rental", "list.category"])


def decoded(value: str) -> Any:
    """Return what a reader makes of the JSON of one value."""
    try:
        return read(f'{{"Event":"x","x":{value}}}'.encode())["x"]
    except ValueError:  # too deep
        assume(False)
        raise


def understood(delivery: Delivery) -> tuple[Payload, Normalized]:
    """Return a delivery's payload and normal form; one that has none is no example."""
    try:
        payload = parse(delivery.body)
    except PayloadInvalid:
        assume(False)
        raise
    return payload, normalize(payload, delivery=delivery)


def data_of(body: str) -> Any:
    """Return the data of a body's normal form."""
    delivery = Delivery(endpoint="superoffice", body=body.encode(), received_ns=0)
    return understood(delivery)[1][0].data


def normal(entity: str, columns_: str) -> Any:
    """Return FieldValues in normal form, which is that of Values as well."""
    event = ("Event", f'"{entity}.changed"')
    data = data_of(joined((event, ("FieldValues", columns_), ("Values", columns_))))
    assert text_of(data["field_values"]) == text_of(data["values"])
    return data["field_values"]


@given(deliveries())
def test_every_payload_has_a_normal_form(delivery):
    """No value that is read from JSON makes a rule fail, and what was odd has a known name."""
    payload, (event, oddities) = understood(delivery)

    assert set(oddities) <= set(ODDITIES)
    assert (payload.event, payload.entity, payload.action) == (
        event.name,
        event.entity,
        event.action,
    )
    assert (delivery.endpoint, payload.context_identifier) == (event.endpoint, event.context)
    assert text_of(payload.primary_key) == text_of(event.primary_key)


@given(deliveries())
def test_nothing_that_no_rule_names_is_changed(delivery):
    """The whole data, worked out a second time from the body: same values, names and order."""
    payload, (event, _) = understood(delivery)
    document = read(delivery.body)
    if type(document.get("FieldValues")) is dict:
        assert text_of(document["FieldValues"]) == text_of(payload.field_values)

    assert text_of(
        {
            "event": document["Event"],
            "entity": payload.entity,
            "action": payload.action,
            "primary_key": payload.primary_key,
            "context_identifier": payload.context_identifier,
            "changed_by_associate_id": payload.changed_by_associate_id,
            "webhook_name": payload.webhook_name,
            "changes": [snake_case(name) for name in payload.changes],
            "field_values": fields(dict(payload.field_values), entity=payload.entity),
            "values": fields(dict(payload.values), entity=payload.entity),
            "properties": payload.properties,
        }
    ) == text_of(event.data)


@given(CATALOGUED.flatmap(lambda entity: st.tuples(st.just(entity), columns(entity))))
def test_columns_follow_the_rules_and_no_others(case):
    """Columns of every entity, spelled and filled in every way: what the second opinion says."""
    entity, columns_ = case

    assert text_of(fields(decoded(columns_), entity=entity)) == text_of(normal(entity, columns_))


@OFTEN
@given(st.sampled_from(RULED), column_values())
def test_a_ruled_column_changes_only_as_its_rule_says(column, value):
    """Flags, dates and numbers: the one conversion, or the value as it came."""
    entity, name = column
    before = decoded(value)

    assert text_of(fields({name: before}, entity=entity)) == text_of(
        normal(entity, joined([(name, value)]))
    )


@OFTEN
@given(date_times())
@example("2026-03-02T10:15:27+00:60")
def test_a_date_stays_the_same_moment(text):
    """A converted date is in UTC, names the same moment, and has all digits it had."""
    after = normal("contact", joined([("updated", json.dumps(text))]))["updated"]
    assert fields({"updated": text}, entity="contact") == {"updated": after}
    if after in (text, None):
        assert after is not None or text[:4] in ("0001", "1760")
        return
    digits = after[19:-1]

    assert "Z" == after[-1]
    assert digits == text[19 : 19 + len(digits)]
    assert text[19 + len(digits)] in "+-"
    assert datetime.fromisoformat(text[:19] + text[19 + len(digits) :]) == datetime.fromisoformat(
        after[:19] + "+00:00"
    )
    assert int(text[-2:]) < 60


@OFTEN
@given(brackets())
def test_brackets_are_read_in_extra_tables_only(text):
    """Elsewhere they are text; there they say what the second opinion reads in them."""
    columns_ = joined([("x_column", json.dumps(text))])

    assert {"x_column": text} == normal("contact", columns_)
    assert text_of(fields({"x_column": text}, entity="y_a")) == text_of(normal("y_a", columns_))


@given(st.integers(0, 2**64).map(str) | texts())
def test_digits_elsewhere_stay_text(text):
    """A text in a column of numbers is not made a number because it could be one."""
    assert {"contact_id": text} == normal("contact", joined([("contact_id", json.dumps(text))]))


@given(texts() | st.text("aAbBcC1_.", max_size=12))
def test_names_are_spelled_as_designed(name):
    """Snake case, the same again when done twice, and letters outside ASCII stay."""
    spelled = product_snake_case(name)

    assert snake_case(name) == spelled
    assert spelled == product_snake_case(spelled)
    assert [letter for letter in name if not letter.isascii()] == [
        letter for letter in spelled if not letter.isascii()
    ]


@given(st.lists(st.text("aAbB_1", max_size=4) | column_names(), unique=True, max_size=9))
def test_names_that_collide_lose_no_value(names):
    """As many values as came, in their order, each under its name or the snake case of it."""
    event = ("Event", '"contact.changed"')
    columns_ = joined((name, str(number)) for number, name in enumerate(names))
    delivery = Delivery("e", joined((event, ("FieldValues", columns_))).encode(), 0)
    (result, oddities) = understood(delivery)[1]
    values = result.data["field_values"]

    assert list(range(len(names))) == list(values.values())
    assert all(new in (old, snake_case(old)) for old, new in zip(names, values, strict=True))
    assert ("name_collision" in oddities) == (len(set(map(snake_case, names))) < len(names))


@given(st.lists(st.tuples(texts(), values() | st.just("null")), max_size=5))
def test_properties_of_the_operator_pass_untouched(pairs):
    """What a webhook adds of its own is found under its own name, null included."""
    pairs = [(name, value) for name, value in pairs if name not in KNOWN]
    data = data_of(joined([("Event", '"contact.changed"'), *pairs]))

    assert text_of({name: decoded(value) for name, value in pairs}) == text_of(data["properties"])


@given(CATALOGUED.flatmap(lambda entity: st.tuples(st.just(entity), columns(entity))))
def test_normalizing_twice_is_normalizing_once(case):
    """What is in normal form already stays as it is."""
    entity, columns_ = case
    once = normal(entity, columns_)

    assert text_of(once) == text_of(normal(entity, json.dumps(once)))


@given(deliveries())
def test_an_event_has_an_id_a_time_and_a_record(delivery):
    """From the body if it says so; else its hash, the receipt, and no order."""
    payload, (event, _) = understood(delivery)

    assert event.event_id == payload.event_id
    assert event.id.startswith("sha256-") or event.event_id
    assert event.time == payload.timestamp or payload.timestamp is None
    assert (event.record is None) == (event.primary_key is None)
    if event.record is not None:
        entity = event.entity.lower()
        assert event.record == (event.endpoint, event.context, entity, event.primary_key)


@given(st.integers(0, 2**63 - 1))
def test_the_receipt_is_told_to_the_microsecond(received_ns):
    """Without a Timestamp the time is that of the receipt, in UTC."""
    delivery = Delivery("e", b'{"Event":"contact.changed"}', received_ns)
    time = understood(delivery)[1][0].time
    moment = datetime.fromisoformat(time)

    assert "Z" == time[-1]
    assert received_ns // 1000 == int(moment.timestamp()) * 1_000_000 + moment.microsecond


@given(
    st.sampled_from(("1", '"1"', '"007"', "0", '""', '" "', "1.0", "true", "[]")) | column_values()
)
def test_a_primary_key_keeps_its_value(value):
    """Canonical digits become the number that they are; any other key stays what it was."""
    given_ = decoded(value)
    body = joined((("Event", '"contact.changed"'), ("PrimaryKey", value)))
    payload, (event, _) = understood(Delivery("e", body.encode(), 0))
    record = ("e", None, "contact", event.primary_key)

    assert (None if event.primary_key is None else record) == event.record
    if type(given_) is str and given_.strip():
        number = integer(given_)
        assert text_of(given_ if number is None else number) == text_of(event.primary_key)
    elif type(given_) is int:
        assert given_ == event.primary_key
    else:
        assert event.primary_key is None
        assert given_ is None or text_of(given_) == text_of(payload.properties["PrimaryKey"])
