"""The addresses on which the listeners take connections, and descriptors for these."""

import asyncio
import socket
import subprocess
import sys

import pytest

from tests.serving import webhook

EVERY = {"BRIDGE_SERVER__HOST": "::", "BRIDGE_SERVER__ADMIN_HOST": "::"}

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")


@needs_ipv6
async def test_every_address(serving):
    """Both listeners take IPv6 and IPv4 on `::`, as the documentation says."""
    async with serving(**EVERY) as client:
        service = client.service
        for host in ("127.0.0.1", "::1"):
            for port, status in ((service.listener.port, 404), (service.admin.port, 200)):
                assert await asked(host, port) == status
        assert 200 == (await client.post(webhook()))[0]
        assert service.listener.url == f"http://127.0.0.1:{service.listener.port}"


@needs_ipv6
async def test_every_address_that_is_taken(serving):
    """A port that somebody has on IPv4 alone is taken for `::` as well."""
    with socket.create_server(("0.0.0.0", 0)) as other:  # noqa: S104
        port = str(other.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            async with serving(**EVERY, BRIDGE_SERVER__PORT=port):
                pass


async def test_an_address_that_the_machine_has_not(serving, monkeypatch):
    """Of a name's addresses those count that are here, as of localhost where there is no IPv6."""
    resolve = socket.getaddrinfo

    def resolved(host, port, *args, **kwargs):
        there = resolve("127.0.0.1", port, *args, **kwargs)
        if host != "bridge.test":
            return resolve(host, port, *args, **kwargs)
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", port, 0, 0)), *there]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    async with serving(BRIDGE_SERVER__HOST="bridge.test") as client:
        assert 404 == await asked("127.0.0.1", client.service.listener.port)
    with pytest.raises(OSError, match="assign"):
        async with serving(BRIDGE_SERVER__HOST="192.0.2.1"):
            pass


async def test_a_shared_socket_goes_on_to_listen(serving):
    """Who connects when one bridge has stopped and the next has not begun waits for the next."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        async with serving(shared={"public": [held.dup()]}) as client:
            assert port == client.service.listener.port
            assert 200 == (await client.post(webhook()))[0]
        waiting = asyncio.create_task(asked("127.0.0.1", port))
        async with serving(shared={"public": [held.dup()]}):
            assert 404 == await waiting


async def asked(host, port):
    """Return the status of an answer from this address."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return int(answer.split()[1])


SCRIPT = """
import resource, sys
from bridge.web.sockets import affordable
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(affordable(1000, others=50), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "found"),
    [(200, 1200, "1000 1150"), (1180, 1200, "1000 1180"), (200, 400, "250 400"), (9, 9, "1 9")],
)
def test_connections_that_there_are_descriptors_for(soft, hard, found):
    """The limit of the system is raised as far as it may be; what is missing is said."""
    command = [sys.executable, "-c", SCRIPT, f"{soft}", f"{hard}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert found == done.stdout.splitlines()[-1]
    assert ("descriptors_scarce" in done.stdout) == found.startswith(("250", "1 "))
