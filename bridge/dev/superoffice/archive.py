"""The one query of the archive that the twin answers: the counters of webhooks.

troubleshooting and samples have it. ``webhook_usage_id`` is the WebhookId.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from bridge.dev.superoffice.definition import Webhook
from bridge.dev.superoffice.errors import bad_request

TABLE: Final = "webhook_usage"

_FILTER: Final = re.compile(rf"{TABLE}\.{TABLE}_id eq (\d+)", re.IGNORECASE)


def answer(
    webhooks: Iterable[Webhook], query: Mapping[str, str], *, url: str, next_link: str | None
) -> dict[str, Any]:
    """Return the rows of a query. Raises ``ApiError`` for one that the twin cannot answer.

    It shows the webhooks of everybody: the table has no access control (tables: webhook-usage).
    """
    columns = [name.strip() for name in query.get("$select", "").split(",")]
    wanted = _wanted(query.get("$filter"))
    rows = [_row(one, columns) for one in webhooks if wanted in (None, one.id)]
    return {"odata.metadata": f"{url}/$metadata", "odata.nextLink": next_link, "value": rows}


def _wanted(condition: str | None) -> int | None:
    if condition is None:
        return None
    found = _FILTER.fullmatch(condition.strip())
    if found is None:
        raise bad_request(f"the twin cannot filter by {condition!r}")
    return int(found[1])


def _row(webhook: Webhook, columns: Iterable[str]) -> dict[str, Any]:
    """Return a row. Its PrimaryKey is a text, as captures show it."""
    standing = webhook.standing
    values = {
        f"{TABLE}.{TABLE}_id": webhook.id,
        f"{TABLE}.total_calls": standing.total_calls,
        f"{TABLE}.total_errors": standing.total_errors,
        f"{TABLE}.consecutive_errors": standing.consecutive_errors,
        f"{TABLE}.last_error": standing.last_error,
    }
    unknown = [name for name in columns if name.lower() not in values]
    if unknown:
        raise bad_request(f"the twin has no column {unknown[0]!r}")
    shown = {name: values[name.lower()] for name in columns}
    return {"PrimaryKey": f"{webhook.id}", "EntityName": TABLE, **shown}
