"""The floor: aiohttp's low-level server on uvloop reads the body and answers 200, nothing else."""

from __future__ import annotations

import asyncio

import uvloop
from aiohttp import web

from bench.peers.environment import PORT


async def handle(request: web.BaseRequest) -> web.Response:
    """Answer."""
    await request.read()
    return web.Response(body=b'{"status":"published"}', content_type="application/json")


async def main() -> None:
    """Serve until killed."""
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
