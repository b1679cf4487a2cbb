"""Every consumer keeps the same promise: each event has its effect once, whatever comes between."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from bridge.core.message import cloudevent
from tests.project.docs.events import event
from tests.system.consumers.conftest import DEAD, Broker
from tests.system.consumers.programs import (
    FAULT,
    NOT_RUN,
    PATIENCE,
    POISON,
    PROGRAMS,
    SLOW,
    SOURCES,
    Consumer,
    Program,
    until,
)
from tests.system.faults.process import BridgeProcess
from tests.system.faults.webhooks import SECRET

pytestmark = pytest.mark.timeout(240)


def handled(consumer: Consumer) -> set[str]:
    """Return what it has handled; an id without its effect is never seen, not for a moment."""
    assert 0 == consumer.half_done()
    return consumer.handled()


def handles(consumer: Consumer, ids: set[str]) -> None:
    """Return when it has handled these; fail unless each had its effect once."""
    until(lambda: ids <= handled(consumer), f"{len(ids)} events are handled")
    contacts = consumer.effects()
    assert ids == consumer.handled()
    assert (len(ids), len(ids)) == (len(contacts), len(set(contacts)))


def works(consumer: Consumer, events: int) -> None:
    """Return when it has handled so many."""
    until(lambda: len(handled(consumer)) >= events, f"{events} events are handled")


def ends_with_nothing_left(consumer: Consumer, broker: Broker) -> None:
    """Stop it, and find that it has acknowledged everything."""
    assert 0 == consumer.terminate()
    assert 0 == broker.waiting()


def test_events_of_a_bridge(
    consumer: Consumer, broker: Broker, bridge: BridgeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed webhooks, posted to a bridge, have their effect."""
    monkeypatch.setenv("SUPEROFFICE_SECRET", SECRET.decode())

    ids = broker.send(20, to=f"http://127.0.0.1:{bridge.port}/webhook")

    handles(consumer, ids)
    ends_with_nothing_left(consumer, broker)


def test_repeats_have_no_effect(consumer: Consumer, broker: Broker) -> None:
    """100 events come three times each, and fifty of a second kind while it works."""
    ids = broker.send(100, repeat=3) | broker.send(50)

    handles(consumer, ids)
    until(lambda: broker.waiting() == 0, "the repeats are taken")
    handles(consumer, ids)
    ends_with_nothing_left(consumer, broker)


def test_killed_at_work(consumer: Consumer, broker: Broker) -> None:
    """SIGKILL three times, in the midst of its work: what it had not acknowledged comes again."""
    consumer.spoil(SLOW)
    ids = broker.send(100)
    for handled in (15, 35, 55):
        works(consumer, handled)
        consumer.kill()
        assert len(consumer.handled()) < len(ids)
        consumer.start()

    handles(consumer, ids)
    ends_with_nothing_left(consumer, broker)


def unreadable() -> list[tuple[bytes, str | None]]:
    """Return bodies that are no event of a deleted contact, with the id of their message.

    Those with an id differ from an event in one thing; without one it is the id itself.
    """
    deleted = event("contact.deleted", EventId="strange")
    good = json.loads(cloudevent(deleted, source="/x"))
    changed: list[tuple[dict[str, object], str | None]] = [
        ({name: value for name, value in good.items() if name != "id"}, None),
        ({**good, "id": None}, None),
        ({**good, "id": ""}, None),
        ({**good, "id": "other"}, deleted.id),
        ({**good, "dataschema": "urn:other:1"}, deleted.id),
        *(
            ({**good, "data": {**good["data"], "primary_key": key}}, deleted.id)
            for key in (None, True, "abc", "007", 1.5)
        ),
    ]
    return [
        (b"no JSON", None),
        (b"[]", None),
        (b"{}", None),
        *((json.dumps(body).encode(), message_id) for body, message_id in changed),
    ]


def test_poison_ends_among_the_dead_letters(consumer: Consumer, broker: Broker) -> None:
    """An event that always fails is tried six times, what cannot be read once; others go on.

    Both can be brought back: the one has its effect then, the other is not read any better.
    """
    consumer.spoil(POISON)
    ids = broker.send(50)
    strange = unreadable()
    for body, message_id in strange:
        broker.publish(body, message_id)

    count = len(strange) + 1
    until(lambda: broker.waiting(DEAD) == count, f"{count} dead letters")
    [poison] = ids - consumer.handled()
    handles(consumer, ids - {poison})
    shown = broker.dead_letters()
    consumer.cure("poison")
    broker.dead_letters("return")

    handles(consumer, ids)
    until(lambda: broker.waiting(DEAD) == len(strange), "what cannot be read is back")
    ends_with_nothing_left(consumer, broker)
    rejected = [[f"{message_id}", "rejected"] for _, message_id in strange]
    assert sorted([*rejected, [poison, "delivery_limit"]]) == sorted(
        line.split()[:2] for line in shown
    )


