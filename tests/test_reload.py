"""Secrets and the log level change while requests flow; what is broken changes nothing."""

import asyncio
import threading
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge import reload
from bridge.core.errors import ConfigInvalid
from bridge.settings import load
from tests.helpers import eventually
from tests.serving import sign, webhook
from tests.system.faults.client import Connection
from tests.system.faults.process import BridgeProcess, until

CONFIG = """\
[log]
level = "{level}"
[dedup]
max_events = {max_events}
[[endpoints]]
name = "superoffice"
path = "/webhook"
contexts = {contexts}
secrets = [{{ file = "{files}/secret" }}, {{ file = "{files}/previous", optional = true }}]
"""


class Files:
    """A volume as Kubernetes mounts it: links into a directory that is changed by one link."""

    def __init__(self, directory):
        self.directory = directory
        self._versions = 0
        (directory / "config").mkdir()
        self._options = {"level": "info", "max_events": 1000, "contexts": "[]", "files": directory}

    def mount(self, **secrets):
        """Replace all secrets at once."""
        version = self.directory / f"..{self._versions}"
        version.mkdir()
        for name, secret in secrets.items():
            (version / name).write_text(secret)
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        new = self.directory / "..new"
        new.symlink_to(version.name)
        new.replace(self.directory / "..data")
        self._versions += 1

    def configure(self, **options):
        """Write the configuration with some options changed."""
        self._options.update(options)
        self.write(CONFIG.format_map(self._options))

    def write(self, text):
        """Put a configuration in the place of the old one."""
        new = self.directory / "config" / "new"
        new.write_text(text)
        new.replace(self.directory / "config" / "bridge.toml")


@pytest.fixture
def files(tmp_path):
    """Return a configuration with one secret, "alfa"."""
    files = Files(tmp_path)
    files.mount(secret="alfa")
    files.configure()
    return files


@pytest.fixture
def serving(files):
    """Return a context manager that runs a bridge with these files, and without a broker."""

    @asynccontextmanager
    async def run():
        bridge = BridgeProcess(files.directory, "amqp://127.0.0.1:1/")
        try:
            await bridge.start()
            await until(lambda: counted(bridge, "service_started"), what="it listens")
            yield bridge
        finally:
            bridge.close()

    return run


