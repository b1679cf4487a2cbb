"""Values: flags, numbers sent as text, dates in all their forms, and those of extra tables."""

from __future__ import annotations

import pytest

from tests.superoffice.test_normalize import fields


@pytest.mark.parametrize(
    ("entity", "column"),
    [
        ("associate", "deleted"),
        ("associate", "waiting_for_approval"),
        ("contact", "deleted"),
        ("Contact", "deleted"),
        ("person", "retired"),
        ("project", "done"),
        ("ticket", "has_attachment"),
    ],
)
def test_flags(entity, column):
    """The numbers 0 and 1 of a flag become booleans; anything else is not one of these two."""
    assert fields(entity, **{column: 0})[column] is False
    assert fields(entity, **{column: 1})[column] is True
    for other in (2, -1, "1", "true", 0.5, None, [1]):
        assert {column: other} == fields(entity, **{column: other})
    assert isinstance(fields(entity, **{column: 1.0})[column], float)


@pytest.mark.parametrize(
    ("entity", "column"),
    [
        ("activity", "private"),
        ("activity", "deleted"),
        ("sale", "done"),
        ("sale", "status"),
        ("ticket", "status"),
        ("contact", "source"),
        ("custom", "deleted"),
        ("list.category", "deleted"),
        ("y_rental", "deleted"),
    ],
)
@pytest.mark.parametrize("value", [0, 1, 2])
def test_not_flags(entity, column, value):
    """Numbers that happen to be 0 or 1 stay numbers."""
    assert type(value) is type(fields(entity, **{column: value})[column])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("21", 21),
        ("0", 0),
        ("-1", -1),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", "9223372036854775808"),
        ("007", "007"),
        ("+7", "+7"),
        ("7 ", "7 "),
        ("", ""),
        ("1e3", "1e3"),
        (21, 21),
        (None, None),
    ],
)
def test_numeric_strings(value, expected):
    """Ids that chat sends as text become numbers, in both spellings of the name."""
    assert {"contact_id": expected} == fields("chatsession", ContactId=value)
    assert {"customer_id": expected} == fields("chatsession", customerId=value)


def test_other_numeric_strings_stay():
    """Text of digits is text where the catalogue does not say otherwise."""
    assert {"customer_alias": "5", "user_id": "7"} == fields(
        "chatsession", CustomerAlias="5", UserId="7"
    )
    assert {"contact_id": "21"} == fields("sale", contact_id="21")


@pytest.mark.parametrize(
    "value",
    [
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00.0000000",
        "0001-01-01",
        "1760-01-01T00:00:00",
        "1760-01-01T00:00:00.000",
        "1760-01-01",
    ],
)
def test_no_date(value):
    """The days with which .NET and SuperOffice's calendar begin stand for no date."""
    assert {"deleted_date": None} == fields("contact", DeletedDate=value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-02T10:15:27.1234567+01:00", "2026-03-02T09:15:27.1234567Z"),
        ("2026-03-02T10:15:27+01:00", "2026-03-02T09:15:27Z"),
        ("2026-03-02T10:15:27.0000000+00:00", "2026-03-02T10:15:27.0000000Z"),
        ("2026-03-02T10:15:27.5-00:00", "2026-03-02T10:15:27.5Z"),
        ("2026-12-31T20:45:10.0000001-05:00", "2027-01-01T01:45:10.0000001Z"),
        ("2026-01-01T00:30:00.10+05:45", "2025-12-31T18:45:00.10Z"),
        ("2024-03-01T01:00:00+02:00", "2024-02-29T23:00:00Z"),
        ("2026-03-02T10:15:27.123456789012+01:00", "2026-03-02T09:15:27.123456789012Z"),
        ("0001-01-02T00:00:00+01:00", "0001-01-01T23:00:00Z"),
        ("1760-01-01T00:00:00-01:00", "1760-01-01T01:00:00Z"),
    ],
)
def test_offset(value, expected):
    """A date-time with an offset becomes UTC, with every digit that it had."""
    assert {"updated": expected} == fields("contact", updated=value)


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-02T09:15:27.1234567Z",
        "0001-01-01T00:00:00Z",
        "2026-03-02T10:15:27",
        "2026-03-02T10:15:27.1234567",
        "2026-03-02T00:00:00",
        "0001-01-01T00:00:01",
        "0001-01-01T00:00:00.0000001",
        "1760-01-01T12:00:00",
        "1760-01-02T00:00:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59.9999999-01:00",
        "2026-02-30T10:15:27+01:00",
        "2026-03-02T10:15:60+01:00",
        "2026-03-02T24:00:00+01:00",
        "2026-03-02T10:15:27+24:00",
        "2026-03-02T10:15:27.+01:00",
        "2026-03-02 10:15:27.123+01:00",
        "2026-03-02T10:15:27.1234567+0100",
        "[DT:09/16/2025 14:22:14.0000000]",
        "some time ago, somewhere far off",
        "",
        1772442927,
        False,
        None,
        {"date": "0001-01-01T00:00:00"},
    ],
)
def test_other_dates_stay(value):
    """UTC, the tenant's own time, what no calendar knows or has room for: all as it came."""
    assert {"updated": value} == fields("contact", updated=value)


