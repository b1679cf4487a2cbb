"""Files that people write: of a bounded size, with a mark before UTF-8, or in UTF-16."""

from __future__ import annotations

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

UTF16 = (
    "UTF-8, and this is UTF-16: save it again as UTF-8 (in PowerShell with Set-Content -Encoding"
    " utf8)"
)
"""What to say of a file for which ``is_utf16`` holds."""


def without_mark(content: bytes) -> bytes:
    """Return UTF-8 without the byte order mark before it; what is no UTF-8 stays as it is."""
    if content.startswith(_UTF8_MARK) and _is_utf8(content):
        return content.removeprefix(_UTF8_MARK)
    return content


def is_utf16(content: bytes) -> bool:
    """Return whether it is UTF-16: it begins with a mark, or is ASCII with a zero beside each byte.

    Random bytes may be anything, so what cannot be UTF-16 is not called so for its first two bytes.
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
