"""What a peer is told, all of it in the environment."""

from __future__ import annotations

import os

PORT = int(os.environ.get("PEER_PORT", "0"))
BROKER = os.environ.get("PEER_BROKER", "")
SECRET = os.environ.get("PEER_SECRET", "").encode()
MAX_EVENTS = int(os.environ.get("PEER_MAX_EVENTS", "100000"))
EXCHANGE = "superoffice"
