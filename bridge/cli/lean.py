"""Libraries without the parts that ``bridge serve`` never uses: they take half of its start.

A part that is asked for all the same is loaded then, so nothing is missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_NOT_FOUND = object()

_SERVER = ("web_exceptions", "web_protocol", "web_request", "web_response", "web_server")
"""Modules of aiohttp that have what the bridge takes from ``aiohttp.web``."""


def load_less() -> None:
    """Call this before any of these libraries is imported."""
    # A plugin of pydantic could change what a setting means, and looking for one reads the
    # metadata of everything that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _without_rich("structlog")
    # The package's own code loads the client, which reads every certificate authority that is
    # installed; that of ``web`` loads applications, routes and files.
    package = _without_its_code("aiohttp", _module_of_aiohttp)
    vars(package)["__version__"] = ""  # for the header Server, which is never sent
    _without_its_code("aiohttp.web", _name_of_the_server)


def _without_rich(name: str) -> None:
    """Import a library that would load rich, only because it is there, for tracebacks in colour."""
    sys.modules["rich"] = None  # type: ignore[assignment]  # this is how an import is refused
    try:
        importlib.import_module(name)
    finally:
        del sys.modules["rich"]


def _without_its_code(name: str, find: Callable[[str], Any]) -> ModuleType:
    """Let a module be imported without running its code, while ``find`` has what is wanted."""
    spec = importlib.util.find_spec(name)
    assert spec is not None  # noqa: S101  # it is a dependency of ours
    module = sys.modules[name] = _Lean(name, spec.loader, find)
    module.__spec__, module.__file__ = spec, spec.origin
    if spec.submodule_search_locations:
        module.__path__ = spec.submodule_search_locations
    return module


def _module_of_aiohttp(name: str) -> Any:
    module = f"aiohttp.{name}"
    return importlib.import_module(module) if importlib.util.find_spec(module) else _NOT_FOUND


def _name_of_the_server(name: str) -> Any:
    modules = (importlib.import_module(f"aiohttp.{module}") for module in _SERVER)
    return next((vars(module)[name] for module in modules if name in vars(module)), _NOT_FOUND)


class _Lean(ModuleType):
    """A module that runs its code as soon as somebody wants what it has nowhere else."""

    def __init__(self, name: str, loader: Any, find: Callable[[str], Any]) -> None:
        super().__init__(name)
        self._loader = loader
        self._find = find

    def __getattr__(self, name: str) -> Any:
        """Find a name of the module, and keep it."""
        if name.startswith("__"):
            raise AttributeError(name)
        if (found := self._find(name)) is _NOT_FOUND:
            self.__class__ = ModuleType  # type: ignore[assignment]  # what is missing now, is missing
            self._loader.exec_module(self)
            return getattr(self, name)
        vars(self)[name] = found
        return found
