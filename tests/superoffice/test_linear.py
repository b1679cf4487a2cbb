"""No pattern, loop or conversion takes more than linear time in what comes from outside.

Each worst case is read, normalized and made a message twice, once with an eighth of a megabyte and
once with a megabyte: linear work takes eight times as long, quadratic work sixty-four times.
"""

import gc
import time
import tracemalloc

import orjson
import pytest

from bridge.broker.frames import publish_frames
from bridge.core.errors import PayloadInvalid
from bridge.core.event import Delivery
from bridge.core.message import Headers, Message, event_message, parked_message
from bridge.core.routing import Route, Router, TopicPattern
from bridge.superoffice.names import source_uri
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse

SIZE = 125_000
TIMES = 8
MOST = 24.0
"""Ratio between that of linear and that of quadratic work, in seconds of the processor."""

PATTERNS = ("#.#.#.#.b", "#." * 126 + "b", "#.a." * 63 + "b", "#.*." * 63 + "b", "*.created.#.x")

ROUTER = Router(
    [
        *(Route(pattern, "crm") for pattern in PATTERNS),
        Route("#.created", "crm", routing_key="{context}.{entity}.{primary_key}"),
    ],
    exchange="e",
)


def named(text):
    """Use a text as the name of a column, of an entity known and unknown."""
    return {"FieldValues": {text: 1}, "Changes": [text], "Values": {text: text}}


