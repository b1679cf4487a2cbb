"""Webhooks as SuperOffice sends them, with its odd dates, spellings and omissions.

event = sample("contact.created")
body = encode(event)
headers = request_headers(
    body, event=event["Event"], event_id=event["EventId"], secret=b"the webhook's secret"
)
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from uuid import uuid4

import orjson

from bridge.superoffice import headers
from bridge.superoffice.catalogue import (
    ENTITIES,
    EXTRA_TABLE,
    LIST,
    LIST_NAMES,
    Entity,
    Kind,
    find,
)
from bridge.superoffice.names import TEST_EVENT
from bridge.superoffice.payload import split_event
from bridge.superoffice.signature import sign

_TENANT: Final = timezone(timedelta(hours=2))

_NO_DATE: Final = "0001-01-01T00:00:00"
"""What SuperOffice sends for a date that is not set."""

_NEVER: Final = ("DeletedDate", "dbi_last_modified", "dbi_last_syncronized", "endDate")
"""Columns whose date is not set in the samples."""

_WITH_OFFSET: Final = ("activeDate", "do_by", "updated")
"""Columns whose date has an offset from UTC. All others are in the tenant's own time."""

# Table 5 is contact, country 578 is Norway.
_NUMBERS: Final[Mapping[str, int]] = {
    "appointment_id": 90210,
    "associateId": 7,
    "associate_id": 7,
    "business_idx": 2,
    "category_idx": 3,
    "contactId": 4711,
    "contact_id": 4711,
    "country_id": 578,
    "customerId": 815,
    "dbi_agent_id": -1,
    "destination_record": 4712,
    "destination_table": 5,
    "group_idx": 4,
    "person_id": 815,
    "project_id": 64,
    "registered_associate_id": 7,
    "sale_id": 2048,
    "source_record": 4711,
    "source_table": 5,
    "state": 2,
    "status": 1,
    "ticket_status": 1,
    "updated_associate_id": 12,
}
"""The numbers in columns. All other columns are 0."""

_CUSTOM: Final[Mapping[str, int | float]] = {"x_days": 14, "x_price": 12.5}
"""The custom columns of the sample's extra table."""

_CHANGES: Final[Mapping[str, str]] = {
    "chatsession.message": """chatSession.topicId chatSession.userId chatSession.customerId
        chatMessage.sessionId chatMessage.id chatMessage.message chatMessage.author""",
    "document.changed": "status done updated updated_associate_id updatedCount",
    "list.{name}.created": "UDList_id registered rank name tooltip UDListDefinition_id",
    "list.{name}.changed": "UDList_id rank updated updated_associate_id name tooltip",
    "list.{name}.softdeleted": "UDList_id deleted updated updated_associate_id",
    "person.consented": """consentperson_id comment consentSource_id legalBase_id updated
        updated_associate_id""",
    "sale.completed": "sale_id done updated updated_associate_id",
    "sale.lost": "sale_id status updated updated_associate_id",
    "sale.sold": "sale_id status updated updated_associate_id",
    "y_{table}.created": "id last_changed x_days x_price",
    "y_{table}.changed": "id x_days last_changed",
}
"""``Changes`` of events that do not simply list the columns of their record."""


def sample(
    event: str,
    *,
    primary_key: int | None = None,
    context: str = "Cust20001",
    event_id: str | None = None,
    now: datetime | None = None,
    changed_by: int = 7,
    webhook_name: str = "superoffice-bridge sample",
) -> dict[str, Any]:
    """Return the body of a webhook for any event name, as an object.

    The record and the event id are new, and the time is now, unless they are given.
    """
    entity, action, number = split_event(event)
    known = find(entity)
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    key = _key(event, number) if primary_key is None else primary_key
    body: dict[str, Any] = {
        "EventId": event_id or str(uuid4()),
        "Timestamp": f"{moment:%Y-%m-%dT%H:%M:%S.%f}3Z",
        "Changes": _changes(known, action) if known else [],
        "Event": event,
        "PrimaryKey": key,
        "ContextIdentifier": context,
        "ChangedByAssociateId": changed_by,
        "WebhookName": webhook_name,
    }
    if known is None or known.name != "webhook":  # those events have no Entity
        body["Entity"] = entity
    if known:
        body |= _collections(known, action, key, moment)
    return body


