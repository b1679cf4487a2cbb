"""An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1."""

import asyncio
import json
import logging
import os
import signal
import sqlite3
from contextlib import closing
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

URL, DATABASE = os.environ["AMQP_URL"], os.environ["DATABASE"]
SCHEMA = "urn:superoffice-bridge:contact:1"
QUEUE, DEAD = "consumer.erasure", "consumer.erasure.dead"

in_hand = asyncio.Lock()  # held while a message is handled
with closing(sqlite3.connect(DATABASE)) as db:
    db.execute("CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY)")
    db.execute("CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER, deleted_at TEXT)")


def handle(event_id: str, contact: int, deleted_at: str) -> str:
    """Apply an event, once: its id and its effect are one transaction."""
    with closing(sqlite3.connect(DATABASE)) as db, db:  # one thread each; commits, or rolls back
        remember = "INSERT INTO handled_event VALUES (?) ON CONFLICT DO NOTHING"
        if db.execute(remember, [event_id]).rowcount == 0:
            return "seen before"
        db.execute("INSERT INTO erasure_task VALUES (?, ?)", [contact, deleted_at])
        return "handled"


def parse(message: AbstractIncomingMessage) -> tuple[str, int, str] | None:
    """Return what ``handle`` needs, None if the message is none that this consumer understands."""
    try:
        event = json.loads(message.body)
        event_id, contact, time = event["id"], event["data"]["primary_key"], event["time"]
        is_ours = event["dataschema"] == SCHEMA and event_id and event_id == message.message_id
    except (ValueError, LookupError, TypeError):
        return None
    return (event_id, contact, time) if is_ours and type(contact) is int else None


async def settle(message: AbstractIncomingMessage) -> None:
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


async def declare(channel: AbstractChannel) -> AbstractQueue:
    """Declare the queue and its dead letters, and bind it; the exchange is the bridge's."""
    # To look at a dead letter counts as a delivery, and must not delete it.
    keep: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
    letters = await channel.declare_queue(DEAD, durable=True, arguments=keep)
    await letters.bind(await channel.declare_exchange(DEAD, "fanout", durable=True))
    limited: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 5,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once needs it
        "x-single-active-consumer": True,  # keeps the order of a record
    }
    queue = await channel.declare_queue(QUEUE, durable=True, arguments=limited)
    await queue.bind("superoffice", "contact.deleted")
    return queue


async def consume() -> None:
    """Consume, on a new connection whenever one is lost."""
    while True:
        try:
            async with await aio_pika.connect(URL, heartbeat=10, timeout=10) as connection:
                channel = await connection.channel()
                await channel.set_qos(prefetch_count=10)
                async for message in (await declare(channel)).iterator():
                    async with in_hand:
                        await settle(message)
        except Exception as error:
            logging.warning("no broker: %r", error)
            await asyncio.sleep(1)


async def main() -> None:
    """Consume until SIGTERM, finish the message in hand, and let the queue have the others."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    consuming = asyncio.create_task(consume())
    await stopping.wait()
    async with in_hand:
        consuming.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
