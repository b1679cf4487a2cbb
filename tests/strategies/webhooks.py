"""Bodies of webhooks: all that SuperOffice documents, bent in every way."""

from __future__ import annotations

import json
from functools import cache, partial

from hypothesis import assume
from hypothesis import strategies as st

from bridge.core.errors import PayloadInvalid
from bridge.core.event import Delivery, Event
from bridge.superoffice.catalogue import ENTITIES, EXTRA_TABLE, LIST, LIST_NAMES, Kind, find
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse
from tests.strategies import json_texts
from tests.strategies.json_texts import joined, strings, texts, values

KNOWN = (
    *("Event", "EventId", "Timestamp", "Entity", "PrimaryKey", "Changes", "Values", "FieldValues"),
    *("ContextIdentifier", "ChangedByAssociateId", "WebhookName"),
)
"""The properties that SuperOffice documents."""

_ENTITY_NAMES = (
    *(entity.name for entity in ENTITIES),
    *("y_rental", "y_", "Y_Rental", "list.category", "list.110", "list.", "LIST.Category"),
    *("webhook123", "webhook007", "Webhook9", "webhook9223372036854775808", "webhook\uff11"),
)
_ACTIONS = sorted(
    {action for entity in (*ENTITIES, LIST, EXTRA_TABLE) for action in entity.actions}
)

_DAYS = ("0001-01-01", "1760-01-01", "0001-01-02", "9999-12-31", "2026-03-02", "2023-02-29")
_USUAL = (
    *("0001-01-01T00:00:00", "1760-01-01T00:00:00", "1760-01-01", "2020-02-16T17:50:17"),
    *("2018-04-24T08:53:40.0597952Z", "2025-05-14T16:19:57.1436004+02:00"),
)
_TIMES = (
    "T00:00:00",
    "T10:15:27",
    "T23:59:59",
    "T23:59:60",
    "T24:00:00",
    "t10:15:27",
    " 10:15",
    "",
)
_FRACTIONS = ("", ".0", ".0000000", ".1234567", ".", ",5", ".123456789012")
_ZONES = ("", "Z", "z", "+01:00", "+14:00", "-12:00", "+23:59", "-23:59", "+24:00", "-00:00")
_ODD_ZONES = ("+00:60", "-11:99", "+0100", "+01", " Z", "+01:00\n", "CET")


@cache
def names() -> st.SearchStrategy[str]:
    """Return names of events: documented, custom, nearly right, and anything at all."""
    entities = st.sampled_from(_ENTITY_NAMES) | st.sampled_from(LIST_NAMES).map("list.{}".format)
    documented = st.builds("{}.{}".format, entities, st.sampled_from(_ACTIONS))
    mutated = st.builds(_mutated, documented, st.integers(0, 30), texts(), st.integers(0, 3))
    folded = documented.flatmap(lambda name: st.sampled_from((name.upper(), name.title())))
    return st.one_of(documented, documented, mutated, folded, entities, texts()).filter(str.strip)


def _mutated(name: str, at: int, text: str, gone: int) -> str:
    return name[:at] + text + name[at + gone :]


@cache
def date_times() -> st.SearchStrategy[str]:
    """Return texts in all forms of SuperOffice's dates, and of what nearly is one."""
    parts = (_DAYS, _TIMES, _FRACTIONS, _ZONES + _ODD_ZONES)
    return st.sampled_from(_USUAL) | st.tuples(*map(st.sampled_from, parts)).map("".join)


@cache
def brackets() -> st.SearchStrategy[str]:
    """Return texts like those of extra tables, such as ``[I:6]``."""
    return st.builds(
        "[{}:{}]{}".format,
        st.sampled_from(("I", "F", "B", "D", "DT", "T", "M", "i", "")),
        st.one_of(
            st.integers(-(2**64), 2**64).map(str),
            st.floats().map(str),
            st.sampled_from(
                ("007", "+7", "-0", "1.10", "3.", "1e5", "\u0663", "True", "false", "1")
            ),
            st.sampled_from(("09/16/2025 14:22:14.0000000", "01/01/0001 00:00:00.0", "01/01/1760")),
            st.sampled_from(("16/09/2025", "02/30/2025", "9/6/2025", "09/16/2025 25:00:00", "")),
            texts(),
        ),
        st.sampled_from(("", "", "", "\n", "x")),
    )


@cache
def column_values() -> st.SearchStrategy[str]:
    """Return the JSON of values that some rule could take for something else."""
    digits = st.sampled_from(("7", "007", "-7", "+7", "-0", "0", "", " 7", "1.0", "\u0663", "null"))
    large = st.sampled_from((2**63 - 1, 2**63, -(2**63), -(2**63) - 1)).map(str)
    texts_ = st.one_of(date_times(), brackets(), digits, large).map(json.dumps)
    flags = st.sampled_from(("0", "1", "2", "-1", "true", "false", "1.0", "null", '"1"', "[0]"))
    return st.one_of(texts_, texts_, flags, values())


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


