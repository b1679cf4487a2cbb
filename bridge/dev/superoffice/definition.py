"""A webhook as it is saved: its members, their limits, and how answers show them. Pure.

OpenAPI has the members and types, tables (webhook) the lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from bridge.dev.superoffice.errors import ApiError, bad_request
from bridge.dev.superoffice.lifecycle import Standing, State

NEVER: Final = "0001-01-01T00:00:00Z"
"""Date that is shown where none is set (samples: Webhooks.http)."""

MASK: Final = "********"
"""Look of a masked Secret. Unproved, as is that any version masks it."""

LIMITS: Final[Mapping[str, int]] = MappingProxyType(
    {"Name": 400, "Events": 4000, "TargetUrl": 4000, "Secret": 400, "ErrorsEmail": 239}
)
"""Characters that the database has room for; Events are joined by commas."""

NAME_LIMIT_BY_HAND: Final = 100
"""Characters of a Name that the user interface takes (``admin``)."""

STATES: Final = ("Unknown", *(state.value for state in State if state is not State.DELETED))
"""States of OpenAPI; their places are their numbers in the database (tables: webhook)."""

_TEXT: Final = (str, type(None))
_MAP: Final = (dict, type(None))
_TYPES: Final[Mapping[str, tuple[type, ...]]] = MappingProxyType(
    {
        "Name": _TEXT,
        "Events": (list,),
        "TargetUrl": (str,),
        "Secret": _TEXT,
        "State": (str, int),
        "Type": _TEXT,
        "Headers": _MAP,
        "Properties": _MAP,
        "ErrorsEmail": _TEXT,
    }
)

_SINCE_12: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "Description": None,
        "ErrorAssociates": None,
        "ErrorEmails": None,
        "NotifyVia": None,
        "NotifyWhen": None,
    }
)
"""Members since 12.0 that are kept and mean nothing here. Their types are unproved."""

DEFAULT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "Name": None,
        "Events": ["contact.created", "contact.deleted"],
        "TargetUrl": None,
        "Secret": None,
        "State": "Active",
        "Type": "webhook",
        "Headers": None,
        "Properties": None,
        "ErrorsEmail": None,
    }
)
"""The template that ``GET Webhook/default`` answers (samples)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a client saves. ``members`` are those of ``DEFAULT``, and those since 12.0."""

    members: Mapping[str, Any]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Definition:
        """Return a definition; what is absent is null, for a save replaces everything (unproved).

        Numbers and dates that SuperOffice sets itself are ignored. Raises ``ApiError`` for a wrong
        type or one that is too long; that is unproved, it could also be cut off.
        """
        members = {name: content.get(name) for name in (*DEFAULT, *_SINCE_12)}
        members["State"] = _state(members["State"])
        members["Type"] = members["Type"] or "webhook"
        members["Events"] = members["Events"] or []
        for name, types in _TYPES.items():
            if not isinstance(members[name], types):
                raise bad_request(f"{name} has a wrong type")
        _check_contents(members)
        _check_lengths(members)
        return cls(members=MappingProxyType(members))

    @property
    def state(self) -> State:
        """The state that it is saved with."""
        return State(self.members["State"])

    @property
    def secret(self) -> bytes | None:
        """The key of its signatures; the samples save an empty one as none."""
        secret: str = self.members["Secret"] or ""
        return secret.encode() or None

    def wants(self, event: str) -> bool:
        """Return whether it subscribes to an event by its exact name: there are no wildcards."""
        return event in self.members["Events"]


def _state(state: Any) -> Any:
    """Return the name of a state; one that is absent or Unknown is Active, which is unproved."""
    if isinstance(state, int) and 0 <= state < len(STATES):
        state = STATES[state]
    if state in (None, "Unknown"):
        return State.ACTIVE.value
    if state not in STATES:
        raise bad_request(f"State {state!r} is none of {', '.join(STATES)}")
    return state


def _check_contents(members: Mapping[str, Any]) -> None:
    if not all(isinstance(event, str) for event in members["Events"]):
        raise bad_request("Events must be names")
    if not all(isinstance(value, str) for value in (members["Headers"] or {}).values()):
        raise bad_request("Headers must be texts")
    if members["Type"] != "webhook":
        raise bad_request("the twin runs no CRMScript: Type must be webhook")


def _check_lengths(members: Mapping[str, Any]) -> None:
    for name, limit in LIMITS.items():
        text = ",".join(members[name]) if name == "Events" else members[name] or ""
        if len(text) > limit:
            raise bad_request(f"{name} has {len(text)} characters, {limit} are possible")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls the API: an associate, through an app, or without one."""

    associate_id: int
    name: str
    app: str | None = None
    kind: str = "InternalAssociate"

    def as_associate(self) -> dict[str, Any]:
        """Return the members of an Associate that matter."""
        return {
            "AssociateId": self.associate_id,
            "Name": self.name,
            "FullName": self.name,
            "Type": self.kind,
            "Deleted": False,
        }


@dataclass(slots=True)
class Webhook:
    """A saved webhook. ``app`` made it, and only that app sees it; None for a person."""

    id: int
    definition: Definition
    registered: datetime
    registered_by: Caller
    updated: datetime | None = None
    updated_by: Caller | None = None
    standing: Standing = field(default_factory=Standing)

    def is_visible_to(self, caller: Caller) -> bool:
        """Return whether a caller sees it; a person on-site sees all of them (unproved).

        Online an app sees only its own (automation/webhook/dev/crmscript-handlers).
        """
        return caller.app is None or caller.app == self.registered_by.app

    def changed(self) -> datetime:
        """Return when somebody saved it last. TooManyErrors does not move that (unproved)."""
        return self.updated or self.registered

    def as_json(self, *, with_counters: bool, mask_secret: bool = False) -> dict[str, Any]:
        """Return the members that an answer shows."""
        shown = {name: self.definition.members[name] for name in DEFAULT}
        by = self.updated_by.as_associate() if self.updated_by else None
        shown |= {
            "WebhookId": self.id,
            "State": self.standing.state.value,
            "Registered": as_text(self.registered),
            "RegisteredAssociate": self.registered_by.as_associate(),
            "Updated": as_text(self.updated),
            "UpdatedAssociate": by,
        }
        if mask_secret and shown["Secret"]:
            shown["Secret"] = MASK
        if with_counters:
            shown |= {name: self.definition.members[name] for name in _SINCE_12}
            shown |= self._counters()
        return shown

    def _counters(self) -> dict[str, Any]:
        return {
            "ConsecutiveErrors": self.standing.consecutive_errors,
            "LastError": self.standing.last_error,
            "TotalCalls": self.standing.total_calls,
            "TotalErrors": self.standing.total_errors,
        }


def as_text(moment: datetime | None) -> str:
    """Return a date as the API writes it, in UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z" if moment else NEVER


def check_by_hand(definition: Definition) -> None:
    """Raise ``ApiError`` for what the user interface does not take."""
    if len(definition.members["Name"] or "") > NAME_LIMIT_BY_HAND:
        raise ApiError(400, "ArgumentException", f"Name: {NAME_LIMIT_BY_HAND} characters at most")
