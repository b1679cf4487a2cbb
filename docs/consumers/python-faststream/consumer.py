"""An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1."""

import asyncio
import json
import logging
import os
import sqlite3
from contextlib import closing

from faststream import AckPolicy, FastStream, rabbit

URL, DATABASE = os.environ["AMQP_URL"], os.environ["DATABASE"]
SCHEMA = "urn:superoffice-bridge:contact:1"
QUEUE, DEAD = "consumer.erasure", "consumer.erasure.dead"

with closing(sqlite3.connect(DATABASE)) as db:
    db.execute("CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY)")
    db.execute("CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER, deleted_at TEXT)")

# FastStream starts a handler for every message that is prefetched, and they overtake each other.
broker = rabbit.RabbitBroker(URL, timeout=10, default_channel=rabbit.Channel(prefetch_count=1))
app = FastStream(broker)
events = rabbit.RabbitExchange("superoffice", rabbit.ExchangeType.TOPIC, declare=False)
queue = rabbit.RabbitQueue(
    QUEUE,
    rabbit.QueueType.QUORUM,
    routing_key="contact.deleted",
    arguments={
        "x-delivery-limit": 5,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once needs it
        "x-single-active-consumer": True,  # keeps the order of a record
    },
)


def handle(event_id: str, contact: int, deleted_at: str) -> str:
    """Apply an event, once: its id and its effect are one transaction."""
    with closing(sqlite3.connect(DATABASE)) as db, db:  # one thread each; commits, or rolls back
        remember = "INSERT INTO handled_event VALUES (?) ON CONFLICT DO NOTHING"
        if db.execute(remember, [event_id]).rowcount == 0:
            return "seen before"
        db.execute("INSERT INTO erasure_task VALUES (?, ?)", [contact, deleted_at])
        return "handled"


def parse(message: rabbit.RabbitMessage) -> tuple[str, int, str] | None:
    """Return what ``handle`` needs, None if the message is none that this consumer understands."""
    try:
        event = json.loads(message.body)
        event_id, contact, time = event["id"], event["data"]["primary_key"], event["time"]
        is_ours = event["dataschema"] == SCHEMA and event_id and event_id == message.message_id
    except (ValueError, LookupError, TypeError):
        return None
    return (event_id, contact, time) if is_ours and type(contact) is int else None


@broker.subscriber(queue, events, ack_policy=AckPolicy.MANUAL)
async def settle(message: rabbit.RabbitMessage) -> None:
    """Handle a message and acknowledge it, in this order; what fails is delivered again."""
    if (event := parse(message)) is None:
        logging.error("%s is not readable: to the dead letters", message.message_id)
        return await message.reject()
    try:
        outcome = await asyncio.to_thread(handle, *event)
    except Exception:
        logging.exception("%s failed: once more", message.message_id)
        await asyncio.sleep(1)
        return await message.reject(requeue=True)  # not nack: RabbitMQ 4.3 does not count those
    logging.info("%s %s", message.message_id, outcome)
    await message.ack()


@app.on_startup
async def declare() -> None:
    """Declare the dead letters, before the queue that names them."""
    await broker.connect()
    letters = rabbit.RabbitQueue(
        DEAD,
        rabbit.QueueType.QUORUM,
        arguments={"x-delivery-limit": 1_000_000_000},  # looking must not delete
    )
    exchange = rabbit.RabbitExchange(DEAD, rabbit.ExchangeType.FANOUT)
    await (await broker.declare_queue(letters)).bind(await broker.declare_exchange(exchange))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(app.run())
