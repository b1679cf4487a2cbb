"""The line of what is to be tried: by time, and places at a bounded rate."""

from bridge.core.due import PLACES_A_SECOND, Due
from bridge.core.held import Held
from bridge.core.places import Aside


def held(seq):
    """Return a row that is held."""
    return Held(seq, ("row", seq), ("superoffice", "sale.sold"), 1)


def test_rows_and_places_come_by_time():
    """Whatever they are, and nothing before its time."""
    due, row, later = Due(), held(1), held(2)
    place = Aside(("superoffice", "sale.sold", "sale.sold"), "refused", 0.0)
    for it, at in ((later, 3.0), (place, 2.0), (row, 1.0)):
        due.add(it, at)

    assert due.next(0.5) is None
    assert [row, place, None] == [due.next(2.5) for _ in range(3)]
    assert later is due.next(3.0)


def test_places_come_at_a_bounded_rate():
    """Thousands that are due hold up no row, and are served so many a second."""
    due, row = Due(), held(1)
    for number in range(3000):
        due.add(Aside(("superoffice", f"{number}", "sale.sold"), "refused", 0.0), 0.0)
    due.add(row, 5.0)
    served = []
    for tick in range(100):
        while (it := due.next(1.0 + tick / 10)) is not None:
            served.append(it)

    assert row in served
    assert 9 * PLACES_A_SECOND <= len(served) <= 10 * PLACES_A_SECOND + 10
