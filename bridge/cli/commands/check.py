"""``bridge check``: is the configuration right, and the broker as it asks?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.broker import topology_check
from bridge.broker.topology import Mismatch
from bridge.cli import output
from bridge.cli.context import ConfigOption, JsonOption, client_settings, load_settings
from bridge.cli.errors import mismatched
from bridge.cli.runtime import run
from bridge.core.errors import BrokerUnreachable, ConfigInvalid
from bridge.parts import topology_of
from bridge.settings import EndpointSettings, Settings


@dataclass(frozen=True, slots=True)
class _Broker:
    """A broker of the configuration; ``error`` is None if it let us in."""

    url: str
    error: str | None
    mismatches: Sequence[Mismatch] = ()

    @property
    def state(self) -> str:
        """Return a few words for people."""
        if self.error:
            return "cannot be reached"
        return f"{len(self.mismatches)} missing" if self.mismatches else "has all that is needed"


def check(
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Connect to each broker and look whether all it needs is there."
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate the configuration, all of it at once. Nothing is changed anywhere.

    Exit code 78 if the configuration is wrong. With --connect, 69 if a broker cannot be reached
    and 1 if an exchange or a queue is missing.
    """
    settings = _load(config, connect=connect, as_json=as_json)
    brokers = run(_look(settings)) if connect else []
    _print(settings, brokers, as_json=as_json)
    unreachable = "; ".join(broker.error for broker in brokers if broker.error)
    if unreachable:
        raise BrokerUnreachable(unreachable)
    if any(broker.mismatches for broker in brokers):
        raise mismatched([mismatch for broker in brokers for mismatch in broker.mismatches])


def _load(config: Path | None, *, connect: bool, as_json: bool) -> Settings:
    try:
        return client_settings(config) if connect else load_settings(config)
    except ConfigInvalid as invalid:
        if as_json:
            problems = [asdict(problem) for problem in invalid.problems]
            output.document({"ok": False, "problems": problems})
        raise


async def _look(settings: Settings) -> list[_Broker]:
    """Connect to every URL in turn; nothing is declared."""
    broker = settings.broker
    addresses = zip(broker.connection_urls(), broker.safe_urls(), strict=True)
    return [await _look_at(url, safe, settings) for url, safe in addresses]


async def _look_at(url: str, safe: str, settings: Settings) -> _Broker:
    try:
        asked = topology_of(settings)
        report = await topology_check.check(url, asked, mode="verify", purpose="check")
    except BrokerUnreachable as error:
        return _Broker(safe, str(error))
    return _Broker(safe, None, report.mismatches)


def _print(settings: Settings, brokers: Sequence[_Broker], *, as_json: bool) -> None:
    ok = not any(broker.error or broker.mismatches for broker in brokers)
    if as_json:
        found = [asdict(broker) for broker in brokers]
        output.document({"ok": ok, "problems": [], **_summary(settings), "brokers": found})
        return
    if ok:
        output.line("ok", style="bold green")
    states = {broker.url: broker.state for broker in brokers}
    urls = [("broker", url, states.get(url, "")) for url in settings.broker.safe_urls()]
    output.table(("what", "name", "details"), [*_rows(settings), *urls], flexible="details")


def _rows(settings: Settings) -> list[tuple[str, str, str]]:
    broker = settings.broker
    return [
        *(("endpoint", at.name, f"{at.path}, {_access(at)}") for at in settings.endpoints),
        ("exchange", broker.exchange, broker.topology),
        *(
            ("route", route.match, f"{route.exchange} {route.routing_key} ({route.format})")
            for route in settings.routes
        ),
        *(
            ("queue", queue.name, f"{queue.type}, {queue.exchange}: {' '.join(queue.bindings)}")
            for queue in settings.queues
        ),
    ]


def _access(endpoint: EndpointSettings) -> str:
    """Say who may call the endpoint, without a secret."""
    who = "unsigned" if endpoint.allow_unsigned else f"signed, secrets: {len(endpoint.secrets)}"
    return f"{who}, contexts: {' '.join(endpoint.contexts) or 'any'}"


def _summary(settings: Settings) -> dict[str, Any]:
    """Return the same as ``_rows``, for programs."""
    return {
        "endpoints": [
            at.model_dump(exclude={"secrets"}) | {"secrets": len(at.secrets)}
            for at in settings.endpoints
        ],
        "exchange": settings.broker.exchange,
        "topology": settings.broker.topology,
        "routes": [route.model_dump() for route in settings.routes],
        "queues": [queue.model_dump() for queue in settings.queues],
        "urls": settings.broker.safe_urls(),
    }
