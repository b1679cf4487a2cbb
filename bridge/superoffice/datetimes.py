"""Date-times of RFC 3339, as SuperOffice sends them.

Events of one second come together. So whole seconds are read once and remembered; the fraction,
which hardly any two events share, is looked at apart.

https://www.rfc-editor.org/rfc/rfc3339#section-5.6, in capitals: most parsers want them.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_OFFSET: Final = re.compile(r"Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]")

_WHOLE: Final = len("2026-03-02T10:15:27")
_SHORTEST: Final = len("2026-03-02T10:15:27+01:00")


def is_date_time(text: str) -> bool:
    """Return whether this is an RFC 3339 date-time whose day and time exist.

    A second 60 does not: RFC 3339 allows it for leap seconds, but hardly any consumer can read it.
    """
    end = -1 if text[-1:] == "Z" else _WHOLE - _SHORTEST
    return _is_fraction(text[_WHOLE:end]) and _exists(text[:_WHOLE], text[end:])


def in_utc(text: str) -> str:
    """Return a date-time with an offset in UTC, with every digit of its fraction.

    Any other text stays as it is, and so does what is before year 1 or after year 9999 in UTC.
    """
    if len(text) < _SHORTEST or text[-1] == "Z":
        return text
    end = _WHOLE - _SHORTEST
    utc, fraction = _utc(text[:_WHOLE], text[end:]), text[_WHOLE:end]
    return text if utc is None or not _is_fraction(fraction) else f"{utc}{fraction}Z"


def _is_fraction(text: str) -> bool:
    return text == "" or (text[0] == "." and text.isascii() and text[1:].isdigit())


@lru_cache(maxsize=1024)
def _exists(seconds: str, offset: str) -> bool:
    return _read(seconds, offset) is not None


@lru_cache(maxsize=1024)
def _utc(seconds: str, offset: str) -> str | None:
    local = _read(seconds, offset)
    if local is None:
        return None
    ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:6]))
    try:
        return (local + ahead if offset[0] == "-" else local - ahead).isoformat()
    except OverflowError:
        return None


def _read(seconds: str, offset: str) -> datetime | None:
    """Return the local time of whole seconds, None if it is of another form or does not exist.

    In a text that is too short the two share letters, and then one of them has another form.
    """
    if _SECONDS.fullmatch(seconds) is None or _OFFSET.fullmatch(offset) is None:
        return None
    try:
        return datetime.fromisoformat(seconds)
    except ValueError:
        return None
