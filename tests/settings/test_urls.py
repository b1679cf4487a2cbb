"""The URLs of the broker: what is accepted, and which credentials they end up with."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretBytes, ValidationError
from yarl import URL

from bridge.broker.errors import safe_url
from bridge.settings import BrokerSettings
from bridge.settings.urls import BrokerUrl
from tests.settings.support import SECRET, problems_of

SPECIAL = st.text("1a/?#@:[]%,;&=\\.", max_size=5)
CREDENTIAL = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)


def broker(url: str, **keys: str) -> BrokerSettings:
    """Return a broker of one URL."""
    return BrokerSettings.model_validate({"urls": [url], **keys})


@pytest.mark.parametrize(
    ("url", "keys", "complete", "safe"),
    [
        ("amqp://h", {}, "amqp://guest:guest@h", "amqp://guest@h"),
        ("amqp://h:5673/", {}, "amqp://guest:guest@h:5673/", "amqp://guest@h:5673/"),
        ("AMQPS://H/v", {}, "amqps://guest:guest@H/v", "amqps://guest@H/v"),
        ("amqp://u:p@h/%2Fv", {}, "amqp://u:p@h/%2Fv", "amqp://u@h/%2Fv"),
        ("amqp://u@h/", {}, "amqp://u:guest@h/", "amqp://u@h/"),
        ("amqp://:p@h/", {}, "amqp://guest:p@h/", "amqp://guest@h/"),
        ("amqp://u:p@h/", {"username": "x"}, "amqp://x:p@h/", "amqp://x@h/"),
        ("amqp://u:p@h/", {"password": "y"}, "amqp://u:y@h/", "amqp://u@h/"),
        ("amqp://h/", {"username": "x", "password": "y"}, "amqp://x:y@h/", "amqp://x@h/"),
        ("amqp://[::1]:5672/v", {}, "amqp://guest:guest@[::1]:5672/v", "amqp://guest@[::1]:5672/v"),
        (
            "amqps://u:p%40%2f@h/?cafile=/ca.pem&heartbeat=5",
            {},
            "amqps://u:p%40%2F@h/?cafile=/ca.pem&heartbeat=5",
            "amqps://u@h/?cafile=/ca.pem&heartbeat=5",
        ),
        (
            "amqp://h/",
            {"username": "a@b", "password": "p/q:r#s?t %"},
            "amqp://a%40b:p%2Fq%3Ar%23s%3Ft%20%25@h/",
            "amqp://a%40b@h/",
        ),
        ("amqp://u:p%FF@h/", {}, "amqp://u:p%FF@h/", "amqp://u@h/"),
    ],
)
def test_credentials_of_the_configuration_win(
    url: str, keys: dict[str, str], complete: str, safe: str
) -> None:
    """User name and password are the configured, else the URL's, else guest, each by itself."""
    made = broker(url, **keys)

    assert (complete,) == made.connection_urls()
    assert (safe,) == made.safe_urls()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:5672",
        "//h",
        "http://h",
        "amqp:h",
        "amqp://",
        "amqp:///v",
        "amqp://:5672/",
        "amqp://u:p@/",
        "amqp://h:0/",
        "amqp://h:65536/",
        "amqp://h:x/",
        "amqp://u:p/q@h/",
        "amqp://u:p#q@h/",
        "amqp://h/#v",
        "amqp://h/a b",
        "amqp://u:123?ter@h/",
        "amqp://u:12/x@h/v",
        "amqp://u:12#x@h/v",
        "amqp://secretpart?rest@h/",
        "amqp://h/v@w",
        "amqp://h/?password=hunter2",
        "amqp://h/?timeout=3&token=hunter2",
        "amqp://h/?timeout=3;token=hunter2",
        "amqp://h/?timeout=3?token=hunter2",
        "amqp://h/?TIMEOUT=3",
        "amqp://h/?hunter2",
        "amqp://h/?hunter2=",
        "amqp://h/?timeout=3&",
        "amqp://h/%FF",
        "amqp://h/" + "%C3%B8" * 128,
        " amqp://h/",
        "amqp://h/\n",
        "amqp://[::1/",
        "amqp://[nonsense]/",
        5672,
        None,
    ],
)
def test_what_is_not_the_url_of_a_broker_is_refused(url: object) -> None:
    """Also when a special character of a password was not encoded."""
    with pytest.raises(ValueError, match=r"."):
        BrokerUrl.parse(url)


@pytest.mark.parametrize("special", ["/", "?", "#"])
def test_a_password_that_was_not_encoded_is_not_repeated(special: str) -> None:
    """The message shows none of the URL, and says which characters have to be encoded."""
    urls = f'["amqp://u:12{special}hunter2@h/"]'
    said = "\n".join(map(str, problems_of(None, {**SECRET, "BRIDGE_BROKER__URLS": urls})))

    assert "hunter2" not in said
    assert "/ ? # [ ] @ : , % and blanks percent-encoded" in said


def test_a_secret_in_the_query_is_refused_and_not_repeated() -> None:
    """A query is shown, but an unknown parameter may be a secret. The known ones are listed."""
    urls = '["amqp://u:p@h/?heartbeat=5&password=hunter2"]'
    said = "\n".join(map(str, problems_of(None, {**SECRET, "BRIDGE_BROKER__URLS": urls})))

    assert "hunter2" not in said
    assert "nothing behind ? but auth, cadata" in said


@settings(deadline=None)  # the machine may be busy
@given(before=SPECIAL, after=SPECIAL, user=SPECIAL, path=SPECIAL)
def test_no_part_of_a_password_is_shown(before: str, after: str, user: str, path: str) -> None:
    """However it was written: refused, or shown without it."""
    try:
        made = broker(f"amqp://{user}:{before}hunter2{after}@h/{path}")
    except ValidationError:
        return
    shown = " ".join([*made.safe_urls(), *map(safe_url, made.connection_urls())])
    assert "hunter2" not in shown


@settings(deadline=None)  # the machine may be busy
@given(username=CREDENTIAL, password=CREDENTIAL)
def test_any_credentials_survive_the_url(username: str, password: str) -> None:
    """What a client reads from the URL is what was configured."""
    made = broker("amqp://h:5672/v", username=username, password=password)
    read = URL(made.connection_urls()[0])

    assert (username, password) == (read.user, read.password)
    assert ("h", 5672, "/v") == (read.host, read.port, read.path)


@settings(deadline=None)  # the machine may be busy
@given(username=CREDENTIAL, password=CREDENTIAL)
def test_credentials_in_the_url_survive_too(username: str, password: str) -> None:
    """Taking a URL apart and putting it together again loses nothing."""
    written = str(URL.build(scheme="amqp", user=username, password=password, host="h", path="/"))
    url = BrokerUrl.parse(written)
    read = URL(url.complete(None, None))

    assert (username, password) == (read.user, read.password)


def test_a_url_is_shown_without_its_password() -> None:
    """Neither its text nor its representation give it away."""
    url = BrokerUrl.parse("amqp://u:hunter2@h/")

    assert "amqp://u@h/" == str(url)
    assert "hunter2" not in repr(url)
    assert SecretBytes(b"hunter2") == url.password


def test_a_url_can_be_handed_in_ready_made() -> None:
    """Code that makes settings itself gives URLs, not texts."""
    url = BrokerUrl.parse("amqp://h/")

    assert (url,) == BrokerSettings(urls=(url,)).urls
