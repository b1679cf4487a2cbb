"""AsyncAPI 3: where messages are, and what they are. https://www.asyncapi.com/docs/reference"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson

from bridge import __version__
from bridge.contract import amqp, schema
from bridge.contract.channels import Channel, channels, parameters
from bridge.contract.deployment import Deployment
from bridge.contract.messages import published
from bridge.contract.schema import KINDS, NAMES, Schema
from bridge.core.message import CLOUDEVENTS_JSON, PARKED, UNROUTED

_SCHEMAS: Final = "#/components/schemas/"

_ABOUT: Final = """\
Events of SuperOffice CRM, on a topic exchange of RabbitMQ. Bind a queue of your own to the
exchange, with the routing keys that you want.

Delivery is at least once: drop repeats by `id`. Order is kept per record only. Ignore members and
headers that you do not know: new ones may come at any time.
"""

_PARAMETERS: Final[Mapping[str, str]] = {
    "name": "The list: `category`, or the number of its definition where users defined it.",
    "table": "The custom table, without its `y_`.",
    "routing_key": "The event's name in lower case, percent-encoded outside `a-z0-9_.-`.",
    "context": "The ContextIdentifier in lower case, or `unknown`.",
    "endpoint": "The endpoint that received the event.",
    "entity": "The entity, in lower case.",
    "action": "The action, in lower case.",
    "primary_key": "The record's key, or `none`.",
}


def document(deployment: Deployment) -> dict[str, Any]:
    """Return the document of a deployment."""
    vhost = _vhost(deployment)
    found = list(channels(deployment))
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "SuperOffice event bridge",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT"},
        },
        "defaultContentType": CLOUDEVENTS_JSON,
        "servers": dict(_servers(deployment)),
        "channels": {
            **{channel.name: _channel(channel, vhost) for channel in found},
            UNROUTED: _quarantine(UNROUTED, "What no queue was bound for.", vhost, "unrouted"),
            PARKED: _quarantine(
                PARKED,
                "What could not be understood or delivered, for operators.",
                vhost,
                *("not_understood", "not_delivered"),
            ),
        },
        "operations": {
            name: {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "traits": [{"$ref": "#/components/operationTraits/published"}],
            }
            for name in (*(channel.name for channel in found), UNROUTED, PARKED)
        },
        "components": {
            "messages": {
                **{channel.name: _message(channel, deployment) for channel in found},
                **_QUARANTINED,
            },
            "schemas": _schemas(),
            "operationTraits": {"published": {"bindings": {"amqp": dict(amqp.SENT)}}},
        },
    }


def _servers(deployment: Deployment) -> Iterator[tuple[str, Any]]:
    for number, url in enumerate(deployment.brokers, 1):
        parts = urlsplit(url)
        yield (
            "broker" if number == 1 else f"broker{number}",
            {
                "host": parts.netloc.rpartition("@")[2],
                "protocol": parts.scheme,
                "protocolVersion": "0-9-1",
                "pathname": parts.path or "/",
                "description": "RabbitMQ, as the bridge reaches it.",
            },
        )


def _vhost(deployment: Deployment) -> str:
    return unquote(urlsplit(deployment.brokers[0]).path[1:]) or "/"


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


def _quarantine(name: str, about: str, vhost: str, *messages: str) -> dict[str, Any]:
    return {
        "address": name,
        "title": name,
        "description": f"{about} The queue is bound to the fanout exchange of the same name.",
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


def _message(channel: Channel, deployment: Deployment) -> dict[str, Any]:
    raw = channel.route.raw
    payload = "raw" if raw else f"{channel.schema}_event"
    content_type = amqp.RAW_JSON if raw else CLOUDEVENTS_JSON
    examples = list(_examples(channel, deployment))
    kind = f"com.superoffice.{channel.event}" if channel.event else "com.superoffice"
    return {
        **_described(channel.name, channel.about, content_type, "headers", payload),
        **({"examples": examples} if examples else {}),
        **({"bindings": _type(kind)} if channel.event and "{" not in channel.event else {}),
    }


def _examples(channel: Channel, deployment: Deployment) -> Iterator[dict[str, Any]]:
    for name, example in deployment.examples.items():
        message = published(example)
        entity, _, action = message.routing_key.rpartition(".")
        event = f"{schema.name_of(entity)}.{action}"
        if (name if channel.schema == "test" else event) == channel.name:
            body = example.body if channel.route.raw else message.body
            yield {
                "name": name,
                "headers": dict(message.headers),
                "payload": orjson.loads(body),
            }


def _described(
    name: str, about: str, content_type: str, headers: str, payload: str
) -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "summary": about,
        "contentType": content_type,
        "headers": {"$ref": f"{_SCHEMAS}{headers}"},
        "payload": {"$ref": f"{_SCHEMAS}{payload}"},
        "x-amqp-properties": amqp.properties(content_type),
    }


def _type(kind: str) -> dict[str, Any]:
    return {"amqp": {"messageType": kind, "bindingVersion": amqp.BINDING}}


def _schemas() -> dict[str, Schema]:
    made = {
        **KINDS,
        **{name: schema.data(name) for name in NAMES},
        **{f"{name}_event": schema.envelope(name=name) for name in NAMES},
        **amqp.HEADERS,
        "raw": schema.RAW,
        "bytes": {"description": "The bytes that were received."},
    }
    moved: dict[str, Schema] = schema.moved(made, to=_SCHEMAS)
    return moved


_QUARANTINED: Final[Mapping[str, Any]] = {
    "unrouted": _described(
        "unrouted", "An event as it was.", CLOUDEVENTS_JSON, "unrouted_headers", "any_event"
    ),
    "not_understood": _described(
        "not_understood", "A request as it was.", amqp.UNREADABLE, "not_understood_headers", "bytes"
    ),
    "not_delivered": _described(
        "not_delivered",
        "An event as it was.",
        CLOUDEVENTS_JSON,
        "not_delivered_headers",
        "any_event",
    ),
}
