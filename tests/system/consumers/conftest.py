"""A private RabbitMQ, its user with a consumer's rights, a bridge, and one consumer at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker, ChannelWrongStateError
from typer.testing import CliRunner

from bridge.cli.app import app
from bridge.dev.rabbitmq import RabbitMQNode
from tests.helpers import amqp, wipe
from tests.system.consumers.programs import DEAD_LETTERS, PROGRAMS, ROOT, Consumer, Program, until
from tests.system.faults.process import BridgeProcess

QUEUE, DEAD, BACK = "consumer.erasure", "consumer.erasure.dead", "consumer.erasure.return"
PASSWORD = "consumer's"


class Broker:
    """What surrounds a consumer: its queue, its dead letters, and who publishes."""

    def __init__(self, node: RabbitMQNode) -> None:
        self.node = node
        self.consumer_url = f"amqp://consumer:consumer%27s@127.0.0.1:{node.port}/%2f"

    def empty(self) -> None:
        """Delete what an earlier test left; the exchange is there as the bridge declares it."""
        wipe(self.node.url, exchanges=(DEAD, BACK), queues=(QUEUE, DEAD))
        self.declare_exchange()

    def declare_exchange(self) -> None:
        """Declare the exchange as the bridge does."""
        with amqp(self.node.url) as channel:
            channel.exchange_declare("superoffice", "topic", durable=True)

    def delete_exchange(self) -> None:
        """Delete the exchange, and with it all bindings to it."""
        with amqp(self.node.url) as channel:
            channel.exchange_delete("superoffice")

    def send(self, count: int, *, repeat: int = 1, to: str | None = None) -> set[str]:
        """Send deleted contacts, ``--direct`` unless told where to, and return their ids."""
        return set(self.send_in_order(count, repeat=repeat, to=to))

    def send_in_order(self, count: int, *, repeat: int = 1, to: str | None = None) -> list[str]:
        """Do the same, and return the ids in the order in which they were sent."""
        where = ("--to", to) if to else ("--direct", "--to", self.node.url)
        numbers = ("--count", f"{count}", "--repeat", f"{repeat}")
        result = CliRunner().invoke(app, ["send", "contact.deleted", *numbers, *where, "--json"])
        assert 0 == result.exit_code, result.stderr
        ids: list[str] = json.loads(result.stdout)["ids"]
        assert len(ids) == count * repeat
        return ids

    def publish(self, body: bytes, message_id: str | None = None) -> None:
        """Publish what no bridge would, or not for a deleted contact."""
        properties = BasicProperties(message_id=message_id)
        with amqp(self.node.url) as channel:
            channel.basic_publish("superoffice", "contact.deleted", body, properties)

    def dead_letters(self, *arguments: str) -> list[str]:
        """Run the tool for dead letters and return what it prints."""
        environ = {**os.environ, "AMQP_URL": self.consumer_url}
        command = [*DEAD_LETTERS, *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    def waiting(self, queue: str = QUEUE) -> int:
        """Return how many messages a queue could deliver now."""
        with amqp(self.node.url) as channel:
            return int(channel.queue_declare(queue, passive=True).method.message_count)

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Let channels that open in the block wait a second for an acknowledgement, not more."""
        self._channels(consumer_timeout=1000, channel_tick_interval=300)
        try:
            yield
        finally:
            self._channels(consumer_timeout=1_800_000, channel_tick_interval=60_000)

    def _channels(self, **settings: int) -> None:
        for name, value in settings.items():
            self.node.ctl("eval", f"application:set_env(rabbit, {name}, {value}).")

    def consumers(self) -> int:
        """Return how many consumers the queue has, active or waiting."""
        return self.node.ctl("list_consumers", "queue_name", "--silent").split().count(QUEUE)

    def is_consumed(self) -> bool:
        """Return whether a consumer is there, with its queue."""
        with (
            suppress(ChannelClosedByBroker, ChannelWrongStateError),
            amqp(self.node.url) as channel,
        ):
            return channel.queue_declare(QUEUE, passive=True).method.consumer_count > 0
        return False


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    """Keep pika from telling of each queue that is not there yet."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)


@pytest.fixture(scope="session")
def node() -> Iterator[RabbitMQNode]:
    """Start a RabbitMQ that has the user ``consumer`` of the Compose file, with the same rights."""
    definitions = json.loads((ROOT / "config" / "rabbitmq" / "definitions.json").read_text())
    [rights] = (user for user in definitions["permissions"] if user["user"] == "consumer")
    with RabbitMQNode.start() as node:
        node.ctl("add_user", "consumer", PASSWORD)
        granted = (rights["configure"], rights["write"], rights["read"])
        node.ctl("set_permissions", "consumer", *granted)
        yield node


@pytest.fixture
def broker(node: RabbitMQNode) -> Broker:
    """Return the RabbitMQ, empty."""
    broker = Broker(node)
    broker.empty()
    return broker


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    """Return each consumer whose tools are here."""
    program: Program = request.param
    if not program.is_runnable:
        pytest.skip(f"there is no {program.tool} on this machine")
    return program


@pytest.fixture
def consumer(broker: Broker, program: Program, tmp_path: Path) -> Iterator[Consumer]:
    """Return a consumer that consumes."""
    consumer = Consumer(program, broker.consumer_url, tmp_path / "erasure.db")
    try:
        consumer.start()
        until(broker.is_consumed, "it consumes")
        yield consumer
    finally:
        print(consumer)
        consumer.close()


@pytest.fixture
def bridge(broker: Broker, tmp_path: Path) -> Iterator[BridgeProcess]:
    """Return a running bridge."""
    bridge = BridgeProcess(tmp_path, broker.node.url)
    try:
        asyncio.run(bridge.start())
        yield bridge
    finally:
        bridge.close()
