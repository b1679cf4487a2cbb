"""How much is on the wire at a time, and what becomes of the rest."""

import pytest

from bridge.broker.window import Window
from bridge.core.publish import WINDOW, WINDOW_BYTES, Outcome, Publish
from tests.helpers import consumer_queue, eventually, ids, message


@pytest.mark.parametrize(("size", "most"), [(0, WINDOW), (WINDOW_BYTES // 8, 8)])
async def test_window(publishing, broker, size, most):
    """Beyond a number of messages, or of bytes, publishes wait in line; all arrive, in order."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        channel = publisher._session.channel
        publishes = [publisher.submit(message(n, body=bytes(size))) for n in range(most + 20)]
        on_the_wire = len(channel.window.publishes)
        await eventually(lambda: all(publish.outcome for publish in publishes))

    assert most == on_the_wire
    assert {Outcome.CONFIRMED} == {publish.outcome for publish in publishes}
    assert [f"event-{n}" for n in range(most + 20)] == ids(broker, "all")


async def test_line_of_a_lost_channel(publishing):
    """What was on the wire is unknown; what waited for its place was never sent, and is away."""
    async with publishing() as publisher:
        publishes = [publisher.submit(message(n)) for n in range(WINDOW + 50)]
        publisher._session.channel.abandon("test")

    outcomes = [publish.outcome for publish in publishes]
    assert [Outcome.UNKNOWN] * WINDOW + [Outcome.NOT_SENT] * 50 == outcomes


def window(*, written, count=5, size=0):
    """Return a window with so many publishes, of which some are written."""
    found = Window()
    for number in range(count):
        found.add(Publish(message(number, body=bytes(size))))
    found.written = written
    return found


@pytest.mark.parametrize(
    ("tag", "multiple", "tags"),
    [
        (2, False, [2]),
        (2, True, [1, 2]),
        (0, True, [1, 2, 3, 4]),
        (0, False, []),
        (4, True, [1, 2, 3, 4]),
        (5, False, []),
        (5, True, []),
        (2**63, True, []),
    ],
)
def test_tags_that_a_confirm_is_for(tag, multiple, tags):
    """Of five publishes, of which four are written; 0 with ``multiple`` means all written ones."""
    assert tags == window(written=4).confirmed(tag, multiple)


def test_tags_that_were_settled_already():
    """A confirm is for what is still unconfirmed."""
    found = window(written=5)
    found.pop(2)

    assert [1, 3] == found.confirmed(3, True)
    assert [] == found.confirmed(2, False)
    assert found.pop(2) is None
    assert 1 == found.oldest


def test_overdue_publishes_take_no_place():
    """Neither by their number nor by their bytes; a late confirm takes nothing back twice."""
    found = window(written=2, count=2, size=WINDOW_BYTES // 2)
    assert found.is_full

    for second in (0.0, 1.0, 2.0):
        found.note_overdue(second, 2.0)
    assert (2, False) == (found.overdue, found.is_full)

    found.pop(1)
    assert 1 == found.overdue
    found.add(Publish(message(3, body=bytes(WINDOW_BYTES))))
    assert found.is_full
    found.pop(3)
    assert (1, False) == (found.overdue, found.is_full)


def test_all_leave_the_window_in_the_order_of_their_tags():
    """The oldest first, and none is left."""
    found = window(written=3, count=3)
    expected = list(found.publishes.values())

    assert expected == list(found.pop_all())
    assert (0, 0) == (len(found.publishes), found.overdue)
