"""Reading what people write: configuration, secrets, certificates."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1024 * 1024
"""Maximum size of such a file: a device may have no end."""


def read(file: Path) -> bytes:
    """Return what is in a file of at most ``MAX_BYTES``; raises OSError."""
    with file.open("rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes")
    return content