_SPELLINGS = (str, str, _camel, str.title, str.upper, lambda name: name.replace("_", ""))


@cache
def columns(entity: str) -> st.SearchStrategy[str]:
    """Return the JSON of FieldValues: the entity's columns in many spellings, and others."""
    known = find(entity)
    ruled = [name for name, kind in known.fields.items() if kind is not Kind.INT] if known else []
    common = ("deleted", "DeletedDate", "updated", "private", "contact_id", "last_changed", "a_b")
    spelled = sorted({spell(name) for name in (*ruled, *common) for spell in _SPELLINGS})
    column = st.tuples(st.sampled_from(spelled) | column_names(), column_values())
    return st.lists(column, max_size=8).map(joined)


@cache
def column_names() -> st.SearchStrategy[str]:
    """Return names of which several become one, and any others."""
    return st.text("aAbB1_.", max_size=5) | st.sampled_from(("orgNr", "OrgNr", "org_nr")) | texts()


@cache
def _properties(entity: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Return properties, most of the time with values of the documented types."""
    usual = {
        "EventId": st.uuids().map(lambda uuid: f'"{uuid}"') | strings(),
        "Timestamp": date_times().map(json.dumps),
        "PrimaryKey": json_texts.numbers() | column_values(),
        "Changes": st.lists(column_names(), max_size=5).map(json.dumps),
        "Values": columns(entity),
        "FieldValues": columns(entity),
        "ContextIdentifier": strings(),
        "ChangedByAssociateId": st.integers(-(2**65), 2**65).map(str),
        "WebhookName": strings(),
    }
    documented = [st.tuples(st.just(name), value) for name, value in usual.items()]
    odd = st.tuples(st.sampled_from(KNOWN) | texts(), values())
    return st.lists(st.one_of(*documented, odd), max_size=9)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return bodies of webhooks: JSON objects with an Event, duplicates in many of them."""
    event = draw(names())
    entity = event.rpartition(".")[0] or event
    known = find(entity)
    pairs = draw(_properties(known.name if known else ""))
    pairs.insert(draw(st.integers(0, 9)), ("Event", json.dumps(event)))
    if draw(st.booleans()):
        pairs.append(("Entity", json.dumps(entity)))
    return joined(pairs).encode()


# Until 2106, after which the decoder of the tests takes seconds for milliseconds.
_RECEIVED = st.integers(0, 2**32 * 10**9 - 1)
_TRACEPARENTS = st.integers(1, 2**128 - 1).map("00-{:032x}-00f067aa0ba902b7-01".format)


@cache
def compact_bodies() -> st.SearchStrategy[bytes]:
    """Return bodies of what an event is known by, and nothing more, whitespace around them."""
    keys = json_texts.numbers() | st.sampled_from(("0", '"0"', '"a/b?c"', '"007"')) | strings()
    parts = st.fixed_dictionaries(
        {"Event": names().map(json.dumps)},
        optional={"PrimaryKey": keys, "ContextIdentifier": strings() | st.just('"a/b"')},
    )
    ends = st.sampled_from((b"", b" ", b"\r\n"))
    return st.builds(
        lambda before, pairs, after: before + joined(pairs.items()).encode() + after,
        ends,
        parts,
        ends,
    )


@st.composite
def deliveries(draw: st.DrawFn, *, body: st.SearchStrategy[bytes] | None = None) -> Delivery:
    """Return deliveries as the receiver makes them, of bodies of webhooks unless told otherwise."""
    return Delivery(
        endpoint=draw(endpoint_names()),
        body=draw(bodies() if body is None else body),
        received_ns=draw(_RECEIVED),
        retry=draw(st.none() | st.integers(0, 99_999)),
        traceparent=draw(st.none() | _TRACEPARENTS),
        header_event=draw(_HEADERS),
        header_event_id=draw(_HEADERS),
    )


@st.composite
def delivered(draw: st.DrawFn) -> tuple[Delivery, Event]:
    """Return deliveries with the events that they are."""
    delivery = draw(deliveries(body=bodies() | compact_bodies() | compact_bodies()))
    try:
        return delivery, normalize(parse(delivery.body), delivery=delivery)[0]
    except PayloadInvalid:
        assume(False)
        raise


@cache
def endpoint_names() -> st.SearchStrategy[str]:
    """Return names that the configuration allows for an endpoint."""
    return st.sampled_from(("superoffice", "oslo-1", "0", "a_-", "x" * 63))


@cache
def header_values() -> st.SearchStrategy[str]:
    """Return header values as aiohttp decodes them, bytes outside UTF-8 as lone surrogates."""
    decode = partial(bytes.decode, encoding="utf-8", errors="surrogateescape")
    return st.binary(max_size=60).map(decode) | texts()


_HEADERS = st.none() | names() | header_values()
