"""Files that are not where they were, while the spool is open."""

import asyncio

import pytest
from structlog.testing import capture_logs

from bridge.spool import Spool, SpoolFull, files, opened, watch
from bridge.spool.files import Identity
from tests.helpers import eventually, message
from tests.spool.support import all_rows, is_damaged, stored


def gone(path):
    """Remove the database."""
    path.unlink()


def replaced(path):
    """Put another file in its place."""
    other = path.with_name("other")
    other.write_bytes(b"")
    other.rename(path)


def wal_gone(path):
    """Remove the write-ahead log."""
    path.with_name("spool.db-wal").unlink()


def moved(path):
    """Rename the database."""
    path.rename(path.with_name("elsewhere.db"))


@pytest.mark.parametrize("happen", [gone, replaced, wal_gone, moved])
async def test_files_that_are_gone(spool, path, happen, monkeypatch):
    """What the open file still has goes on at the next start; nothing more is taken meanwhile."""
    look, looks = Identity.what_is_wrong, []

    def counted(identity):
        found = look(identity)
        looks.append(found)
        return found

    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(Identity, "what_is_wrong", counted)
    async with spool() as losing:
        losing.append(message(1000), on_written=stored)
        await losing.flush()
        looks.clear()
        await eventually(lambda: len(looks) > 1)  # the watch has seen the log
        happen(path)
        await is_damaged(losing)
        with pytest.raises(SpoolFull):
            losing.append(message(1001), on_written=stored)
    async with spool() as rescued:
        rows = await rescued.read(after=0, limit=1000)

    assert 301 == losing.events == rescued.events
    assert [*range(1, 302)] == [row.seq for row in rows]


@pytest.mark.parametrize("content", [b"", b"something else"])
async def test_a_file_that_is_overwritten(spool, path, content):
    """Its name and its place are the same: it is damage, and what can be read goes on."""
    async with spool() as losing:
        for number in range(300, 310):
            losing.append(message(number), on_written=stored)
        await losing.flush()
        with path.open("r+b") as file:
            file.truncate(len(content))
            file.write(content)
        await is_damaged(losing)
    async with spool() as salvaged:
        rows = await all_rows(salvaged)

    assert [*range(301, 311)] == [row.seq for row in rows][-10:]


async def test_a_file_that_is_gone_and_held_nothing(spool, tmp_path):
    """An empty spool that was removed leaves nothing behind."""
    async with spool() as empty:
        (tmp_path / "spool.db").unlink()
        await is_damaged(empty)
    async with spool() as again:
        assert 0 == again.events
    assert not [file.name for file in tmp_path.iterdir() if ".corrupt" in file.name]


async def test_the_directory_is_renamed(tmp_path, monkeypatch):
    """What the open file holds is copied to where the next start looks for it."""
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.05)
    path = tmp_path / "here" / "spool.db"
    async with opened(path, max_bytes=1 << 24, lock_wait=0) as spool:
        spool.append(message(1), on_written=stored)
        await spool.flush()
        path.parent.rename(tmp_path / "elsewhere")
        await asyncio.wait_for(spool.damaged.wait(), 10)
    async with opened(path, max_bytes=1 << 24, lock_wait=0) as spool:
        assert 1 == spool.events


@pytest.mark.parametrize("ask", ["what_is_wrong", "is_slow"])
async def test_a_look_that_fails_is_not_the_last(spool, monkeypatch, ask):
    """What one look ends of is said once, and the next one finds what there is to be found."""
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.02)
    looks = 0

    def fail(_):
        nonlocal looks
        looks += 1
        raise MemoryError("none left")

    with capture_logs() as log:
        async with spool() as watched:
            with monkeypatch.context() as patch:
                if ask == "is_slow":
                    patch.setattr(Spool, ask, property(fail))
                else:
                    patch.setattr(files.Identity, ask, fail)
                await eventually(lambda: looks > 3)
            watched._path.unlink()
            monkeypatch.setattr(Spool, "is_slow", property(lambda _: True))
            await is_damaged(watched)
            await eventually(lambda: "spool_disk_hangs" in [line["event"] for line in log])

    said = [line["event"] for line in log]
    assert 1 == said.count("spool_unwatched")
    assert "spool_gone" in said
