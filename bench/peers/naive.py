"""What anybody would write first: aiohttp, aio-pika, ``await exchange.publish(...)``, 200.

Persistent, mandatory and confirmed, as ours. No signature, no parsing: the body goes on as it came.
"""

from __future__ import annotations

import aio_pika
import uvloop
from aio_pika.abc import AbstractExchange
from aiohttp import web

from bench.peers.environment import BROKER, EXCHANGE
from bench.peers.serving import connected, serve


def application(exchange: AbstractExchange) -> web.Application:
    """Return the web application."""

    async def webhook(request: web.Request) -> web.Response:
        message = aio_pika.Message(
            await request.read(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=request.headers["X-SuperOffice-EventId"],
        )
        await exchange.publish(message, request.headers["X-SuperOffice-Event"], mandatory=True)
        return web.json_response({"status": "published"})

    app = web.Application()
    app.router.add_post("/webhook", webhook)
    return app


async def main() -> None:
    """Serve until killed."""
    async with connected(BROKER, EXCHANGE) as exchange:
        await serve(application(exchange))


if __name__ == "__main__":
    uvloop.run(main())
