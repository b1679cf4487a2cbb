"""A service in this process that has nowhere to put an event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.service import Service
from tests.project.docs.requests import refusing


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run it."""
    async with refusing(tmp_path) as service:
        yield service
