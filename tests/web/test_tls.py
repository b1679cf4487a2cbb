"""The public listener over https."""

import asyncio
import os
import re
import shutil
import socket
from contextlib import asynccontextmanager, closing

import aiohttp
import pytest

from bridge.web import listener
from tests.authority import Pair
from tests.cli.conftest import invoke
from tests.helpers import eventually
from tests.system.faults.activated import ActivatedBridge
from tests.system.faults.client import Connection
from tests.system.faults.process import until
from tests.system.faults.webhooks import SECRET, Webhooks, signature


@pytest.fixture
def pair(authority, tmp_path):
    """Return the files of the listener's certificate, which a test may replace."""
    issued, mine = authority.issue("127.0.0.1"), Pair(tmp_path / "tls.crt", tmp_path / "tls.key")
    for file, copy in zip(issued, mine, strict=True):
        replace(file, copy)
    return mine


def replace(file, target):
    """Put a copy of a file in the place of another one, at once."""
    shutil.copy(file, f"{target}.new")
    target.with_name(f"{target.name}.new").replace(target)


@pytest.fixture
def environ(pair):
    """Return the variables that name that certificate."""
    return {
        "BRIDGE_SERVER__TLS_CERTIFICATE": f"{pair.certificate}",
        "BRIDGE_SERVER__TLS_KEY": f"{pair.key}",
    }


@pytest.fixture
def https(bridges, environ):
    """Return a context manager that runs a bridge with that certificate."""

    @asynccontextmanager
    async def run():
        async with bridges(**environ) as bridge:
            yield bridge

    return run


