"""JSON as text: what a serializer can write, and what only a person or an attacker would."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache

from hypothesis import strategies as st

_ODD_TEXTS = (
    *("", " ", "\0", "a\0b", "\n", "\t \r\n", "\x7f", "\x1b[31m", "\ufeff", "\u2028", "\uffff"),
    *(
        "\u202eabc",
        "שלום",
        "مرحبا",
        "名前",
        "😀",
        "e\u0301",
        "İ",
        "\u0131",
        "\u017f",
        "ß",
        "\u212a",
        "ﬀ",
    ),
    *(".", "..", "*", "#", "a.b", "%", "%2", "%2e", "~", "/", "\\", '"', "'", "<", "null", "None"),
    *("{", "}", "{0}", "{entity}", "{action}", ".{action}", "{primary_key.__class__}", "%s", "[]"),
)

_LENGTHS = st.sampled_from((2, 3, 64, 65, 200, 254, 255, 256, 1000, 5000))


@cache
def texts() -> st.SearchStrategy[str]:
    """Return any text that UTF-8 can carry, some of it very long."""
    short = st.text(max_size=12) | st.sampled_from(_ODD_TEXTS)
    return st.one_of(short, short, short, st.builds(str.__mul__, st.text(max_size=3), _LENGTHS))


@cache
def strings() -> st.SearchStrategy[str]:
    """Return JSON strings, with and without escapes."""
    return st.one_of(
        texts().map(json.dumps),
        texts().map(lambda text: json.dumps(text, ensure_ascii=False)),
        st.sampled_from((r'"\ud83d\ude00"', r'"\u0000"', r'"\/\b\f"', r'"\u0041\u00e9"')),
    )


@cache
def numbers() -> st.SearchStrategy[str]:
    """Return JSON numbers of any size and spelling, of those that a float can hold."""
    return st.one_of(
        st.integers(-3, 3).map(str),
        st.integers().map(str),
        st.integers(-(2**70), 2**70).map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
        st.sampled_from(
            ("-0", "-0.0", "0e9", "1E5", "1.0", "0.10", "1e-400", "5e-324", "1e308", "9" * 300)
        ),
        st.sampled_from((2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63))).map(str),
    )


def joined(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the object with these names, and values that are JSON already, in this order."""
    members = ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs)
    return f"{{{members}}}"


def _containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
    # A short alphabet makes duplicate names.
    names = st.sampled_from("aab") | texts()
    return arrays | st.lists(st.tuples(names, inner), max_size=4).map(joined)


def _nested(levels: int, opening: str) -> str:
    return opening * levels + "1" + ("}" if "{" in opening else "]") * levels


@cache
def values() -> st.SearchStrategy[str]:
    """Return any JSON value that the bridge can read."""
    scalars = st.sampled_from(("null", "true", "false")) | numbers() | strings()
    deep = st.builds(_nested, st.integers(3, 249), st.sampled_from(("[", '{"a":')))
    return st.recursive(scalars, _containers, max_leaves=6) | deep


@cache
def unreadable() -> st.SearchStrategy[str]:
    """Return values that are not JSON, or that JSON allows and no message could carry."""
    return st.one_of(
        st.sampled_from(("NaN", "-Infinity", "1e999", "-1e999", "9" * 400, "9" * 5000)),
        st.sampled_from((r'"\ud800"', r'"\udc00\ud800"', r'{"\udfff":1}', r'["a","\uDEAD"]')),
        st.sampled_from(("", "01", "1.", ".5", "+1", "0x1", "[1,]", "{,}", "'a'", '"\t"', '"\\x"')),
        st.sampled_from(("undefined", "True", "/**/1", "1 2", "[", '{"a"', '"', "\ufeff1", "\0")),
        st.builds(_nested, st.integers(250, 400), st.sampled_from(("[", '{"a":'))),
    )
