"""Build the image and run it: an event goes through it, and it ends when it is told to."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

from bridge.dev.rabbitmq import RabbitMQNode, free_port
from bridge.dev.samples import encode, request_headers, sample
from tests.helpers import consumer_queue, id_of, ids
from tests.system.image.buildah import BASE, IMAGE, Buildah
from tests.system.image.container import Container, process_one

MEGABYTE = 10**6
EVENT = sample("contact.created", primary_key=1)


def main() -> None:
    """Do it all below one temporary directory, which goes away in the end."""
    if os.geteuid():
        sys.exit("image-check mounts file systems: run it as root, as in `sudo make image-check`")
    with tempfile.TemporaryDirectory(prefix="bridge-image-") as directory:
        buildah = Buildah(Path(directory))
        try:
            _build(buildah)
            _check(buildah, Path(directory) / "spool")
        finally:
            buildah.clean()
    print("ok")


def _build(buildah: Buildah) -> None:
    for what, step in (("the base", buildah.make_base), ("the image", buildah.build)):
        started = time.monotonic()
        step()
        print(f"built {what} in {time.monotonic() - started:.0f} s", flush=True)
    base, image = buildah.size(BASE), buildah.size(IMAGE)
    print(f"size {image / MEGABYTE:.0f} MB, {(image - base) / MEGABYTE:.0f} MB more than its base")


def _check(buildah: Buildah, spool: Path) -> None:
    config = buildah.config()
    spool.mkdir(mode=0o750)
    user, _, group = config["User"].partition(":")
    os.chown(spool, int(user), int(group))
    container = Container(buildah.mount(), spool, config)
    version = container.run(["bridge", "--version"])
    _expect((version[0], "(compiled)" in version[1]), (0, True), "version, and that it is compiled")
    outside = "/var/tmp/x"  # noqa: S108  # this is about the image's directory, not ours
    _expect(container.run(["touch", outside])[0], 1, f"exit status of a write to {outside}")
    with RabbitMQNode.start() as node:
        consumer_queue(node.url, "check", "contact.*")
        _serve(container, node.url, health=config["Healthcheck"]["Test"][1:], command=config["Cmd"])
        _expect(ids(node.url, "check"), [id_of(encode(EVENT))], "events that arrived")


def _serve(container: Container, broker: str, *, health: list[str], command: list[str]) -> None:
    secret = secrets.token_urlsafe()
    port = free_port()
    env = {
        "SUPEROFFICE_SECRET": secret,
        "BRIDGE_BROKER__URLS": broker,
        "BRIDGE_SERVER__PORT": f"{port}",
        "BRIDGE_SERVER__ADMIN_PORT": f"{free_port()}",
        "BRIDGE_LOG__LEVEL": "info",
    }
    process = container.start(command, **env)
    try:
        assert process.stdout is not None
        log = iter(process.stdout)
        _read_until(log, "service_started", "broker_connected")
        _expect(container.run(health, **env)[0], 0, "health check")
        _expect(container.run([*health, "--ready"], **env)[0], 0, "readiness")
        status, text = _post(port, secret)
        _expect((status, '"published"' in text), (200, True), "signed event answered, published")
        _expect(_post(port, "another secret")[0], 401, "forged event answered")
        os.kill(process_one(process), signal.SIGTERM)
        _read_until(log, "service_stopped")
        _expect(process.wait(timeout=30), 0, "exit status after SIGTERM, as process 1")
    finally:
        process.kill()  # and process 1 with it
        process.wait()
    _expect(container.run(health, **env)[0], 69, "health check without a bridge")


def _post(port: int, secret: str) -> tuple[int, str]:
    body = encode(EVENT)
    named = {"event": EVENT["Event"], "event_id": EVENT["EventId"]}
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = request_headers(body, secret=secret.encode(), **named)
    connection.request("POST", "/webhook", body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def _read_until(log: Iterator[str], *actions: str) -> None:
    """Read the log until each of these was done, in whatever order."""
    missing = set(actions)
    seen: list[str] = []
    while missing:
        line = next(log, None)
        if line is None:
            sys.exit(f"the log ends without {missing}:\n{''.join(seen)}")
        seen.append(line)
        missing = {action for action in missing if f'"{action}"' not in line}


def _expect(found: object, expected: object, what: str) -> None:
    if found != expected:
        sys.exit(f"{what}: expected {expected!r}, found {found!r}")
    print(f"{what}: {found}", flush=True)


if __name__ == "__main__":
    main()
