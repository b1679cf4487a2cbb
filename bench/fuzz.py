"""Throw random and mutated requests at a running bridge: `make fuzz REQUESTS=200000 SEED=1`.

Real sockets, a real bridge process and a real RabbitMQ. Nothing may be answered 5xx, the process
must live, its memory must stay flat, and every authentic delivery must be published or parked: the
broker's queues are counted at the end. Every other request is made to be plain or nearly so: it
comes in pieces, on a connection that has earned a 200.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import pika

from bridge.core.message import PARKED, UNROUTED
from bridge.dev.rabbitmq import RabbitMQNode, free_port
from bridge.dev.samples import encode, known_events, sample
from bridge.superoffice.headers import SIGNATURE
from bridge.superoffice.signature import sign

SECRET = b"fuzz-secret"
CONNECTIONS = 16
MAX_BODY = 65_536
RSS_GROWTH_MB = 40
"""Between the first tenth of the run and its end; caches fill up in that tenth."""

_CLOSE = b"Connection: close\r\n"

_HOSTILE = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"[]",
    b"null",
    b"1e999",
    b'"\\ud800"',
    b"{" * 400,
    b"[" * 3000,
]


_PLAIN = re.compile(r"^superoffice_bridge_received_plain_total{.*} (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Shot:
    """One request as bytes; ``authentic`` if it must be answered 200 and end in a queue.

    ``patience`` in seconds: what is no request need not be answered at all. What is ``before`` it
    is answered first.
    """

    data: bytes
    authentic: bool
    patience: float = 15.0
    before: bytes = b""
    cuts: tuple[int, ...] = ()

    @property
    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, cut."""
        for start, end in pairwise([0, *self.cuts, len(self.data)]):
            yield self.data[start:end]


