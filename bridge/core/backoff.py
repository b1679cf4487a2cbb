"""How long to wait before the next attempt."""

from __future__ import annotations


def delay(attempt: int, *, base: float, cap: float, spread: float) -> float:
    """Return the pause in seconds after the given number of failures (1 is the first).

    Doubles from ``base`` to ``cap``. ``spread``, in [0, 1), takes up to half of it away, so that
    many bridges do not come back to a restarted broker at the same instant.
    """
    exponent = min(attempt - 1, 32)  # far beyond any cap, and no float overflow after a long night
    return float(min(cap, base * 2**exponent) * (1 - spread / 2))


def refusal_pause(tries: int) -> float:
    """Return the pause in seconds before a nacked row is tried again (``tries`` 0: the first nack).

    1 s, then four times as long each time: seven retries take about an hour and a half. Short
    pauses would fill the queues that are not full with copies of the event.
    """
    return float(4 ** min(tries, 8))


SILENCE_AT_MOST = 7200.0
"""Maximum seconds between two trials of the same row that was never confirmed."""


def silence_pause(times: int, *, turns: int = 1) -> float:
    """Return the pause in seconds after a row was published this many times without a confirm.

    1 s, then four times as long each time, up to two hours for the same row. With the first publish
    that makes at most 19 copies in a day. ``turns`` is the number of rows that take turns.
    """
    return min(float(4 ** min(max(times - 1, 0), 8)), SILENCE_AT_MOST / max(1, turns))
