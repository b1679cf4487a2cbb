"""A damaged spool is salvaged, wherever that is killed and whatever the disk says to it."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.disk.beside import suspicion
from bridge.disk.commits import connect, insert
from bridge.disk.schema import INDEX
from bridge.spool import SpoolUnavailable, SpoolUnusable, opening
from bridge.spool.opening import prepare
from bridge.spool.salvage import walframes
from bridge.spool.salvage.pages import Pages
from tests.system.faults import damage

ROWS = 3000
LATER = 50
"""Rows that are in the WAL only: no checkpoint has put them into the database."""

START = """
import os, signal, sys
from pathlib import Path
from bridge.spool import opening

left = int(sys.argv[2])

def die_at(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "sqlite3.connect"):
        if "spool" in Path(os.fsdecode(arguments[0])).name:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

print("begins", flush=True)
opening._CHECKED_BYTES = 0  # a file of a few megabytes stands in for a large one
sys.addaudithook(die_at)
opening.prepare(Path(sys.argv[1]))
"""
"""A start that is killed before one of the steps it takes with files of the spool."""

NEVER = 1000


def columns(seq, body=b"x" * 700):
    """Return a row as it is in the table."""
    return (seq, 1.5, 900, 0, "superoffice", "contact.changed", f"event-{seq}", b"[]", body)


def rows(path):
    """Return all rows of a spool that nobody uses."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT * FROM event ORDER BY seq").fetchall()


@pytest.fixture(scope="session")
def killed(tmp_path_factory):
    """Return the directory of a killed bridge: damage in the database, and rows in its WAL."""
    home = tmp_path_factory.mktemp("killed")
    path = home / "original.db"
    prepare(path)
    with closing(connect(path)) as database:
        database.executemany(insert(1), map(columns, range(1, ROWS + 1)))
    parts = damage.middle(path)
    with closing(connect(path)) as database:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.executemany(insert(1), map(columns, range(ROWS + 1, ROWS + LATER + 1)))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", home / f"spool.db{suffix}")
        path.unlink()
    return home, damage.overwrite(home / "spool.db", parts)


@pytest.fixture
def damaged(killed, tmp_path, monkeypatch):
    """Return the path of a damaged spool, and how many rows must come out of it.

    As if it were large: it is checked because damage was met in it.
    """
    monkeypatch.setattr(opening, "_CHECKED_BYTES", 0)
    home, lost = killed
    for file in home.glob("spool.db*"):
        shutil.copy(file, tmp_path)
    assert 0 < lost < 50
    suspicion(tmp_path / "spool.db").touch()
    return tmp_path / "spool.db", ROWS + LATER - lost


def start(path, *, steps=NEVER):
    """Run a start that is killed before a step; return whether it was, and not done before."""
    command = [sys.executable, "-c", START, path, str(steps)]
    code = subprocess.run(command, check=False, capture_output=True).returncode
    assert code in (0, -9)
    return code == -9


def is_complete(path, expected):
    """Hold a salvaged spool to its promise: each row once, in order, and no file too many."""
    found = rows(path)
    assert len(found) == expected
    assert found == [columns(seq) for seq, *_ in found]
    assert [ROWS + LATER] == [max(seq for seq, *_ in found)]
    kept = sorted(file.name for file in path.parent.glob("spool.db*"))
    assert 1 == len([name for name in kept if ".corrupt-" in name and name[-4:] != "-wal"])
    assert not {name for name in kept if name.endswith((".salvaging", ".salvaged", ".damaged"))}
    return True


def test_killed_before_every_step(damaged):
    """Wherever a start is killed, the next one has every row, and those of the WAL but once."""
    path, expected = damaged
    fresh = {file: file.read_bytes() for file in path.parent.glob("spool.db*")}
    steps = 0
    while start(path, steps=steps):
        prepare(path)
        assert is_complete(path, expected)
        for file in path.parent.glob("spool.db*"):
            file.unlink()
        for file, content in fresh.items():
            file.write_bytes(content)
        steps += 1

    assert is_complete(path, expected)
    assert steps > 10


