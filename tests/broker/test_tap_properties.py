"""Whatever a broker says, however it is cut: owners are told the same with the tap and without."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import pamqp.frame
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from bridge.broker.connection import Connection, connect
from bridge.broker.incoming import intercept
from bridge.broker.returns import Return
from bridge.core.publish import Outcome
from tests.broker.peer import Peer

OWNED = (1, 2)
"""The channels that have an owner; the third is aiormq's alone, and there is no fourth."""

Channels = st.sampled_from([1, 1, 1, 1, 2, 2, 3, 4])
Numbers = st.one_of(st.integers(0, 300), st.sampled_from([-1, 2**31, 2**63 - 1]))
Confirms = st.one_of(
    st.builds(commands.Basic.Ack, Numbers, st.booleans()),
    st.builds(commands.Basic.Nack, Numbers, st.booleans(), st.booleans()),
)
Returns = st.builds(
    lambda body: [
        commands.Basic.Return(312, "NO_ROUTE", "superoffice", "contact.created"),
        ContentHeader(0, len(body), commands.Basic.Properties(message_id="x")),
        *([ContentBody(body)] if body else []),
    ],
    st.binary(max_size=40),
)

Others = st.sampled_from(
    [
        commands.Basic.Return(312, "NO_ROUTE", "superoffice", "contact.created"),
        ContentHeader(0, 5, commands.Basic.Properties(message_id="x")),
        ContentBody(b"stray"),
        commands.Basic.CancelOk("nobody"),
        commands.Channel.Flow(active=True),
        commands.Channel.Close(406, "PRECONDITION_FAILED", 60, 40),
        commands.Channel.CloseOk(),
    ]
)
OfConnection = st.sampled_from(
    [
        Heartbeat(),
        Heartbeat(),
        commands.Connection.Blocked("memory"),
        commands.Connection.Unblocked(),
        commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0),
        commands.Connection.CloseOk(),
    ]
)


def written(frames: Any, channel: int) -> list[bytes]:
    """Return the octets of frames, by a codec that shares no code with the bridge's."""
    return [pamqp.frame.marshal(frame, channel) for frame in frames]


def spoiled(frame: bytes, way: str) -> bytes:
    """Return a frame that is not as it should be."""
    match way:
        case "end octet":
            return frame[:-1] + b"\xcd"
        case "no end octet":
            return frame[:-1]
        case "longer":
            size = int.from_bytes(frame[3:7], "big") + 1
            return frame[:3] + size.to_bytes(4, "big") + frame[7:-1] + b"\x00\xce"
        case "type":
            return b"\x02" + frame[1:]
        case "bits":
            return frame[:-2] + b"\xfe\xce"
    return frame[:7]


Ways = st.sampled_from(["end octet", "no end octet", "longer", "type", "bits", "head alone"])
Sound = st.one_of(
    st.builds(written, st.lists(Confirms, min_size=1, max_size=4), Channels),
    st.builds(written, Returns, Channels),
    st.builds(written, st.tuples(st.just(Heartbeat())), st.just(0)),
)
Odd = st.one_of(
    st.builds(written, st.tuples(Others), Channels),
    st.builds(written, st.tuples(Others, Confirms), Channels),
    st.builds(written, st.tuples(OfConnection), st.just(0)),
    st.builds(
        lambda frame, way: [spoiled(frame, way)],
        st.builds(lambda frame, channel: written([frame], channel)[0], Confirms, Channels),
        Ways,
    ),
    st.builds(lambda way: [spoiled(pamqp.frame.marshal(Heartbeat(), 0), way)], Ways),
)
Streams = st.builds(
    lambda *parts: [frame for part in parts for frames in part for frame in frames],
    st.lists(Sound, min_size=3, max_size=12),
    st.lists(Odd, max_size=2),
    st.lists(Sound, min_size=2, max_size=8),
)
Cuts = st.lists(st.sampled_from([0, 0, 0, 0, 21, 42, 7, 1, 50, 10**6]), min_size=1, max_size=9)
"""How many octets come at a time, over and over; 0 means up to the end of the frame."""

