"""What breaks consumers: the change from one contract to the next, with a reader's eyes.

Whoever could read all that the old contract allows must be able to read all that the new one does,
and must find in it what was there. What this module cannot judge it takes for breaking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

Schema = Mapping[str, Any]

_ANNOTATIONS = {"$comment", "description", "examples"}
_EQUAL = {"format", "pattern"}
_LOWER = {"minLength", "minimum"}
_UPPER = {"maxLength", "maximum"}
_OTHER = {"anyOf", "const", "enum", "items", "properties", "required", "type"}


def surface(document: Mapping[str, Any], *, version: int) -> dict[str, Any]:
    """Return what consumers can come to rely on in an AsyncAPI document."""
    components = document["components"]
    properties = components["messageTraits"]["published"]["x-amqp-properties"]
    schemas = {**components["schemas"], "amqp_properties": properties}
    return {
        "version": version,
        "channels": {
            name: _channel(channel, components["messages"], document["operations"][name])
            for name, channel in document["channels"].items()
        },
        "schemas": {name: _bare(schema) for name, schema in schemas.items()},
    }


def breaking(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the changes of the surface that break consumers of the old one."""
    found = []
    for name, channel in old["channels"].items():
        after = new["channels"].get(name)
        differing = ["is gone"] if after is None else [k for k in channel if channel[k] != after[k]]
        found += [f"channel {name}: {what}" for what in differing]
    for name, schema in old["schemas"].items():
        if name in new["schemas"]:
            found += [f"schema {name}{what}" for what in changed(schema, new["schemas"][name])]
        else:
            found.append(f"schema {name} is gone")
    for name in new["schemas"].keys() - old["schemas"].keys():
        if f"{name}_event" in new["schemas"]:  # of an entity: its events were of ``any`` before
            before, after = (
                _bare(schema, _ANNOTATIONS | {"title"})
                for schema in (old["schemas"]["any"], new["schemas"][name])
            )
            found += [f"schema {name}{what}" for what in changed(before, after)]
    return found


def changed(old: Schema, new: Schema) -> Iterator[str]:
    """Yield, with its place, what a reader of the old schema could not read in the new one."""
    if "anyOf" in old or "anyOf" in new:
        yield from _alternatives(old, new)
        return
    for keyword in sorted({*old, *new} - _ANNOTATIONS):
        if keyword not in _EQUAL | _LOWER | _UPPER | _OTHER:
            yield from [f": {keyword} differs"] * (old.get(keyword) != new.get(keyword))
    for keyword in sorted(old.keys() & (_EQUAL | _LOWER | _UPPER)):
        if not _is_kept(keyword, old[keyword], new.get(keyword)):
            yield f": {keyword} was {old[keyword]!r}, is {new.get(keyword)!r}"
    if not _types(new) <= _types(old):
        yield f": type may be {', '.join(sorted(_types(new) - _types(old)))}"
    if not _is_subset(_values(new), _values(old)):
        yield ": other values"
    always = new.get("required", ())
    yield from (f".{name} may be absent" for name in old.get("required", ()) if name not in always)
    yield from _members(old, new)


def _members(old: Schema, new: Schema) -> Iterator[str]:
    for name, schema in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from (f".{name}{what}" for what in changed(schema, new["properties"][name]))
        else:
            yield f".{name} is gone"
    for name in new.get("properties", {}).keys() - old.get("properties", {}).keys():
        if new["properties"][name].get("$ref") in _CONVERTED:
            yield f".{name} came as it was, and is converted now"
    if "items" in old:
        yield from (f"[]{what}" for what in changed(old["items"], new.get("items", {})))


def _alternatives(old: Schema, new: Schema) -> Iterator[str]:
    """Each new alternative must be one of the old ones, or narrower.

    The first one is what a value usually is, and what generators of code make of it. A form that
    no old one has is another form, even where there are old ones that allow anything.
    """
    before, after = _branches(old), _branches(new)
    if "anyOf" in old:
        forms = [_form(branch) for branch in before]
        if _types(before[0]) != _types(after[0]) or forms[0] != _form(after[0]):
            yield f": is usually {_bare(after[0])}"
        elif any(_form(branch) not in forms for branch in after):
            yield ": has another form"
    for branch in after:
        if all(any(changed(other, branch)) for other in before):
            yield f": may be {_bare(branch)}"


def _branches(schema: Schema) -> Sequence[Schema]:
    rest = {keyword: value for keyword, value in schema.items() if keyword != "anyOf"}
    return [{**rest, **branch} for branch in schema.get("anyOf", [{}])]


def _form(schema: Schema) -> tuple[Any, ...]:
    return schema.get("format"), schema.get("pattern")


def _is_kept(keyword: str, old: Any, new: Any) -> bool:
    if keyword in _EQUAL or new is None:
        return bool(old == new)
    return bool(new >= old if keyword in _LOWER else new <= old)


def _types(schema: Schema) -> set[str]:
    """Return the types that are allowed: all, where nothing is said of it."""
    given = schema.get("type", [_TYPE_OF[type(value)] for value in _values(schema) or ()] or _TYPES)
    types = {given} if isinstance(given, str) else set(given)
    return types | {"integer"} if "number" in types else types


_CONVERTED = {f"#/components/schemas/{kind}" for kind in ("numeric", "flag", "date_time")}
"""The kinds of columns whose values normalizing changes: 0 becomes false, "no date" null."""

_TYPES = ("null", "boolean", "number", "string", "array", "object")
_TYPE_OF = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string"}


def _values(schema: Schema) -> list[Any] | None:
    """Return the values that are allowed, None for no such list."""
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _is_subset(values: list[Any] | None, of: list[Any] | None) -> bool:
    return of is None or (values is not None and all(value in of for value in values))


def _channel(
    channel: Mapping[str, Any], messages: Mapping[str, Any], operation: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "address": channel["address"],
        "binding": _versionless(channel["bindings"]["amqp"]),
        "sent": {"action": operation["action"], **_versionless(operation["bindings"]["amqp"])},
        "messages": {name: _message(messages[name]) for name in channel["messages"]},
    }


def _versionless(binding: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in binding.items() if key != "bindingVersion"}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: message[key] for key in ("contentType", "headers", "payload")}
    type_of = message.get("bindings", {}).get("amqp", {}).get("messageType")
    return kept if type_of is None else {**kept, "type": type_of}


def _bare(schema: Schema, without: Set[str] = _ANNOTATIONS) -> dict[str, Any]:
    """Return a schema without what is only for people; names of members are not keywords.

    Titles are not only for them: generators of code name types by them.
    """
    bare: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "properties":
            bare[keyword] = {name: _bare(member, without) for name, member in value.items()}
        elif keyword == "anyOf":
            bare[keyword] = [_bare(branch, without) for branch in value]
        elif keyword == "items":
            bare[keyword] = _bare(value, without)
        elif keyword not in without:
            bare[keyword] = value
    return bare
