"""Libraries without the parts that ``bridge serve`` never uses: they take half of its start.

A part that is asked for all the same is loaded then, so nothing is missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any


def load_less() -> None:
    """Call this before any of these libraries is imported."""
    # A plugin of pydantic could change what a setting means, and looking for one reads the
    # metadata of everything that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _without_rich("structlog")
    _without_its_client("aiohttp")


def _without_rich(name: str) -> None:
    """Import a library that would load rich, only because it is there, for tracebacks in colour."""
    sys.modules["rich"] = None  # type: ignore[assignment]  # this is how an import is refused
    try:
        importlib.import_module(name)
    finally:
        del sys.modules["rich"]


def _without_its_client(name: str) -> None:
    """Let modules of a package be imported without the package's own ``__init__``.

    That of aiohttp loads its client, which reads every certificate authority that is installed.
    """
    spec = importlib.util.find_spec(name)
    assert spec is not None  # noqa: S101  # it is a dependency of ours
    package = _Package(name)
    package.__spec__ = spec
    package.__file__ = spec.origin
    package.__path__ = spec.submodule_search_locations or []
    vars(package)["__version__"] = ""  # for the header Server, which is never sent
    sys.modules[name] = package


class _Package(ModuleType):
    """A package of which single modules are loaded, or all of it as soon as that is not enough."""

    def __getattr__(self, name: str) -> Any:
        """Return a module of the package, or what its ``__init__`` defines."""
        if name.startswith("__"):
            raise AttributeError(name)
        module = f"{self.__name__}.{name}"
        if importlib.util.find_spec(module):
            return importlib.import_module(module)
        spec = self.__spec__
        assert spec is not None  # noqa: S101  # and so are the next two
        assert spec.loader is not None  # noqa: S101
        self.__class__ = ModuleType  # type: ignore[assignment]  # what is missing now, is missing
        spec.loader.exec_module(self)
        return getattr(self, name)
