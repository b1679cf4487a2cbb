"""The catalogue says what SuperOffice documents, transcribed a second time by rule."""

from __future__ import annotations

import dataclasses

import pytest

from bridge.superoffice.catalogue import (
    ENTITIES,
    EXTRA_TABLE,
    LIST,
    LIST_NAMES,
    Kind,
    find,
)

BY_NAME = {entity.name: entity for entity in ENTITIES}
FLAGS = {
    ("associate", "deleted"),
    ("associate", "waiting_for_approval"),
    ("contact", "deleted"),
    ("person", "retired"),
    ("project", "done"),
    ("ticket", "has_attachment"),
}
DATES = {
    ("activity", "activeDate"),
    ("activity", "do_by"),
    ("activity", "endDate"),
    ("activity", "updated"),
    ("associate", "updated"),
    ("contact", "DeletedDate"),
    ("contact", "registered"),
    ("contact", "updated"),
    ("document", "registered"),
    ("document", "updated"),
    ("person", "DeletedDate"),
    ("person", "registered"),
    ("person", "updated"),
    ("project", "registered"),
    ("project", "updated"),
    ("projectmember", "registered"),
    ("projectmember", "updated"),
    ("relation", "registered"),
    ("relation", "updated"),
    ("sale", "registered"),
    ("sale", "saledate"),
    ("sale", "updated"),
    ("salestakeholder", "registered"),
    ("salestakeholder", "updated"),
    ("ticket", "created_at"),
    ("ticket", "last_changed"),
    ("webhook", "registered"),
    ("webhook", "updated"),
    ("y_{table}", "last_changed"),
    ("y_{table}", "dbi_last_syncronized"),
    ("y_{table}", "dbi_last_modified"),
}


def of_kind(kind: Kind) -> set[tuple[str, str]]:
    """Return entity and column of everything that has this kind."""
    return {
        (entity.name, column)
        for entity in (*ENTITIES, LIST, EXTRA_TABLE)
        for column, other in entity.fields.items()
        if other is kind
    }


def test_flags():
    """These columns are flags sent as numbers, and no others: not private, done of sale, ..."""
    assert FLAGS == of_kind(Kind.FLAG)


def test_dates():
    """These columns are date-times."""
    assert DATES == of_kind(Kind.DATE)


def test_the_other_kinds():
    """Only chat sends booleans and numbers as text; a few columns have no one type."""
    assert {("chatsession", "chatbotIsactive"), ("chatsession", "consented")} == of_kind(Kind.BOOL)
    assert {("chatsession", "contactId"), ("chatsession", "customerId")} == of_kind(Kind.NUMERIC)
    assert {("chatsession", "customerAlias"), ("webhook", "events")} == of_kind(Kind.OTHER)


def test_actions():
    """Every event that SuperOffice documents is there."""
    crud = ("created", "changed", "deleted")

    assert {
        "activity": crud,
        "associate": crud,
        "chatsession": ("created", "changed", "message"),
        "contact": ("created", "changed", "softdeleted", "deleted"),
        "document": (*crud, "edited"),
        "person": ("created", "changed", "softdeleted", "deleted", "consented", "unconsented"),
        "project": crud,
        "projectmember": crud,
        "quote": ("approved", "rejected", "sent", "ordered"),
        "relation": crud,
        "sale": (*crud, "sold", "lost", "completed"),
        "salestakeholder": crud,
        "ticket": ("created", "changed"),
        "webhook": ("started", "stopped", "errors"),
        "test": (),
    } == {entity.name: entity.actions for entity in ENTITIES}
    assert ("created", "changed", "softdeleted") == LIST.actions
    assert crud == EXTRA_TABLE.actions


def test_number_of_columns():
    """No column fell out."""
    columns = {entity.name: len(entity.fields) for entity in (*ENTITIES, EXTRA_TABLE)}

    assert {
        "activity": 18,
        "associate": 8,
        "chatsession": 13,
        "contact": 13,
        "document": 9,
        "person": 18,
        "project": 11,
        "projectmember": 9,
        "quote": 0,
        "relation": 10,
        "sale": 26,
        "salestakeholder": 8,
        "ticket": 15,
        "webhook": 6,
        "test": 0,
        "y_{table}": 5,
    } == columns
    assert 57 == len(set(LIST_NAMES))


def test_values_go_with_a_deletion():
    """Values name the removed row, so what has them can be deleted."""
    assert all("deleted" in entity.actions for entity in ENTITIES if entity.values)
    assert ("associate_id", "contact_id") == BY_NAME["contact"].values


@pytest.mark.parametrize("entity", [*ENTITIES, LIST, EXTRA_TABLE], ids=lambda entity: entity.name)
def test_collections_only_on_known_actions(entity):
    """FieldValues and Changes are said to come with actions that exist."""
    assert set(entity.actions) >= {*entity.fields_on, *entity.changes_on}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("contact", BY_NAME["contact"]),
        ("Contact", BY_NAME["contact"]),
        ("SALESTAKEHOLDER", BY_NAME["salestakeholder"]),
        ("webhook", BY_NAME["webhook"]),
        ("test", BY_NAME["test"]),
        ("list.category", LIST),
        ("List.110", LIST),
        ("y_rental", EXTRA_TABLE),
        ("Y_Rental", EXTRA_TABLE),
        ("list", None),
        ("lists.category", None),
        ("chat", None),
        ("my_rental", None),
        ("contact.person", None),
        ("", None),
    ],
)
def test_find(name, expected):
    """An entity is found in any case; families by what their names begin with."""
    assert expected is find(name)


def test_frozen():
    """Nobody changes the catalogue by accident."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        LIST.name = "list"  # type: ignore[misc]
    with pytest.raises(TypeError):
        BY_NAME["contact"].fields["deleted"] = Kind.INT  # type: ignore[index]
