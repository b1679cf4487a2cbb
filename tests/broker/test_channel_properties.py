"""Whatever a broker says of publishes: nothing hangs, and nothing counts as confirmed too early."""

import asyncio
from collections.abc import Iterable
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bridge.broker.channel import ConfirmChannel
from bridge.broker.returns import Unrouted
from bridge.broker.tap import Tap
from bridge.core.message import UNROUTED
from bridge.core.publish import Outcome, Publish
from tests.helpers import message

Kinds = st.sampled_from(["ack", "nack"])
Tags = st.one_of(st.integers(0, 6), st.sampled_from([-1, 2**31, 2**63 - 1]))
Sound = st.one_of(
    st.tuples(st.sampled_from(["ack", "nack", "return", "return"]), st.integers(1, 6)),
    st.sampled_from([("send",), ("turn",)]),
)
"""What a broker may do; its number says which of the messages in flight."""
Unsound = st.one_of(
    st.tuples(st.just("wrong"), Kinds, Tags, st.booleans()),
    st.sampled_from([("header",), ("body",), ("close",)]),
)
Actions = st.builds(
    lambda *parts: [action for part in parts for action in part],
    st.lists(st.just(("send",)), max_size=4),
    st.just([("turn",)]),
    st.lists(Sound, max_size=20),
    st.lists(Unsound, max_size=4),
)


class Wire:
    """A channel of aiormq without its connection, and what the broker knows of it.

    ``meant`` are the tags that were on the wire when a confirm for them came, by kind. ``waits``
    says for each frame whether aiormq waits for it, or is busy with others.
    """

    def __init__(self, waits: Iterable[bool] = (True,)) -> None:
        tune = SimpleNamespace(frame_max=131_072)
        closing: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        aiormqs: Any = SimpleNamespace(
            number=1,
            connection=SimpleNamespace(connection_tune=tune),
            frames=asyncio.Queue(),
            closing=closing,
        )
        self.reasons: list[str] = []
        self._waits = cycle(waits)
        self._passed: list[bytes] = []
        self._errors: list[BaseException] = []
        stream: Any = SimpleNamespace(data_received=self._passed.append)
        self.tap = Tap(stream, clock=lambda: 0.0, fail=self._errors.append)
        self.channel = ConfirmChannel(
            aiormqs,
            write=self._read,
            tap=self.tap,
            unrouted=Unrouted(lambda _: True),
            closed=self.reasons.append,
        )
        self.frames = aiormqs.frames
        self.published: dict[int, ContentHeader] = {}
        self.places: dict[int, commands.Basic.Publish] = {}
        self.meant: dict[str, set[int]] = {"ack": set(), "nack": set()}
        self.returned: set[int] = set()
        self.first_tag = 1

    def _read(self, data: bytes) -> None:
        while data:
            size, _, frame = pamqp.frame.unmarshal(data)
            data = data[size:]
            tag = self.first_tag + len(self.published)
            if isinstance(frame, commands.Basic.Publish):
                self.places[tag] = frame
            elif isinstance(frame, ContentHeader):
                self.published[tag] = frame

    async def say(self, frame: Any) -> None:
        """Let the broker send a frame, by way of its bytes."""
        self.tap.is_between_frames = next(self._waits)
        self.tap.data_received(pamqp.frame.marshal(frame, 1))
        for error in self._errors:
            raise error  # where aiormq reads
        while self._passed:
            await self.frames.put((0, pamqp.frame.unmarshal(self._passed.pop())[2]))

    async def confirm(self, kind: str, tag: int, multiple: bool) -> None:
        """Confirm or refuse."""
        if not self.channel.is_closed:
            last = (tag or 2**64) if multiple else tag
            self.meant[kind] |= {t for t in self.published if t == tag or (multiple and t <= last)}
        frame = commands.Basic.Ack if kind == "ack" else commands.Basic.Nack
        await self.say(frame(delivery_tag=tag, multiple=multiple))

    async def give_back(self, tag: int, *, altered: bool = False, body: bytes = b"") -> None:
        """Return what was published with a tag, ``altered`` with a header more than it had."""
        if tag in self.channel.window.publishes:
            self.returned.add(tag)
        place, header = self.places[tag], self.published[tag]
        number = str(header.properties.message_id).removeprefix("event-")
        data = body or b'{"number":%s}' % number.encode()
        if altered:
            assert header.properties.headers is not None
            header.properties.headers["x-routed-by"] = "rabbit@a"
        await self.say(commands.Basic.Return(312, "NO_ROUTE", place.exchange, place.routing_key))
        await self.say(ContentHeader(0, len(data), header.properties))
        await self.say(ContentBody(data))

    def tag_in_flight(self, number: int) -> int:
        """Return a tag that is on the wire, not returned, and not settled; 0 if there is none."""
        flying = [t for t in self.channel.window.publishes if t in self.published]
        tags = [t for t in flying if t not in self.returned or number > 3]
        return tags[number % len(tags)] if tags else 0

    def tags_of(self, publish: Publish) -> set[int]:
        """Return the tags under which a message went out, its copy's too."""
        wanted = publish.message.message_id
        return {t for t, found in self.published.items() if found.properties.message_id == wanted}