def test_a_passing_fault_costs_nothing(consumer: Consumer, broker: Broker) -> None:
    """What failed is tried again, and has its effect when the fault is over."""
    consumer.spoil(FAULT)
    ids = broker.send(5)
    until(lambda: f"{consumer}".count("failed: once more") >= 2, "two attempts have failed")
    consumer.cure("fault")

    handles(consumer, ids)
    ends_with_nothing_left(consumer, broker)


def test_terminated_at_work(consumer: Consumer, broker: Broker) -> None:
    """SIGTERM while a transaction waits: it is finished and acknowledged, the rest goes back."""
    consumer.spoil(SLOW)
    ids = broker.send(100)
    works(consumer, 20)
    with consumer.held_up():
        done = len(consumer.handled())
        consumer.process.terminate()
    code = consumer.process.wait(30)

    assert 0 == code
    handled = consumer.handled()
    assert done <= len(handled) < len(ids)
    assert len(handled) == len(consumer.effects())
    until(lambda: len(ids) == len(handled) + broker.waiting(), "the rest is in the queue again")
    consumer.start()
    handles(consumer, ids)
    ends_with_nothing_left(consumer, broker)


def test_another_takes_over_in_order(
    consumer: Consumer, program: Program, broker: Broker, tmp_path: Path
) -> None:
    """What one has in hand that stands still is not overtaken: the queue serves the next consumer
    when it has taken that back.
    """
    other = Consumer(program, broker.consumer_url, tmp_path / "erasure.db")
    try:
        other.start()
        until(lambda: broker.consumers() == 2, "the other one waits")
        with consumer.held_up():
            ids = broker.send_in_order(40)
            until(lambda: broker.waiting() < len(ids), "some are in hand")
            consumer.process.send_signal(signal.SIGSTOP)
        consumer.kill()

        handles(other, set(ids))
        assert ids == other.handled_in_order()
        ends_with_nothing_left(other, broker)
    finally:
        print(other)
        other.close()


def test_goes_on_after_the_broker_was_killed(consumer: Consumer, broker: Broker) -> None:
    """The same process connects again by itself, and handles what is left and what is new."""
    broker.node.sync()
    consumer.spoil(SLOW)
    ids = broker.send(100)
    works(consumer, 20)
    broker.node.kill()
    assert len(consumer.handled()) < len(ids)
    broker.node.restart()
    until(broker.is_consumed, "it is back")
    ids |= broker.send(20)

    handles(consumer, ids)
    ends_with_nothing_left(consumer, broker)


def test_goes_on_after_its_channel_was_closed(consumer: Consumer, broker: Broker) -> None:
    """RabbitMQ closes the channel of who takes too long, and leaves the connection open."""
    assert 0 == consumer.terminate()
    with broker.impatient():
        consumer.start()
        until(broker.is_consumed, "it consumes")
        with consumer.held_up():
            ids = broker.send(20)
            until(lambda: not broker.is_consumed(), "its channel is closed")
    until(broker.is_consumed, "it is back")

    handles(consumer, ids)
    ends_with_nothing_left(consumer, broker)


def test_waits_for_the_exchange(consumer: Consumer, broker: Broker) -> None:
    """The bridge declares it; without it a consumer says so and comes back to it.

    FastStream ends instead, and whoever supervises it starts it again.
    """
    assert 0 == consumer.terminate()
    broker.delete_exchange()
    consumer.start()
    until(lambda: "no exchange 'superoffice'" in f"{consumer}", "it misses the exchange")
    broker.declare_exchange()
    if consumer.name == "python-faststream":
        assert 0 != consumer.process.wait(PATIENCE)
        consumer.start()
    until(broker.is_consumed, "it consumes")

    handles(consumer, broker.send(5))
    ends_with_nothing_left(consumer, broker)


def test_gives_up_a_broker_that_says_nothing(program: Program, tmp_path: Path) -> None:
    """A proxy whose RabbitMQ is away takes connections: nobody may wait there for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as accepted:
        silent.settimeout(PATIENCE)
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/%2f"
        consumer = Consumer(program, url, tmp_path / "erasure.db")
        accepted.callback(consumer.close)
        consumer.start()
        accepted.enter_context(silent.accept()[0])
        if consumer.name == "python-faststream":
            assert 0 != consumer.process.wait(PATIENCE)
            return
        accepted.enter_context(silent.accept()[0])
        assert 0 == consumer.terminate()


def test_every_consumer_is_here() -> None:
    """A folder with a consumer is run, or is known not to be."""
    folders = {path.name for path in SOURCES.iterdir() if path.is_dir()}

    assert folders == {program.name for program in PROGRAMS} | set(NOT_RUN)
