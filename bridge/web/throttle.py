"""The limit on failed signatures: a source that fails too often gets 429 in place of 401.

It protects the log, and nothing else. Without it one client with a wrong secret fills a log with a
line per request; with it a single line stands for all that follow. The signature is checked as
ever, so a request that is authentic is accepted from any source.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

_MAX_SOURCES = 4096
"""Maximum number of sources to remember. A client that has more addresses than that pushes out the
oldest, and has its lines in the log: they are limited a second time (``sampling``)."""


@dataclass(slots=True)
class _Window:
    """How many requests of one source have failed, and at what time of the clock the first did."""

    began: float
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Limited:
    """A source is beyond the limit, for ``seconds`` more; ``first`` marks its first request."""

    source: str
    seconds: int
    first: bool


class Failures:
    """Allows each source ``limit`` failures within ``window`` seconds; 0 stands for any number."""

    def __init__(self, *, limit: int, window: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._window = window
        self._clock = clock
        self._sources: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        """Return how many sources are remembered."""
        return len(self._sources)

    def add(self, address: str | None) -> Limited | None:
        """Count a failure; return None as long as its source is within the limit."""
        if not self._limit:
            return None
        now, source = self._clock(), source_of(address)
        window = self._sources.get(source)
        if window is None or now - window.began >= self._window:
            window = self._begin(source, now)
        window.failures += 1
        if window.failures <= self._limit:
            return None
        left = ceil(window.began + self._window - now)
        return Limited(source, max(left, 1), first=window.failures == self._limit + 1)

    def _begin(self, source: str, now: float) -> _Window:
        self._sources.pop(source, None)
        if len(self._sources) >= _MAX_SOURCES:
            self._sources.popitem(last=False)
        window = self._sources[source] = _Window(now)
        return window


def source_of(address: str | None) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 of an IPv6 address.

    A /64 is the smallest network that anybody is given (RFC 6177), and its hosts choose the rest
    of the address freely. Anything that is no address, such as a Unix socket's, counts as it is.
    """
    try:
        found = ip_address(address or "")
    except ValueError:
        return address or "-"
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), 64), strict=False))
