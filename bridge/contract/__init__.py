"""The machine-readable contract: pure functions from the catalogue and the settings to documents.

    jsonschema.envelope(), jsonschema.data()       JSON Schema 2020-12 of the messages
    asyncapi.document(settings, examples)          AsyncAPI 3: what leaves, to the broker
    openapi.document(settings, examples)           OpenAPI 3.1: what comes in, over HTTP

A document is a plain dict, ready for JSON. ``names.DOCUMENTS`` lists all of them, by the path of
their file below ``docs/contract``, below ``/contract`` of the admin listener, and for the command.
"""
