"""``bridge send``: sample events, signed and posted as SuperOffice would."""

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
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from yarl import URL

from bridge.cli import output
from bridge.cli.context import ConfigOption, JsonOption, client_settings
from bridge.cli.errors import CommandFailed, Unavailable
from bridge.cli.runtime import run, task_group
from bridge.cli.sender import Answer, Sender, sending
from bridge.http import reachable
from bridge.settings import EndpointSettings, Settings
from bridge.testing.samples import known_events

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
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where to. Default: the running `bridge dev`, else what the configuration says.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send signed, realistic sample events.

    Any event of SuperOffice is known; other names are sent as custom events. Exit code 1 if one
    of them was not answered 200.
    """
    if not event.strip():
        raise typer.BadParameter("an event has a name", param_hint="EVENT")
    if to is not None:
        _check_url(to)
    settings = client_settings(config)
    url = to or _url_of(settings)
    _warn_unknown(event)
    sender = sending(
        url=url,
        endpoint=_at(url, settings),
        certificate=None if to else settings.server.tls_certificate,
    )
    shot = run(_send_all(event, count, rate, url=url, sender=sender))
    _report(shot, as_json=as_json)
    _fail_unless_accepted(shot)


def _url_of(settings: Settings) -> str:
    """Return the URL of the first endpoint, as this machine reaches it."""
    server = settings.server
    host = reachable(server.host)
    scheme = "https" if server.tls_certificate else "http"
    base = URL.build(scheme=scheme, host=host, port=server.port)
    return str(base.with_path(settings.endpoints[0].path, encoded=True))


def _check_url(url: str) -> None:
    with suppress(ValueError):
        parsed = URL(url)
        if parsed.scheme in ("http", "https") and parsed.host and parsed.port:
            return
    raise typer.BadParameter("not an http:// or https:// URL", param_hint="--to")


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
        """Return the answers other than 200."""
        return [answer for answer in self.answers if answer.status != 200]


async def _send_all(
    event: str,
    count: int,
    rate: float | None,
    *,
    url: str,
    sender: AbstractAsyncContextManager[Sender],
) -> _Shot:
    started = time.perf_counter()
    with _bar(event, count) as advance:
        async with sender as opened:
            volley = _Volley(opened, event, count, advance)
            await (volley.paced(rate) if rate else volley.saturated())
    return _Shot(event, url, volley.answers, time.perf_counter() - started)


class _Volley:
    """Many events of one kind, each of a record of its own."""

    def __init__(self, sender: Sender, event: str, count: int, advance: Callable[[], None]) -> None:
        self.answers: list[Answer] = []
        self._sender = sender
        self._event = event
        self._advance = advance
        first = random.randrange(1, 2**30)
        self._keys = iter(range(first, first + count))

    async def saturated(self) -> None:
        """Send the next one whenever one is answered."""
        async with task_group() as tasks:
            for _ in range(_IN_FLIGHT):
                tasks.create_task(self._worker())

    async def paced(self, rate: float) -> None:
        """Send so many per second; latency counts from when each was due."""
        started = time.perf_counter()
        async with task_group() as tasks:
            for number, key in enumerate(self._keys):
                due = started + number / rate
                await asyncio.sleep(due - time.perf_counter())
                tasks.create_task(self._one(key, due))

    async def _worker(self) -> None:
        for key in self._keys:
            await self._one(key, time.perf_counter())

    async def _one(self, key: int, due: float) -> None:
        try:
            answer = await self._sender.send(self._event, primary_key=key, due=due)
        except Unavailable:
            if not self.answers:
                raise
            # It was there a moment ago: that is a result, not a reason to stop.
            answer = Answer("", 0, "connection refused", time.perf_counter() - due)
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
                "ids": [answer.event_id for answer in shot.answers],
            }
        )
    elif len(shot.answers) == 1:
        [answer] = shot.answers
        output.line(f"{answer.kind}\t{answer.event_id}\t{latency['max']} ms")
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


def _fail_unless_accepted(shot: _Shot) -> None:
    if not shot.refused:
        return
    texts = Counter(f"{answer.status or 'no answer'}: {answer.text}" for answer in shot.refused)
    shown = "; ".join(output.printable(text) for text, _ in texts.most_common(_SHOWN_BODIES))
    raise CommandFailed(f"{len(shot.refused)} of {len(shot.answers)} not answered 200: {shown}")
