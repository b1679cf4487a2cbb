"""Who gives way, by what each client has done."""

from dataclasses import dataclass

import pytest

from bridge.web.eviction import Phase, chosen, handshake_gives_way

NOW = 1000.0


@dataclass
class Client:
    """A connection that has been there for a minute, and whatever else is said of it."""

    phase: Phase = Phase.RESTING
    earned_200: bool = False
    answered: bool = True
    rests_since: float = NOW - 60
    head_began: float | None = None
    owes: bool = False
    waits_for_us: bool = False

    def is_silent(self, since):
        """Return whether its head began before that time, and we wait for it."""
        began = self.head_began
        return began is not None and began <= since and not self.waits_for_us


def first(*clients, strangers=1, or_proven=True):
    """Return the places in the list of those who give way."""
    found = chosen(clients, now=NOW, strangers=strangers, or_proven=or_proven)
    return [clients.index(one) for one in found]


KNOWN = Client(earned_200=True, rests_since=NOW - 600)


def test_a_stranger_goes_before_a_proven_client():
    """However short it has been there."""
    assert [1] == first(KNOWN, Client(rests_since=NOW - 1))


def test_the_one_that_has_rested_longest_goes_if_all_are_proven():
    """One alone, and none at all if strangers alone are to go."""
    proven = [Client(earned_200=True, rests_since=NOW - age) for age in (5, 50, 20)]

    assert [1] == first(*proven, strangers=3)
    assert [] == first(*proven, or_proven=False)


def test_several_strangers_go_at_a_time():
    """The longest first, and not more than asked for."""
    strangers = [Client(rests_since=NOW - age) for age in (1, 9, 5)]

    assert [2, 3] == first(KNOWN, *strangers, strangers=2)


def test_a_silent_client_goes_before_one_that_rests():
    """It has had half a second for its first bytes; one that we keep waiting is not silent."""
    silent = Client(phase=Phase.HEAD, head_began=NOW - 1)
    rests = Client(rests_since=NOW - 30)
    waits = Client(phase=Phase.HEAD, head_began=NOW - 1, waits_for_us=True)

    assert [1] == first(rests, silent)
    assert [0] == first(rests, waits)


def test_a_newcomer_goes_after_strangers_that_ask_on_and_on():
    """Until it has had time for its first request."""
    arrival = NOW - 0.1
    new = Client(phase=Phase.HEAD, answered=False, rests_since=arrival, head_began=arrival)

    assert [1] == first(new, Client(rests_since=NOW - 0.01))
    assert [0] == first(new, KNOWN)


@pytest.mark.parametrize(
    ("client", "goes"),
    [
        (Client(phase=Phase.ANSWERING), False),
        (Client(phase=Phase.ANSWERING, owes=True), True),
        (Client(phase=Phase.ANSWERING, owes=True, earned_200=True), False),
        (Client(phase=Phase.LINGERING, earned_200=True), True),
        (Client(phase=Phase.LEAVING), False),
    ],
)
def test_no_whole_request_is_cut_off(client, goes):
    """A stranger that owes a part of its request is; one that leaves has no place to give."""
    assert ([0] if goes else []) == first(client)


def test_a_proven_client_that_sends_a_dead_body_counts_as_a_stranger():
    """It has its answer: to read the rest serves nobody."""
    lingers = Client(phase=Phase.LINGERING, earned_200=True, rests_since=NOW - 1)

    assert [1] == first(KNOWN, lingers)


@pytest.mark.parametrize(
    ("handshakes", "connections", "others_go", "gives_way"),
    [
        (0, 9, True, False),
        (1, 9, True, False),
        (1, 9, False, True),
        (4, 0, False, False),
        (5, 0, True, True),
    ],
)
def test_handshakes(handshakes, connections, others_go, gives_way):
    """They take half of the places at most, and below that give way if nobody else does."""
    found = handshake_gives_way(handshakes, connections, places=10, make_room=lambda: others_go)

    assert gives_way == found
