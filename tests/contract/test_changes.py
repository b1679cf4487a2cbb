"""The contract only grows: what it is compared with is the one of the last release."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from bridge.core.message import SCHEMA_VERSION
from tests.contract.comparing import breaking, surface
from tests.contract.generated import RELEASED, ROOT, current

LAST = json.loads((ROOT / RELEASED).read_text("utf-8"))

Edit = Callable[[Any], object]


def test_nothing_breaks_the_consumers_of_the_last_release():
    """Unless the schemas have a new number, which every message shows in its ``dataschema``."""
    assert SCHEMA_VERSION > LAST["version"] or [] == breaking(LAST, current())


def test_the_comparison_sees_all_that_consumers_see():
    """Channels, messages and schemas are there, and nothing breaks what did not change."""
    assert {"contact.created", "any", "superoffice.parked"} < LAST["channels"].keys()
    assert {"contact", "contact_event", "headers", "amqp_properties"} < LAST["schemas"].keys()
    assert [] == breaking(LAST, copy.deepcopy(LAST))


def contact(contract: Any) -> Any:
    """Return the members of the data of a contact."""
    return contract["schemas"]["contact"]["properties"]


def envelope(contract: Any) -> Any:
    """Return the attributes of the CloudEvent of a contact."""
    return contract["schemas"]["contact_event"]["properties"]


def columns(contract: Any) -> Any:
    """Return the columns of a contact."""
    return contact(contract)["field_values"]["properties"]


def headers(contract: Any) -> Any:
    """Return the schema of the headers."""
    return contract["schemas"]["headers"]


def channel(contract: Any) -> Any:
    """Return the channel of contact.created."""
    return contract["channels"]["contact.created"]


def with_column(kind: str) -> Edit:
    """Return what adds a column of this kind to a contact."""
    return lambda c: columns(c).update(new={"$ref": f"#/components/schemas/{kind}"})


def with_flag(schema: Any) -> Any:
    """Return the schema of an entity with a flag."""
    new = copy.deepcopy(schema)
    new["properties"]["field_values"]["properties"] = {"new": {"$ref": "#/components/schemas/flag"}}
    return new


ADDED: dict[str, Edit] = {
    "a member": lambda c: contact(c).update(new={"type": "string"}),
    "a member that is always there": lambda c: (
        contact(c).update(new={"type": "string"}),
        c["schemas"]["contact"]["required"].append("new"),
    ),
    "an attribute": lambda c: envelope(c).update(traceparent={"type": "string"}),
    "a column": lambda c: columns(c).update(new={"$ref": "#/components/schemas/number"}),
    "a header": lambda c: headers(c)["properties"].update(new={"type": "string"}),
    "a header that is always there": lambda c: headers(c)["required"].append("context"),
    "an entity": lambda c: c["schemas"].update(new={"type": "object"}),
    "an entity with events": lambda c: c["schemas"].update(
        new={**c["schemas"]["any"], "title": "New"}, new_event={}
    ),
    "a channel": lambda c: c["channels"].update(new=channel(c)),
    "an action": lambda c: contact(c)["action"]["anyOf"][0]["enum"].append("merged"),
    "a member that is never null any more": lambda c: contact(c)["webhook_name"].update(
        type="string"
    ),
    "a lower bound": lambda c: envelope(c)["id"].update(minLength=2),
    "a pattern where there was none": lambda c: contact(c)["event"].update(pattern="^[a-z]"),
    "a constant out of an open list": lambda c: contact(c)["action"].update(
        anyOf=[{"const": "created"}]
    ),
    "words": lambda c: contact(c)["event"].update(description="Other words.", examples=["x"]),
}

BROKEN: dict[str, Edit] = {
    "a member is gone": lambda c: contact(c).pop("changes"),
    "a member may be absent": lambda c: c["schemas"]["contact"]["required"].remove("changes"),
    "a member may be null": lambda c: contact(c)["event"].update(type=["string", "null"]),
    "a member may be anything": lambda c: contact(c)["event"].pop("type"),
    "a member has another type": lambda c: contact(c)["changes"].update(type="object"),
    "an integer may be a number": lambda c: contact(c)["changed_by_associate_id"].update(
        type=["number", "null"]
    ),
    "items of a list may be numbers": lambda c: contact(c)["changes"]["items"].update(
        type=["string", "number"]
    ),
    "items of a list may be anything": lambda c: contact(c)["changes"].pop("items"),
    "a column is gone": lambda c: columns(c).pop("deleted"),
    **{
        f"a column is a {kind} that came as it was": with_column(kind)
        for kind in ("flag", "date_time", "numeric")
    },
    "an entity has a column that is converted": lambda c: c["schemas"].update(
        new=with_flag(c["schemas"]["any"]), new_event={}
    ),
    "a schema is closed": lambda c: c["schemas"]["contact"].update(additionalProperties=False),
    "a type has another name": lambda c: c["schemas"]["contact"].update(title="Company"),
    "a column is of another kind": lambda c: columns(c).update(
        deleted={"$ref": "#/components/schemas/number"}
    ),
    "a kind of column is usually something else": lambda c: c["schemas"]["flag"]["anyOf"][0].update(
        type="string"
    ),
    "a kind of column is usually of another form": lambda c: c["schemas"]["date_time"]["anyOf"][
        0
    ].update(format="date"),
    "a kind of column has another second form": lambda c: c["schemas"]["date_time"]["anyOf"][
        1
    ].update(pattern="^[0-9]{2}/[0-9]{2}/[0-9]{4}$"),
    "a reference beside a type": lambda c: contact(c)["event"].update(
        {"$ref": "#/components/schemas/number"}
    ),
    "a name may be spelled otherwise": lambda c: contact(c)["entity"].update(pattern="."),
    "an attribute is gone": lambda c: envelope(c).pop("subject"),
    "a constant is another": lambda c: envelope(c)["specversion"].update(const="2.0"),
    "a constant is one of several": lambda c: envelope(c).update(
        specversion={"enum": ["1.0", "2.0"]}
    ),
    "a constant is any string": lambda c: envelope(c).update(specversion={"type": "string"}),
    "a time may be of any form": lambda c: envelope(c)["time"].pop("format"),
    "an id may be longer": lambda c: envelope(c)["id"].update(maxLength=255),
    "an id may be empty": lambda c: envelope(c)["id"].pop("minLength"),
    "an action may be a number": lambda c: contact(c)["action"]["anyOf"].append({"type": "number"}),
    "a closed list is longer": lambda c: c["schemas"]["amqp_properties"]["properties"][
        "content_type"
    ]["enum"].append("text/plain"),
    "a header is gone": lambda c: headers(c)["properties"].pop("context"),
    "a header may be absent": lambda c: headers(c)["required"].remove("entity"),
    "a schema is gone": lambda c: c["schemas"].pop("contact"),
    "a rule that cannot be judged": lambda c: contact(c)["event"].update({"not": {"const": "x"}}),
    "a channel is gone": lambda c: c["channels"].pop("contact.created"),
    "a routing key is another": lambda c: channel(c).update(address="contact.new"),
    "an exchange is another": lambda c: channel(c)["binding"]["exchange"].update(name="other"),
    "a content type is another": lambda c: channel(c)["messages"]["contact.created"].update(
        contentType="application/json"
    ),
    "a type is another": lambda c: channel(c)["messages"]["contact.created"].update(
        type="com.superoffice.contact.new"
    ),
    "a channel has messages of another kind": lambda c: channel(c)["messages"].update(
        other=channel(c)["messages"]["contact.created"]
    ),
    "unroutable messages are not returned": lambda c: channel(c)["sent"].update(mandatory=False),
    "messages are not persistent": lambda c: channel(c)["sent"].update(deliveryMode=1),
    "a queue is another": lambda c: c["channels"]["superoffice.parked"]["binding"]["queue"].update(
        name="parked"
    ),
}


@pytest.mark.parametrize("edit", ADDED.values(), ids=ADDED)
def test_what_may_come_without_notice(edit: Edit):
    """It changes the contract, and breaks no consumer."""
    new = copy.deepcopy(LAST)
    edit(new)

    assert LAST != new
    assert [] == breaking(LAST, new)


@pytest.mark.parametrize("edit", BROKEN.values(), ids=BROKEN)
def test_what_breaks_consumers(edit: Edit):
    """It is found, and only it."""
    new = copy.deepcopy(LAST)
    edit(new)

    assert 1 == len(breaking(LAST, new))


def test_the_surface_is_that_of_the_document():
    """Words and examples are no part of it; the channels have their exchange and their message."""
    assert "description" not in json.dumps(LAST["schemas"]["contact"])
    assert {"address", "binding", "sent", "messages"} == LAST["channels"]["contact.created"].keys()
    assert surface.__doc__
