"""Reading what people write: configuration, secrets, certificates."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1024 * 1024
"""Maximum size of such a file: a device may have no end."""


_reading: list[Path] = []
"""Files that are being read: a thread that hangs in one cannot say which it is."""


def read(file: Path) -> bytes:
    """Return what is in a file of at most ``MAX_BYTES``; raises OSError."""
    _reading.append(file)
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    finally:
        _reading.remove(file)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes")
    return content


def slowest_file() -> Path | None:
    """Return the file that has been read for the longest time, None if none is being read."""
    return next(iter(_reading), None)
