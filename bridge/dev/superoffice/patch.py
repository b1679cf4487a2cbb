"""JSON Patch and JSON Merge Patch, as far as SuperOffice has them. Pure.

``PATCH``: add, replace, remove and test, but not move and copy; a path's case does not matter, its
leading slash can be left out; a merge patch "will be converted to a list of operations".
https://www.rfc-editor.org/rfc/rfc6902, https://www.rfc-editor.org/rfc/rfc7396
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bridge.dev.superoffice.errors import ApiError, bad_request

_OPERATIONS: Final = ("add", "replace", "remove", "test")


def patched(document: Mapping[str, Any], changes: Any) -> dict[str, Any]:
    """Return a document with changes, all of them or none.

    Raises ``ApiError``: 409 when a test fails, 400 for what cannot be done.
    """
    changed = copy.deepcopy(dict(document))
    for operation in _operations(changes):
        _apply(changed, operation)
    return changed


def _operations(changes: Any) -> Sequence[Mapping[str, Any]]:
    if isinstance(changes, dict):  # a merge patch
        return [
            {"op": "replace", "path": _escaped(name), "value": _merged(value)}
            for name, value in changes.items()
        ]
    if isinstance(changes, list) and all(isinstance(one, dict) for one in changes):
        return changes
    raise bad_request("neither a JSON Patch nor a JSON Merge Patch")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _merged(value: Any) -> Any:
    """Return the value that a merge patch sets: a null inside an object removes its member.

    Maps are replaced, not merged: SuperOffice's conversion is documented for plain members only.
    """
    if not isinstance(value, dict):
        return value
    return {name: _merged(inner) for name, inner in value.items() if inner is not None}


def _apply(document: dict[str, Any], operation: Mapping[str, Any]) -> None:
    name, path = operation.get("op"), operation.get("path")
    if name not in _OPERATIONS or not isinstance(path, str):
        raise bad_request(f"operation {name!r} on {path!r} is not supported")
    *parents, last = _parts(path)
    target: Any = document
    for part in parents:
        target = _get(target, part)
    if name == "test":
        if _get(target, last) != operation.get("value"):
            raise ApiError(409, "SoPatchTestException", f"the test of {path} failed")
    else:
        _change(target, last, name, operation.get("value"))


def _parts(path: str) -> list[str]:
    return [
        part.replace("~1", "/").replace("~0", "~") for part in path.removeprefix("/").split("/")
    ]


def _get(target: Any, part: str) -> Any:
    if isinstance(target, dict):
        return target.get(_member(target, part))
    if isinstance(target, list):
        return target[_index(target, part, len(target))]
    raise bad_request(f"there is no {part!r}")


def _member(target: Mapping[str, Any], part: str) -> str:
    """Return the name of a member, in its own case if it is there."""
    return next((name for name in target if name.lower() == part.lower()), part)


def _index(target: Sequence[Any], part: str, end: int) -> int:
    if part.isdecimal() and int(part) < end:
        return int(part)
    raise bad_request(f"there is no item {part!r} of {len(target)}")


def _change(target: Any, part: str, name: str, value: Any) -> None:
    if isinstance(target, list):
        _change_item(target, part, name, value)
    elif isinstance(target, dict):
        member = _member(target, part)
        if name == "remove":
            target.pop(member, None)
        else:
            target[member] = value
    else:
        raise bad_request(f"there is no {part!r}")


def _change_item(target: list[Any], part: str, name: str, value: Any) -> None:
    if name == "add":
        place = len(target) if part == "-" else _index(target, part, len(target) + 1)
        target.insert(place, value)
    elif name == "remove":
        del target[_index(target, part, len(target))]
    else:
        target[_index(target, part, len(target))] = value
