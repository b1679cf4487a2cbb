"""FastAPI and FastStream, as their documents put them together, in one uvicorn process.

Persistent, mandatory and confirmed before the answer. No signature and no parsing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange

from bench.peers.environment import BROKER, EXCHANGE, PORT


def application(broker: RabbitBroker) -> FastAPI:
    """Return the web application."""
    exchange = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with broker:
            await broker.declare_exchange(exchange)
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/webhook")
    async def webhook(request: Request) -> dict[str, str]:
        await broker.publish(
            await request.body(),
            exchange=exchange,
            routing_key=request.headers["X-SuperOffice-Event"],
            message_id=request.headers["X-SuperOffice-EventId"],
            content_type="application/json",
            persist=True,
            mandatory=True,
        )
        return {"status": "published"}

    return app


def main() -> None:
    """Serve until killed."""
    channel = Channel(publisher_confirms=True, on_return_raises=True)
    broker = RabbitBroker(BROKER, default_channel=channel, logger=None)
    uvicorn.run(
        application(broker),
        host="127.0.0.1",
        port=PORT,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
