"""PEM files in the configuration: each mistake is named, with what to do, in the one report."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from yarl import URL

from bridge.settings import load
from tests.settings.support import SECRET, places, problems_of, settings_of, table

PAIRS = [("server", "tls_certificate", "tls_key"), ("broker", "client_certificate", "client_key")]
each_pair = pytest.mark.parametrize(("section", "certificate", "key"), PAIRS, ids=["own", "client"])


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a CA, a pair, another key, both in one, and what is no PEM."""
    directory = tmp_path_factory.mktemp("pems")
    ca = trustme.CA()
    pair, other = ca.issue_cert("bridge.example.com"), ca.issue_cert("other.example.com")
    ca.cert_pem.write_to_path(str(directory / "ca"))
    pair.cert_chain_pems[0].write_to_path(str(directory / "certificate"))
    pair.private_key_pem.write_to_path(str(directory / "key"))
    pair.private_key_and_cert_chain_pem.write_to_path(str(directory / "both"))
    other.private_key_pem.write_to_path(str(directory / "other"))
    (directory / "locked").write_text(LOCKED)
    (directory / "nonsense").write_text("certificate")
    return directory


LOCKED = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgAAAAAAAAAAAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAAAAAAAAAAAAAAAAAAAAAAEQAAA
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAAAAAAAAAAA=
-----END ENCRYPTED PRIVATE KEY-----
"""
"""The form of a key with a passphrase; it is refused before anybody looks into it."""


TLS = {
    "BRIDGE_SERVER__TLS_CERTIFICATE": "certificate",
    "BRIDGE_SERVER__TLS_KEY": "key",
    "BRIDGE_BROKER__AUTH": "external",
    "BRIDGE_BROKER__CA_FILE": "ca",
    "BRIDGE_BROKER__CLIENT_CERTIFICATE": "certificate",
    "BRIDGE_BROKER__CLIENT_KEY": "key",
}
"""Of each variable its text, or the name of a file in the directory; they count together."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a configuration that a test may write."""
    return tmp_path / "bridge.toml"


def named(pems: Path, **files: str) -> dict[str, str]:
    """Return the TOML of keys that name files of the directory."""
    return {key: f'"{pems / name}"' for key, name in files.items()}


def test_the_environment_sets_each_key(path: Path, pems: Path) -> None:
    """Without a line in a file."""
    path.touch()
    texts = {k: v if k.endswith("AUTH") else str(pems / v) for k, v in TLS.items()}
    environ = SECRET | texts | {"BRIDGE_BROKER__URLS": "amqps://h/"}
    shown = settings_of(path, environ).model_dump(mode="json")

    for name, text in texts.items():
        section, _, key = name.removeprefix("BRIDGE_").lower().partition("__")
        assert text == shown[section][key]


@each_pair
@pytest.mark.parametrize("files", [("certificate", "key"), ("both", None)])
def test_a_pair_that_fits_is_taken(
    path: Path, pems: Path, section: str, certificate: str, key: str, files: tuple[str, str | None]
) -> None:
    """In two files or in one."""
    given = {k: v for k, v in zip((certificate, key), files, strict=True) if v}
    path.write_text(table(section, **named(pems, **given)))

    assert pems / files[0] == getattr(getattr(settings_of(path), section), certificate)