@pytest.mark.parametrize("entity", ["contact", "foo", "list.category", "y_rental"])
def test_only_known_columns_are_dates(entity):
    """A value that looks like a date is none where the catalogue does not say so."""
    columns = {"own_date": "0001-01-01T00:00:00", "own_time": "2026-03-02T10:15:27+01:00"}

    assert columns == fields(entity, **columns)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[I:6]", 6),
        ("[I:-1]", -1),
        ("[I:0]", 0),
        ("[I:9223372036854775807]", 2**63 - 1),
        ("[F:3.14]", 3.14),
        ("[F:-0.5]", -0.5),
        ("[F:3]", 3.0),
        ("[F:0]", 0.0),
        ("[B:True]", True),
        ("[B:false]", False),
        ("[B:1]", True),
        ("[D:06/19/2019]", "2019-06-19"),
        ("[D:02/29/2024]", "2024-02-29"),
        ("[D:01/01/0001]", None),
        ("[DT:09/16/2025 14:22:14.0000000]", "2025-09-16T14:22:14.0000000"),
        ("[DT:09/16/2025 14:22:14]", "2025-09-16T14:22:14"),
        ("[DT:01/01/0001 00:00:00.0000000]", None),
        ("[DT:01/01/1760 00:00:00]", None),
    ],
)
def test_extra_tables(value, expected):
    """In an extra table a value says its own type, and is read as that; dates have no zone."""
    read = fields("y_rental", x_value=value)["x_value"]

    assert expected == read
    assert type(expected) is type(read)


@pytest.mark.parametrize(
    "value",
    [
        "[I:007]",
        "[I:+6]",
        "[I:9223372036854775808]",
        "[I:]",
        "[I:6",
        "[i:6]",
        " [I:6]",
        "[I:6][I:7]",
        "[F:1.10]",
        "[F:03.5]",
        "[F:.5]",
        "[F:1,5]",
        "[F:1e5]",
        "[F:nan]",
        "[F:9007199254740993]",
        "[F:0.1234567890123456789]",
        "[B:X98bQ2Zz]",
        "[B:TRUE]",
        "[B:2]",
        "[D:13/01/2025]",
        "[D:02/29/2025]",
        "[D:09.11.2017]",
        "[D:1234.5]",
        "[D:6/19/2019]",
        "[DT:09/16/2025 25:00:00]",
        "[DT:09/16/2025T14:22:14]",
        "[M:99.90]",
        "[T:14:52]",
        "[TS:500]",
        "[A:3,4,5]",
        "[]",
        "[",
        "plain",
        "",
        6,
        None,
        ["[I:6]"],
    ],
)
def test_other_values_of_extra_tables_stay(value):
    """What would not be written again as it came is not read."""
    assert {"x_value": value} == fields("y_rental", x_value=value)


@pytest.mark.parametrize("entity", ["contact", "foo", "list.y_rental", "Xy_rental"])
def test_brackets_elsewhere_stay(entity):
    """Outside extra tables brackets are text."""
    assert {"x_value": "[I:6]"} == fields(entity, x_value="[I:6]")


def test_extra_tables_agree_with_themselves():
    """The two forms in which one row is sent, before and after its deletion, become one."""
    sent = {"id": "[I:3]", "dbi_last_syncronized": "[DT:01/01/0001 00:00:00.0000000]"}
    deleted = {"id": 3, "dbi_last_syncronized": "0001-01-01T00:00:00"}

    assert {"id": 3, "dbi_last_syncronized": None} == fields("y_rental", **sent)
    assert {"id": 3, "dbi_last_syncronized": None} == fields("Y_Rental", **deleted)
