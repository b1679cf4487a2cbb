"""What a program refuses and loses is counted by what came out of the broker."""

import asyncio
import json
import sys
from dataclasses import asdict

import pytest

from bench import ordeal
from bench.lab import Peer
from bench.ordeal import RATE, Ordeal
from bench.pool import request
from bench.process import Bridge
from tests.helpers import wipe

SECONDS = 0.25


@pytest.fixture(autouse=True)
def impatient(monkeypatch, broker):
    """Nothing else is on its way: what does not come at once never comes."""
    monkeypatch.setattr(ordeal, "QUIET_SECONDS", 0.5)
    yield
    wipe(broker, queues=(ordeal.QUEUE,))


async def nothing():
    """Let nothing happen."""


async def test_a_program_that_answers_and_publishes_nothing_loses_all(node, broker, tmp_path):
    """It is the worst that a program can do, and the counts must show it."""
    floor = Peer(tmp_path, "floor", [sys.executable, "-m", "bench.peers.floor"], broker)

    async with Ordeal(node, floor, bound=True) as running:
        counts = await running.run(SECONDS, nothing())

    assert (0, counts.sent, 0) == (counts.refused, counts.lost, counts.duplicates)
    assert {200: counts.sent} == counts.statuses
    assert json.dumps(asdict(counts))
    assert counts.sent > SECONDS * RATE / 2
    assert 0 < counts.slowest < ordeal.ANSWER_SECONDS


@pytest.mark.parametrize("bound", [True, False])
async def test_the_bridge_loses_nothing(node, broker, tmp_path, bound):
    """Also where nobody is bound: what has a queue of its own for that is found there."""
    async with Ordeal(node, Bridge(tmp_path, broker), bound=bound) as running:
        counts = await running.run(SECONDS, nothing())

    assert (0, 0, 0) == (counts.refused, counts.lost, counts.duplicates)
    assert {200: counts.sent} == counts.statuses
    assert counts.sent > SECONDS * RATE / 2


async def test_a_program_that_is_killed_refuses_and_comes_back(node, broker, tmp_path):
    """Posts meanwhile are refused; the program is started again, and answers again."""
    floor = Peer(tmp_path, "floor", [sys.executable, "-m", "bench.peers.floor"], broker)

    async with Ordeal(node, floor, bound=True) as running:

        async def killed():
            await running.at(SECONDS / 2)
            floor.end()

        counts = await running.run(SECONDS, killed())
        async with asyncio.timeout(60):
            while await floor.send(request(b"{}", "one")) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        again = await running.run(SECONDS, nothing())

    assert 0 < counts.refused == counts.statuses[0] < counts.sent
    assert 0 == again.refused < again.sent
