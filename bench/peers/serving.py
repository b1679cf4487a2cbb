"""What both peers on aiohttp and aio-pika need: a confirming channel, and a listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractExchange
from aiohttp import web

from bench.peers.environment import PORT


@asynccontextmanager
async def connected(url: str, exchange: str) -> AsyncIterator[AbstractExchange]:
    """Open one channel with publisher confirms, where a returned message is an error."""
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        topic = aio_pika.ExchangeType.TOPIC
        yield await channel.declare_exchange(exchange, topic, durable=True)


async def serve(app: web.Application) -> None:
    """Listen until killed, without an access log."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT, backlog=1024).start()
    await asyncio.Event().wait()
