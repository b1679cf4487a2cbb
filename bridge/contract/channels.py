"""The channels: one for each entity and action, with the exchange and key that its route has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bridge.contract.names import ENTITY_OF, schema_of
from bridge.core.routing import DEFAULT_KEY, Route, TopicPattern
from bridge.settings import Settings
from bridge.superoffice.catalogue import Entity


class Channel(NamedTuple):
    """One exchange, and the routing key of what is published to it.

    ``event`` is one of the catalogue or None, ``schema`` the name of the schema of its ``data``.
    ``address`` is the routing key and may hold parameters in braces.
    """

    name: str
    event: str | None
    schema: str
    route: Route
    address: str
    about: str


def channels(settings: Settings) -> Iterator[Channel]:
    """Yield a channel for each event that can come, and one for all others."""
    routes = _routes(settings)
    for name, event in _catalogue(settings):
        route = next(route for route in routes if _matches(route, event))
        entity, dot, action = event.rpartition(".")
        schema = name.removesuffix(f".{action}")
        address = _address(route, entity if dot else action, action if dot else None)
        yield Channel(name, event, schema, route, address, _about(ENTITY_OF[schema], action))
    known = {event for _, event in _catalogue(settings)}
    for number, route in enumerate(routes, 1):
        is_default = number == len(routes)
        if route.match not in known:
            name = "any" if is_default else f"route.{number}"
            which = "that users invent" if is_default else f"that matches `{route.match}`"
            about = f"Any other event {which}."
            yield Channel(name, None, _schema_of(route), route, _address(route), about)
        if route.match == "#":
            return


def channel_of(key: str, settings: Settings, found: Sequence[Channel]) -> Channel | None:
    """Return the channel of an event with this default key; ``test`` may have none."""
    entity, _, action = key.rpartition(".")
    names = (key, f"{schema_of(entity)}.{action}")
    route = next(route for route in _routes(settings) if _matches(route, key))
    own = [channel for channel in found if channel.route == route]
    rest = [channel for channel in own if channel.event is None and key != "test"]
    return next((channel for channel in own if channel.name in names), rest[0] if rest else None)


def parameters(address: str) -> list[str]:
    """Return the names of an address's parameters."""
    return list(dict.fromkeys(re.findall(r"\{(\w+)\}", address)))


def _routes(settings: Settings) -> tuple[Route, ...]:
    return (*settings.router_routes(), Route(match="#", exchange=settings.broker.exchange))


def _catalogue(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield a name and the event for each action. Lists and tables have a parameter in it."""
    for schema, entity in ENTITY_OF.items():
        for action in entity.actions:
            yield f"{schema}.{action}", f"{entity.name}.{action}"
    if any(endpoint.publish_test_events for endpoint in settings.endpoints):
        yield "test", "test"


def _matches(route: Route, event: str) -> bool:
    """Return whether the route matches the event. A parameter counts as a word."""
    return TopicPattern(route.match).matches(event)


def _address(route: Route, entity: str | None = None, action: str | None = None) -> str:
    template = route.routing_key
    if entity is None:
        return "{routing_key}" if template == DEFAULT_KEY else template
    if action is None:
        template = template.replace(".{action}", "")
    return template.replace("{entity}", entity).replace("{action}", action or "") or entity


def _about(entity: Entity, action: str) -> str:
    filled = {
        "changes": action in entity.changes_on,
        "field_values": action in entity.fields_on and entity.fields,
        "values": action == "deleted" and entity.values,
    }
    members = " and ".join(f"`{member}`" for member, is_filled in filled.items() if is_filled)
    return f"SuperOffice fills {members}." if members else "SuperOffice sends the key alone."


def _schema_of(route: Route) -> str:
    """Return the name of the schema that fits all events that the route matches."""
    entity, _, action = route.match.rpartition(".")
    is_one = entity and action != "#" and not {"*", "#"} & set(entity.split("."))
    return schema_of(entity) if is_one else "any"
