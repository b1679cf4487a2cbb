"""Points in time as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(nanoseconds: int, *, timespec: Literal["auto", "microseconds"] = "auto") -> str:
    """Return nanoseconds since the Unix epoch as RFC 3339 in UTC.

    With ``auto`` a whole second has no fraction; every other moment has six decimals.
    """
    moment = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    return f"{moment.isoformat(timespec=timespec)[: -len('+00:00')]}Z"
