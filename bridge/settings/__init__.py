"""The configuration: a TOML file, overridden by the environment, as frozen settings."""

from bridge.settings.changes import adopted, differences
from bridge.settings.loading import Loaded, load
from bridge.settings.model import (
    BrokerSettings,
    EndpointSettings,
    QueueSettings,
    RouteSettings,
    ServerSettings,
    Settings,
)

__all__ = [
    "BrokerSettings",
    "EndpointSettings",
    "Loaded",
    "QueueSettings",
    "RouteSettings",
    "ServerSettings",
    "Settings",
    "adopted",
    "differences",
    "load",
]
