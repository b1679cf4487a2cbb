"""Which channels there are: one for each entity and action, and what routes make of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from bridge.contract.deployment import Deployment
from bridge.contract.schema import NAMES, name_of
from bridge.core.routing import Route, topic_pattern

_KEY = "{entity}.{action}"


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


def channels(deployment: Deployment) -> Iterator[Channel]:
    """Yield the channels of all events that can come."""
    others = Route(match="#", exchange=deployment.exchange)
    routes = (*deployment.routes, others)
    for name, event in _catalogue(deployment):
        route = next(route for route in routes if _matches(route, event))
        entity, dot, action = event.rpartition(".")
        schema = name.removesuffix(f".{action}")
        address = _address(route, entity if dot else action, action if dot else None)
        yield Channel(name, event, schema, route, address, f"`{event}`.")
    known = {event for _, event in _catalogue(deployment)}
    for number, route in enumerate(routes, 1):
        if route.match not in known:
            name = "any" if route is others else f"route.{number}"
            about = f"Any other event that matches `{route.match}` and no route before it."
            yield Channel(name, None, _schema_of(route), route, _address(route), about)
        if route.match == "#":
            return


def parameters(address: str) -> list[str]:
    """Return the names of an address's parameters."""
    return list(dict.fromkeys(re.findall(r"\{(\w+)\}", address)))


def _catalogue(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yield a name and the event for each action; of lists and tables with a parameter."""
    for schema, entity in NAMES.items():
        for action in entity.actions:
            yield f"{schema}.{action}", f"{entity.name}.{action}"
    if any(webhook.publish_test_events for webhook in deployment.webhooks):
        yield "test", "test"


def _matches(route: Route, event: str) -> bool:
    """Return whether the route takes the event; a parameter is a word like any other."""
    return topic_pattern(route.match).fullmatch(f".{event}") is not None


def _address(route: Route, entity: str | None = None, action: str | None = None) -> str:
    template = route.routing_key
    if entity is None:
        return "{routing_key}" if template == _KEY else template
    if action is None:
        template = template.replace(".{action}", "")
    return template.replace("{entity}", entity).replace("{action}", action or "")


def _schema_of(route: Route) -> str:
    """Return what all events that the route takes have in common."""
    entity, _, action = route.match.rpartition(".")
    is_one = entity and action != "#" and not {"*", "#"} & set(entity.split("."))
    return name_of(entity) if is_one else "any"