def test_killed_again_and_again(damaged):
    """Starts of one spool that are killed at any moment, each where the one before has left it."""
    path, expected = damaged
    moments = random.Random(7)
    for _ in range(10):
        command = [sys.executable, "-c", START, path, str(NEVER)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as starting:
            assert starting.stdout is not None
            assert b"begins\n" == starting.stdout.readline()
            time.sleep(moments.uniform(0, 0.08))
            starting.kill()
    prepare(path)

    assert is_complete(path, expected)


def test_what_is_on_the_disk_before_what(damaged, monkeypatch):
    """A loss of power finds the copy complete before its name, and one exchange of names at most.

    Names are only durable once their directory is: the old WAL is away before the new database
    comes.
    """
    path, _ = damaged
    steps = []
    sync, rename = os.fsync, os.rename

    def noting_sync(file):
        steps.append(("sync", Path(f"/proc/self/fd/{file}").readlink().name))
        sync(file)

    def noting_rename(old, new):
        rename(old, new)
        steps.append((Path(old).name, Path(new).name.partition("corrupt")[0]))

    monkeypatch.setattr(os, "fsync", noting_sync)
    monkeypatch.setattr(os, "rename", noting_rename)
    with closing(sqlite3.connect(path)) as reader:  # so that the WAL stays
        reader.execute("SELECT 1 FROM event LIMIT 1").fetchall()
        prepare(path)

    names = ("sync", path.parent.name)
    assert steps == [
        ("sync", "spool.db.salvaging"),
        ("spool.db.salvaging", "spool.db.salvaged"),
        names,
        ("spool.db", "spool.db."),
        ("spool.db-wal", "spool.db."),
        ("spool.db-shm", "spool.db."),
        names,
        ("spool.db.salvaged", "spool.db"),
        names,
        names,  # the mark of damage is gone
    ]


def test_an_error_that_is_not_of_a_row_leaves_none_out(damaged):
    """Whatever else keeps the old rows from being read, no empty spool takes their place."""
    path, expected = damaged
    damage.close_wal(path)
    lost = damage.overwrite(path, damage.header(path))
    (path.parent / "spool.db.salvaging").mkdir()
    with pytest.raises(SpoolUnavailable, match=r"cannot be copied: .* Nothing of it was lost"):
        prepare(path)
    (path.parent / "spool.db.salvaging").rmdir()
    prepare(path)

    assert 0 == lost
    assert is_complete(path, expected)


def test_a_row_that_lacks_a_value_is_left_out(tmp_path):
    """Damage may make any value NULL, which the table does not take: one row less, and counted."""
    path = tmp_path / "spool.db"
    prepare(path)
    with closing(connect(path)) as database:
        database.executemany(insert(1), map(columns, range(1, 101)))
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '')")
    with closing(connect(path)) as database:
        database.execute("UPDATE event SET body = NULL WHERE seq IN (7, 50)")
    damage.close_wal(path)
    damage.overwrite(path, damage.index(path))
    prepare(path)

    assert [seq for seq in range(1, 101) if seq not in (7, 50)] == [seq for seq, *_ in rows(path)]


def test_the_root_of_the_table_is_lost(tmp_path):
    """Every row is on a page of its own kind: without the pages above it, it is found as well."""
    path = tmp_path / "spool.db"
    prepare(path)
    with closing(connect(path)) as database:
        database.executemany(insert(1), map(columns, range(1, 1001)))
        database.execute("DELETE FROM event WHERE seq BETWEEN 100 AND 300")
    damage.close_wal(path)
    cost = damage.overwrite(path, damage.root(path))
    prepare(path)

    assert 0 == cost
    assert [*range(1, 100), *range(301, 1001)] == [seq for seq, *_ in rows(path)]


