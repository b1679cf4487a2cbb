"""The headers of a webhook's request: their names, and how the bridge reads their values.

The signature covers the body alone. So the bridge compares the other headers with the body, or
passes them on, but obeys none.

https://docs.superoffice.com/en/automation/webhook/dev/security.html
"""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

SIGNATURE: Final = "X-SuperOffice-Signature"
EVENT: Final = "X-SuperOffice-Event"
EVENT_ID: Final = "X-SuperOffice-EventId"
RETRY: Final = "X-SuperOffice-Retry"

TEST: Final = "X-Hook-Test"
"""SuperOffice sends it with its ``test`` event. The bridge looks at the body instead."""

TRACEPARENT: Final = "traceparent"
"""The one header that is not SuperOffice's: https://www.w3.org/TR/trace-context/"""

# https://www.w3.org/TR/trace-context/#traceparent-header-field-values
_TRACE_CONTEXT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

_RETRY_DIGITS: Final = 5


class Headers(Protocol):
    """The headers of a request, by name in any case, as ``multidict`` has them."""

    def get(self, key: str, /) -> str | None:
        """Return the first value, or None."""
        ...

    def getall(self, key: str, default: Any, /) -> Any:
        """Return all values, or the default when there is none."""
        ...


def retry_of(headers: Headers) -> int | None:
    """Return how many attempts came before this one, if SuperOffice says a number."""
    return retry_number(headers.get(RETRY))


def retry_number(value: str | None) -> int | None:
    """Return the number that a value of ``RETRY`` is, None for anything else."""
    is_number = value and value.isascii() and value.isdigit() and len(value) <= _RETRY_DIGITS
    return int(value) if value and is_number else None


def traceparent_of(headers: Headers) -> str | None:
    """Return the trace context, if it came once and is valid."""
    values = headers.getall(TRACEPARENT, ())
    return trace_context(values[0]) if len(values) == 1 else None


def trace_context(value: str | None) -> str | None:
    """Return a value of ``TRACEPARENT`` if it is valid."""
    return value if value is not None and _TRACE_CONTEXT.fullmatch(value) else None
