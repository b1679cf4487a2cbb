"""The memory of accepted events against one that keeps everything and searches."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from bridge.delivery.dedup import Claim, Dedup, Key

KEYS: list[Key] = [b"%d" % n for n in range(4)]


class Memory(RuleBasedStateMachine):
    """Deliveries begin, succeed, fail and are waited for while time passes."""

    claims: Bundle[Claim] = Bundle("claims")

    @initialize(window=st.sampled_from((5, 5, 600, 0)), max_events=st.integers(0, 3))
    def start(self, window: int, max_events: int) -> None:
        """Begin with an empty memory."""
        self.now = 1000
        self.window, self.max_events = window, max_events
        self.dedup = Dedup(
            window=float(window), max_events=max_events, clock=lambda: float(self.now)
        )
        self.accepted: list[tuple[int, Key]] = []
        self.under_way: dict[Key, Claim] = {}
        self.heard: dict[Key, list[bool | None]] = {}
        """What those who wait have heard: None is nothing yet."""

    @rule(seconds=st.sampled_from((0, 1, 4, 5, 600)))
    def pass_time(self, seconds: int) -> None:
        """Let time pass."""
        self.now += seconds

    @precondition(lambda self: len(self.under_way) < len(KEYS))
    @rule(target=claims, data=st.data())
    def begin(self, data: st.DataObject) -> Claim:
        """Begin the delivery of an event that is not under way."""
        key = data.draw(st.sampled_from([key for key in KEYS if key not in self.under_way]))
        claim = self.dedup.claim(key)
        self.under_way[key] = claim
        return claim

    @rule(key=st.sampled_from(KEYS))
    def accept(self, key: Key) -> None:
        """Begin and end a delivery that nobody waits for."""
        if key not in self.under_way:
            self.dedup.claim(key).end(succeeded=True)
            self.accepted.append((self.now, key))

    @rule(claim=consumes(claims), succeeded=st.booleans())
    def end(self, claim: Claim, succeeded: bool) -> None:
        """End a delivery; all who wait for it hear the result."""
        claim.end(succeeded=succeeded)
        del self.under_way[claim.key]
        if succeeded:
            self.accepted.append((self.now, claim.key))
        heard = self.heard.pop(claim.key, [])

        assert [succeeded] * len(heard) == heard

    @rule(claim=claims)
    def wait(self, claim: Claim) -> None:
        """Have a repeat wait for the first delivery's result."""
        first = self.dedup.under_way(claim.key)
        assert first is claim
        heard = self.heard.setdefault(claim.key, [])
        number = len(heard)
        heard.append(None)
        first.on_end(lambda succeeded: heard.__setitem__(number, succeeded))

    @invariant()
    def it_remembers_what_the_model_does(self) -> None:
        """The last success of a key counts while it is recent, and among the latest few."""
        latest = {key: at for at, key in self.accepted}
        order = sorted(latest, key=lambda key: self._last(key), reverse=True)
        kept = [key for key in order[: self.max_events] if self.now - latest[key] < self.window]

        assert kept == [key for key in order if self.dedup.was_accepted(key)]
        assert len(kept) <= len(self.dedup) <= self.max_events
        assert all(answer is None for heard in self.heard.values() for answer in heard)
        assert self.under_way == {key: at for key in KEYS if (at := self.dedup.under_way(key))}

    def _last(self, key: Key) -> int:
        return max(index for index, (_, other) in enumerate(self.accepted) if other == key)


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=30)
