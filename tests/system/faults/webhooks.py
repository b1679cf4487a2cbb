"""Signed webhooks in great numbers: a realistic body with three places that change."""

from __future__ import annotations

import base64
import hmac

from bridge.dev.samples import encode, sample

SECRET = b"Kjempehemmelig"

_ID = b"the-event-id"
_KEY = 1_111_111_111
_NUMBER = 1_222_222_222


class Webhooks:
    """Makes the requests of one kind of event."""

    def __init__(
        self, event: str = "contact.changed", *, padding: int = 0, path: str = "/webhook"
    ) -> None:
        """Take the event's name, so many bytes to make the body larger, the endpoint's path."""
        webhook = sample(event, primary_key=_KEY, event_id=_ID.decode(), changed_by=_NUMBER)
        self._event = event
        self._path = path
        self._body = encode({**webhook, "Padding": "." * padding} if padding else webhook)

    def body(self, event_id: str, *, key: int, number: int) -> bytes:
        """Return a body; the number travels as its ChangedByAssociateId."""
        body = self._body.replace(b"%d" % _KEY, b"%d" % key)
        return body.replace(_ID, event_id.encode()).replace(b"%d" % _NUMBER, b"%d" % number)

    def request(self, event_id: str, *, key: int, number: int, retry: int = 0) -> bytes:
        """Return the bytes of a whole request."""
        body = self.body(event_id, key=key, number=number)
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Content-Type: application/json; charset=utf-8\r\n"
            "User-Agent: NetServer-Webhook/10.5.9210.1532\r\n"
            f"X-SuperOffice-Event: {self._event}\r\nX-SuperOffice-EventId: {event_id}\r\n"
            f"X-SuperOffice-Signature: {signature(body)}\r\n"
            f"{f'X-SuperOffice-Retry: {retry}{chr(13)}{chr(10)}' if retry else ''}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def signature(body: bytes) -> str:
    """Sign as SuperOffice does, in other words than the bridge's."""
    return base64.b64encode(hmac.digest(SECRET, body, "sha256")).decode()