class Marksman:
    """Makes requests from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._events = known_events()
        self._templates = [encode(sample(event)) for event in self._events]

    def shot(self) -> Shot:
        """Return the next request."""
        kinds: Sequence[Callable[[], Shot]] = (
            self._good, self._mutated_json, self._random_body, self._good_chunked,
            self._bad_signature, self._odd_headers, self._odd_request, self._noise,
        )  # fmt: skip
        shot = self._random.choices(kinds, weights=(4, 4, 2, 2, 1, 2, 1, 1))[0]()
        return self._kept_open(shot) if self._random.random() < 0.5 else shot

    def _kept_open(self, shot: Shot) -> Shot:
        """Return the same shot as a request that does not end its connection, nor begins it."""
        first = self._fresh()
        data = shot.data.replace(_CLOSE, b"", 1)
        places = range(1, max(len(data), 2))
        cuts = self._random.choices(places, k=self._random.randrange(3))
        if (body := data.find(b"\r\n\r\n") + 4) >= 4 and self._random.random() < 0.5:
            cuts = [body]
        return replace(
            shot,
            data=data,
            before=request(first, sign(first, secret=SECRET)).replace(_CLOSE, b"", 1),
            cuts=tuple(sorted(cuts)),
        )

    def _fresh(self) -> bytes:
        """Return a sample with an id of its own."""
        body = self._random.choice(self._templates)
        return re.sub(rb'("EventId":")[^"]*', rb"\g<1>%032x" % self._random.getrandbits(128), body)

    def _bytes(self, most: int) -> bytes:
        return self._random.randbytes(self._random.randrange(most))

    def _good(self) -> Shot:
        body = self._fresh()
        return Shot(request(body, sign(body, secret=SECRET)), True)

    def _mutated_json(self) -> Shot:
        body = bytearray(self._fresh())
        for _ in range(self._random.randint(1, 4)):
            at = self._random.randrange(len(body))
            action = self._random.randrange(4)
            if action == 0:
                body[at] = self._random.randrange(256)
            elif action == 1:
                del body[at : at + self._random.randint(1, 40)]
            elif action == 2:
                body[at:at] = self._random.choice(_HOSTILE)
            else:
                body[at:at] = body[: self._random.randrange(200)]
            body = body or bytearray(b"{}")
        raw = bytes(body)[:MAX_BODY]
        return Shot(request(raw, sign(raw, secret=SECRET)), True)

    def _random_body(self) -> Shot:
        body = self._random.choice([self._bytes(2000), self._random.choice(_HOSTILE)])
        return Shot(request(body, sign(body, secret=SECRET)), True)

    def _good_chunked(self) -> Shot:
        body, chunks, at = self._fresh(), b"", 0
        while at < len(body):
            size = self._random.randint(1, 400)
            part = body[at : at + size]
            chunks += b"%x\r\n%s\r\n" % (len(part), part)
            at += size
        signature = sign(body, secret=SECRET)
        head = f"POST /webhook HTTP/1.1\r\nHost: x\r\n{SIGNATURE}: {signature}\r\n"
        end = b"0\r\n\r\n" if self._random.random() < 0.9 else b"zz\r\n\r\n"
        close = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        data = head.encode() + close + chunks + end
        return Shot(data, end.startswith(b"0"))

    def _bad_signature(self) -> Shot:
        body = self._fresh()
        wrong = self._random.choice(
            [b"", b"x" * 44, self._bytes(60).replace(b"\n", b"").replace(b"\r", b"")]
        )
        return Shot(request(body, wrong), False)

    def _odd_headers(self) -> Shot:
        body = self._fresh()
        names = (
            *(b"traceparent", b"X-SuperOffice-Retry", b"X-SuperOffice-Event", b"Content-Type"),
            *(b"X-SuperOffice-EventId", b"Content-Encoding", b"Expect", b"X-" + b"a" * 60),
        )
        values = (
            *(b"", b"identity", b"gzip", b"100-continue"),
            *(b"\xff\xfe", b"-1", b"9" * 40, b"a" * 3000),
        )
        odd = {self._random.choice(names): self._random.choice(values) for _ in range(3)}
        refused = odd.get(b"Content-Encoding", b"identity") not in (b"identity",)
        return Shot(request(body, sign(body, secret=SECRET), odd), not refused)

    def _odd_request(self) -> Shot:
        body = self._fresh()
        method = self._random.choice(
            [b"GET", b"PUT", b"HEAD", b"OPTIONS", b"PROPFIND", b"TRACE", b"post"]
        )
        path = self._random.choice(
            [b"/", b"/webhook", b"/webhook/", b"/%77ebhook", b"//webhook", b"*", b"/\xc3\xa6"]
        )
        return Shot(request(body, sign(body, secret=SECRET), method=method, path=path), False)

    def _noise(self) -> Shot:
        start = self._random.choice([b"", b"POST ", b"POST /webhook HTTP/1.1\r\n", b"\x16\x03\x01"])
        return Shot(start + self._bytes(400) + b"\r\n\r\n", False, patience=0.1)


def request(
    body: bytes,
    signature: str | bytes,
    headers: dict[bytes, bytes] | None = None,
    *,
    method: bytes = b"POST",
    path: bytes = b"/webhook",
) -> bytes:
    """Return a request that ends its connection."""
    signed = signature.encode() if isinstance(signature, str) else signature
    lines = {b"Host": b"x", SIGNATURE.encode(): signed, **(headers or {})}
    lines |= {b"Content-Length": b"%d" % len(body), b"Connection": b"close"}
    head = b"".join(b"%s: %s\r\n" % line for line in lines.items())
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method, path, head, body)


class Tally:
    """What was answered."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []

    def add(self, shot: Shot, answer: bytes) -> None:
        """Count an answer and check it."""
        found = [int(code) for code in re.findall(rb"^HTTP/1\.[01] (\d{3})", answer, re.MULTILINE)]
        final = found[-1] if found else 0
        self.statuses[final] += 1
        if final >= 500 or (shot.authentic and final != 200):
            self.failures.append(f"{final}: {shot.data[:3000]!r} -> {answer[:300]!r}")
        if final == 200:
            self.outcomes[json.loads(answer.rpartition(b"\r\n\r\n")[2])["status"]] += 1


async def fire(marksman: Marksman, port: int, left: Sequence[int], tally: Tally) -> None:
    """Send requests, each on a connection of its own, until none is left."""
    while left[0] > 0:
        left[0] -= 1  # type: ignore[index]  # shared by all senders
        shot = marksman.shot()
        source = (f"127.0.0.{2 + left[0] % 100}", 0)  # ports in TIME_WAIT would run out
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
        try:
            answer = await asked(shot, reader, writer, tally)
        except TimeoutError:
            answer = b""
            if shot.patience > 1:
                tally.failures.append(f"no answer: {shot.data[:3000]!r}")
        except OSError:
            answer = b""  # cut by the bridge, in the middle of what it had refused
        finally:
            writer.transport.abort()
        if answer:
            tally.add(shot, answer)


async def asked(
    shot: Shot, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tally: Tally
) -> bytes:
    """Send a shot, and return all that is answered until the connection ends."""
    if shot.before:
        async with asyncio.timeout(shot.patience + 15):
            await begin(shot, reader, writer, tally)
    for piece in shot.pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    if shot.before:
        writer.write_eof()
    async with asyncio.timeout(shot.patience):
        return await reader.read()


async def begin(
    shot: Shot, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tally: Tally
) -> None:
    """Send what is before a shot, and count its answer."""
    writer.write(shot.before)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.findall(rb"Content-Length: (\d+)", head)[0])
    tally.add(Shot(shot.before, True), head + await reader.readexactly(length))


