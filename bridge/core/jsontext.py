"""Reading JSON, and telling a mistake in the text from a lack of memory."""

from __future__ import annotations

from typing import Any

import orjson

_NO_MEMORY = "Not enough memory"
"""Start of orjson's message when it gets no memory. It raises the same error for wrong text."""


def read(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raises ``orjson.JSONDecodeError`` (a ValueError) for text that is not JSON, or ``MemoryError``.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith(_NO_MEMORY):
            raise MemoryError(error.msg) from error
        raise
