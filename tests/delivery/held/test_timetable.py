"""The lines of what is to be tried: by time, and at a bounded rate whatever was tried before."""

from bridge.delivery.held.held_rows import HeldRow, RowKey
from bridge.delivery.held.places import HeldPlace
from bridge.delivery.held.timetable import TRIALS_A_SECOND, Timetable


def held(seq, **what):
    """Return a row that is held."""
    return HeldRow(seq, RowKey(seq), ("superoffice", "sale.sold", "sale.sold"), 1, **what)


def test_rows_and_places_come_by_time():
    """Whatever they are, and nothing before its time."""
    due, row, later = Timetable(), held(1), held(2)
    place = HeldPlace(("superoffice", "sale.sold", "sale.sold"), "refused", 0.0)
    for it, at in ((later, 3.0), (place, 2.0), (row, 1.0)):
        due.add(it, at)

    assert due.next(0.5) is None
    assert [row, place, None] == [due.next(2.5) for _ in range(3)]
    assert later is due.next(3.0)


def test_places_come_at_a_bounded_rate():
    """Thousands that are due hold up no row, and are served so many a second."""
    due, row = Timetable(), held(1)
    for number in range(3000):
        due.add(HeldPlace(("superoffice", f"{number}", "sale.sold"), "refused", 0.0), 0.0)
    due.add(row, 5.0)
    served = []
    for tick in range(100):
        while (it := due.next(1.0 + tick / 10)) is not None:
            due.spend(it, 1.0 + tick / 10)
            served.append(it)

    assert row in served
    assert 9 * TRIALS_A_SECOND <= len(served) <= 10 * TRIALS_A_SECOND + 10


def test_only_what_was_tried_waits_for_others():
    """A trial that was not made costs nothing, and a first trial keeps nobody back."""
    due = Timetable()
    for seq in range(3):
        due.add(held(seq, charge="suspected"), 0.0)
        due.add(held(100 + seq), 0.0)
    suspects: list[object] = []
    others: list[object] = []
    while (it := due.next(1.0)) is not None:
        is_first = isinstance(it, HeldRow) and it.charge == "suspected"
        (suspects if is_first else others).append(it)
        if is_first or len(others) > 1:
            due.spend(it, 1.0)

    assert 3 == len(suspects) == len(others)
