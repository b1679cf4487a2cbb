"""A webhook as it is saved: any JSON is understood or refused."""

import json
from contextlib import suppress
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from bridge.dev.superoffice.definition import DEFAULT, Caller, Definition, Webhook
from bridge.dev.superoffice.errors import ApiError

NOW = datetime(2026, 3, 2, 9, 15, 27, 123456, tzinfo=UTC)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
valid = {"TargetUrl": "https://bridge.example/", "Events": ["a.b"]}


@given(st.dictionaries(st.sampled_from(sorted(DEFAULT)), json_values))
def test_any_members(content):
    """Whatever is saved is refused, or shown again as it was saved."""
    with suppress(ApiError):
        definition = Definition.of({**valid, **content})
        webhook = Webhook(1, definition, NOW, Caller(5, "A person"))
        shown = webhook.as_json(with_counters=True)
        again = Definition.of(json.loads(json.dumps(shown)))

        assert {**definition.members, "State": "Active"} == again.members


@given(st.sampled_from(sorted(DEFAULT)), json_values)
def test_a_refusal_is_a_bad_request(name, value):
    """Every refusal is a 400 with the name of a member, never another error."""
    try:
        Definition.of({**valid, name: value})
    except ApiError as error:
        refused = error
    else:
        return
    assert 400 == refused.status
    assert name in str(refused)


def test_what_superoffice_sets_itself():
    """Number, dates, associates and counters of a body are ignored."""
    content = {**valid, "WebhookId": 7, "Registered": "x", "TotalCalls": -1, "nonsense": {}}
    definition = Definition.of(content)
    shown = Webhook(1, definition, NOW, Caller(5, "A person")).as_json(with_counters=True)

    assert (1, "2026-03-02T09:15:27.123456Z", 0) == (
        shown["WebhookId"],
        shown["Registered"],
        shown["TotalCalls"],
    )
    assert "nonsense" not in shown
