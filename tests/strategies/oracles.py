"""What should come out, worked out a second time: slowly, plainly, and without the bridge's code.

Only the catalogue is shared: which column is what is knowledge, not logic.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta
from typing import Any

from bridge.superoffice.catalogue import Kind, find

INT64 = range(-(2**63), 2**63)
_WRITABLE = range(-(2**63), 2**64)  # the integers that orjson knows
_DEEPEST = 250


def text_of(value: Any) -> str:
    """Return JSON that differs for any two different values: of ``1``, ``1.0`` and ``true`` too."""
    return json.dumps(value)


def read(body: bytes) -> Any:
    """Return the document that the bytes are, or raise ValueError with the reason."""
    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        raise ValueError("not_utf8") from None
    try:
        document = json.loads(
            text,
            parse_int=_whole,
            parse_float=_real,
            parse_constant=_real,
            object_pairs_hook=_object,
        )
        _writable(document)
    except (ValueError, RecursionError):
        raise ValueError("not_json") from None
    if not isinstance(document, dict):
        raise ValueError("not_object")
    if _depth(document) > _DEEPEST:
        raise ValueError("not_json")
    if not isinstance(document.get("Event"), str) or not document["Event"].strip():
        raise ValueError("no_event")
    return document


def _whole(digits: str) -> int | float:
    number = int(digits)
    return number if number in _WRITABLE else _real(digits)


def _real(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _writable(pairs)  # also what a later duplicate replaces
    return dict(pairs)


def _writable(document: Any) -> None:
    """Raise ValueError for a lone surrogate, which no UTF-8 can carry."""
    json.dumps(document, ensure_ascii=False).encode()


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def integer(text: str) -> int | None:
    """Return the integer that is written as Python would write it and fits in 64 bits."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if str(number) == text and number in INT64 else None


def snake_case(name: str) -> str:
    """Return the name with an underscore before each word, in lower case as far as ASCII goes."""
    letters = []
    for previous, letter, following in zip(f" {name}", name, f"{name[1:]} ", strict=False):
        starts = _is_upper(letter) and (
            _is_lower(previous)
            or previous in "0123456789"
            or (_is_upper(previous) and _is_lower(following))
        )
        letters.append("_" * starts + (letter.lower() if _is_upper(letter) else letter))
    return "".join(letters)


def _is_upper(letter: str) -> bool:
    return "A" <= letter <= "Z"


def _is_lower(letter: str) -> bool:
    return "a" <= letter <= "z"


def fields(columns: dict[str, Any], *, entity: str) -> dict[str, Any]:
    """Return the columns in normal form."""
    known = find(entity)
    kinds = {snake_case(name): kind for name, kind in known.fields.items()} if known else {}
    normal = {}
    for name, value in columns.items():
        decoded = _unbracketed(value) if entity.lower().startswith("y_") else value
        normal[_spelling(name, columns)] = _convert(kinds.get(snake_case(name)), decoded)
    return normal


def _spelling(name: str, columns: dict[str, Any]) -> str:
    """Return the spelling of a name: of equal ones that of the first, or of the one in snake."""
    snake = snake_case(name)
    equal = [other for other in columns if snake_case(other) == snake]
    keeper = snake if snake in equal else equal[0]
    return snake if name == keeper else name


def _convert(kind: Kind | None, value: Any) -> Any:
    if kind is Kind.FLAG and text_of(value) in ("0", "1"):
        return bool(value)
    if kind is Kind.NUMERIC and isinstance(value, str):
        number = integer(value)
        return value if number is None else number
    if kind is Kind.DATE and isinstance(value, str):
        return None if _is_no_date(value) else utc(value)
    return value


def _is_no_date(text: str) -> bool:
    day, _, time = text.partition("T")
    fraction = time.removeprefix("00:00:00")
    midnight = time == "00:00:00" or (fraction[:1] == "." and set(fraction[1:]) == {"0"})
    return day in ("0001-01-01", "1760-01-01") and (text == day or midnight)