class Bridge:
    """The bridge as a process of its own."""

    def __init__(self, node: RabbitMQNode, directory: Path) -> None:
        self._log = directory / "bridge.log"
        self._admin_port = free_port()
        environ = {
            **os.environ,
            "SUPEROFFICE_SECRET": SECRET.decode(),
            "BRIDGE_BROKER__URLS": node.url,
            "BRIDGE_SERVER__HOST": "127.0.0.1",
            "BRIDGE_SERVER__PORT": "0",
            "BRIDGE_SERVER__ADMIN_PORT": str(self._admin_port),
            "BRIDGE_SERVER__MAX_BODY_BYTES": str(MAX_BODY),
            "BRIDGE_SERVER__READ_TIMEOUT_SECONDS": "1",
            "BRIDGE_SPOOL__PATH": str(directory / "spool.db"),
            "BRIDGE_LOG__LEVEL": "info",
        }
        command = [sys.executable, "-W", "error", "-m", "bridge", "serve"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        self.port = self._wait_for_port()

    def _wait_for_port(self) -> int:
        for _ in range(300):
            if found := re.search(r'"url":"http://127.0.0.1:(\d+)"', self._log.read_text()):
                return int(found[1])
            time.sleep(0.1)
        raise SystemExit(f"the bridge did not start:\n{self._log.read_text()[-2000:]}")

    def plain_requests(self) -> float:
        """Return how many requests took the plain path."""
        with urlopen(f"http://127.0.0.1:{self._admin_port}/metrics", timeout=15) as page:
            return sum(map(float, re.findall(_PLAIN, page.read().decode())))

    def rss_mb(self) -> float:
        """Return the resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def stop(self) -> str:
        """End the process and return what it logged of its own defects."""
        self.process.terminate()
        self.process.wait(60)
        lines = self._log.read_text().splitlines()
        return "\n".join(x for x in lines if "request_failed" in x or '"level":"error"' in x)


def counted(node: RabbitMQNode) -> Counter[str]:
    """Return how many messages lie in each queue."""
    connection = pika.BlockingConnection(pika.URLParameters(node.url))
    channel = connection.channel()
    found = {
        queue: channel.queue_declare(queue, passive=True).method.message_count
        for queue in ("all", PARKED, UNROUTED)
    }
    connection.close()
    return Counter(found)


def bind(node: RabbitMQNode) -> None:
    """Make a queue that gets everything."""
    connection = pika.BlockingConnection(pika.URLParameters(node.url))
    channel = connection.channel()
    channel.exchange_declare("superoffice", "topic", durable=True)
    channel.queue_declare("all", durable=True)
    channel.queue_bind("all", "superoffice", "#")
    connection.close()


async def run(requests: int, seed: int, bridge: Bridge) -> tuple[Tally, float, float]:
    """Fire all requests; return the tally and the memory after a tenth and at the end, in MB."""
    marksman, tally, left = Marksman(seed), Tally(), [requests]
    senders = [
        asyncio.create_task(fire(marksman, bridge.port, left, tally)) for _ in range(CONNECTIONS)
    ]
    early, told = 0.0, time.monotonic()
    while not all(sender.done() for sender in senders):
        await asyncio.wait(senders, timeout=1)
        if not early and left[0] < requests * 0.9:
            early = bridge.rss_mb()
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"{requests - left[0]} of {requests}, {len(tally.failures)} failures", flush=True)
    await asyncio.gather(*senders)
    return tally, early, bridge.rss_mb()


def main() -> int:
    """Run and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"{options.requests} requests, seed {options.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, RabbitMQNode.start() as node:
        bind(node)
        bridge = Bridge(node, Path(directory))
        try:
            tally, early, late = asyncio.run(run(options.requests, options.seed, bridge))
            alive = bridge.process.poll() is None
            plain = bridge.plain_requests()
            queued = counted(node)
        finally:
            defects = bridge.stop()
    owed = {"all": tally.outcomes["published"], PARKED: tally.outcomes["parked"]}
    owed[UNROUTED] = tally.outcomes["unrouted"]
    print(f"answers {dict(sorted(tally.statuses.items()))}, outcomes {dict(tally.outcomes)}")
    print(f"plain {plain:.0f}")
    print(f"queued {dict(queued)}, owed {owed}")
    print(f"memory {early:.1f} MB after a tenth, {late:.1f} MB at the end")
    print(f"{time.monotonic() - begun:.0f} s")
    for failure in tally.failures[:10]:
        print(f"FAILURE {failure}")
    checks = {
        "no 5xx, and every authentic delivery answered 200": not tally.failures,
        "the process lives": alive,
        "many requests were plain": plain > options.requests / 4,
        "no defect in the log": not defects,
        "every authentic delivery is in a queue": all(queued[q] >= n for q, n in owed.items()),
        f"memory grew by less than {RSS_GROWTH_MB} MB": late - early < RSS_GROWTH_MB,
    }
    for check, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {check}")
    print(defects[:3000])
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
