"""JSON Patch and JSON Merge Patch as SuperOffice documents them."""

import copy
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dev.superoffice.errors import ApiError
from bridge.dev.superoffice.patch import patched

DOCUMENT = {"State": "TooManyErrors", "Events": ["a.b", "c.d"], "Headers": None, "Name": "x"}


def operation(op, path, value=None):
    """Return one operation."""
    return {"op": op, "path": path, "value": value}


@pytest.mark.parametrize("path", ["/State", "State", "state", "/sTATE"])
def test_path(path):
    """Case does not matter, and the leading slash can be left out."""
    changed = patched(DOCUMENT, [operation("replace", path, "Active")])

    assert {**DOCUMENT, "State": "Active"} == changed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([operation("add", "/Events/-", "e.f")], {"Events": ["a.b", "c.d", "e.f"]}),
        ([operation("add", "/Events/0", "e.f")], {"Events": ["e.f", "a.b", "c.d"]}),
        ([operation("add", "/Events/2", "e.f")], {"Events": ["a.b", "c.d", "e.f"]}),
        ([operation("replace", "/Events/1", "e.f")], {"Events": ["a.b", "e.f"]}),
        ([operation("remove", "/Events/0")], {"Events": ["c.d"]}),
        ([operation("add", "/Headers", {"X-A": "1"})], {"Headers": {"X-A": "1"}}),
        (
            [
                operation("add", "/Headers", {"A/B": "1"}),
                operation("replace", "/Headers/A~1B", "2"),
            ],
            {"Headers": {"A/B": "2"}},
        ),
        (
            [operation("test", "/Events/0", "a.b"), operation("replace", "/Name", "y")],
            {"Name": "y"},
        ),
        ({"Name": "y", "State": "Active"}, {"Name": "y", "State": "Active"}),
        ({"Headers": {"X-A": "1", "X-B": None}}, {"Headers": {"X-A": "1"}}),
    ],
)
def test_changes(changes, expected):
    """Members and items are added, replaced, removed and tested; a merge patch replaces."""
    assert {**DOCUMENT, **expected} == patched(DOCUMENT, changes)


def test_remove_a_member():
    """A removed member is absent, and so it is saved as null."""
    assert "Name" not in patched(DOCUMENT, [operation("remove", "/Name")])


@pytest.mark.parametrize("value", ["Active", None, ["TooManyErrors"]])
def test_a_failed_test_changes_nothing(value):
    """A test that fails is a conflict, and operations before it are undone."""
    document = copy.deepcopy(DOCUMENT)
    changes = [operation("add", "/Events/-", "e.f"), operation("test", "/State", value)]

    with pytest.raises(ApiError) as caught:
        patched(document, changes)

    assert 409 == caught.value.status
    assert DOCUMENT == document


@pytest.mark.parametrize(
    "changes",
    [
        [operation("move", "/Name", "x")],
        [operation("copy", "/Name", "x")],
        [operation("replace", 5, "x")],
        [operation("replace", "/Events/2", "x")],
        [operation("remove", "/Events/-", "x")],
        [operation("add", "/Name/0", "x")],
        [operation("test", "/Name/0/1", "x")],
        ["replace"],
        "replace",
        5,
        None,
    ],
)
def test_what_cannot_be_done(changes):
    """Anything else is a bad request."""
    with pytest.raises(ApiError) as caught:
        patched(DOCUMENT, changes)

    assert 400 == caught.value.status


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.one_of(
        json_values,
        st.lists(
            st.fixed_dictionaries(
                {
                    "op": st.sampled_from(["add", "replace", "remove", "test"]),
                    "path": st.sampled_from(["/Events/0", "Events/-", "/Name", "/Headers/X", "/"]),
                    "value": json_values,
                }
            )
        ),
    )
)
def test_any_patch(changes):
    """Any JSON is applied or refused, and the document itself is never changed."""
    document = copy.deepcopy(DOCUMENT)
    with suppress(ApiError):
        patched(document, changes)

    assert DOCUMENT == document
