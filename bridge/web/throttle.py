"""Who fails the signature again and again: counted per source, within bounds.

The signature itself is always checked: what comes of the count is an answer and a line of the log,
never a decision about a request that is authentic.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

_MAX_SOURCES = 4096
"""Remembered at a time; whoever has more addresses than that pushes the oldest out."""


@dataclass(slots=True)
class _Window:
    """What a source has failed since its first failure; a time of the clock."""

    began: float
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Limited:
    """A source is beyond the limit, for the first time in this window or not; for ``seconds``."""

    source: str
    seconds: int
    first: bool


class Failures:
    """Allows each source ``limit`` failures in ``window`` seconds from the first; 0: any number."""

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

    A /64 is the least that a single network is given (RFC 6177): its hosts choose the rest freely.
    What is no address, such as that of a Unix socket, counts as it is.
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