def date_time(text: str) -> tuple[datetime, timedelta, str] | None:
    """Return a date-time of RFC 3339, in capitals, as local time, offset and fraction."""
    form = r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    match = re.fullmatch(form + r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))", text)
    if match is None:
        return None
    *numbers, fraction, sign, hours, minutes = match.groups()
    if sign and (int(hours) > 23 or int(minutes) > 59):
        return None
    try:
        local = datetime(*map(int, numbers))  # type: ignore[arg-type]
    except ValueError:
        return None
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return local, -offset if sign == "-" else offset, fraction or ""


def utc(text: str) -> str:
    """Return a date-time with an offset in UTC, its fraction untouched; other texts as they are."""
    parts = date_time(text)
    if parts is None or text.endswith("Z"):
        return text
    local, offset, fraction = parts
    try:
        return f"{(local - offset).isoformat()}{fraction}Z"
    except OverflowError:
        return text


def _unbracketed(value: Any) -> Any:
    kind, colon, content = value[1:-1].partition(":") if isinstance(value, str) else ("", "", "")
    if not colon or "]" in content or value != f"[{kind}:{content}]":
        return value
    if kind == "I":
        number = integer(content)
        return value if number is None else number
    if kind == "F":
        return _float(content, value)
    if kind == "B":
        return {"true": True, "1": True, "false": False, "0": False}.get(_decapital(content), value)
    return _us_date(content, value) if kind in ("D", "DT") else value


def _decapital(text: str) -> str:
    return text.lower() if text in ("True", "False") else text


def _float(content: str, raw: str) -> float | str:
    if not set(content) <= set("-.0123456789") or not content:
        return raw
    try:
        number = float(content)
    except ValueError:
        return raw
    return number if content in (text_of(number), text_of(number).removesuffix(".0")) else raw


def _us_date(content: str, raw: str) -> str | None:
    match = re.fullmatch(r"([0-9/]{10})(?: ([0-9:]{8})(\.[0-9]+)?)?", content)
    if match is None:
        return raw
    day, time, fraction = match[1], match[2], match[3] or ""
    try:
        moment = datetime.strptime(f"{day} {time or '00:00:00'}", "%m/%d/%Y %H:%M:%S")
    except ValueError:
        return raw
    if not re.fullmatch(r"../../....", day) or (time and moment.strftime("%H:%M:%S") != time):
        return raw
    iso = moment.isoformat()[: 19 if time else 10] + fraction
    return None if _is_no_date(iso) else iso


def topic_matches(pattern: list[str], words: list[str]) -> bool:
    """Return whether an AMQP topic pattern matches: ``*`` is one word, ``#`` none or any number."""
    if not pattern:
        return not words
    head, *rest = pattern
    if head == "#":
        return topic_matches(rest, words) or (bool(words) and topic_matches(pattern, words[1:]))
    return bool(words) and head in ("*", words[0]) and topic_matches(rest, words[1:])


_PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_NO_COLON = r"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})"
_AUTHORITY = rf"(?:{_PCHAR}*@)?(?:\[[0-9A-Fa-f:.]+\]|{_NO_COLON}*)(?::[0-9]*)?"
_ROOTED = rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?)"
_END = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:\#(?:{_PCHAR}|[/?])*)?"
_URI = rf"[A-Za-z][A-Za-z0-9+.-]*:(?:{_ROOTED}|{_PCHAR}+(?:/{_PCHAR}*)*)?{_END}"
_RELATIVE = rf"(?:{_ROOTED}|{_NO_COLON}+(?:/{_PCHAR}*)*)?{_END}"
URI = re.compile(_URI)
"""https://www.rfc-editor.org/rfc/rfc3986#appendix-A"""
URI_REFERENCE = re.compile(rf"{_URI}|{_RELATIVE}")
"""The same, relative ones included."""

KEY = re.compile(r"^(?:[a-z0-9_.-]|%[0-9a-f]{2})+(~[0-9a-f]{16})?\Z")
"""What the routing keys of the bridge look like, in 1 to 255 bytes."""


def is_key(key: str) -> bool:
    """Return whether a routing key, or a CloudEvents type, is legal and of the promised form."""
    return 1 <= len(key.encode()) <= 255 and KEY.match(key) is not None
