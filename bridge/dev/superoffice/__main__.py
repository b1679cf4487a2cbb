"""A twin as a program of its own: ``python -m bridge.dev.superoffice --speed 20``.

It prints one JSON object, with its addresses and its credentials, which guard nothing. Then it
runs until it is interrupted or terminated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal

from bridge.dev.superoffice.credentials import App
from bridge.dev.superoffice.rsa import PrivateKey
from bridge.dev.superoffice.rules import Rules
from bridge.dev.superoffice.twin import Twin, running


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m bridge.dev.superoffice", description=__doc__)
    parser.add_argument("--speed", type=float, default=1.0, help="how much shorter its pauses are")
    parser.add_argument("--on-site", action="store_true", help="an installation on-site")
    parser.add_argument("--before-12", action="store_true", help="a version without counters")
    parser.add_argument("--system-user", action="store_true", help="make a key for a system user")
    asyncio.run(_run(parser.parse_args()))


async def _run(options: argparse.Namespace) -> None:
    version = (11, 13) if options.before_12 else (12, 1)
    rules = Rules(version=version, is_online=not options.on_site)
    key = PrivateKey.generate() if options.system_user else None
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with running(rules, speed=options.speed, app=App(key=key)) as twin:
        print(json.dumps(_described(twin)), flush=True)
        await ended.wait()


def _described(twin: Twin) -> dict[str, object]:
    app = twin.app
    return {
        "api": twin.api_url,
        "login": twin.login_url,
        "control": twin.control_url,
        "context": twin.tenant.context,
        "users": twin.users,
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "refresh_token": app.refresh_token,
        "system_token": app.system_token,
        "private_key": app.key.as_xml() if app.key else None,
    }


if __name__ == "__main__":
    main()
