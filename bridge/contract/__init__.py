"""The machine-readable contract: pure functions from the catalogue to documents.

    jsonschema.envelope(), jsonschema.schemas()    JSON Schema 2020-12 of the messages
    asyncapi.document(deployment)                  AsyncAPI 3: what leaves, to the broker
    openapi.document(deployment)                   OpenAPI 3.1: what comes in, over HTTP

A document is a plain dict, ready for JSON. ``documents`` is the one list of them, by the path of
their file below ``docs/contract``, below ``/contract`` of the admin listener, and for the command.
"""

from bridge.contract.deployment import Deployment, Example, Webhook
from bridge.contract.documents import Document, documents, encode
from bridge.contract.schema import name_of as schema_of

__all__ = ["Deployment", "Document", "Example", "Webhook", "documents", "encode", "schema_of"]
