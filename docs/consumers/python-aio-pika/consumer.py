"""An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1."""

import asyncio
import json
import logging
import os
import signal
import sqlite3

import aio_pika
from aio_pika.exceptions import AMQPError

EXCHANGE, BINDING, SCHEMA = "superoffice", "contact.deleted", "urn:superoffice-bridge:contact:1"
QUEUE, DEAD = "consumer.erasure", "consumer.erasure.dead"
PREFETCH, DELIVERY_LIMIT, RETRY_SECONDS = 10, 5, 1.0
TABLES = """
    CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER NOT NULL, deleted_at TEXT NOT NULL);
"""


def handle(database: sqlite3.Connection, event: dict) -> bool:
    """Apply an event, once: its id and its effect are one transaction."""
    with database:  # commits at the end, and rolls back when something is raised
        remember = "INSERT INTO handled_event VALUES (?) ON CONFLICT DO NOTHING"
        is_new = database.execute(remember, [event["id"]]).rowcount == 1
        if is_new:
            task = [event["data"]["primary_key"], event["time"]]
            database.execute("INSERT INTO erasure_task VALUES (?, ?)", task)
    return is_new


def parse(message: aio_pika.abc.AbstractIncomingMessage) -> dict | None:
    """Return the event, None if the message holds none that this consumer understands."""
    try:
        event = json.loads(message.body)
        schema, event_id, key = event["dataschema"], event["id"], event["data"]["primary_key"]
    except (ValueError, LookupError, TypeError):
        return None
    is_ours = schema == SCHEMA and event_id and event_id == message.message_id
    return event if is_ours and isinstance(key, int) else None


async def settle(
    database: sqlite3.Connection, message: aio_pika.abc.AbstractIncomingMessage
) -> None:
    """Handle a message and acknowledge it, in this order; what fails is delivered again."""
    event = parse(message)
    if event is None:
        logging.error("%s is not readable: to the dead letters", message.message_id)
        await message.reject()
        return
    try:
        is_new = await asyncio.to_thread(handle, database, event)
    except Exception:
        logging.exception("%s failed: once more", message.message_id)
        await asyncio.sleep(RETRY_SECONDS)
        await message.reject(requeue=True)  # not nack: RabbitMQ 4.3 does not count those
    else:
        logging.info("%s %s", message.message_id, "handled" if is_new else "seen before")
        await message.ack()


async def declare(channel: aio_pika.abc.AbstractChannel) -> aio_pika.abc.AbstractQueue:
    """Declare the queue and its dead letters, and bind it; the exchange is the bridge's."""
    await channel.declare_exchange(DEAD, "fanout", durable=True)
    keep = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}  # looking must not delete
    await (await channel.declare_queue(DEAD, durable=True, arguments=keep)).bind(DEAD)
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once needs it
    }
    queue = await channel.declare_queue(QUEUE, durable=True, arguments=arguments)
    await queue.bind(EXCHANGE, BINDING)
    return queue


async def consume(database: sqlite3.Connection, stopping: asyncio.Event) -> None:
    """Consume until told to stop, or until the connection is lost."""
    url = os.environ["AMQP_URL"]
    async with await aio_pika.connect(url, heartbeat=10, timeout=10) as connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=PREFETCH)
        messages = (await declare(channel)).iterator()
        closer = asyncio.create_task(close_when(stopping, messages))
        try:
            async for message in messages:
                await settle(database, message)
        finally:
            closer.cancel()


async def close_when(stopping: asyncio.Event, messages: aio_pika.abc.AbstractQueueIterator) -> None:
    """End the loop after the message in hand; the queue gets back those that wait behind it."""
    await stopping.wait()
    await messages.close()


async def main() -> None:
    """Consume until SIGTERM, on a new connection whenever one is lost."""
    database = sqlite3.connect(os.environ["DATABASE"], check_same_thread=False)
    database.executescript(TABLES)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    while not stopping.is_set():
        try:
            await consume(database, stopping)
        except (AMQPError, OSError, RuntimeError) as error:
            logging.warning("no broker: %r", error)
            await asyncio.sleep(RETRY_SECONDS)
    database.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
