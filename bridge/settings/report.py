"""All problems of one configuration, each with its source and with what is allowed."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from bridge.core.errors import Problem
from bridge.settings.keys import Loc, described, dotted, field_at, is_list, table_at, unknown


class Report:
    """Collects problems. ``written_in`` is the source of values that no variable set.

    ``files`` are all files whose content counts, whether they exist or not.
    """

    def __init__(self, written_in: str) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.files: list[Path] = []
        self._written_in = written_in
        self._variables: dict[Loc, str] = {}

    def set_by(self, place: Loc, variable: str) -> None:
        """Remember that an environment variable set this place."""
        self._variables[place] = variable

    def add(self, place: Loc, allowed: str, *, source: str | None = None) -> None:
        """Add a problem. Its source is by default what set the value at this place."""
        self.problems.append(Problem(source or self._setter(place), dotted(place), allowed))

    def warn(self, place: Loc, text: str) -> None:
        """Add a warning about a value that is allowed, but is probably a mistake."""
        self.warnings.append(f"{self._setter(place)}: {dotted(place)}: {text}")

    def add_errors(self, error: ValidationError, *, at: Loc = ()) -> None:
        """Add pydantic's errors below a place. The values stay out: they may be secrets."""
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            place = at + detail["loc"]
            self.add(place, _allowed(detail["type"], place))

    def _setter(self, place: Loc) -> str:
        above = (place[:end] for end in range(len(place), 0, -1))
        names = (self._variables[part] for part in above if part in self._variables)
        return next(names, self._written_in)


def _allowed(kind: str, place: Loc) -> str:
    names = [part for part in place if isinstance(part, str)]
    if kind == "extra_forbidden":
        table = table_at(names[:-1])
        return unknown(names[-1], table.model_fields if table else ())
    field = field_at(names)
    text = (field and described(field, item=isinstance(place[-1], int))) or _table(names, field)
    return f"required: {text}" if kind == "missing" else text


def _table(names: list[str], field: FieldInfo | None) -> str:
    name = ".".join(names)
    return f"a list of tables, [[{name}]]" if field and is_list(field) else f"a table, [{name}]"
