"""``bridge send``: sample events, posted as SuperOffice would or published as the bridge would."""

from __future__ import annotations

import asyncio
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

from bridge.broker.connection import safe_url
from bridge.cli import output
from bridge.cli.clients.direct import directly
from bridge.cli.clients.poster import Answer, Sender, context_of, sending
from bridge.cli.context import ConfigOption, JsonOption, broker_settings, client_settings
from bridge.cli.errors import CommandFailed, Unavailable
from bridge.cli.runtime import run, task_group
from bridge.dev.samples import known_events, sample
from bridge.settings import EndpointSettings, Settings
from bridge.web.listener import reachable

_IN_FLIGHT = 16
_SHOWN_BODIES = 3


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
            f" Default: as fast as {_IN_FLIGHT} at a time go.",
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
    shot = run(_send_all(target, event, count=count, repeat=repeat, rate=rate))
    _report(shot, as_json=as_json)
    _fail_unless_accepted(shot, "confirmed" if direct else "answered 200")


@dataclass(frozen=True, slots=True)
class _Target:
    """Where samples go (for people), by what way, and the ContextIdentifier accepted there."""

    url: str
    context: str
    sender: AbstractAsyncContextManager[Sender]


def _webhook(config: Path | None, to: str | None) -> _Target:
    """Return the receiver of a bridge."""
    settings = client_settings(config)
    url = to or _url_of(settings)
    endpoint = _at(url, settings)
    certificate = None if to else settings.server.tls_certificate
    sender = sending(url=url, endpoint=endpoint, certificate=certificate)
    return _Target(safe_url(url), context_of(endpoint), sender)


def _broker(config: Path | None, to: str | None) -> _Target:
    """Return RabbitMQ itself."""
    settings = broker_settings(config, to)
    url = ", ".join(settings.broker.safe_urls())
    return _Target(url, context_of(settings.endpoints[0]), directly(settings))


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
class _Shot:
    """What was sent to where, and what became of it within how many seconds."""

    event: str
    url: str
    answers: list[Answer]
    seconds: float

    @property
    def refused(self) -> list[Answer]:
        """Return the answers of what was not accepted."""
        return [answer for answer in self.answers if not answer.accepted]


async def _send_all(
    target: _Target, event: str, *, count: int, repeat: int, rate: float | None
) -> _Shot:
    started = time.perf_counter()
    contents = _samples(event, count=count, repeat=repeat, context=target.context)
    with _bar(event, count * repeat) as advance:
        async with target.sender as sender:
            volley = _Volley(sender, contents, advance)
            await (volley.paced(rate) if rate else volley.saturated())
    return _Shot(event, target.url, volley.answers, time.perf_counter() - started)


def _samples(event: str, *, count: int, repeat: int, context: str) -> Iterator[dict[str, Any]]:
    """Yield samples, each of a record of its own, and each so often in a row."""
    first = random.randrange(1, 2**30)
    for key in range(first, first + count):
        yield from [sample(event, primary_key=key, context=context)] * repeat


class _Volley:
    """Many events of one kind."""

    def __init__(
        self, sender: Sender, contents: Iterator[dict[str, Any]], advance: Callable[[], None]
    ) -> None:
        self.answers: list[Answer] = []
        self._sender = sender
        self._contents = contents
        self._advance = advance

    async def saturated(self) -> None:
        """Send the next one whenever one is answered."""
        async with task_group() as tasks:
            for _ in range(_IN_FLIGHT):
                tasks.create_task(self._worker())

    async def paced(self, rate: float) -> None:
        """Send so many per second; latency counts from when each was due."""
        started = time.perf_counter()
        async with task_group() as tasks:
            for number, content in enumerate(self._contents):
                due = started + number / rate
                await asyncio.sleep(due - time.perf_counter())
                tasks.create_task(self._one(content, due))

    async def _worker(self) -> None:
        for content in self._contents:
            await self._one(content, time.perf_counter())

    async def _one(self, content: dict[str, Any], due: float) -> None:
        try:
            answer = await self._sender.send(content, due=due)
        except Unavailable:
            if not self.answers:
                raise
            # It was there a moment ago: that is a result, not a reason to stop.
            kind, seconds = "no answer: connection refused", time.perf_counter() - due
            answer = Answer("", kind, seconds, accepted=False)
        self.answers.append(answer)
        self._advance()


@contextmanager
def _bar(event: str, count: int) -> Iterator[Callable[[], None]]:
    """Show the progress of more than one; yield what to call for each."""
    name = TextColumn("{task.description}")
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with output.progress(*columns, stream=sys.stderr, shown=count > 1) as display:
        task = display.add_task(event, total=count)
        yield lambda: display.advance(task)


def _report(shot: _Shot, *, as_json: bool) -> None:
    answers = Counter(answer.kind for answer in shot.answers)
    latency = _latency([answer.seconds for answer in shot.answers])
    if as_json:
        output.document(
            {
                "event": shot.event,
                "url": shot.url,
                "sent": len(shot.answers),
                "seconds": round(shot.seconds, 3),
                "answers": answers,
                "latency_ms": latency,
                "ids": [answer.id for answer in shot.answers],
            }
        )
    elif len(shot.answers) == 1:
        [answer] = shot.answers
        output.line(f"{answer.kind}\t{answer.id}\t{latency['max']} ms")
    else:
        sent = ("sent", f"{len(shot.answers)} in {shot.seconds:.1f} s to {shot.url}")
        times = ((name, f"{milliseconds} ms") for name, milliseconds in latency.items())
        output.table((shot.event, ""), [sent, *answers.most_common(), *times], flexible="")


def _latency(seconds: list[float]) -> dict[str, float]:
    """Return percentiles in milliseconds, by the nearest rank."""
    ranked = sorted(seconds)
    ranks = {"p50": math.ceil(0.50 * len(ranked)), "p99": math.ceil(0.99 * len(ranked))}
    named = {name: ranked[rank - 1] for name, rank in ranks.items()} | {"max": ranked[-1]}
    return {name: round(value * 1000, 2) for name, value in named.items()}


def _fail_unless_accepted(shot: _Shot, asked: str) -> None:
    if not shot.refused:
        return
    texts = Counter(answer.failure for answer in shot.refused)
    shown = "; ".join(output.printable(text) for text, _ in texts.most_common(_SHOWN_BODIES))
    raise CommandFailed(f"{len(shot.refused)} of {len(shot.answers)} not {asked}: {shown}")
