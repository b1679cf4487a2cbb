"""A twin of SuperOffice: it sends webhooks and answers its API, for tests and demos.

    async with running(Rules(), speed=20) as twin:
        twin.api_url, twin.login_url  # what a client is configured with
        twin.tenant.raise_event("contact.created")
        twin.tenant.ledger  # what became of it

The twin does what SuperOffice documents, and where the documents are silent, what seems likely:
each such choice is marked *unproved*. Pages are cited as they are named below
https://docs.superoffice.com/en/: ``notification`` is automation/webhook/dev/notification,
``register``, ``troubleshooting`` and ``subscription`` are beside it, ``state-events`` is below
automation/webhook/reference, ``admin`` is automation/webhook/admin, ``PATCH`` is
api/reference/restful/rest/Webhook/v1Webhook_PatchWebhook. ``OpenAPI``, ``check-status`` and
``tables`` are from https://github.com/SuperOfficeDevNet/mintlify-docs, ``samples`` is
https://github.com/SuperOffice/RESTful-HTTP-Queries. Nothing here was compared with a real tenant.
"""
