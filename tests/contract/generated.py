"""The files that are generated from the catalogue, the message model and the golden samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from bridge.contract.documents import document, encode
from bridge.contract.examples import Example
from bridge.contract.names import DOCUMENTS
from bridge.core.message import SCHEMA_VERSION
from bridge.settings import Settings, load
from tests.contract.comparing import surface

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "samples"
GOLDEN = Path("bridge/contract/golden.json")
TREE = Path("docs/contract")
RELEASED = Path("tests/contract/released.json")
"""What consumers of the last release rely on; `make contract-release` moves it."""


def default_settings() -> Settings:
    """Return those of the configuration that comes with the bridge."""
    return load(ROOT / "config" / "bridge.toml", {"SUPEROFFICE_SECRET": "s3cret"}).settings


def golden() -> dict[str, Any]:
    """Return the golden requests that examples are made of: one of each event."""
    found: dict[str, Any] = {}
    for folder in sorted(path.parent for path in SAMPLES.glob("*/body.json")):
        if "--" in folder.name:  # the odd ones are for tests
            continue
        request = json.loads((folder / "request.json").read_text("utf-8"))
        found[folder.name] = {
            "body": (folder / "body.json").read_text("utf-8"),
            "headers": request["headers"],
            "received_ns": request["received_ns"],
        }
    return found


def examples() -> dict[str, Example]:
    """Return them as the documents want them."""
    return {
        name: Example(body=request["body"].encode(), received_ns=request["received_ns"])
        for name, request in golden().items()
    }


def files() -> Mapping[Path, bytes]:
    """Return the content of every generated file, by its path below the root."""
    settings, shown = default_settings(), examples()
    made = {TREE / name: encode(document(name, settings, shown)) for name in DOCUMENTS}
    return {GOLDEN: encode(golden()), **made}


def current() -> dict[str, Any]:
    """Return the surface of the present contract: what consumers can rely on."""
    asyncapi = document("asyncapi.json", default_settings(), examples())
    made: dict[str, Any] = orjson.loads(encode(surface(asyncapi, version=SCHEMA_VERSION)))
    return made
