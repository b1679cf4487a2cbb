"""Encodings of files that people write: UTF-8 with a byte order mark, and UTF-16."""

from __future__ import annotations

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

UTF16 = (
    "UTF-8, and this is UTF-16: save it again as UTF-8 (in PowerShell with Set-Content -Encoding"
    " utf8)"
)
"""Remedy for a file in UTF-16."""


def without_mark(content: bytes) -> bytes:
    """Return UTF-8 without its byte order mark. Anything else stays as it is."""
    if content.startswith(_UTF8_MARK) and _is_utf8(content):
        return content.removeprefix(_UTF8_MARK)
    return content


def is_utf16(content: bytes) -> bool:
    """Return whether this is UTF-16: with a mark, or ASCII with a zero beside each byte.

    A secret may be random bytes that begin like a mark. An odd number of bytes is never UTF-16.
    """
    if content.startswith(_UTF16_MARKS):
        return len(content) % 2 == 0
    even, odd = content[::2], content[1::2]
    return len(even) == len(odd) > 0 and any(
        not any(zeros) and all(letters) for zeros, letters in ((even, odd), (odd, even))
    )


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
