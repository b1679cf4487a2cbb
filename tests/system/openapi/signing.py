"""What schemathesis loads to be trusted: it signs webhooks, and has the token of the admin pages.

Signed are the bytes that leave, whatever schemathesis made of a body.
"""

import os
from typing import Any

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase

from bridge.superoffice.headers import SIGNATURE
from bridge.superoffice.signature import sign


class Signature(AuthBase):
    """Signs a request as SuperOffice does."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Set the header."""
        body = request.body or b""
        assert isinstance(body, str | bytes)
        sent = body.encode() if isinstance(body, str) else body
        request.headers[SIGNATURE] = sign(sent, secret=os.environ["SUPEROFFICE_SECRET"].encode())
        return request


class Token(AuthBase):
    """Brings the token of the admin listener."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Set the header."""
        request.headers["Authorization"] = f"Bearer {os.environ['ADMIN_TOKEN']}"
        return request


trusted: Any = schemathesis.auth  # whose types do not know what its documentation does
trusted.set_from_requests(Signature()).apply_to(tag="public")
trusted.set_from_requests(Token()).apply_to(tag="admin")
