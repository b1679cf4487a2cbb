"""AsyncAPI 3: where messages are, and what they are."""

from __future__ import annotations

from typing import Any

from bridge.contract.deployment import Deployment


def document(deployment: Deployment) -> dict[str, Any]:
    """Return the document of a deployment."""
    raise NotImplementedError