async def post(connection, secret, **changes):
    """Post an event and return the status."""
    body = webhook(**changes)
    head = (
        "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"X-SuperOffice-Signature: {sign(body, secret.encode())}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    reply = await connection.send(head.encode() + body)
    return reply.status if reply else None


async def once(bridge, secret, **changes):
    """Post an event on a connection of its own."""
    with closing(Connection(bridge.port)) as connection:
        return await post(connection, secret, **changes)


class Flow:
    """Some hundred requests a second, signed with what SuperOffice has by now."""

    def __init__(self, bridge, secret):
        self.secret = secret
        self.statuses = []
        self._stopping = False
        self._bridge = bridge

    async def run(self):
        """Send until stopped; a connection that breaks counts as None."""
        with closing(Connection(self._bridge.port)) as connection:
            while not self._stopping:
                self.statuses.append(await post(connection, self.secret))
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def flowing(self, connections=4):
        """Send for the length of the block."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(self.run())
            yield
            self._stopping = True

    async def goes_on(self):
        """Return when some more requests have been answered."""
        seen = len(self.statuses)
        await until(lambda: len(self.statuses) > seen + 50, what="more requests are answered")


def changes(bridge):
    """Return what the latest reload changed."""
    return bridge.log.latest["configuration_reloaded"]["changed"]


def counted(bridge, action):
    """Return how often something was logged."""
    return bridge.log.counts[action]


async def test_a_secret_is_rotated_while_requests_flow(serving, files):
    """Both are taken, then the new one alone; nobody waits, nobody is refused wrongly."""
    async with serving() as bridge:
        flow = Flow(bridge, "alfa")
        async with flow.flowing():
            await flow.goes_on()
            files.mount(secret="bravo", previous="alfa")
            await until(lambda: counted(bridge, "configuration_reloaded") == 1, what="both count")
            await flow.goes_on()
            flow.secret = "bravo"
            await flow.goes_on()
            files.mount(secret="bravo")
            await until(lambda: counted(bridge, "configuration_reloaded") == 2, what="one counts")
            await flow.goes_on()
        late = await once(bridge, "alfa")
        await until(lambda: counted(bridge, "request_refused") >= 1, what="the refusal is logged")
        refused = counted(bridge, "request_refused")

        assert {200} == set(flow.statuses)
        assert (401, 1) == (late, refused)
        assert ["endpoints[0].secrets"] == changes(bridge)
        assert 0 == await bridge.terminate()


async def test_a_broken_configuration_changes_nothing(serving, files):
    """All its mistakes are in the log, once, and what is right again is taken up by itself."""
    async with serving() as bridge:
        files.configure(level="loud", max_events=-1)
        bridge.hang_up()
        await until(lambda: counted(bridge, "configuration_refused"), what="it is refused")
        problems = bridge.log.latest["configuration_refused"]["problems"]
        before = await once(bridge, "alfa")
        files.write("[server\n")
        await until(lambda: counted(bridge, "configuration_refused") == 2, what="this as well")
        files.configure(level="info", max_events=1000, contexts='["Cust1"]')
        await until(lambda: counted(bridge, "configuration_reloaded"), what="it is mended")
        after = await once(bridge, "alfa")

        assert 200 == before
        assert ["dedup.max_events", "log.level"] == sorted(line.split(": ")[1] for line in problems)
        assert 403 == after
        assert 2 == counted(bridge, "configuration_refused")


async def test_a_secret_that_is_gone_keeps_the_old_one(serving, files):
    """A file that is not there is a mistake, until it is back; no secret is ever logged."""
    async with serving() as bridge:
        files.mount(other="x")
        await until(lambda: counted(bridge, "configuration_refused"), what="it is refused")
        during = await once(bridge, "alfa")
        files.mount(secret="bravo")
        await until(lambda: counted(bridge, "configuration_reloaded"), what="it is back")

        assert 200 == during
        assert (200, 401) == (await once(bridge, "bravo"), await once(bridge, "alfa"))
        written = "\n".join(bridge.log.tail)
        assert "bravo" not in written
        assert "alfa" not in written


async def test_the_log_level_changes_and_the_rest_waits(serving, files):
    """On HUP at once, to more and to less; what needs a restart is named and stays."""
    async with serving() as bridge:
        await once(bridge, "alfa")
        files.configure(level="debug", max_events=7)
        bridge.hang_up()
        await until(lambda: counted(bridge, "configuration_needs_restart"), what="it is read")
        quiet, changed = counted(bridge, "event_spooled"), changes(bridge)
        await once(bridge, "alfa")
        await until(lambda: counted(bridge, "event_spooled"), what="details are logged")
        files.configure(level="info")
        bridge.hang_up()
        await until(lambda: counted(bridge, "configuration_reloaded") == 2, what="it is read")
        await once(bridge, "alfa")
        await once(bridge, "wrong")
        await until(lambda: counted(bridge, "request_refused"), what="what comes later is logged")

        assert (0, 1) == (quiet, counted(bridge, "event_spooled"))
        assert ["log.level"] == changed == changes(bridge)
        assert ["dedup.max_events"] == bridge.log.latest["configuration_needs_restart"]["keys"]
        assert 0 == await bridge.terminate()


async def test_files_that_cannot_be_read_in_time(monkeypatch):
    """A disk that hangs, or a pipe in the place of a file, is named; what is mended is taken up."""
    monkeypatch.setattr(reload, "_READ_SECONDS", 0.1)
    monkeypatch.setattr(reload, "_HUNG_POLL_SECONDS", 0.1)
    monkeypatch.setattr(reload, "POLL_SECONDS", 0.05)
    loaded = load(None, {"SUPEROFFICE_SECRET": "x"})
    mended = threading.Event()

    def read():
        mended.wait(30)
        return loaded

    service: Any = SimpleNamespace(adopt=lambda _: None, renew_certificate=lambda _: False)
    asked = asyncio.Event()
    asked.set()
    with capture_logs() as log:
        running = asyncio.create_task(reload.Reloader(service, loaded, read).run(asked))
        await eventually(lambda: "configuration_refused" in [line["event"] for line in log])
        mended.set()
        asked.set()
        await eventually(lambda: "configuration_reloaded" in [line["event"] for line in log])
        running.cancel()
    [problem] = log[0]["problems"]

    assert "see whether a disk hangs" in problem


@pytest.mark.parametrize("device", ["/dev/zero"])
def test_a_file_without_an_end(device):
    """It is a mistake of the configuration, and not read until memory ends."""
    with pytest.raises(ConfigInvalid, match="more than 1048576 bytes"):
        load(Path(device), {"SUPEROFFICE_SECRET": "x"})
