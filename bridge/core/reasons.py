"""Words that several rooms, the documents and consumers must agree on, each written down once."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What a 200 says about the event: the member ``status`` of its body."""

    PUBLISHED = "published"
    UNROUTED = "unrouted"
    SPOOLED = "spooled"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    PARKED = "parked"


class Unreadable(StrEnum):
    """Why a body is not a webhook: parked where it is signed, else rejected with 400."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    NO_EVENT = "no_event"


class Undelivered(StrEnum):
    """Why a complete message is parked."""

    REFUSED = "refused"
    """The broker nacked it again and again, or closed a channel because of it."""

    EXCHANGE_GONE = "exchange_gone"
    """Its exchange did not come back."""

    SPOOL_UNREADABLE = "spool_unreadable"
    """Its row on disk is damaged."""


class RejectReason(StrEnum):
    """Why a request is not answered 200, beside ``Unreadable``; in the order of the checks."""

    PATH = "path"
    METHOD = "method"
    ENCODING = "encoding"
    SIZE = "size"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_REPEATED = "signature_repeated"
    SIGNATURE_MALFORMED = "signature_malformed"
    SIGNATURE_MISMATCH = "signature_mismatch"
    RATE_LIMITED = "rate_limited"
    CONTEXT = "context"
    UNAVAILABLE = "unavailable"
    """Neither broker nor disk takes the event; the same text as ``Outcome.NOT_SENT``."""
    EARLIER_ATTEMPT_FAILED = "earlier_attempt_failed"
