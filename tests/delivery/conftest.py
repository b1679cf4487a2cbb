"""The writer of the spool without its thread."""

from types import SimpleNamespace

import pytest

from bridge import log
from tests.delivery.stepping import NoThread


@pytest.fixture
def without_threads(monkeypatch):
    """Do the work of the writer's thread in steps, and log only errors."""
    log.configure(level="error", format="console")
    monkeypatch.setattr("bridge.spool.writer.threading", SimpleNamespace(Thread=NoThread))
