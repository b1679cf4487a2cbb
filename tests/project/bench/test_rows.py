"""Which rows a run has."""

import shutil

from bench.rows import ROWS, chosen


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
    assert [
        "naive-equal",
        "fastify-equal",
        "open-naive-equal",
        "open-fastify-equal",
    ] == keys("equal")
    assert [] == keys("nonsense")


def test_without_node_its_rows_say_what_to_install(monkeypatch):
    """A machine without Node measures all the rest."""
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "node" else f"/bin/{name}")

    missing = {row.key: row.missing() for row in ROWS}

    lacking = [key for key, reason in missing.items() if reason]
    assert ["fastify", "fastify-equal", "open-fastify-equal"] == lacking
    assert "apt-get install nodejs npm" in str(missing["fastify"])
