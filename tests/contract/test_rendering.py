"""What of a configuration shows in the contract, and when its documents are made."""

from __future__ import annotations

import json

from bridge.contract.names import DOCUMENTS
from bridge.contract.rendering import Documents, golden_examples, render
from bridge.settings import RouteSettings, Settings, load
from tests.contract.generated import default_settings, examples
from tests.contract.test_asyncapi import ROUTED


def test_nothing_secret_is_in_a_document():
    """Neither secrets nor user names, nor what else is in a URL."""
    settings = load(ROUTED, {"SUPEROFFICE_SECRET": "s3cret"}).settings
    shown = "".join(render(name, settings).decode() for name in DOCUMENTS)

    assert "mq1.example.com:5671" in shown
    assert not [word for word in ("s3cret", "crm:", "heartbeat", "guest") if word in shown]


def test_the_file_that_comes_with_the_bridge_changes_nothing():
    """The documents in the tree are also those of a bridge without a file."""
    without_file = load(None, {"SUPEROFFICE_SECRET": "s3cret"}).settings

    assert [render(name, default_settings()) for name in DOCUMENTS] == [
        render(name, without_file) for name in DOCUMENTS
    ]


def test_stored_examples_are_the_golden_samples():
    """What is in the package is what is in the tests."""
    assert examples() == golden_examples()


async def test_a_document_is_made_once():
    """When it is first asked for; it is the same bytes afterwards."""
    documents = Documents(default_settings())

    assert await documents.get("asyncapi.json") is await documents.get("asyncapi.json")


async def test_a_changed_configuration_shows():
    """From then on the documents are those of the new one."""
    documents = Documents(Settings())
    before = await documents.get("asyncapi.json")
    documents.use(Settings(routes=(RouteSettings(match="sale.*", exchange="sales"),)))
    after = json.loads(await documents.get("asyncapi.json"))

    assert b'"sales"' not in before
    assert "sales" == (after["channels"]["sale.sold"]["bindings"]["amqp"]["exchange"]["name"])
