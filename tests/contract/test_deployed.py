"""What of a configuration shows in the contract, and when its documents are made."""

from __future__ import annotations

import dataclasses
import json

from bridge.contract import Deployment
from bridge.contract.deployed import Documents, deployment_of, with_examples
from bridge.core.routing import Route
from bridge.settings import load
from tests.contract.generated import ROOT, examples
from tests.contract.test_asyncapi import ROUTED

SECRET = {"SUPEROFFICE_SECRET": "s3cret"}


def test_the_default_deployment_is_the_default_configuration():
    """The documents in the tree are those of the configuration that comes with the bridge."""
    configured = deployment_of(load(ROOT / "config" / "bridge.toml", SECRET).settings)

    assert Deployment() == configured


def test_nothing_secret_is_in_a_deployment():
    """Neither secrets nor user names, nor what else is in a URL."""
    shown = repr(deployment_of(load(ROUTED, SECRET).settings))

    assert "mq1.example.com:5671/crm%2Fevents" in shown
    assert not [word for word in ("s3cret", "crm:", "heartbeat", "guest") if word in shown]


def test_stored_examples_are_the_golden_samples():
    """What is in the package is what is in the tests."""
    assert examples() == dict(with_examples(Deployment()).examples)


async def test_a_document_is_made_once():
    """When it is first asked for; it is the same bytes afterwards."""
    documents = Documents(Deployment())

    assert await documents.get("asyncapi.json") is await documents.get("asyncapi.json")


async def test_a_changed_configuration_shows():
    """From then on the documents are those of the new one."""
    documents = Documents(Deployment())
    before = await documents.get("asyncapi.json")
    documents.use(dataclasses.replace(Deployment(), routes=(Route("sale.*", "sales"),)))
    after = json.loads(await documents.get("asyncapi.json"))

    assert b'"sales"' not in before
    assert "sales" == (after["channels"]["sale.sold"]["bindings"]["amqp"]["exchange"]["name"])