def test_what_was_deleted_stays_deleted(tmp_path):
    """Pages that were given free still hold their rows, which are nobody's any more."""
    path = tmp_path / "spool.db"
    prepare(path)
    with closing(connect(path)) as database:
        database.executemany(insert(1), map(columns, range(1, 1001)))
        database.execute("DELETE FROM event WHERE seq < 900")
    damage.close_wal(path)
    damage.overwrite(path, damage.root(path))
    damage.overwrite(path, damage.header(path))  # with the list of free pages
    prepare(path)

    assert [*range(900, 1001)] == [seq for seq, *_ in rows(path)]


@pytest.mark.parametrize("seed", range(12))
def test_any_page_is_lost(tmp_path, seed):
    """Whatever pages are lost, all rows on the others are there, and the rest is counted."""
    rng = random.Random(seed)
    path = tmp_path / "spool.db"
    prepare(path)
    bodies = {seq: rng.randbytes(rng.choice([0, 9, 700, 3000, 20_000])) for seq in range(1, 301)}
    with closing(connect(path)) as database:
        for seq, body in bodies.items():
            database.execute(insert(1), columns(seq, body))
    damage.close_wal(path)
    lost = rng.sample(range(1, path.stat().st_size // PAGE), rng.randrange(1, 8))
    on_them = damage.rows_on(path, lost)
    damage.overwrite(path, [damage.Part(page * PAGE, PAGE, 0) for page in lost])
    with capture_logs() as logged:
        prepare(path)
    found = rows(path)

    assert set(bodies) - on_them == {seq for seq, *_ in found}
    assert found == [columns(seq, bodies[seq]) for seq, *_ in found]
    [said] = [line for line in logged if line["event"] == "spool_salvaged"]
    assert len(found) == said["events"]
    assert said["unreadable"] <= len(on_them)
    assert len(on_them) == said["unreadable"] or said["at_least"]


PAGE = 4096


def flipped(content, place):
    """Return bytes with one bit of them flipped."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "place", ["data", "head", "number", "salts", "sums", "header", "zeros", "cut"]
)
def test_damage_in_the_wal(tmp_path, place):
    """What follows damage in the WAL is not dropped in silence; a commit cut short is no damage."""
    path, wal = tmp_path / "spool.db", tmp_path / "spool.db-wal"
    prepare(path)
    with closing(connect(path)) as database:
        for seq in range(1, 201):
            database.execute(insert(1), columns(seq))
        kept = path.read_bytes(), wal.read_bytes()
    path.write_bytes(kept[0])
    middle = 32 + len(kept[1]) // 4120 // 2 * 4120
    at = {"data": 1000, "head": 1, "number": 3, "salts": 9, "sums": 17}.get(place, 0)
    wal.write_bytes(
        {
            "header": flipped(kept[1], 13),
            "zeros": bytes(32) + kept[1][32:],
            "cut": kept[1][:-100],
        }.get(place)
        or flipped(kept[1], middle + at)
    )
    with capture_logs() as logged:
        prepare(path)
    found = rows(path)
    said = [
        (line["events"], line["unreadable"], line["at_least"])
        for line in logged
        if line["event"] == "spool_salvaged"
    ]

    assert found == [columns(seq) for seq, *_ in found]
    if place == "cut":
        assert ([], 199) == (said, len(found))
    else:
        # The bit may as well be one of the page: of which one nothing tells for certain.
        assert [(200, 0, place == "number")] == said
        assert 200 == len(found)


def test_old_frames_in_the_wal(tmp_path):
    """A log that began anew has frames of the time before behind its own: that is no damage."""
    path, wal = tmp_path / "spool.db", tmp_path / "spool.db-wal"
    prepare(path)
    with closing(connect(path)) as database:
        for seq in range(1, 101):
            database.execute(insert(1), columns(seq))
        database.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
        for seq in range(101, 104):
            database.execute(insert(1), columns(seq))
        kept = path.read_bytes(), wal.read_bytes()
    path.write_bytes(kept[0])
    wal.write_bytes(kept[1])
    with capture_logs() as logged:
        prepare(path)

    assert 103 == len(rows(path))
    assert "spool_corrupt" not in [line["event"] for line in logged]


@pytest.fixture
def logged_only(tmp_path):
    """Return what copies a spool with these rows, most of them in the WAL only, as a kill does."""

    def killed_with(bodies):
        path, wal = tmp_path / "spool.db", tmp_path / "spool.db-wal"
        prepare(path)
        with closing(connect(path)) as database:
            database.execute("PRAGMA wal_autocheckpoint = 0")
            for seq, body in enumerate(bodies, 1):
                database.execute(insert(1), columns(seq, body))
            kept = path.read_bytes(), wal.read_bytes()
        for file, content in zip((path, wal), kept, strict=True):
            file.write_bytes(content)
            file.chmod(0o600)
        return path, wal

    return killed_with


def events(logged):
    """Return the actions that were logged."""
    return [line["event"] for line in logged]


def test_a_large_wal_is_summed_by_sqlite(logged_only, monkeypatch):
    """A start sums in Python what is behind the last commit that SQLite reads, and no more."""
    path, file = logged_only([b"x" * 3000] * 1000)
    content, summed = file.read_bytes(), []
    checksum = walframes.checksum

    def counted(data, *arguments):
        summed.append(len(data))
        return checksum(data, *arguments)

    monkeypatch.setattr(walframes, "checksum", counted)
    place = 32 + (len(content) // 4120 - 20) * 4120 + 1000
    file.write_bytes(flipped(content, place))
    with capture_logs() as logged:
        prepare(path)

    assert len(content) > 500 * 4120
    assert "spool_salvaged" in events(logged)
    assert 1000 == len(rows(path))
    assert 0 < sum(length > 4000 for length in summed) < 200


@pytest.mark.parametrize("seed", range(20))
def test_any_bit_of_the_wal(logged_only, seed):
    """Whatever one bit is flipped, also in the last commit, no row is changed or goes unnamed."""
    rng = random.Random(seed)
    bodies = [rng.randbytes(rng.choice([0, 9, 700, 20_000])) for _ in range(30)]
    path, _ = logged_only(bodies)
    damage.flip_in_log(path, rng.choice([rng.random(), 1 - rng.random() / 50]))
    with capture_logs() as logged:
        prepare(path)
    [said] = [line for line in logged if line["event"] == "spool_salvaged"]

    found = rows(path)
    assert found == [columns(seq, bodies[seq - 1]) for seq, *_ in found]
    assert len(found) == said["events"]
    assert 30 <= said["events"] + said["unreadable"]


@pytest.mark.parametrize("removed", [False, True])
def test_a_wal_whose_database_is_empty(logged_only, removed):
    """SQLite removes such a log without a word; what it holds goes on."""
    path, _ = logged_only([b"x" * 700] * 100)
    if removed:
        path.unlink()
    else:
        path.write_bytes(b"")
    with capture_logs() as logged:
        prepare(path)

    assert [columns(seq) for seq in range(1, 101)] == rows(path)
    assert ["spool_corrupt", "spool_salvaged"] == events(logged)


@pytest.mark.parametrize(("frames_from_end", "is_last"), [(3, True), (30, False)])
def test_which_commit_is_damaged(logged_only, frames_from_end, is_last):
    """A loss of power can leave out pages of the last commit alone: the log says which it was."""
    path, file = logged_only([b"x" * 20_000] * 20)
    content = file.read_bytes()
    place = len(content) - frames_from_end * 4120
    file.write_bytes(content[:place] + bytes(4120) + content[place + 4120 :])
    with capture_logs() as logged:
        prepare(path)

    assert ("in its last commit" in logged[0]["error"]) is is_last
    assert 19 == len(rows(path))


def test_damage_in_the_wal_of_another_program(tmp_path):
    """It is not ours to salvage: nothing in it is changed."""
    path = tmp_path / "spool.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE theirs (body)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for _ in range(20):
            database.execute("INSERT INTO theirs VALUES (zeroblob(3000))")
        content = path.with_name("spool.db-wal").read_bytes()
        files = {"spool.db": path.read_bytes(), "spool.db-wal": content}
    files["spool.db-wal"] = content[:9000] + bytes([content[9000] ^ 1]) + content[9001:]
    for name, kept in files.items():
        (tmp_path / name).write_bytes(kept)

    with pytest.raises(SpoolUnusable, match="it has a table 'theirs'"):
        prepare(path)
    assert files == {name: (tmp_path / name).read_bytes() for name in files}


@pytest.fixture
def one_large_row(tmp_path):
    """Return the path of a database whose only row goes on over some pages, and where it begins."""
    path = tmp_path / "spool.db"
    prepare(path)
    with closing(connect(path)) as database:
        database.execute(insert(1), columns(1, body=bytes(30_000)))
    damage.close_wal(path)
    with closing(sqlite3.connect(path)) as database:
        [(root,)] = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'event'")
    page = (root - 1) * 4096
    return path, page, page + int.from_bytes(path.read_bytes()[page + 8 : page + 10], "big")


def rows_of(path):
    """Return how many rows are found in a file that SQLite may not be able to read."""
    with closing(Pages(path, index=INDEX)) as found:
        return len(list(found.rows()))


def test_a_chain_that_goes_on_with_itself(one_large_row):
    """A row is never larger than its file, and no page is in it twice."""
    path, page, row = one_large_row
    content = bytearray(path.read_bytes())
    cell = content[row : page + 4096]
    first = int.from_bytes(cell[-4:], "big")  # the row is all there is: it ends with its page
    assert 1 == rows_of(path)
    content[(first - 1) * 4096 : (first - 1) * 4096 + 4] = first.to_bytes(4, "big")
    path.write_bytes(content)
    assert 0 == rows_of(path)

    high, middle, low = (byte & 0x7F for byte in content[row : row + 3])
    length = (high << 14 | middle << 7 | low) + 500 * 4092  # as much as 500 pages more hold
    content[row : row + 3] = [0x80 | length >> 14, 0x80 | length >> 7 & 0x7F, length & 0x7F]
    path.write_bytes(content)
    tracemalloc.start()
    found, (_, most) = rows_of(path), tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 == found
    assert most < 500_000


def test_an_index_that_goes_down_for_ever(tmp_path):
    """However deep a damaged index says that it is, its leaves are read one by one."""
    path = tmp_path / "spool.db"
    prepare(path)
    with closing(connect(path)) as database:
        database.executemany(insert(1), map(columns, range(1, 51)))
    damage.close_wal(path)
    with closing(sqlite3.connect(path)) as database:
        [(root,)] = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (INDEX,))
    content = bytearray(path.read_bytes())
    last = len(content) // 4096
    content[(root - 1) * 4096 : root * 4096] = interior(last + 1)
    for number in range(last + 1, last + 3000):
        content += interior(number + 1)
    path.write_bytes(content)

    assert 50 == rows_of(path)


def interior(right):
    """Return an interior page of an index without a cell, which names the page to its right."""
    return (bytes([2, 0, 0, 0, 0, 0, 0, 0]) + right.to_bytes(4, "big")).ljust(4096, b"\0")


def test_memory_that_ends(damaged, monkeypatch):
    """Nothing is lost, and the next start begins anew."""
    path, _ = damaged

    def end(_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Pages, "rows", end)
        with pytest.raises(SpoolUnavailable, match="cannot be copied: MemoryError"):
            prepare(path)
    prepare(path)
