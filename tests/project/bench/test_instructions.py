"""What an event costs is compared with the last count of the same place and build."""

import asyncio
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader, ProtocolHeader

from bench import instructions
from bench.instructions import read, verdict, written
from bench.standin import ROUND, Broker


@pytest.mark.parametrize(("count", "wrong"), [(100_000, False), (101_900, False), (98_100, False),
                                              (102_100, True), (97_900, True)])  # fmt: skip
def test_two_percent(count, wrong):
    """More is a step back; less must be written down, or it could be lost unseen."""
    assert wrong == bool(verdict("interpreted", count, 100_000))


def test_a_build_that_was_never_counted_is_not_compared():
    """There is nothing to compare it with."""
    assert verdict("compiled", 1, None) is None


def test_counts_of_other_places_and_builds_stay():
    """A count replaces the one of its own place and build, below the comment."""
    text = '# a comment\n\n["here"]\ncompiled = 1\ninterpreted = 2\n\n["there"]\ninterpreted = 3\n'

    found = written(text, "here", {"interpreted": 4_000})

    assert found.startswith('# a comment\n\n["here"]\n')
    assert {"here": {"compiled": 1, "interpreted": 4000}, "there": {"interpreted": 3}} == (
        tomllib.loads(found)
    )
    assert found == written(found, "here", {"interpreted": 4_000})


def test_counts_are_results_of_a_benchmark(monkeypatch, tmp_path):
    """A claim names row, part and figure."""
    path = tmp_path / "cost.toml"
    path.write_text(written("# none yet\n", "here", {"interpreted": 350_000}))
    monkeypatch.setattr(instructions, "read", lambda: read(path))
    monkeypatch.setattr(instructions, "place", lambda: "here")

    assert {"instructions": {"interpreted": [{"count": 350_000}]}} == instructions.samples()


class Wire(asyncio.Transport):
    """Keeps what is written, as frames."""

    def __init__(self):
        super().__init__()
        self.frames = []

    def write(self, data):
        while data:
            size, channel, found = frame.unmarshal(data)
            self.frames.append((channel, found))
            data = data[size:]


def test_the_stand_in_answers_and_confirms_a_round():
    """However its bytes are cut, a round of publishes is confirmed once, when told."""
    rounds: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
    broker, wire = Broker(rounds), Wire()
    broker.connection_made(wire)
    header = ContentHeader(0, 2, commands.Basic.Properties())
    publish = [commands.Basic.Publish(0, "superoffice", "a.b"), header, ContentBody(b"{}")]
    asked: list[Any] = [commands.Queue.Declare(0, "bench"), *publish * (2 * ROUND)]
    sent = ProtocolHeader().marshal() + b"".join(frame.marshal(each, 1) for each in asked)

    for start in range(0, len(sent), 11):
        broker.data_received(sent[start : start + 11])

    names = [found.name for _, found in wire.frames]
    assert ["Connection.Start", "Queue.DeclareOk"] == names
    assert 2 == rounds.qsize()
    for _ in range(2):
        rounds.get_nowait()()
    tags = [found.delivery_tag for _, found in wire.frames[2:]]
    assert (ROUND, 2 * ROUND) == (tags[len(tags) // 2 - 1], tags[-1])
    assert sorted(set(tags)) == tags
    assert {1} == {channel for channel, _ in wire.frames[2:]}
