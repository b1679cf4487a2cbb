"""Reading JSON without mistaking the end of memory for a mistake in the text."""

from __future__ import annotations

from typing import Any

import orjson

_NO_MEMORY = "Not enough memory"
"""The start of what orjson says of a text for which it got no memory, as of one that is wrong."""


def read(text: bytes) -> Any:
    """Return what the text says.

    Raises ``orjson.JSONDecodeError``, a ValueError, only for what is not JSON, and ``MemoryError``.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith(_NO_MEMORY):
            raise MemoryError(error.msg) from error
        raise
