"""The headers of a webhook's request."""

import pytest
from multidict import CIMultiDict

from bridge.superoffice import headers
from bridge.superoffice.headers import retry_of, traceparent_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_names_are_superoffices_own():
    """They are spelled as in SuperOffice's documentation."""
    assert (
        "X-SuperOffice-Signature",
        "X-SuperOffice-Event",
        "X-SuperOffice-EventId",
        "X-SuperOffice-Retry",
    ) == (headers.SIGNATURE, headers.EVENT, headers.EVENT_ID, headers.RETRY)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("2", 2),
        ("99999", 99999),
        ("100000", None),
        ("", None),
        ("two", None),
        ("-1", None),
        ("²", None),
        ("٢", None),
    ],
)
def test_a_retry_is_a_small_number(value, expected):
    """Anything else is left out; so is what int() would take but no consumer expects."""
    assert expected == retry_of(CIMultiDict({"x-superoffice-retry": value}))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([TRACE], TRACE),
        ([], None),
        ([TRACE, TRACE], None),
        (["ff" + TRACE[2:]], None),
        ([TRACE.upper()], None),
        (["00-" + "0" * 32 + TRACE[35:]], None),
        ([TRACE + "-more"], None),
    ],
)
def test_a_trace_context_comes_once_and_is_valid(values, expected):
    """Of two contexts nobody knows which is right."""
    given = CIMultiDict([("Traceparent", value) for value in values])

    assert expected == traceparent_of(given)
