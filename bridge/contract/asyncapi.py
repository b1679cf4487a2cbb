"""The AsyncAPI 3 document: which messages the bridge sends, and where they go.

https://www.asyncapi.com/docs/reference
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import orjson

from bridge import __version__
from bridge.contract import amqp, schema
from bridge.contract.channels import Channel, channel_of, channels, parameters
from bridge.contract.examples import Example, Examples, published
from bridge.contract.kinds import KINDS, Schema
from bridge.contract.names import ENTITY_OF
from bridge.core.message import CLOUDEVENTS_JSON, PARKED, UNROUTED
from bridge.settings import Settings
from bridge.superoffice.names import TYPE_PREFIX

_SCHEMAS: Final = "#/components/schemas/"

_ABOUT: Final = """\
Events of SuperOffice CRM, on a topic exchange of RabbitMQ. Bind a queue of your own to the
exchange, with the routing keys that you want.

Delivery is at least once: drop repeats by `id`. Order is kept per record only. Ignore members and
headers that you do not know: new ones may come at any time.

What fills a parameter of a routing key is in lower case, and percent-encoded outside `a-z0-9_.-`; a
key over 255 bytes is cut. `data` has the names as they are.
"""

_QUARANTINES: Final[Mapping[str, str]] = {
    UNROUTED: "What no queue was bound for.",
    PARKED: "What could not be understood or delivered, for operators.",
}

_PARAMETERS: Final[Mapping[str, str]] = {
    "name": "The list: `category`, or the number of its definition where users defined it.",
    "table": "The custom table, without its `y_`.",
    "routing_key": "The event's name in lower case, percent-encoded outside `a-z0-9_.-`.",
    "context": "The ContextIdentifier in lower case, or `unknown`.",
    "endpoint": "The endpoint that received the event.",
    "entity": "The entity, in lower case.",
    "action": "The action, in lower case; without one left out, with the dot before it.",
    "primary_key": "The record's key, or `none`.",
}


def document(settings: Settings, examples: Examples) -> dict[str, Any]:
    """Return the document for these settings."""
    vhost = _vhost(settings)
    found = list(channels(settings))
    shown = _examples(settings, examples, found)
    messages = {one.name: _message(one, shown.get(one.name, ())) for one in found}
    quarantined = _quarantined(settings)
    return {
        "asyncapi": "3.0.0",  # code generators ignore documents of a later version
        "info": {
            "title": "SuperOffice event bridge",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT"},
        },
        "defaultContentType": CLOUDEVENTS_JSON,
        "servers": dict(_servers(settings)),
        "channels": {
            **{channel.name: _channel(channel, vhost) for channel in found},
            **{name: _quarantine(name, vhost, own) for name, own in quarantined.items()},
        },
        "operations": {
            name: {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                # Not in a trait: generators that see one lose the messages.
                "bindings": {"amqp": dict(amqp.SENT)},
            }
            for name in (*(channel.name for channel in found), *quarantined)
        },
        "components": {
            "messages": {**messages, **_by_name(quarantined.values())},
            "schemas": _schemas(),
            "messageTraits": {"published": {"x-amqp-properties": amqp.PROPERTIES}},
        },
    }


def _by_name(groups: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: message for group in groups for name, message in group.items()}


def _servers(settings: Settings) -> Iterator[tuple[str, Any]]:
    for number, url in enumerate(settings.broker.urls, 1):
        yield (
            "broker" if number == 1 else f"broker{number}",
            {
                "host": url.address,
                "protocol": url.scheme,
                "protocolVersion": "0-9-1",
                "pathname": url.path or "/",
                "description": "RabbitMQ, as the bridge reaches it.",
            },
        )


def _vhost(settings: Settings) -> str:
    return unquote(settings.broker.urls[0].path[1:]) or "/"


def _channel(channel: Channel, vhost: str) -> dict[str, Any]:
    described = {name: {"description": _PARAMETERS[name]} for name in parameters(channel.address)}
    return {
        "address": channel.address,
        "title": channel.name,
        "description": channel.about,
        "messages": {channel.name: {"$ref": f"#/components/messages/{channel.name}"}},
        **({"parameters": described} if described else {}),
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": amqp.exchange(channel.route.exchange, vhost=vhost),
                "bindingVersion": amqp.BINDING,
            }
        },
    }


def _quarantine(name: str, vhost: str, messages: Iterable[str]) -> dict[str, Any]:
    return {
        "address": name,
        "title": name,
        "description": f"{_QUARANTINES[name]} The queue is bound to the fanout exchange of the same"
        " name.",
        "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in messages},
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {
                    "name": name,
                    "durable": True,
                    "exclusive": False,
                    "autoDelete": False,
                    "vhost": vhost,
                },
                "bindingVersion": amqp.BINDING,
            }
        },
    }


def _message(channel: Channel, examples: Sequence[Example]) -> dict[str, Any]:
    raw = channel.route.raw
    described = _described(
        channel.name,
        channel.about,
        amqp.RAW_JSON if raw else CLOUDEVENTS_JSON,
        headers="headers",
        payload="raw" if raw else f"{channel.schema}_event",
    )
    if channel.event and "{" not in channel.event:
        kind = f"{TYPE_PREFIX}{channel.event}"
        described["bindings"] = {"amqp": {"messageType": kind, "bindingVersion": amqp.BINDING}}
    if examples:
        described["examples"] = [_example(example, raw=raw) for example in examples]
    return described


def _example(example: Example, *, raw: bool) -> dict[str, Any]:
    message = published(example)
    body = example.body if raw else message.body
    return {
        "name": message.routing_key,
        "headers": dict(message.headers),
        "payload": orjson.loads(body),
    }


def _examples(
    settings: Settings, examples: Examples, found: Sequence[Channel]
) -> Mapping[str, list[Example]]:
    by_channel: dict[str, list[Example]] = {}
    for example in examples.values():
        if channel := channel_of(published(example).routing_key, settings, found):
            by_channel.setdefault(channel.name, []).append(example)
    return by_channel


def _described(
    name: str, about: str, content_type: str, *, headers: str, payload: str
) -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "summary": about,
        "contentType": content_type,
        "headers": {"$ref": f"{_SCHEMAS}{headers}"},
        "payload": {"$ref": f"{_SCHEMAS}{payload}"},
        "traits": [{"$ref": "#/components/messageTraits/published"}],
    }


def _schemas() -> dict[str, Schema]:
    made = {
        **KINDS,
        **{name: schema.data(name) for name in ENTITY_OF},
        **{f"{name}_event": schema.envelope(name=name) for name in ENTITY_OF},
        **amqp.HEADERS,
        "raw": schema.RAW,
        "bytes": {"description": "The bytes that were received."},
    }
    relocated: dict[str, Schema] = schema.relocated(made, to=_SCHEMAS)
    return relocated


def _quarantined(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """Return the messages of each quarantine by name; raw ones only if there is a raw route."""
    forms = (False, True) if any(route.format == "raw" for route in settings.routes) else (False,)
    parked = [
        _described(
            "not_understood",
            "A request as it was.",
            amqp.UNREADABLE,
            headers="not_understood_headers",
            payload="bytes",
        ),
        *(_as_it_was("not_delivered", raw=raw) for raw in forms),
        _described(
            "damaged",
            "What is left of an event whose row in the spool was damaged.",
            amqp.UNREADABLE,
            headers="not_delivered_headers",
            payload="bytes",
        ),
    ]
    return {
        UNROUTED: {
            copy["name"]: copy for copy in (_as_it_was("unrouted", raw=raw) for raw in forms)
        },
        PARKED: {message["name"]: message for message in parked},
    }


def _as_it_was(kind: str, *, raw: bool) -> dict[str, Any]:
    return _described(
        f"{kind}_raw" if raw else kind,
        "An event of a raw route as it was." if raw else "An event as it was.",
        amqp.RAW_JSON if raw else CLOUDEVENTS_JSON,
        headers=f"{kind}_headers",
        payload="raw" if raw else "any_event",
    )
