"""The twin as a program."""

import asyncio
import json
import signal
import sys

import aiohttp
import pytest

from tests.dev.superoffice.conftest import basic, definition


async def started(*options):
    """Start the program; return it with what it says about itself."""
    command = (sys.executable, "-m", "bridge.dev.superoffice", *options)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    return process, json.loads(await asyncio.wait_for(process.stdout.readline(), 60))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_on_site(receiver, number):
    """It runs until a signal, and can be used from outside with what it prints."""
    process, said = await started("--on-site", "--speed", "50", "--before-12")
    headers = {"Authorization": basic("admin", said["users"]["admin"])}
    content = definition(receiver.url, "contact.created")
    async with aiohttp.ClientSession() as session:
        async with session.post(
            f"{said['api']}/v1/Webhook", json=content, headers=headers
        ) as response:
            made = await response.json()
        events = {"event": "contact.created", "count": 2}
        await session.post(f"{said['control']}/events", json=events)
        await session.post(f"{said['control']}/idle")
    process.send_signal(number)

    assert 0 == await asyncio.wait_for(process.wait(), 30)
    assert (1, 2) == (len(receiver.tests), len(receiver.events))
    assert "TotalCalls" not in made


async def test_a_system_user():
    """With a key for a system user it prints all that a client needs."""
    process, said = await started("--system-user")
    process.terminate()
    await process.wait()

    assert said["private_key"].startswith("<RSAKeyValue><Modulus>")
    assert "Cust12345" == said["context"]
    assert all(said[name] for name in ("client_id", "client_secret", "system_token", "login"))