STRAY: dict[str, Any] = {
    "header": ContentHeader(0, 5, commands.Basic.Properties(message_id="x")),
    "body": ContentBody(b"stray"),
    "close": commands.Channel.Close(406, "PRECONDITION_FAILED", 60, 40),
}


async def play(wire: Wire, actions: Any) -> list[Publish]:
    """Do what a script says; return the publishes."""
    publishes: list[Publish] = []
    for name, *arguments in actions:
        match name:
            case "send" if not wire.channel.is_closed:
                publishes.append(Publish(message(len(publishes))))
                wire.channel.send(publishes[-1])
            case "turn":
                await asyncio.sleep(0)
            case "wrong":
                await wire.confirm(*arguments)
            case "ack" | "nack" if tag := wire.tag_in_flight(*arguments):
                await wire.confirm(name, tag, arguments[0] % 2 == 0)
            case "return" if tag := wire.tag_in_flight(*arguments):
                await wire.give_back(tag, altered=arguments[0] % 2 == 0)
            case "header" | "body" | "close":
                await wire.say(STRAY[name])
    return publishes


@settings(deadline=None)  # the machine may be busy
@given(actions=Actions, waits=st.lists(st.booleans(), min_size=1, max_size=5))
def test_nothing_is_confirmed_that_was_not(actions: Any, waits: list[bool]) -> None:
    """For any frames in any order: confirmed is what was on the wire, acked, and not returned."""

    async def run() -> None:
        wire = Wire(waits)
        publishes = await play(wire, actions)
        for publish in publishes:
            tags = wire.tags_of(publish)
            if publish.outcome is Outcome.CONFIRMED:
                assert tags & wire.meant["ack"]
                assert not tags & wire.returned
            if publish.outcome is Outcome.UNROUTED:
                copies = {tag for tag in tags if wire.places[tag].exchange == UNROUTED}
                assert copies & wire.meant["ack"]
        if wire.channel.is_closed:
            assert all(publish.outcome for publish in publishes if wire.tags_of(publish))
            assert 0 == wire.channel.in_flight
        assert len(wire.reasons) == wire.channel.is_closed

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["ack", "nack"])
@pytest.mark.parametrize("multiple", [True, False])
@pytest.mark.parametrize("tag", [-1, 4, 2**63 - 1])
async def test_confirm_of_what_was_never_published(kind: str, multiple: bool, tag: int) -> None:
    """A tag ahead of what is on the wire ends the channel, and confirms nothing."""
    wire = Wire()
    publishes = await play(wire, [("send",), ("send",), ("send",), ("turn",)])
    await wire.confirm(kind, tag, multiple)

    assert [Outcome.UNKNOWN] * 3 == [publish.outcome for publish in publishes]
    [reason] = wire.reasons
    assert f"protocol anomaly: a confirm for delivery tag {tag}, which is not in flight" == reason


async def test_confirm_that_comes_before_the_message_has_gone() -> None:
    """What waits to be written cannot have been confirmed, also not by a tag that says all."""
    wire = Wire()
    [early] = await play(wire, [("send",)])
    await wire.confirm("ack", 0, True)
    assert early.outcome is None

    await wire.confirm("ack", 1, False)
    assert early.outcome is Outcome.REFUSED  # alone on a channel that had to be closed


async def test_multiple_with_tag_zero_means_all() -> None:
    """So the specification says (basic.ack, delivery-tag)."""
    wire = Wire()
    publishes = await play(wire, [("send",), ("send",), ("send",), ("turn",)])
    await wire.confirm("ack", 2, False)
    await wire.confirm("ack", 0, True)
    await wire.confirm("ack", 0, True)

    assert [Outcome.CONFIRMED] * 3 == [publish.outcome for publish in publishes]
    assert [] == wire.reasons