WORST = {
    "capitals": lambda size: named("A" * size),
    "capitals and small letters": lambda size: named("Aa" * (size // 2)),
    "small letters": lambda size: named("a" * size),
    "digits and capitals": lambda size: named("1A" * (size // 2)),
    "underscores": lambda size: named("_" * size),
    "event": lambda size: {"Event": "A" * size + "." + "." * 9},
    "dots": lambda size: {"Event": "a." * (size // 2) + "created"},
    "percent": lambda size: {"Event": "%" * (size // 8) + ".created"},
    "state event": lambda size: {"Event": "webhook" + "1" * size + ".errors"},
    "context": lambda size: {"ContextIdentifier": "æ" * (size // 2)},
    "name": lambda size: {"WebhookName": "x" * size},
    "id": lambda size: {"EventId": "0" * size},
    "key": lambda size: {"PrimaryKey": "9" * size},
    "timestamp": lambda size: {"Timestamp": "2026-03-02T09:15:27." + "9" * size + "+01:00"},
    "date": lambda size: {"FieldValues": {"deleted_date": "0001-01-01T00:00:00." + "0" * size}},
    "zoned date": lambda size: {
        "FieldValues": {"deletedDate": "2026-03-02T09:15:27." + "9" * size + "+01:00"}
    },
    "integer": lambda size: {"FieldValues": {"x_i": f"[I:{'9' * size}]"}},
    "float": lambda size: {"FieldValues": {"x_f": f"[F:{'9' * size}.{'9' * 9}]"}},
    "small float": lambda size: {"FieldValues": {"x_f": f"[F:0.{'0' * size}1]"}},
    "brackets": lambda size: {"FieldValues": {"x_d": "[DT:" * (size // 4)}},
    "many names": lambda size: {"FieldValues": {f"Name{n}": n for n in range(size // 20)}},
    "colliding names": lambda size: {
        "FieldValues": {name: 1 for n in range(size // 30) for name in (f"aB{n}", f"a_b{n}")}
    },
    "many properties": lambda size: {f"p{n}": n for n in range(size // 20)},
    "lists": lambda size: {"FieldValues": {"a": [[]] * (size // 4)}},
    "integers": lambda size: {"p": orjson.Fragment("9" * size)},
    "fractions": lambda size: {"p": orjson.Fragment("0." + "0" * size + "1")},
    "exponents": lambda size: {"p": orjson.Fragment("1e-" + "9" * size)},
    "equal names": lambda size: {"p": orjson.Fragment("{" + '"a":1,' * (size // 6) + '"a":1}')},
    "white space": lambda size: {"p": orjson.Fragment(" " * size + "1")},
    "too deep": lambda size: b"[" * size,
    "deep": lambda size: b'{"a":' + b"[" * 600 + b"1," * (size // 2) + b"1" + b"]" * 600 + b"}",
    "no text": lambda size: b'"' + b"\xc3\xa6" * (size // 2) + b"\xff",
    "escapes": lambda size: {"WebhookName": "\u0001" * (size // 6)},
}


@pytest.mark.parametrize("entity", ["contact", "y_rental"])
@pytest.mark.parametrize("worst", WORST)
def test_linear(worst, entity):
    """Eight times as much takes at most some eight times as long."""
    small, large = (body(worst, entity, size) for size in (SIZE, TIMES * SIZE))
    most = MOST * max(min(seconds(small) for _ in range(3)), 0.002)

    assert any(seconds(large) < most for _ in range(3))


def body(worst, entity, size):
    """Return the bytes of a webhook with the worst of some kind."""
    event = {"Event": f"{entity}.created", "EventId": "e-1", "PrimaryKey": 7}
    content = WORST[worst](size)
    return content if isinstance(content, bytes) else orjson.dumps({**event, **content})


def seconds(body):
    """Return how long it takes from the bytes to the message, without what others left behind."""
    gc.disable()
    try:
        began = time.thread_time()
        message_of(body)
        return time.thread_time() - began
    finally:
        gc.enable()


def message_of(body):
    """Make a message of a delivery, as the pipeline does."""
    delivery = Delivery("superoffice", body, 1_772_442_927_000_000_000)
    try:
        event, _ = normalize(parse(body), delivery=delivery)
    except PayloadInvalid as invalid:
        return parked_message(delivery, reason=invalid.reason, time="")
    source = source_uri(event.context)
    return event_message(event, delivery=delivery, target=ROUTER.target(event), source=source)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern):
    """The longest key is compared with the longest pattern in no time, whatever they repeat."""
    compared = TopicPattern(pattern)
    began = time.thread_time()
    matches = compared.matches("a." * 127 + "a")

    assert (False, True) == (matches, time.thread_time() - began < 0.05)


def test_memory_of_long_texts():
    """What is remembered of events is bounded in bytes: long texts leave nothing behind."""
    assert grown(long_texts) < 2_000_000


def test_memory_of_invented_names():
    """Nor do many names, all of them new, in bodies that are not even large."""
    assert grown(invented_names, times=30) < 1_500_000


def test_memory_of_long_headers():
    """Nor do headers that are longer than the bridge makes any: the spool may hold such."""
    assert grown(long_headers) < 2_000_000


def test_memory_of_all_that_is_remembered():
    """Texts that are just short enough to be remembered take a few MiB when all caches are full."""
    assert grown(short_texts, times=1100) < 24_000_000


def grown(use, *, times=100):
    """Return by how many bytes memory has grown after so many uses, all different."""
    tracemalloc.start()
    try:
        for number in range(3):
            use(number)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(times):
            use(1000 + number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def long_texts(number):
    """Read an event whose texts are all long, and its own."""
    long = f"{number}" + "x" * 50_000
    texts = dict.fromkeys(("ContextIdentifier", "WebhookName", "PrimaryKey"), long)
    message_of(orjson.dumps({"Event": f"{long}.{long}", **texts, **named(long)}))


def invented_names(number):
    """Read an event with as many names of its own as 16,000 bytes hold."""
    fields = dict.fromkeys((f"{number}{n:x}" for n in range(1350)), 1)
    message_of(orjson.dumps({"Event": "contact.changed", "FieldValues": fields}))


def long_headers(number):
    """Make the frames of a message whose headers are long."""
    headers: Headers = {"context": f"{number}" + "x" * 50_000}
    message = Message("superoffice", "a.b", b"", "", "id", "type", 0, headers)
    publish_frames(message, channel=1, frame_max=131_072)


def short_texts(number):
    """Read and send an event whose texts are its own and as long as what is remembered."""
    fields = {f"{number}æ{n}" + "x" * 24: 1 for n in range(60) if number % 4 == 0}
    text = f"{number}" + "æ" * 123
    event = {"Event": f"{text}.{text}", "ContextIdentifier": text * 2, "PrimaryKey": text}
    message = message_of(orjson.dumps({**event, "FieldValues": fields}))
    publish_frames(message, channel=1, frame_max=131_072)
