"""The values of columns: flags, numbers, dates, and texts that say of what kind they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from bridge.superoffice.catalogue import Kind
from bridge.superoffice.datetimes import in_utc
from bridge.superoffice.payload import integer

# .NET's first day, and the earliest day of SuperOffice's database: both mean "no date".
_NO_DATE: Final = re.compile(r"(?:0001|1760)-01-01(?:T00:00:00(?:\.0+)?)?")
_NO_DATE_DAYS: Final = frozenset({"0001-01-01", "1760-01-01"})

# CultureDataFormatter writes [kind:value], dates in US order, in the tenant's time.
# https://docs.superoffice.com/en/globalization-and-localization/culture/culturedataformatter.html
_BRACKETED: Final = re.compile(r"\[(I|F|B|D|DT):([^\]]*)\]")
_US_DATE: Final = re.compile(
    r"([0-9]{2})/([0-9]{2})/([0-9]{4})(?: ([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?)?"
)
_FLOAT: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_BOOLEANS: Final = {
    "True": True,
    "true": True,
    "1": True,
    "False": False,
    "false": False,
    "0": False,
}


def _flag(value: Any) -> Any:
    return value == 1 if type(value) is int and value in (0, 1) else value


def _number(value: Any) -> Any:
    number = integer(value) if type(value) is str else None
    return value if number is None else number


def _date(value: Any) -> Any:
    """Return None for "no date", UTC if there is an offset, the tenant's own time as it is."""
    if type(value) is not str:
        return value
    if value[:10] in _NO_DATE_DAYS and _NO_DATE.fullmatch(value):
        return None
    return in_utc(value)


def unbracketed(value: Any) -> Any:
    """Return the value of ``[kind:value]`` where there is no doubt; anything else as it is."""
    match = _BRACKETED.fullmatch(value) if type(value) is str else None
    return _BRACKETS[match[1]](match[2], value) if match else value


def _bracketed_integer(text: str, raw: str) -> int | str:
    number = integer(text)
    return raw if number is None else number


def _bracketed_float(text: str, raw: str) -> float | str:
    """Return a number if JSON writes it as it came: ``3.14`` and ``3``, but not ``1.10``."""
    exact = _FLOAT.fullmatch(text) and repr(float(text)) in (text, f"{text}.0")
    return float(text) if exact else raw


def _bracketed_boolean(text: str, raw: str) -> bool | str:
    return _BOOLEANS.get(text, raw)


def _bracketed_date(text: str, raw: str) -> str | None:
    """Return ISO 8601 without a zone, because it is the tenant's own time; None for "no date"."""
    match = _US_DATE.fullmatch(text)
    if match is None:
        return raw
    month, day, year, time, fraction = match.groups(default="")
    seconds = f"{year}-{month}-{day}{time and 'T'}{time}"
    try:
        datetime.fromisoformat(seconds)
    except ValueError:
        return raw
    iso = seconds + fraction
    return None if _NO_DATE.fullmatch(iso) else iso


_BRACKETS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "I": _bracketed_integer,
    "F": _bracketed_float,
    "B": _bracketed_boolean,
    "D": _bracketed_date,
    "DT": _bracketed_date,
}
CONVERT: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.FLAG: _flag,
    Kind.NUMERIC: _number,
    Kind.DATE: _date,
}
"""How to convert the values of a kind; other kinds stay as they are."""
