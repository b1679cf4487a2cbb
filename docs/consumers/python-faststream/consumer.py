"""An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1."""

import asyncio
import json
import logging
import os
import sqlite3

from faststream import AckPolicy, FastStream
from faststream.rabbit import (
    Channel,
    ExchangeType,
    QueueType,
    RabbitBroker,
    RabbitExchange,
    RabbitMessage,
    RabbitQueue,
)

SCHEMA = "urn:superoffice-bridge:contact:1"
PREFETCH, DELIVERY_LIMIT, RETRY_SECONDS = 10, 5, 1.0
TABLES = """
    CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER NOT NULL, deleted_at TEXT NOT NULL);
"""

database = sqlite3.connect(os.environ["DATABASE"], check_same_thread=False)
broker = RabbitBroker(
    os.environ["AMQP_URL"],
    timeout=10,  # of connecting
    default_channel=Channel(prefetch_count=PREFETCH),
    graceful_timeout=30,
)
app = FastStream(broker)
one_at_a_time = asyncio.Lock()  # FastStream starts a handler for every message that is prefetched

events = RabbitExchange("superoffice", ExchangeType.TOPIC, declare=False)  # it is the bridge's
dead = RabbitExchange("consumer.erasure.dead", ExchangeType.FANOUT)
dead_letters = RabbitQueue(
    dead.name,
    QueueType.QUORUM,
    arguments={"x-delivery-limit": 1_000_000_000},  # looking must not delete
)
queue = RabbitQueue(
    "consumer.erasure",
    QueueType.QUORUM,
    routing_key="contact.deleted",
    arguments={
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": dead.name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once needs it
    },
)


def handle(event: dict) -> bool:
    """Apply an event, once: its id and its effect are one transaction."""
    with database:  # commits at the end, and rolls back when something is raised
        remember = "INSERT INTO handled_event VALUES (?) ON CONFLICT DO NOTHING"
        is_new = database.execute(remember, [event["id"]]).rowcount == 1
        if is_new:
            task = [event["data"]["primary_key"], event["time"]]
            database.execute("INSERT INTO erasure_task VALUES (?, ?)", task)
    return is_new


def parse(message: RabbitMessage) -> dict | None:
    """Return the event, None if the message holds none that this consumer understands."""
    try:
        event = json.loads(message.body)
        schema, event_id, key = event["dataschema"], event["id"], event["data"]["primary_key"]
    except (ValueError, LookupError, TypeError):
        return None
    is_ours = schema == SCHEMA and event_id and event_id == message.message_id
    return event if is_ours and isinstance(key, int) else None


@broker.subscriber(queue, events, ack_policy=AckPolicy.MANUAL)
async def settle(message: RabbitMessage) -> None:
    """Handle a message and acknowledge it, in this order; what fails is delivered again."""
    event = parse(message)
    if event is None:
        logging.error("%s is not readable: to the dead letters", message.message_id)
        await message.reject()
        return
    async with one_at_a_time:
        try:
            is_new = await asyncio.to_thread(handle, event)
        except Exception:
            logging.exception("%s failed: once more", message.message_id)
            await asyncio.sleep(RETRY_SECONDS)
            await message.reject(requeue=True)  # not nack: RabbitMQ 4.3 does not count those
        else:
            logging.info("%s %s", message.message_id, "handled" if is_new else "seen before")
            await message.ack()


@app.on_startup
async def declare() -> None:
    """Declare the tables and the dead letters, before the queue that names them."""
    database.executescript(TABLES)
    await broker.connect()
    letters = await broker.declare_queue(dead_letters)
    await letters.bind(await broker.declare_exchange(dead))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(app.run())
