"""Spools in directories of their own; how hard hypothesis tries is set for all property tests."""

from types import SimpleNamespace

import pytest

from bridge import log
from tests.properties import conftest as profiles
from tests.spool.stepping import NoThread

__all__ = ["profiles"]


@pytest.fixture
def without_threads(monkeypatch):
    """Do the work of the writer's thread in steps, and log only errors."""
    log.configure(level="error", format="console")
    monkeypatch.setattr("bridge.spool.writer.threading", SimpleNamespace(Thread=NoThread))
