"""A spool, and one that is filled."""

import pytest

from bridge.spool import opened, opening
from tests.helpers import message
from tests.spool.support import stored
from tests.system.faults import damage, disks


@pytest.fixture
def spool(tmp_path, monkeypatch):
    """Return what opens one spool; its file is too large to be checked at every start."""
    monkeypatch.setattr(opening, "_CHECKED_BYTES", 0)
    return lambda: opened(tmp_path / "spool.db", max_bytes=1 << 24, lock_wait=0)


@pytest.fixture
async def path(spool, tmp_path):
    """Fill the spool with 300 events of two exchanges, and return its path."""
    async with spool() as filled:
        for number in range(300):
            exchange = "superoffice" if number % 3 else "audit"
            filled.append(message(number, exchange=exchange, body=b"x" * 500), on_written=stored)
    damage.close_wal(tmp_path / "spool.db")
    return tmp_path / "spool.db"


@pytest.fixture
def freezable(tmp_path):
    """Mount a file system that can be frozen, or skip."""
    if not disks.can_freeze(tmp_path / "tried"):
        pytest.skip("may not mount and freeze a file system")
    with disks.freezable(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def given_up(monkeypatch):
    """Close the files of a spool that was given up, which would go with the process."""
    made, make = [], opening._Opening.__init__

    def note(self, *arguments):
        make(self, *arguments)
        made.append(self)

    monkeypatch.setattr(opening._Opening, "__init__", note)
    yield
    for one in made:
        one._is_at_work = False
        one.close()
