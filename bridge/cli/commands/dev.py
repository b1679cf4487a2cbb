"""``bridge dev``: everything on this machine, up within seconds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from bridge import log
from bridge.cli import output
from bridge.cli.clients.consumer import first_reachable
from bridge.cli.clients.roundtrip import Viewer, check_round_trip
from bridge.cli.context import (
    URLS,
    ConfigOption,
    Development,
    announce,
    broker_variables,
    is_set,
    load_settings,
)
from bridge.cli.errors import CommandFailed
from bridge.cli.local import local_environ, on_free_ports
from bridge.cli.runtime import run_beside, run_until_stopped
from bridge.cli.serving import run_service
from bridge.core.errors import BrokerUnreachable
from bridge.dev.rabbitmq import RabbitMQFailed, RabbitMQNode, RabbitMQNotInstalled
from bridge.service import Service
from bridge.settings import Settings

_NO_BROKER = "amqp://127.0.0.1:1/"
"""URL to configure when there is no RabbitMQ: no program listens on port 1."""

_SPOOL_WITHOUT_NODE = "var/dev-spool.db"
_READY_SECONDS = 30.0
_POLL_SECONDS = 0.05


def dev(
    once: Annotated[
        bool, typer.Option("--once", help="Stop when the three events have arrived.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show all of the service's log.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Run a private RabbitMQ, the bridge, and a consumer that prints what arrives.

    With BRIDGE_BROKER__URLS set it uses that broker instead. The bridge listens on 127.0.0.1,
    with a random secret unless SUPEROFFICE_SECRET is set; a busy port moves to the next free one.
    It sends itself three signed events and prints them as a consumer receives them. While it
    runs, the other commands in this directory use it. Exit code 1 if an event does not arrive.

    Without any RabbitMQ it serves all the same and keeps what it accepts on disk. Only --once
    needs one.
    """
    log.configure(level="info" if verbose else "warning", format="console")
    run_until_stopped(_dev(config, once=once))


async def _dev(config: Path | None, *, once: bool) -> None:
    async with _broker(os.environ, needed=once) as variables:
        environ = local_environ(os.environ, variables)
        settings = on_free_ports(load_settings(config, environ))
        url = await _reachable(settings, needed=once)
        async with run_service(settings) as service:
            if url is not None:
                await _ready(service)
            await _show(service, settings, url, once=once)


async def _show(service: Service, settings: Settings, url: str | None, *, once: bool) -> None:
    """Send the three events if there is a broker; then go on until stopped, unless ``once``."""
    amqp_url = url or settings.broker.connection_urls()[0]
    development = _development(settings, service, amqp_url=amqp_url)
    viewer = Viewer(amqp_url, settings)
    with announce(development):
        async with run_beside(_view(viewer, service)):
            if url is not None:
                await check_round_trip(viewer, development.url, settings)
            if not once:
                _say_ready(development, spooling=url is None)
                await asyncio.Event().wait()


async def _view(viewer: Viewer, service: Service) -> None:
    """Print what arrives, as soon as the exchanges exist to which a queue can be bound."""
    while not service.publisher.is_ready:  # noqa: ASYNC110  # there is no event to wait for
        await asyncio.sleep(_POLL_SECONDS)
    await viewer.run()


@asynccontextmanager
async def _broker(environ: Mapping[str, str], *, needed: bool) -> AsyncIterator[Mapping[str, str]]:
    """Start a private RabbitMQ unless the environment names a broker; yield its variables."""
    if is_set(environ, URLS):
        output.line("using the RabbitMQ of BRIDGE_BROKER__URLS")
        yield {}
        return
    async with AsyncExitStack() as stack:
        try:
            node = await stack.enter_async_context(_private_node())
        except (RabbitMQNotInstalled, RabbitMQFailed) as error:
            if needed:
                raise
            output.notice(f"no private RabbitMQ: {error}")
            yield {**broker_variables(_NO_BROKER), "BRIDGE_SPOOL__PATH": _SPOOL_WITHOUT_NODE}
            return
        output.line(
            f"RabbitMQ {node.version} is up after {node.started_in_seconds:.1f} s at {node.url}"
        )
        yield {
            **broker_variables(node.url),
            "BRIDGE_BROKER__TOPOLOGY": "declare",
            # The configured spool may hold events for another broker: they would end in this one.
            "BRIDGE_SPOOL__PATH": f"{node.directory / 'spool.db'}",
        }


async def _reachable(settings: Settings, *, needed: bool) -> str | None:
    """Return the URL of a broker that lets us in, or None."""
    try:
        return await first_reachable(settings.broker.connection_urls())
    except BrokerUnreachable as error:
        if needed:
            raise
        output.notice(f"no RabbitMQ: {error}")
        return None


@asynccontextmanager
async def _private_node() -> AsyncIterator[RabbitMQNode]:
    starting = asyncio.create_task(asyncio.to_thread(RabbitMQNode.start))
    try:
        with output.waiting("starting a private RabbitMQ"):
            await asyncio.wait({starting})
        yield starting.result()
    finally:
        # A thread cannot be cancelled. So wait until it has started the node, and stop that.
        await asyncio.wait({starting})
        if starting.exception() is None:
            await asyncio.to_thread(starting.result().stop)


async def _ready(service: Service) -> None:
    """Wait until the broker has all exchanges and queues; raises ``CommandFailed`` after a while.

    The service itself is ready earlier, because it can spool.
    """
    publisher = service.publisher
    try:
        async with asyncio.timeout(_READY_SECONDS):
            while not publisher.is_ready:  # noqa: ASYNC110  # there is no event to wait for
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise CommandFailed(
            f"the bridge is not ready: broker {publisher.broker}, topology {publisher.topology}:"
            " see the log above and `bridge topology apply`"
        ) from None


def _development(settings: Settings, service: Service, *, amqp_url: str) -> Development:
    """Describe what runs. Other commands sign with the first secret of the first endpoint."""
    endpoint = settings.endpoints[0]
    secret = next(iter(endpoint.secret_keys), None)
    return Development(
        pid=os.getpid(),
        url=f"{service.listener.url}{endpoint.path}",
        admin_url=service.admin.url,
        amqp_url=amqp_url,
        spool_path=f"{settings.spool.path.absolute()}",
        secret=None if secret is None else secret.decode(errors="surrogateescape"),
    )


def _say_ready(development: Development, *, spooling: bool) -> None:
    admin = development.admin_url
    if spooling:
        output.line(f"events are accepted and kept on disk, in {development.spool_path}")
        output.line("they are published when RabbitMQ is there: see `bridge spool status`")
    output.line("ready", style="bold green")
    output.line("make send EVENT=contact.deleted    sends one more event to the bridge")
    output.line("make listen PATTERN='contact.*'    prints events in another terminal")
    output.line(f"{admin}/readyz and {admin}/metrics    tell how the bridge is")
