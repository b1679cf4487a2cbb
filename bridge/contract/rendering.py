"""The documents of one configuration as JSON, with the examples from the package."""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import TYPE_CHECKING

import orjson

from bridge.contract.names import DOCUMENTS
from bridge.settings import Settings

if TYPE_CHECKING:
    from bridge.contract.examples import Examples


class Documents:
    """The documents of a running bridge. Each is made on its first request, and cached."""

    names = DOCUMENTS

    def __init__(self, settings: Settings) -> None:
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Describe these settings from now on."""
        self._settings = settings
        self._made: dict[str, bytes] = {}

    async def get(self, name: str) -> bytes:
        """Return one of ``names`` as JSON.

        Making it takes up to 40 ms. A thread does it, so that events need not wait.
        """
        made = self._made
        if name not in made:
            made[name] = await asyncio.to_thread(render, name, self._settings)
        return made[name]


def render(name: str, settings: Settings) -> bytes:
    """Return the document of that name as JSON."""
    # Imported only here: the bridge does not load the generator until it needs a document.
    from bridge.contract.documents import document, encode

    return encode(document(name, settings, golden_examples()))


def golden_examples() -> Examples:
    """Return the golden requests that are stored in the package."""
    from bridge.contract.examples import Example

    stored = resources.files("bridge.contract").joinpath("golden.json").read_bytes()
    return {
        name: Example(body=request["body"].encode(), received_ns=request["received_ns"])
        for name, request in orjson.loads(stored).items()
    }