def encode(body: Mapping[str, Any]) -> bytes:
    """Return the bytes of a body, as JSON without white space."""
    return orjson.dumps(body)


def request_headers(
    body: bytes, *, event: str, event_id: str, secret: bytes | None
) -> dict[str, str]:
    """Return the headers that SuperOffice sends with these bytes; unsigned without a secret."""
    sent = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "NetServer-Webhook/10.5.9210.1532",
        headers.EVENT: event,
        headers.EVENT_ID: event_id,
    }
    if secret is not None:
        sent[headers.SIGNATURE] = sign(body, secret=secret)
    if event == TEST_EVENT:
        sent[headers.TEST] = "true"
    return sent


def known_events() -> list[str]:
    """Return every event name of the catalogue, with ``y_rental`` as the one extra table."""
    tables = [(entity.name, entity) for entity in ENTITIES]
    lists = [(f"list.{name}", LIST) for name in LIST_NAMES]
    named = [*tables, ("y_rental", EXTRA_TABLE), *lists]
    return ["test", *(f"{name}.{action}" for name, entity in named for action in entity.actions)]


def _key(event: str, number: int | None) -> int:
    if number is not None:
        return number
    return 0 if event == TEST_EVENT else random.randrange(1, 2**31)


def _changes(known: Entity, action: str) -> list[str]:
    if action not in known.changes_on:
        return []
    listed = _CHANGES.get(f"{known.name}.{action}")
    if listed:
        return listed.split()
    often = ("last_changed", "status", "updated", "updated_associate_id")
    columns = [name for name in known.fields if action == "created" or name in often]
    return list(dict.fromkeys([str(known.key), *columns, "updatedCount"]))


def _collections(known: Entity, action: str, key: int, moment: datetime) -> dict[str, Any]:
    collections: dict[str, Any] = {}
    if action == "deleted" and action in known.actions:
        values = {name: _NUMBERS.get(name, 0) for name in known.values}
        collections["Values"] = _with_key(values, known, key)
    if action in known.fields_on:
        fields = {name: _value(name, kind, moment) for name, kind in known.fields.items()}
        collections["FieldValues"] = _with_key(fields, known, key)
    if known is EXTRA_TABLE and "FieldValues" in collections:
        fields = collections["FieldValues"] | _CUSTOM
        if action != "deleted":
            fields = {name: _bracketed(value) for name, value in fields.items()}
        collections["FieldValues"] = fields
    return collections


def _with_key(columns: dict[str, Any], known: Entity, key: int) -> dict[str, Any]:
    return {name: key if name == known.key else value for name, value in columns.items()}


def _value(name: str, kind: Kind, moment: datetime) -> Any:
    if kind is Kind.DATE:
        return _date(name, moment)
    if kind is Kind.BOOL:
        return False
    number = _NUMBERS.get(name, 0)
    return str(number) if kind is Kind.NUMERIC else number


def _date(name: str, moment: datetime) -> str:
    """Return a date in the form in which SuperOffice sends this column."""
    if name in _NEVER:
        return _NO_DATE
    local = moment.astimezone(_TENANT)
    if name in _WITH_OFFSET:
        return f"{local:%Y-%m-%dT%H:%M:%S.%f}3+02:00"
    return f"{local:%Y-%m-%dT%H:%M:%S}"


def _bracketed(value: Any) -> str:
    """Return a value as extra tables have it: ``[DT:09/16/2025 14:22:14.0000000]``."""
    if isinstance(value, str):
        return f"[DT:{value[5:7]}/{value[8:10]}/{value[:4]} {value[11:]}.0000000]"
    return f"[F:{value}]" if isinstance(value, float) else f"[I:{value}]"
