"""The configuration: a TOML file, overridden by the environment, as frozen settings."""

from bridge.settings.changes import adopted, differences
from bridge.settings.loading import DEFAULT_PATH, Loaded, load
from bridge.settings.model import (
    BrokerSettings,
    DedupSettings,
    EndpointSettings,
    LogSettings,
    QueueSettings,
    RouteSettings,
    ServerSettings,
    Settings,
    SpoolSettings,
    TracingSettings,
)

__all__ = [
    "DEFAULT_PATH",
    "BrokerSettings",
    "DedupSettings",
    "EndpointSettings",
    "Loaded",
    "LogSettings",
    "QueueSettings",
    "RouteSettings",
    "ServerSettings",
    "Settings",
    "SpoolSettings",
    "TracingSettings",
    "adopted",
    "differences",
    "load",
]
