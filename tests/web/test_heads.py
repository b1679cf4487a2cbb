"""What is plain, and above all what is not: a doubt is left to aiohttp."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.web.heads import MAX_HEAD_BYTES, Heads

BODY = b'{"Event":"contact.changed"}'
PATHS = {
    "/webhook": "superoffice",
    "/": "root",
    "/a b": "spaced",
    "/a/../b": "dotted",
    "/æ": "letter",
}
SIGNATURE = "kUl9lXn9tMfBg7tKFZoKyOLk5p5FAhBg3hZ0e0cZkBk="
FIELDS = {
    "Host": "bridge.example",
    "X-SuperOffice-Signature": SIGNATURE,
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": f"{len(BODY)}",
}


def head(fields=None, *, first="POST /webhook HTTP/1.1", without=()):
    """Return a head as bytes: the usual fields, some of them changed, added or left out."""
    found = {**FIELDS, **(fields or {})}
    lines = [f"{name}: {value}" for name, value in found.items() if name not in without]
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


def read(data, *, max_body=1000):
    return Heads(PATHS, max_body=max_body).read(data)


def test_what_counts_is_read():
    """The values are those that aiohttp would give, in any case of the names."""
    found = read(
        head(
            {
                "x-superoffice-event": "contact.changed",
                "X-SUPEROFFICE-EVENTID": "  17  ",
                "X-Superoffice-Retry": "1",
                "TraceParent": "00-1-2-03",
                "X-Forwarded-For": "192.0.2.1",
                "Via": "1.1 proxy",
            }
        )
        + BODY
    )

    assert found is not None
    assert ("superoffice", len(BODY), False) == (found.endpoint, found.length, found.expects)
    assert BODY == (head() + BODY)[-found.length :]
    assert [SIGNATURE, "contact.changed", "17", "1", "00-1-2-03"] == [
        found.signature,
        found.event,
        found.event_id,
        found.retry,
        found.traceparent,
    ]


def test_the_body_may_be_elsewhere():
    """A head is plain with none, some or more than its body behind it."""
    for behind in (b"", BODY[:5], BODY, BODY + b"POST"):
        found = read(head() + behind)

        assert found is not None
        assert len(head()) == found.start


@pytest.mark.parametrize(
    "fields",
    [
        {"Connection": "keep-alive"},
        {"Connection": "Keep-Alive"},
        {"Expect": "100-continue"},
        {"X-SuperOffice-Signature": ""},
        {"Accept-Encoding": "gzip", "X-Forwarded-Proto": "https", "tracestate": "a=b"},
        {f"X-{number}": "x" for number in range(60)},
    ],
)
def test_plain(fields):
    """What real senders and proxies add is plain."""
    assert read(head(fields)) is not None


def test_repeated_where_that_means_nothing():
    """A proxy may add a second X-Forwarded-For."""
    again = head().replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: a\r\nX-Forwarded-For: b\r\n\r\n")

    assert read(again) is not None


ODD = {
    "another length": {"content-length": "5"},
    "chunked": {"Transfer-Encoding": "chunked"},
    "an unknown transfer encoding": {"Transfer-Encoding": "xchunked"},
    "a transfer encoding that is identity": {"transfer-encoding": "identity"},
    "an encoding": {"Content-Encoding": "gzip"},
    "the encoding identity": {"Content-Encoding": "identity"},
    "another expectation": {"Expect": "200-maybe"},
    "an upgrade": {"Upgrade": "websocket"},
    "h2c": {"HTTP2-Settings": "AAMAAABkAAQAAP__"},
    "a websocket": {"Sec-WebSocket-Key1": "x"},
    "trailers": {"Trailer": "X-SuperOffice-Signature"},
    "te": {"TE": "trailers"},
    "close": {"Connection": "close"},
    "a list of the connection": {"Connection": "keep-alive, X-SuperOffice-Signature"},
    "an older kind of connection": {"Proxy-Connection": "close"},
    "keep-alive": {"Keep-Alive": "timeout=5"},
    "two hosts": {"host": "other"},
    "two signatures": {"x-superoffice-signature": SIGNATURE},
    "two ids": {"X-SuperOffice-EventId": "1", "x-superoffice-eventid": "2"},
    "two traces": {"traceparent": "1", "Traceparent": "2"},
    "two content types": {"content-type": "text/plain"},
    "two user agents": {"User-Agent": "a", "user-agent": "b"},
    "a name with a space": {"Content-Length ": "3"},
    "a name with a tab": {"Content-Length\t": "3"},
    "a name that is no token": {"X(Y)": "3"},
    "no name": {"": "3"},
    "a name too long": {"X" * 65: "3"},
    "a tab": {"X-A": "a\tb"},
    "a null": {"X-A": "a\0b"},
    "a delete": {"X-A": "a\x7fb"},
    "a letter beyond ASCII": {"X-A": "\xe6"},
    "a line feed": {"X-A": "a\nTransfer-Encoding: chunked"},
    "a carriage return": {"X-A": "a\rTransfer-Encoding: chunked"},
    "a folded line": {"X-A": "a\r\n Transfer-Encoding: chunked"},
    "a line without a colon": {"X-A": "a\r\nfolded"},
    "too many": {f"X-{number}": "x" for number in range(61)},
    "too much": {"X-A": "x" * MAX_HEAD_BYTES},
    **{
        f"the length {text!r}": {"Content-Length": text}
        for text in ("", "0", "-1", "+5", "0x10", "1,1", "1 1", "1;1", "01", "1.0", "1e3", "9" * 10)
    },
    "a body too large": {"Content-Length": "1001"},
}


@pytest.mark.parametrize("fields", ODD.values(), ids=ODD)
def test_odd_fields(fields):
    """Nothing that could be read in two ways is plain, nor what aiohttp answers otherwise."""
    assert read(head(fields) + BODY) is None


@pytest.mark.parametrize("without", ["Host", "Content-Length"])
def test_incomplete_fields(without):
    """Both are needed to know what was asked, and where it ends."""
    assert read(head(without=[without]) + BODY) is None


@pytest.mark.parametrize(
    "first",
    [
        *("GET /webhook HTTP/1.1", "post /webhook HTTP/1.1", "POST /webhook HTTP/1.0"),
        *("POST /webhook HTTP/2.0", "POST /webhook  HTTP/1.1", "POST\t/webhook HTTP/1.1"),
        *("POST /webhook", "POST /webhook HTTP/1.1 ", " POST /webhook HTTP/1.1", ""),
        *("POST /webhook/ HTTP/1.1", "POST //webhook HTTP/1.1", "POST /%77ebhook HTTP/1.1"),
        *("POST /webhook?a=b HTTP/1.1", "POST /webhook# HTTP/1.1", "POST /webHook HTTP/1.1"),
        *("POST http://bridge/webhook HTTP/1.1", "POST /a b HTTP/1.1", "POST /a%20b HTTP/1.1"),
        *("POST /a/../b HTTP/1.1", "POST /\xe6 HTTP/1.1", "\r\nPOST /webhook HTTP/1.1"),
    ],
)
def test_odd_request_lines(first):
    """Only the line that SuperOffice sends; paths that have two spellings are left to aiohttp."""
    assert read(head(first=first) + BODY) is None


def test_a_bare_line_feed_ends_nothing():
    """A head with other ends of lines is not plain."""
    assert read(head().replace(b"\r\n", b"\n") + BODY) is None
    assert read(head()[:-2].replace(b"\r\n", b"\n") + b"\r\n\r\n" + BODY) is None
    assert read(b"\n" + head() + BODY) is None


@given(st.integers(0, len(head()) - 1))
def test_a_part_of_a_head_is_not_plain(size):
    """The head is whole, or aiohttp has it."""
    assert read(head()[:size]) is None


def test_names_are_remembered_within_bounds():
    """Anybody can invent names: at most some hundreds are kept, and a sender's are among them."""
    heads, sizes = Heads(PATHS, max_body=1000), set()
    for number in range(1000):
        assert heads.read(head({f"X-{number}": "x"})) is not None
        sizes.add(len(heads._places))

    assert 256 == max(sizes)
    for _ in range(2):  # the first may begin anew
        assert heads.read(head({"X-Forwarded-For": "x"})) is not None
    assert {*FIELDS, "X-Forwarded-For"} <= {*heads._places}


def test_odd_names_are_not_remembered():
    """They may be as long as a head."""
    heads = Heads(PATHS, max_body=1000)
    for name in ("X" * 5000, "Content-Length ", "Upgrade"):
        assert heads.read(head({name: "x"})) is None

    assert {*FIELDS} == {*heads._places}