def session(authority):
    """Open a client that trusts the CA alone."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=authority.client()))


async def post(client, bridge, event_id):
    """Post an event over https and return the status."""
    body = Webhooks().body(event_id, key=1, number=1)
    headers = {"X-SuperOffice-Signature": signature(body)}
    url = f"https://127.0.0.1:{bridge.port}/webhook"
    async with client.post(url, data=body, headers=headers) as response:
        return response.status


async def test_events_are_taken_over_https(https, authority):
    """A client that verifies gets its answers, many on one connection, and the log says https."""
    async with https() as bridge, session(authority) as client:
        statuses = [await post(client, bridge, f"event-{number}") for number in range(20)]

        assert [200] * 20 == statuses
        assert bridge.log.latest["service_started"]["url"].startswith("https://")
        assert 0 == await bridge.terminate()


EXPECTING = b"\r\nExpect: 100-continue\r\n"


async def test_head_and_body_in_records_of_their_own(https, authority):
    """Over https the plain path is taken too, also by a body that comes after its head."""
    async with https() as bridge:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", bridge.port, ssl=authority.client(), server_hostname="127.0.0.1"
        )
        for number in range(4):
            data = Webhooks().request(f"event-{number}", key=1, number=1)
            head = data.index(b"\r\n\r\n") + 4
            whole = number % 2 == 0
            writer.write(data if whole else data[:head].replace(b"\r\n", EXPECTING, 1))
            if not whole:
                assert b"HTTP/1.1 100 Continue\r\n\r\n" == await reader.readuntil(b"\r\n\r\n")
                writer.write(data[head:])
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(int(re.findall(rb"Content-Length: (\d+)", answer)[0]))
        writer.close()

        assert 4 == await bridge.metric("received_plain_total")


def deaf(authority, bridge):
    """Post an event and return the connection, from which nothing is read after the answer."""
    connection = socket.create_connection(("127.0.0.1", bridge.port), timeout=60)
    secure = authority.client().wrap_socket(connection, server_hostname="127.0.0.1")
    secure.sendall(Webhooks().request("event-1", key=1, number=1))
    assert secure.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    return secure


async def test_it_ends_although_a_client_never_says_goodbye(https, authority):
    """TLS would wait half a minute for a client that is busy with something else, or gone."""
    async with https() as bridge:
        with await asyncio.to_thread(deaf, authority, bridge):
            assert 0 == await bridge.terminate()
    assert not {"library_message", "not_json"} & bridge.log.counts.keys()


async def test_it_ends_although_a_handshake_does_not(https, authority):
    """Who has connected, and says no more than the first bytes of TLS, is cut off."""
    async with https() as bridge:
        with socket.create_connection(("127.0.0.1", bridge.port)) as silent:
            silent.sendall(b"\x16\x03\x01")
            async with session(authority) as later:  # who came first was let in before
                assert 200 == await post(later, bridge, "event-1")
            assert 0 == await bridge.terminate()
    assert not {"library_message", "not_json"} & bridge.log.counts.keys()


async def test_a_handshake_on_its_way_when_the_service_ends(
    serving, environ, authority, monkeypatch
):
    """It ends, and so does the request behind it: with an answer."""
    monkeypatch.setattr(listener, "_FIRST_SECONDS", 60)
    async with serving(**environ) as client:
        public = client.service.listener
        reader, writer = await asyncio.open_connection("127.0.0.1", public.port)
        await eventually(lambda: public._handshakes)
        ending = asyncio.create_task(public.stop())
        await eventually(lambda: not public.is_open)
        await writer.start_tls(authority.client(), server_hostname="127.0.0.1")
        writer.write(Webhooks().request("event-1", key=1, number=1))
        async with asyncio.timeout(30):
            answer = await reader.read()
        writer.close()
        await ending

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer


async def test_a_restart_refuses_nobody(environ, authority, tmp_path):
    """On a socket that stays open a handshake waits for the next bridge, or is ended by the last.

    Each client makes a new connection for every other event.
    """
    with closing(ActivatedBridge(tmp_path, "amqp://127.0.0.1:1/", **environ)) as bridge:
        await bridge.start()
        restarted = asyncio.Event()
        clients = [
            asyncio.create_task(statuses_until(restarted, authority, bridge.port, number))
            for number in range(8)
        ]
        for _ in range(2):
            await bridge.restart()
            await bridge.hand_over()
        restarted.set()
        found = {status for statuses in await asyncio.gather(*clients) for status in statuses}
        assert 0 == await bridge.terminate()

    assert {200} == found


async def statuses_until(ended, authority, port, number):
    """Post events until then; return the status of each answer, None where none came."""
    found: list[int | None] = []
    connection = Connection(port, tls=authority.client(), races=True)
    while not ended.is_set():
        request = Webhooks().request(f"{number}-{len(found)}", key=number, number=len(found))
        reply = await connection.send(request)
        found.append(reply and reply.status)
        if len(found) % 2:
            connection.close()
    connection.close()
    return found


async def test_a_handshake_has_the_time_of_a_head(bridges, environ, authority):
    """Whoever connects and does not shake hands is closed; the log counts them."""
    async with bridges(**environ, BRIDGE_SERVER__READ_TIMEOUT_SECONDS="1") as bridge:
        silent = [await asyncio.open_connection("127.0.0.1", bridge.port) for _ in range(20)]
        silent[0][1].write(b"\x16\x03\x01\x02\x00\x01")
        ends = [asyncio.wait_for(reader.read(), 4) for reader, _ in silent]
        assert [b""] * 20 == await asyncio.gather(*ends)
        for _, writer in silent:
            writer.close()
        async with session(authority) as client:
            assert 200 == await post(client, bridge, "event-1")
        await until(lambda: bridge.log.counts["heads_unfinished"], what="they are counted")


async def test_handshakes_take_half_of_the_places_at_most(bridges, environ, authority):
    """The oldest handshake gives way to a new one; who has shaken hands goes on."""
    async with (
        bridges(**environ, BRIDGE_SERVER__MAX_CONNECTIONS="10") as bridge,
        session(authority) as client,
    ):
        assert 200 == await post(client, bridge, "event-1")
        silent = [await asyncio.open_connection("127.0.0.1", bridge.port) for _ in range(30)]
        ends = [asyncio.wait_for(reader.read(), 5) for reader, _ in silent[:25]]
        assert [b""] * 25 == await asyncio.gather(*ends)
        for _, writer in silent:
            writer.close()
        assert 200 == await post(client, bridge, "event-2")


async def test_who_says_no_goodbye_keeps_nobody_out(bridges, environ, authority):
    """A client that was answered and leaves its connection open gives its place away."""
    async with bridges(**environ, BRIDGE_SERVER__MAX_CONNECTIONS="8") as bridge:
        rude = [await asyncio.to_thread(answered, authority, bridge) for _ in range(20)]
        async with session(authority) as client:
            assert 200 == await post(client, bridge, "event-1")
        for connection in rude:
            connection.close()


def answered(authority, bridge):
    """Ask for a page and the end of the connection, and do not take part in that end."""
    connection = socket.create_connection(("127.0.0.1", bridge.port), timeout=20)
    secure = authority.client().wrap_socket(connection, server_hostname="127.0.0.1")
    secure.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert secure.recv(1 << 16).startswith(b"HTTP/1.1 404 ")
    return secure


async def test_who_says_no_goodbye_holds_no_descriptor(bridges, environ, authority):
    """A connection that rested too long is gone soon after it was closed, whatever its client does.

    TLS alone would wait half a minute.
    """
    async with bridges(**environ, BRIDGE_SERVER__IDLE_TIMEOUT_SECONDS="1") as bridge:
        descriptors = len(os.listdir(f"/proc/{bridge.pid}/fd"))
        resting = [await asyncio.to_thread(deaf, authority, bridge) for _ in range(20)]

        def are_gone():
            return len(os.listdir(f"/proc/{bridge.pid}/fd")) < descriptors + 5

        assert not are_gone()
        await until(are_gone, what="their descriptors are free", seconds=15)
        for connection in resting:
            connection.close()


async def test_a_burst_of_handshakes(bridges, environ, authority):
    """Those that come at one moment do not take more than half of the places either."""
    async with bridges(**environ, BRIDGE_SERVER__MAX_CONNECTIONS="100") as bridge:
        connects = (asyncio.open_connection("127.0.0.1", bridge.port) for _ in range(300))
        silent = await asyncio.gather(*connects)
        ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
        done, _ = await asyncio.wait(ends, timeout=2)
        for _, writer in silent:
            writer.close()
        await asyncio.wait(ends)

    assert len(done) >= 249


async def test_bridge_send_trusts_the_certificate_of_the_configuration(https, environ):
    """It calls the bridge of this machine over https, whatever name the certificate has."""
    async with https() as bridge:
        known = {"BRIDGE_SERVER__PORT": f"{bridge.port}", "SUPEROFFICE_SECRET": SECRET.decode()}
        event = ("send", "contact.created", "--json")
        result = await asyncio.to_thread(invoke, *event, env=environ | known)

        assert 0 == result.exit_code, result.output
        assert f"https://127.0.0.1:{bridge.port}/webhook" in result.stdout
        assert "200 spooled" in result.stdout


async def test_plain_http_is_turned_away_quietly(https, authority):
    """It is closed without an answer, nobody else notices, and there is no traceback."""
    async with https() as bridge:
        reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
        writer.write(b"POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        async with session(authority) as client:
            status = await post(client, bridge, "event-1")
        await bridge.terminate()

    assert b"HTTP" not in answer
    assert 200 == status
    assert {"service_started", "service_stopping", "service_stopped"} <= bridge.log.counts.keys()
    assert not {"library_message", "request_failed", "not_json"} & bridge.log.counts.keys()


async def test_a_renewed_certificate_is_shown_without_a_restart(https, authority, stranger, pair):
    """New clients see it, a connection that is open goes on, and a key that does not fit waits."""
    renewed = stranger.issue("127.0.0.1")
    async with https() as bridge, session(authority) as old, session(stranger) as new:
        assert 200 == await post(old, bridge, "event-1")
        replace(renewed.certificate, pair.certificate)
        bridge.hang_up()
        await until(lambda: bridge.log.counts["configuration_refused"], what="it is refused")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await post(new, bridge, "event-2")
        replace(renewed.key, pair.key)
        await until(lambda: bridge.log.counts["configuration_reloaded"], what="it is renewed")

        assert 200 == await post(new, bridge, "event-3")
        assert 200 == await post(old, bridge, "event-4")
        [problem] = bridge.log.latest["configuration_refused"]["problems"]
        assert "is that of another certificate" in problem
        changed = bridge.log.latest["configuration_reloaded"]["changed"]
        assert ["server.tls_certificate"] == changed
        async with session(authority) as late:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await post(late, bridge, "event-5")
