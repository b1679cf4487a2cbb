"""The writer of the spool without its process."""

import pytest

from bridge import log
from tests.delivery.stepping import NoProcess


@pytest.fixture
def without_threads(monkeypatch):
    """Do the work of the process that writes in steps, and log only errors."""
    log.configure(level="error", format="console")
    monkeypatch.setattr("bridge.spool.writer.Child", NoProcess)
    for name in ("PROBE_SECONDS", "RETRY_SECONDS", "_MORE_SECONDS"):
        monkeypatch.setattr(f"bridge.spool.writer.{name}", 1e9)
