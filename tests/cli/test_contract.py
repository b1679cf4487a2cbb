"""bridge contract: the documents of a configuration, on standard output."""

import json

import pytest

from tests.cli.conftest import invoke
from tests.contract.generated import ROOT, TREE
from tests.contract.test_asyncapi import ROUTED, document_of


def test_asyncapi_of_a_configuration():
    """It is that of the file; of the one that comes with the bridge it is that in the tree."""
    secret = {"SUPEROFFICE_SECRET": "s3cret"}
    routed = invoke("contract", "asyncapi", "--config", ROUTED, env=secret)
    default = invoke("contract", "asyncapi", "--config", ROOT / "config/bridge.toml")

    assert (0, 0) == (routed.exit_code, default.exit_code)
    assert document_of(ROUTED) == json.loads(routed.stdout)
    assert (ROOT / TREE / "asyncapi.json").read_text("utf-8") == default.stdout


def test_no_secret_is_needed(directory):
    """Of the default configuration the document is printed where nothing is configured."""
    result = invoke("contract", "asyncapi")

    assert (0, (ROOT / TREE / "asyncapi.json").read_text("utf-8")) == (
        result.exit_code,
        result.stdout,
    )


ELSEWHERE = """
[[endpoints]]
name = "oslo"
path = "/oslo"
secrets = [{ env = "OSLO_SECRET" }, { file = "/nowhere/oslo", optional = true }]
[[endpoints]]
name = "bergen"
path = "/bergen"
secrets = [{ file = "/nowhere/bergen", optional = true }]
contexts = ["Cust2"]
[broker]
urls = ["amqps://mq.example.com:5671/crm"]
password = { file = "/nowhere/password" }
ca_file = "/nowhere/ca.pem"
[server]
admin_token = { file = "/nowhere/token" }
tls_certificate = "/nowhere/tls.pem"
tls_key = "/nowhere/tls.key"
"""


def test_a_configuration_whose_secrets_are_on_another_machine(directory):
    """Neither secrets nor certificates need to be here; what they are for shows."""
    (directory / "elsewhere.toml").write_text(ELSEWHERE)
    result = invoke("contract", "openapi", "--config", "elsewhere.toml")

    assert (0, "") == (result.exit_code, result.stderr)
    paths = json.loads(result.stdout)["paths"]
    for path in ("/oslo", "/bergen"):
        assert [{"signature": []}] == paths[path]["post"]["security"]
        assert "https://{host}:8080" == paths[path]["servers"][0]["url"]
    assert [{"token": []}] == paths["/metrics"]["get"]["security"]


def test_a_mistake_is_one_without_secrets_too(directory):
    """What stands for a secret must still say where it is."""
    (directory / "wrong.toml").write_text(ELSEWHERE.replace('{ env = "OSLO_SECRET" }', "{}"))
    result = invoke("contract", "openapi", "--config", "wrong.toml")

    assert 78 == result.exit_code
    assert "endpoints[0].secrets[0]: either env or file" in result.stderr


@pytest.mark.parametrize(
    ("entity", "file"),
    [
        ((), "envelope"),
        (("contact",), "contact"),
        (("Contact",), "contact"),
        (("y_rental",), "extra_table"),
        (("list.category",), "list"),
        (("list",), "list"),
        (("extra_table",), "extra_table"),
        (("any",), "any"),
    ],
)
def test_jsonschema(directory, entity, file):
    """The schema of the whole message, or that of the data of an entity as messages name it."""
    result = invoke("contract", "jsonschema", *entity)

    assert 0 == result.exit_code
    assert (ROOT / TREE / f"schemas/{file}.json").read_text("utf-8") == result.stdout
    assert "" == result.stderr


def test_jsonschema_of_what_is_no_entity(directory):
    """It is that of any event, which may be a custom one or a slip: a notice says so."""
    result = invoke("contract", "jsonschema", "contacts")

    assert (ROOT / TREE / "schemas/any.json").read_text("utf-8") == result.stdout
    assert "'contacts' is no entity of SuperOffice" in result.stderr