@each_pair
@pytest.mark.parametrize(
    ("files", "blamed", "words"),
    [
        (("absent", "key"), 0, "absent: No such file or directory"),
        (("certificate", "absent"), 1, "absent: No such file or directory"),
        (("nonsense", "key"), 0, "at least one certificate"),
        (("other", "key"), 0, "at least one certificate"),
        (("certificate", "nonsense"), 1, "holds none in PEM form"),
        (("certificate", None), 0, "holds none in PEM form"),
        (("certificate", "other"), 1, "is that of another certificate"),
        (("certificate", "locked"), 1, "without a passphrase"),
        ((None, "key"), 0, "required beside"),
        ((".", None), 0, "Is a directory"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused(
    path: Path,
    pems: Path,
    section: str,
    certificate: str,
    key: str,
    files: tuple[str | None, str | None],
    blamed: int,
    words: str,
) -> None:
    """The key of the configuration whose file is to blame is named."""
    given = {k: v for k, v in zip((certificate, key), files, strict=True) if v}
    path.write_text(table(section, **named(pems, **given)))
    (problem,) = problems_of(path)

    assert (str(path), f"{section}.{(certificate, key)[blamed]}") == (problem.source, problem.key)
    assert words in problem.allowed


@pytest.mark.parametrize("name", ["absent", "nonsense", "key"])
def test_a_ca_that_is_none_is_refused(path: Path, pems: Path, name: str) -> None:
    """Otherwise no broker would be trusted, and it would be hard to see why."""
    path.write_text(table("broker", **named(pems, ca_file=name)))

    assert [(str(path), "broker.ca_file")] == places(problems_of(path))


def test_all_mistakes_are_in_one_report(path: Path, pems: Path) -> None:
    """Problems of files and of values together, each with what set the value."""
    server = named(pems, tls_certificate="absent") | {"port": "-1"}
    broker = named(pems, ca_file="nonsense") | {"auth": '"external"'}
    path.write_text(table("server", **server) + table("broker", **broker))
    environ = SECRET | {"BRIDGE_BROKER__CLIENT_KEY": str(pems / "key")}
    problems = problems_of(path, environ)

    assert {
        "server.tls_certificate",
        "server.port",
        "broker.ca_file",
        "broker.client_certificate",
        "broker.urls",
    } == {problem.key for problem in problems}


def test_external_needs_tls_and_a_certificate(path: Path, pems: Path) -> None:
    """Both are named; the plain default URL counts as well."""
    path.write_text(table("broker", auth='"external"'))

    assert ["broker.client_certificate", "broker.urls"] == sorted(p.key for p in problems_of(path))


def test_urls_ask_for_what_the_keys_say(path: Path, pems: Path) -> None:
    """Only where TLS is spoken; the keys win over the query; external takes no password along."""
    files = named(pems, ca_file="ca", client_certificate="both")
    urls = '["amqps://u:p@h/v?cafile=/x&timeout=3", "amqp://h/"]'
    path.write_text(table("broker", urls=urls, **files))
    broker = settings_of(path).broker
    first, second = map(URL, broker.connection_urls())

    assert str(pems / "ca") == first.query["cafile"]
    assert str(pems / "both") == first.query["certfile"]
    assert ("u", "p", "/v", "3") == (first.user, first.password, first.path, first.query["timeout"])
    assert "amqp://guest:guest@h/" == str(second)

    path.write_text(table("broker", urls='["amqps://u:p@h/"]', auth='"external"', **files))
    broker = settings_of(path).broker
    (url,) = map(URL, broker.connection_urls())
    assert ("external", None, None) == (url.query["auth"], url.user, url.password)
    assert ("amqps://h/",) == broker.safe_urls()


def test_files_for_tls_without_tls_are_a_warning(path: Path, pems: Path) -> None:
    """A password would go over the network in the clear, against all appearance."""
    path.write_text(table("broker", **named(pems, ca_file="ca")))
    (warning,) = load(path, SECRET).warnings

    assert "amqps://" in warning


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("variable", [name for name in TLS if not name.endswith("AUTH")])
def test_a_file_of_windows_says_what_to_do(
    path: Path, pems: Path, tmp_path: Path, encoding: str, variable: str
) -> None:
    """OpenSSL does not see what stands behind a byte order mark, and nothing of UTF-16."""
    named = {
        name: text if name.endswith("AUTH") else str(pems / text) for name, text in TLS.items()
    }
    marked = tmp_path / "marked.pem"
    marked.write_bytes((pems / TLS[variable]).read_text().encode(encoding))
    path.write_text(table("broker", urls='["amqps://rabbit"]'))
    [problem] = problems_of(path, SECRET | named | {variable: str(marked)})

    assert variable == problem.source
    assert f"save {marked} again without a byte order mark" in problem.allowed
