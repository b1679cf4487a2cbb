"""Very many records in bounded memory."""

from bridge.delivery.records import Records, Sketch


def test_what_was_added_is_found_and_little_else():
    """Beyond what is kept exactly, too."""
    records = Records()
    added = [("superoffice", "Cust1", "contact", key) for key in range(30_000)]
    assert sum(records.add(record) for record in added) > 29_990
    assert all(record in records for record in added)
    others = [("superoffice", "Cust1", "sale", key) for key in range(30_000)]
    assert sum(record in records for record in others) < 10


def test_sketch():
    """All that was added is found, and little else; the drain adds texts."""
    sketch = Sketch()
    added = [f"superoffice Cust1 contact {key}" for key in range(100_000)]
    for record in added:
        sketch.add(record)

    assert all(record in sketch for record in added)
    assert sum(f"superoffice Cust1 sale {key}" in sketch for key in range(100_000)) < 100
