"""Reading the files that people write: configuration, secrets, certificates."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1024 * 1024
"""Maximum size of such a file. A device has no end, and would fill the memory."""


_reading: list[Path] = []
"""Files that are being read. A thread that hangs cannot say in which file."""


def read(file: Path) -> bytes:
    """Return the content of a file; raises OSError, also if it is larger than ``MAX_BYTES``."""
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
    """Return the file that has been open for the longest time; None if none is being read."""
    return next(iter(_reading), None)
