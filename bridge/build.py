"""How the hot modules run: compiled, or interpreted from the same source (docs/decisions/0033)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal


def build() -> Literal["compiled", "interpreted"]:
    """Return how they run. Where their common library is, for this Python, all are compiled."""
    return "compiled" if find_spec("bridge.compiled__mypyc") else "interpreted"
