"""Who is parsed next, of clients that have earned nothing."""

import asyncio

import pytest
from structlog.testing import capture_logs

from bridge.web.turns import PIECE_BYTES, Turns


class Client:
    """Somebody who has pieces to say, each of which takes some seconds to parse."""

    def __init__(self, turns, *, pieces=1, size=PIECE_BYTES, seconds=0.0):
        self.spent = 0.0
        self.waits = True
        self.is_cut = False
        self.said = 0
        self._turns = turns
        self._pieces = pieces
        self._size = size
        self._seconds = seconds

    def feed(self):
        """Say a piece; wait for the next turn if there is more to say."""
        self.said += 1
        self.spent += self._seconds
        if self.said < self._pieces:
            self._turns.wait(self)
        return self._size

    def abort(self):
        """Take note."""
        self.is_cut = True


class Broken(Client):
    """Somebody whose words end the parser."""

    def feed(self):
        """Fail as a process does that has no memory left."""
        raise MemoryError


@pytest.fixture
async def turns():
    """Return the turns of this loop."""
    return Turns(asyncio.get_running_loop())


async def pass_turns(number):
    """Let the loop go round so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_piece_at_a_turn(turns):
    """However many wait, each turn of the loop parses one large piece."""
    clients = [Client(turns) for _ in range(10)]
    for client in clients:
        turns.wait(client)
    await pass_turns(4)

    assert [1] * 4 + [0] * 6 == [client.said for client in clients]


async def test_many_short_ones_at_a_turn(turns):
    """Who says a few bytes does not wait for a turn of the loop each: thousands may connect."""
    clients = [Client(turns, size=8) for _ in range(100)]
    for client in clients:
        turns.wait(client)
    await pass_turns(1)

    assert {1} == {client.said for client in clients}


async def test_at_once_as_long_as_a_turn_has_room(turns):
    """Nobody waits beside an idle loop, and the next turn has room again."""
    taken = [turns.reserve(PIECE_BYTES // 2) for _ in range(4)]
    await pass_turns(1)

    assert [True, True, False, False] == taken
    assert turns.reserve(1)


async def test_newcomers_without_end_keep_nobody_out(turns):
    """Who has much to say, and takes little time, has its turns among those who come after."""
    patient = Client(turns, pieces=50, seconds=0.00001)
    turns.wait(patient)
    for _ in range(1500):
        turns.wait(Client(turns))
        await pass_turns(1)

    assert 50 == patient.said


async def test_who_takes_long_stands_behind(turns):
    """A newcomer goes before any number of those who have taken more time."""
    slow = [Client(turns, pieces=100, seconds=0.001) for _ in range(10)]
    for client in slow:
        turns.wait(client)
    await pass_turns(50)
    newcomer = Client(turns)
    turns.wait(newcomer)
    await pass_turns(1)

    assert 1 == newcomer.said
    assert len({client.said for client in slow}) <= 2


async def test_who_has_gone_is_left_out(turns):
    """Neither memory nor the count of newcomers grows with those who came and went."""
    for _ in range(5000):
        client = Client(turns)
        turns.wait(client)
        client.waits = False
    stays = Client(turns)
    turns.wait(stays)

    assert turns.fresh <= 1001
    await pass_turns(1)
    assert (1, 0) == (stays.said, turns.fresh)


async def test_an_error_ends_the_connection_it_came_from(turns):
    """The others go on, and the log says what it was."""
    broken, other = Broken(turns), Client(turns)
    turns.wait(broken)
    turns.wait(other)
    with capture_logs() as logged:
        await pass_turns(2)

    assert broken.is_cut
    assert not other.is_cut
    assert 1 == other.said
    assert ["request_failed"] == [record["event"] for record in logged]
