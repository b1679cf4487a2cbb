"""Failures of the signature: counted per source, for a while, within bounds."""

import pytest
from structlog.testing import capture_logs

from bridge.sampling import Sampled
from bridge.web.throttle import Failures, Limited, source_of


class Clock:
    """A clock that is set by hand, in seconds."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


def test_beyond_the_limit_a_source_is_limited_until_its_window_ends(clock: Clock) -> None:
    """The first one beyond is told apart, the rest of the window is told, then it starts anew."""
    failures = Failures(limit=2, window=60, clock=clock)
    within = [failures.add("192.0.2.1") for _ in range(2)]
    clock.now += 9.5
    beyond = [failures.add("192.0.2.1") for _ in range(2)]
    clock.now += 50.5
    after = [failures.add("192.0.2.1") for _ in range(2)]

    assert [None] * 4 == within + after
    assert [
        Limited("192.0.2.1", seconds=51, first=True),
        Limited("192.0.2.1", seconds=51, first=False),
    ] == beyond


def test_sources_do_not_share_a_count(clock: Clock) -> None:
    """One that is limited limits nobody else."""
    failures = Failures(limit=1, window=60, clock=clock)

    assert [None] * 200 == [failures.add(f"192.0.2.{last}") for last in range(200)]


def test_0_allows_any_number(clock: Clock) -> None:
    """It remembers nobody."""
    failures = Failures(limit=0, window=60, clock=clock)

    assert [None] * 100 == [failures.add("192.0.2.1") for _ in range(100)]
    assert 0 == len(failures)


def test_any_number_of_addresses_takes_bounded_memory(clock: Clock) -> None:
    """The oldest are forgotten; one that came again lately is not."""
    failures = Failures(limit=1, window=60, clock=clock)
    for number in range(20_000):
        failures.add(f"10.0.{number // 256}.{number % 256}")

    assert 4096 == len(failures)
    assert failures.add("10.0.78.31")  # the last one
    assert failures.add("10.0.0.0") is None


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("/run/bridge.sock", "/run/bridge.sock"),
        ("", "-"),
        (None, "-"),
    ],
)
def test_a_source_is_what_one_sender_cannot_leave(address: str | None, source: str) -> None:
    """Of IPv6 it is the network, whose hosts choose the rest freely."""
    assert source == source_of(address)


def test_lines_of_the_log_are_bounded_for_each_reason():
    """A hundred in a minute have one, whoever asks how often; the next minute says how many not."""
    now = 0.0
    sampled = Sampled(clock=lambda: now)
    with capture_logs() as logged:
        first = [sampled.lets("path") for _ in range(1000)]
        other = sampled.lets("method")
        now = 60.0
        later = [sampled.lets("path"), sampled.lets("method")]

    assert [True] * 100 + [False] * 900 == first
    assert [True, True, True] == [other, *later]
    [line] = logged
    assert ("refusals_unlogged", "path", 900) == (line["event"], line["reason"], line["requests"])
