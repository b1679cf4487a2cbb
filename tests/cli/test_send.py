"""bridge send."""

import json

import pytest

from tests.cli.conftest import invoke


def test_one_event(dev):
    """One line says what became of it."""
    result = invoke("send", "contact.deleted")

    assert 0 == result.exit_code
    assert result.stdout.startswith("200 published\t")


def test_many_events_have_a_summary(dev):
    """Each is another event of another record; the summary counts answers and has percentiles."""
    result = invoke("send", "person.created", "--count", "40", "--json")
    found = json.loads(result.stdout)

    assert 0 == result.exit_code
    assert (40, {"200 published": 40}) == (found["sent"], found["answers"])
    assert 40 == len(set(found["ids"]))
    assert (
        0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"] <= found["latency_ms"]["max"]
    )


def test_a_summary_for_people(dev):
    """Without --json the same is a table."""
    result = invoke("send", "person.created", "--count", "3")
    names = [line.split("\t")[0] for line in result.stdout.splitlines()]

    assert ["sent", "200 published", "p50", "p99", "max"] == names


def test_a_rate_is_kept(dev):
    """21 events at 50 per second take the 0.4 s from the first to the last."""
    found = json.loads(invoke("send", "test", "--count", "21", "--rate", "50", "--json").stdout)

    assert {"200 ignored": 21} == found["answers"]
    assert 0.4 <= found["seconds"] < 5


def test_unknown_names_are_sent_with_a_hint(dev):
    """A custom event is no mistake, but a slip of the pen is pointed out."""
    result = invoke("send", "contact.creatd")

    assert 0 == result.exit_code
    assert "contact.created" in result.stderr


def test_an_answer_other_than_200_is_1(dev):
    """The answer's body is shown."""
    result = invoke("send", "contact.created", "--to", dev["url"] + "/elsewhere")

    assert 1 == result.exit_code
    assert "No endpoint has this path." in result.stderr


def test_the_secret_is_that_of_the_path(dev, monkeypatch):
    """Of several endpoints the one at the URL's path signs."""
    endpoints = [
        {"name": "other", "path": "/other", "secrets": [{"env": "OTHER"}], "source": "/o"},
        {"name": "superoffice", "path": "/webhook", "secrets": [{"env": "SUPEROFFICE_SECRET"}]},
    ]
    monkeypatch.setenv("BRIDGE_ENDPOINTS", json.dumps(endpoints))
    monkeypatch.setenv("OTHER", "not the secret of this bridge")

    assert 0 == invoke("send", "contact.created", "--to", dev["url"]).exit_code


def test_a_wrong_secret_is_1(dev):
    """What the environment says wins over the running dev, right or wrong."""
    result = invoke("send", "contact.created", env={"SUPEROFFICE_SECRET": "wrong"})

    assert 1 == result.exit_code
    assert "401" in result.stderr


def test_no_bridge_is_69(directory):
    """A refused connection names the URL and how to start a bridge."""
    env = {"SUPEROFFICE_SECRET": "x", "BRIDGE_SERVER__PORT": "1"}
    result = invoke("send", "contact.created", "--count", "100", env=env)

    assert 69 == result.exit_code
    assert "http://127.0.0.1:1/webhook" in result.stderr
    assert "make run" in result.stderr


@pytest.mark.parametrize("url", ["localhost:8080", "http:/x", "http://[x/", "http://x:99999/"])
def test_a_url_must_be_one(directory, url):
    """--to takes http and https URLs only."""
    result = invoke("send", "x.y", "--to", url, env={"SUPEROFFICE_SECRET": "x"})

    assert 2 == result.exit_code


def test_a_password_in_the_url_does_not_show(dev):
    """Neither where it was sent to nor an error has it; a proxy may want one."""
    url = dev["url"].replace("//", "//proxy:hunter2@")
    sent = invoke("send", "person.created", "--count", "2", "--to", f"{url}?code=hunter2")
    failed = invoke("send", "person.created", "--to", "http://proxy:hunter2@127.0.0.1:1/webhook")

    assert (0, 69) == (sent.exit_code, failed.exit_code)
    assert "proxy:***@" in sent.stdout
    assert "proxy:***@" in failed.stderr
    assert "hunter2" not in sent.stdout + sent.stderr + failed.stdout + failed.stderr
