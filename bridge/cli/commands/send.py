"""``bridge send``: sample events, posted as SuperOffice would or published as the bridge would."""

from __future__ import annotations

import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from yarl import URL

from bridge.broker.errors import safe_url
from bridge.cli import output
from bridge.cli.clients.direct import open_direct
from bridge.cli.clients.load import IN_FLIGHT, LoadGenerator
from bridge.cli.clients.poster import SampleClient, SendResult, context_of, open_poster
from bridge.cli.context import ConfigOption, JsonOption, broker_settings, client_settings
from bridge.cli.errors import CommandFailed
from bridge.cli.runtime import run
from bridge.dev.samples import known_events, sample
from bridge.settings import EndpointSettings, Settings
from bridge.web.sockets import reachable

_SHOWN_FAILURES = 3


def send(
    event: Annotated[
        str, typer.Argument(metavar="EVENT", help="An event name, such as contact.created.")
    ],
    count: Annotated[int, typer.Option(min=1, help="How many, each of another record.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Events per second, sent on time however long the answers take."
            f" Default: as fast as {IN_FLIGHT} at a time go.",
            show_default=False,
        ),
    ] = None,
    repeat: Annotated[
        int, typer.Option(min=1, help="How often each is sent, with the same id every time.")
    ] = 1,
    direct: Annotated[
        bool,
        typer.Option(
            "--direct", help="Publish to RabbitMQ what a bridge would; no bridge is needed."
        ),
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where to; with --direct an amqp:// or amqps:// URL."
            " Default: the running `bridge dev`, else what the configuration says.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send signed, realistic sample events.

    Any event of SuperOffice is known; other names are sent as custom events. Exit code 1 if one
    of them was not answered 200, or with --direct not confirmed.
    """
    if not event.strip():
        raise typer.BadParameter("an event has a name", param_hint="EVENT")
    if to is not None:
        _check_url(to, ("amqp", "amqps") if direct else ("http", "https"))
    target = _broker(config, to) if direct else _webhook(config, to)
    _warn_unknown(event)
    sent = run(_send_all(target, event, count=count, repeat=repeat, rate=rate))
    _report(sent, as_json=as_json)
    _raise_failures(sent, "confirmed" if direct else "answered 200")


@dataclass(frozen=True, slots=True)
class _Target:
    """Where samples go: its URL without a password, a ContextIdentifier it accepts, a client."""

    url: str
    context: str
    client: AbstractAsyncContextManager[SampleClient]


def _webhook(config: Path | None, to: str | None) -> _Target:
    """Return an endpoint of a bridge."""
    settings = client_settings(config)
    url = to or _url_of(settings)
    endpoint = _at(url, settings)
    certificate = None if to else settings.server.tls_certificate
    client = open_poster(url=url, endpoint=endpoint, certificate=certificate)
    return _Target(safe_url(url), context_of(endpoint), client)


def _broker(config: Path | None, to: str | None) -> _Target:
    """Return RabbitMQ itself."""
    settings = broker_settings(config, to)
    url = ", ".join(settings.broker.safe_urls())
    return _Target(url, context_of(settings.endpoints[0]), open_direct(settings))


def _url_of(settings: Settings) -> str:
    """Return the URL of the first endpoint, as this machine reaches it."""
    server = settings.server
    host = reachable(server.host)
    scheme = "https" if server.tls_certificate else "http"
    base = URL.build(scheme=scheme, host=host, port=server.port)
    return str(base.with_path(settings.endpoints[0].path, encoded=True))


def _check_url(url: str, schemes: tuple[str, str]) -> None:
    with suppress(ValueError):
        parsed = URL(url)
        if parsed.scheme in schemes and parsed.host and _port(parsed):
            return
    raise typer.BadParameter(f"not an {schemes[0]}:// or {schemes[1]}:// URL", param_hint="--to")


def _port(url: URL) -> int | None:
    return url.explicit_port or {"amqp": 5672, "amqps": 5671}.get(url.scheme, url.port)


def _at(url: str, settings: Settings) -> EndpointSettings:
    """Return the endpoint that the URL leads to, by its path, else the first."""
    path = URL(url).raw_path
    matching = (endpoint for endpoint in settings.endpoints if endpoint.path == path)
    return next(matching, settings.endpoints[0])


def _warn_unknown(event: str) -> None:
    known = known_events()
    if event not in known:
        similar = get_close_matches(event, known)
        hint = f"; similar: {', '.join(similar)}" if similar else ""
        output.notice(f"{event!r} is no event of SuperOffice: sent as a custom one{hint}")


@dataclass(frozen=True, slots=True)
class _Sent:
    """The event that was sent, where to, the results, and how many seconds it all took."""

    event: str
    url: str
    results: list[SendResult]
    seconds: float

    @property
    def failed(self) -> list[SendResult]:
        """Return the results of the samples that failed."""
        return [result for result in self.results if not result.ok]


async def _send_all(
    target: _Target, event: str, *, count: int, repeat: int, rate: float | None
) -> _Sent:
    started = time.perf_counter()
    contents = _samples(event, count=count, repeat=repeat, context=target.context)
    with _bar(event, count * repeat) as advance:
        async with target.client as client:
            load = LoadGenerator(client, contents, advance)
            await (load.at_rate(rate) if rate else load.at_full_speed())
    return _Sent(event, target.url, load.results, time.perf_counter() - started)


def _samples(event: str, *, count: int, repeat: int, context: str) -> Iterator[dict[str, Any]]:
    """Yield ``count`` samples, each about another record and each ``repeat`` times in a row."""
    first = random.randrange(1, 2**30)
    for key in range(first, first + count):
        yield from [sample(event, primary_key=key, context=context)] * repeat


@contextmanager
def _bar(event: str, count: int) -> Iterator[Callable[[], None]]:
    """Show the progress if there is more than one sample; yield what to call for each."""
    name = TextColumn("{task.description}")
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with output.progress(*columns, stream=sys.stderr, shown=count > 1) as display:
        task = display.add_task(event, total=count)
        yield lambda: display.advance(task)


def _report(sent: _Sent, *, as_json: bool) -> None:
    kinds = Counter(result.kind for result in sent.results)
    latency = _latency([result.seconds for result in sent.results])
    if as_json:
        output.document(
            {
                "event": sent.event,
                "url": sent.url,
                "sent": len(sent.results),
                "seconds": round(sent.seconds, 3),
                "answers": kinds,
                "latency_ms": latency,
                "ids": [result.id for result in sent.results],
            }
        )
    elif len(sent.results) == 1:
        [result] = sent.results
        output.line(f"{result.kind}\t{result.id}\t{latency['max']} ms")
    else:
        total = ("sent", f"{len(sent.results)} in {sent.seconds:.1f} s to {sent.url}")
        times = ((name, f"{milliseconds} ms") for name, milliseconds in latency.items())
        output.table((sent.event, ""), [total, *kinds.most_common(), *times], flexible="")


def _latency(seconds: list[float]) -> dict[str, float]:
    """Return percentiles in milliseconds, by the nearest-rank method."""
    ranked = sorted(seconds)
    ranks = {"p50": math.ceil(0.50 * len(ranked)), "p99": math.ceil(0.99 * len(ranked))}
    named = {name: ranked[rank - 1] for name, rank in ranks.items()} | {"max": ranked[-1]}
    return {name: round(value * 1000, 2) for name, value in named.items()}


def _raise_failures(sent: _Sent, asked: str) -> None:
    """Raise ``CommandFailed`` if a sample failed, with the most frequent reasons."""
    if not sent.failed:
        return
    reasons = Counter(result.failure for result in sent.failed)
    shown = "; ".join(output.printable(text) for text, _ in reasons.most_common(_SHOWN_FAILURES))
    raise CommandFailed(f"{len(sent.failed)} of {len(sent.results)} not {asked}: {shown}")
