"""How long a signed event takes beside clients that know no secret.

    python -m bench.hostile [--events 200] [--kind owing] [--tls] [--against CHECKOUT]

Each event comes on a connection of its own, as the worst case for its sender, and is answered from
the disk: there is no broker. With ``--against`` another checkout of the bridge is measured beside
this one, one kind of client after the other, by turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path

import uvloop

from bench.stats import percentile
from tests.authority import Authority
from tests.system.faults.client import Connection
from tests.system.faults.process import ROOT, BridgeProcess
from tests.system.faults.strangers import KINDS, strangers
from tests.system.faults.webhooks import Webhooks

_NOBODY = "nobody"
_SECONDS = 6.0
"""How long an answer is waited for: longer than the sender does."""


async def main(arguments: argparse.Namespace) -> None:
    """Measure and print a table."""
    checkouts = [ROOT, *([arguments.against] if arguments.against else [])]
    kinds = [_NOBODY, *(kind for kind in KINDS if arguments.kind in kind)]
    print(f"{'beside':<28} {'checkout':<8} {'200':>5} {'median':>9} {'p99':>9} {'longest':>9}")
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority(Path(directory)) if arguments.tls else None
        for kind in kinds:
            for checkout in checkouts:
                taken = sorted(await _one(kind, checkout, authority, arguments.events))
                name = "this" if checkout == ROOT else "other"
                good = sum(seconds < _SECONDS for seconds in taken)
                shown = [percentile(taken, 50), percentile(taken, 99), taken[-1]]
                figures = " ".join(f"{seconds * 1000:>6.1f} ms" for seconds in shown)
                print(f"{kind:<28} {name:<8} {good:>5} {figures}", flush=True)


async def _one(
    kind: str, checkout: Path, authority: Authority | None, events: int
) -> Sequence[float]:
    """Return how many seconds each event took; one without a 200 took all the time there is."""
    async with _bridge(checkout, authority) as bridge:
        beside: AbstractAsyncContextManager[None] = nullcontext()
        if kind != _NOBODY:
            beside = strangers(kind, bridge.port, tls=authority is not None)
        async with beside:
            return [await _post(bridge.port, number, authority) for number in range(events)]


async def _post(port: int, number: int, authority: Authority | None) -> float:
    request = Webhooks().request(f"event-{number}", key=number, number=number)
    client = Connection(port, seconds=_SECONDS, tls=authority.client() if authority else None)
    begun = time.perf_counter()
    reply = await client.send(request)
    taken = time.perf_counter() - begun
    client.close()
    return taken if reply is not None and reply.status == 200 else _SECONDS


@asynccontextmanager
async def _bridge(checkout: Path, authority: Authority | None) -> AsyncIterator[BridgeProcess]:
    environ = {"PYTHONPATH": f"{checkout}"}
    if authority is not None:
        pair = authority.issue("127.0.0.1")
        environ["BRIDGE_SERVER__TLS_CERTIFICATE"] = f"{pair.certificate}"
        environ["BRIDGE_SERVER__TLS_KEY"] = f"{pair.key}"
    with tempfile.TemporaryDirectory() as directory:
        bridge = BridgeProcess(Path(directory), "amqp://127.0.0.1:1/", **environ)
        try:
            await bridge.start()
            yield bridge
        finally:
            bridge.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=200, help="events beside each kind")
    parser.add_argument("--kind", default="", help="only kinds whose name has this")
    parser.add_argument("--tls", action="store_true", help="over https")
    parser.add_argument("--against", type=Path, help="another checkout to measure beside this one")
    uvloop.run(main(parser.parse_args()))
