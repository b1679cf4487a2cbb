"""Which rows a run has."""

import shutil

import pytest

from bench import builds, rows
from bench.builds import COMPILED, INTERPRETED, interpreted_copy
from bench.rows import ROWS, chosen, rows_of


def keys(*names):
    """Return the keys of the chosen rows."""
    return [row.key for row in chosen(list(names))]


def test_all_without_names():
    """Nothing asked for is everything, and no key is used twice."""
    assert keys() == [row.key for row in ROWS]
    assert len(set(keys())) == len(ROWS)


def test_whole_keys_and_parts_of_keys():
    """A key means that row; anything else, all that contain it."""
    assert ["ours"] == keys("ours")
    assert ["drain"] == keys("drain")
    assert ["go"] == keys("go")
    assert [
        "naive-equal",
        "fastify-equal",
        "open-naive-equal",
        "open-fastify-equal",
    ] == keys("equal")
    assert [] == keys("nonsense")


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Return where peers are built, with all of them there."""
    monkeypatch.setattr(rows, "BUILT_PEERS", tmp_path)
    for name in ("go", "rust", "bento"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("of", "against", "without"),
    [
        (COMPILED, True, set()),
        (COMPILED, False, {"drain-before"}),
        (INTERPRETED, True, {"ours-interpreted"}),
    ],
)
def test_a_whole_run(of, against, without, tmp_path):
    """It has no row of what is not there: a compiled build, another checkout."""
    found = rows_of(build=of, against=tmp_path if against else None)

    assert without == {row.key for row in ROWS} - {row.key for row in found}


def test_the_interpreted_build_is_the_tree_without_what_is_compiled(tmp_path, monkeypatch):
    """Every source is in the copy, and no library is."""
    package = tmp_path / "bridge"
    (package / "core").mkdir(parents=True)
    (package / "core" / "event.py").touch()
    (package / "core" / "event.cpython-311-x86_64-linux-gnu.so").touch()
    monkeypatch.setattr(builds, "PACKAGE", package)

    copy = interpreted_copy(tmp_path / "copies") / "bridge"

    assert ["event.py"] == [path.name for path in copy.rglob("*.*")]


@pytest.mark.parametrize("name", ["go", "rust", "bento"])
def test_a_peer_that_is_not_built_says_why(name, built, monkeypatch):
    """Its tools are missing, or they are there and could not build it."""
    (built / name).unlink()
    [row] = chosen([name])

    monkeypatch.setattr(shutil, "which", lambda tool: None)
    assert "is not installed" in str(row.missing())
    monkeypatch.setattr(shutil, "which", lambda tool: f"/bin/{tool}")
    assert ".ci/peers" in str(row.missing())


@pytest.mark.usefixtures("built")
def test_without_node_its_rows_say_what_to_install(monkeypatch):
    """A machine without Node measures all the rest."""
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "node" else f"/bin/{name}")

    missing = {row.key: row.missing() for row in ROWS}

    lacking = [key for key, reason in missing.items() if reason]
    assert ["fastify", "fastify-equal", "open-fastify-equal"] == lacking
    assert "apt-get install nodejs npm" in str(missing["fastify"])