async def test_tags_after_a_million_million_messages() -> None:
    """Work depends on what is in flight, not on how large the tags are."""
    wire = Wire()
    wire.first_tag, wire.channel.window.latest = 10**12 + 1, 10**12
    publishes = await play(wire, [("send",), ("send",), ("send",), ("turn",)])
    await wire.give_back(10**12 + 2)
    await wire.confirm("ack", 10**12 + 3, True)
    await asyncio.sleep(0)
    await wire.confirm("ack", 10**12 + 4, True)

    expected = [Outcome.CONFIRMED, Outcome.UNROUTED, Outcome.CONFIRMED]
    assert expected == [publish.outcome for publish in publishes]


async def test_return_that_is_cut_short() -> None:
    """A confirm in the middle of a returned message ends the channel: who was returned?"""
    wire = Wire()
    publishes = await play(wire, [("send",), ("send",), ("turn",)])
    await wire.say(commands.Basic.Return(312, "NO_ROUTE", "superoffice", "contact.created"))
    await wire.confirm("ack", 2, True)

    assert [Outcome.UNKNOWN] * 2 == [publish.outcome for publish in publishes]


async def returned(change: Any, *, count: int = 3) -> list[Outcome | None]:
    """Let the second of so many messages of one key come back changed; all are acked."""
    wire = Wire()
    publishes = await play(wire, [("send",)] * count + [("turn",)])
    change(wire.published[2].properties)
    await wire.give_back(2, body=b"changed" if change is body_changes else b"")
    await wire.confirm("ack", count, True)
    await asyncio.sleep(0)
    await wire.confirm("ack", 0, True)
    return [publish.outcome for publish in publishes]


def body_changes(_: Any) -> None:
    """Leave the properties alone."""


def headers_become_texts(properties: Any) -> None:
    """Change the type of a header."""
    properties.headers["primary_key"] = str(properties.headers["primary_key"])


def header_is_replaced(properties: Any) -> None:
    """Change the value of a header."""
    properties.headers["entity"] = "replaced"


def headers_are_gone(properties: Any) -> None:
    """Remove all headers."""
    properties.headers = None


def id_is_replaced(properties: Any) -> None:
    """Change the id."""
    properties.message_id = "event-1000"


@pytest.mark.parametrize("change", [headers_become_texts, header_is_replaced, headers_are_gone])
async def test_returned_with_other_headers(change: Any) -> None:
    """A broker may add, replace or drop headers: id and body say whose they are."""
    assert [Outcome.CONFIRMED, Outcome.UNROUTED, Outcome.CONFIRMED] == await returned(change)


@pytest.mark.parametrize("change", [body_changes, id_is_replaced])
async def test_returned_with_another_body_or_id(change: Any) -> None:
    """It is the only one of its exchange and key, or nobody can tell, and the channel ends."""
    assert [Outcome.UNKNOWN] * 3 == await returned(change)


@pytest.mark.parametrize("end", ["ack", "close"])
async def test_callback_that_fails(end: str) -> None:
    """It keeps the outcome from nobody else, and ends neither the channel nor its connection."""
    wire = Wire()
    publishes = await play(wire, [("send",)] * 3 + [("turn",)])
    told: list[Publish] = []

    def fail(publish: Publish) -> None:
        told.append(publish)
        raise ZeroDivisionError

    for publish in publishes:
        publish.on_settled(fail)
    await (wire.confirm("ack", 3, True) if end == "ack" else wire.say(STRAY["close"]))

    assert publishes == told
    assert wire.channel.is_closed == (end == "close") == len(wire.reasons)


async def test_closed_channel_sends_nothing() -> None:
    """What comes too late is told so."""
    wire = Wire()
    wire.channel.abandon("test")
    late = Publish(message())
    wire.channel.send(late)
    await asyncio.sleep(0)

    assert (Outcome.NOT_SENT, {}) == (late.outcome, wire.published)


async def test_whoever_is_on_trial_is_to_blame() -> None:
    """The others, who were in flight when the channel was closed, are not under suspicion."""
    wire = Wire()
    publishes = await play(wire, [("send",)] * 2)
    on_trial = Publish(message(9))
    on_trial.suspect = True
    wire.channel.send(on_trial)
    await asyncio.sleep(0)
    await wire.say(STRAY["close"])

    assert (Outcome.REFUSED, True) == (on_trial.outcome, on_trial.culprit)
    assert {(Outcome.UNKNOWN, False, False)} == {
        (each.outcome, each.suspect, each.culprit) for each in publishes
    }
