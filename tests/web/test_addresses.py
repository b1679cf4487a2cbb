"""The addresses on which the listeners take connections."""

import asyncio
import socket

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


async def asked(host, port):
    """Return the status of an answer from this address."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return int(answer.split()[1])
