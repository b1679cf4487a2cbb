"""Which changes of the configuration a running bridge applies, and which need a restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from bridge.settings.keys import dotted
from bridge.settings.model import EndpointSettings, ServerSettings, Settings


def adopted(current: Settings, new: Settings) -> Settings:
    """Return the current settings with those changes that need no restart.

    These are the log level, the certificate of a listener that already has one, and the secrets
    and contexts of endpoints that are in both configurations.
    """
    by_name = {endpoint.name: endpoint for endpoint in new.endpoints}
    endpoints = tuple(_adopted(one, by_name.get(one.name, one)) for one in current.endpoints)
    log = current.log.model_copy(update={"level": new.log.level})
    server = _certified(current.server, new.server)
    return current.model_copy(update={"server": server, "endpoints": endpoints, "log": log})


def _certified(current: ServerSettings, new: ServerSettings) -> ServerSettings:
    if current.tls_certificate is None or new.tls_certificate is None:
        return current
    keys = ("tls_certificate", "tls_key")
    return current.model_copy(update={key: getattr(new, key) for key in keys})


def _adopted(current: EndpointSettings, new: EndpointSettings) -> EndpointSettings:
    # The secrets belong to allow_unsigned, which needs a restart: an endpoint that is still signed
    # but has no secrets any more would reject every request.
    if current.allow_unsigned != new.allow_unsigned:
        return current
    return current.model_copy(update={"secrets": new.secrets, "contexts": new.contexts})


def differences(one: Settings, other: Settings) -> list[str]:
    """Return the dotted keys whose values differ. The values stay out: they may be secrets."""
    return [key for name in Settings.model_fields for key in _differences(name, one, other)]


def _differences(name: str, one: Settings, other: Settings) -> Iterator[str]:
    before, after = getattr(one, name), getattr(other, name)
    if isinstance(before, BaseModel):
        yield from (dotted((name, key)) for key in _keys(before, after))
    elif len(before) != len(after):
        yield name
    else:
        yield from _in_list(name, before, after)


def _in_list(name: str, one: Sequence[BaseModel], other: Sequence[BaseModel]) -> Iterator[str]:
    for index, (before, after) in enumerate(zip(one, other, strict=True)):
        yield from (dotted((name, index, key)) for key in _keys(before, after))


def _keys(one: BaseModel, other: BaseModel) -> Iterator[str]:
    fields = type(one).model_fields
    return (key for key in fields if getattr(one, key) != getattr(other, key))
