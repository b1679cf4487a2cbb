"""A message as a command prints it."""

import pytest

from bridge.cli.messages import body_text, exact_body


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"a":1.0}', '{"a":1.0}'),
        (b'{\n "a": "\xc3\xb8"\n}', '{"a": "\\u00f8"}'),
        ('{"a":"\x9b31m"}'.encode(), '{"a": "\\u009b31m"}'),
        (b"no json \x1b[0m", "no json \\u001b[0m"),
        (b"\xff\x00", "base64:/wA="),
        (b"", ""),
    ],
)
def test_a_body_is_one_line(body, text):
    """JSON stays JSON, other text is escaped, and what is no text is base64."""
    assert text == body_text(body)


def test_bytes_that_are_no_text_are_kept_for_programs():
    """A body is lossless in JSON, as text or as base64."""
    assert {"body": " {} "} == exact_body(b" {} ")
    assert {"body": None, "body_base64": "/wA="} == exact_body(b"\xff\x00")