Turns = st.lists(st.sampled_from([0, 0, 1, 2, 3]), min_size=1, max_size=7)
"""How many turns of the event loop lie between them: aiormq may not have read all that came."""


class Exit(BaseException):
    """What is no ``Exception``."""


Failures = st.dictionaries(
    st.integers(1, 30), st.sampled_from([ZeroDivisionError, MemoryError, Exit]), max_size=2
)
"""Which of the things that an owner is told makes it fail, and how."""


class Told:
    """What owners were told."""

    def __init__(self, failures: dict[int, type[BaseException]]) -> None:
        self._failures = failures
        self.all: list[Any] = []

    def note(self, *what: Any) -> None:
        """Note what an owner was told."""
        self.all.append(what)
        if error := self._failures.get(len(self.all)):
            raise error


class Owner:
    """Notes what it is told about its channel; an error gets further as it does with the real one.

    It cannot be told apart from ``ConfirmChannel`` by who calls it.
    """

    def __init__(self, channel: int, told: Told) -> None:
        self._channel = channel
        self._told = told

    def on_confirm(self, tag: int, multiple: bool, outcome: Outcome) -> None:
        self._told.note(self._channel, tag, multiple, outcome)

    def on_return(self, returned: Return) -> None:
        self._told.note(self._channel, bytes(returned._body))

    def on_close(self, reason: str) -> None:
        self._told.note(self._channel, reason)

    def on_anomaly(self, what: str) -> None:
        self._told.note(self._channel, what)

    def on_error(self, error: BaseException) -> None:
        self._told.all.append((self._channel, type(error)))
        if not isinstance(error, Exception):
            raise error


def chunks(frames: list[bytes], cuts: Sequence[int]) -> Iterator[bytes]:
    """Cut a stream."""
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    data, at = b"".join(frames), 0
    for cut in cycle(cuts):
        if at >= len(data):
            return
        end = at + cut if cut else next(each for each in ends if each > at)
        yield data[at:end]
        at = end


async def settled_down(connection: Connection, told: Told) -> bool:
    """Wait until nothing more is told; return whether the connection is still open."""
    seen, still = -1, 0
    while still < 20:
        seen, still = len(told.all), still + 1 if len(told.all) == seen else 0
        await asyncio.sleep(0)
    assert connection.amqp.transport is not None
    return connection.amqp.transport.connection.is_opened


async def heard(
    stream: tuple[list[bytes], Sequence[int], Sequence[int]],
    failures: dict[int, type[BaseException]],
    *,
    with_tap: bool,
) -> tuple[list[Any], bool]:
    """Let a real connection of aiormq get a stream; return what was told, and whether it lives."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    frames, cuts, turns = stream
    told = Told(failures)
    async with Peer() as peer:
        connection = await connect(peer.url, purpose="test")
        try:
            for number in (1, 2, 3):
                channel = await connection.channel()
                if number in OWNED:
                    intercept(channel, Owner(number, told), connection.tap)
            await asyncio.sleep(0)  # aiormq goes back to reading
            protocol: Any = connection.tap if with_tap else connection.tap._inner
            for chunk, count in zip(chunks(frames, cuts), cycle(turns), strict=False):
                if connection.is_closed:
                    break
                protocol.data_received(chunk)
                for _ in range(count):
                    await asyncio.sleep(0)
            return told.all, await settled_down(connection, told)
        finally:
            connection.abort()
            await connection.close()


@settings(deadline=None, max_examples=300)  # the machine may be busy
@given(frames=Streams, cuts=Cuts, turns=Turns, failures=Failures)
def test_owners_are_told_the_same(
    frames: list[bytes], cuts: Any, turns: Any, failures: dict[int, type[BaseException]]
) -> None:
    """The same things in the same order, over all channels; and the connection ends or lives on."""

    async def run() -> None:
        stream = (frames, cuts, turns)
        without = await heard(stream, failures, with_tap=False)
        assert without == await heard(stream, failures, with_tap=True)

    asyncio.run(run())
