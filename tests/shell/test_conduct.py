"""What one server may send, and how much: the bounds themselves. `test_hostile_server` tries them on a Distributor."""

import itertools
import random
from types import SimpleNamespace

import pytest
from tests.shell.io.test_loop import clock

from maitred.core import messages as m
from maitred.core.messages import Client, Count
from maitred.shell.conduct import A_CLIENT, A_SECOND, A_TURN, WINDOW, Conduct

__all__ = ["clock"]

TURNS = itertools.count(1)


@pytest.fixture
def conduct(clock):
    return Conduct(2, clock)


def objects(conduct, message, *, clients=0, sequence=0, request=None, owed=(), known=True):
    """Whether it objects to the message on port 80, sent to Distributor 3 by a server of such a row."""
    row = SimpleNamespace(count=Count(clients, sequence), request=request, owed=owed, known=known)
    return conduct.objection(row, 3, 80, message) is not None


def numbered(sequence):
    return m.RestartReply(3, Count(0, sequence))


def test_a_turn_has_room_for_so_many_packets(conduct):
    for turn in (1, 2):
        assert [conduct.may_send(turn) for _ in range(A_TURN + 2)] == [True] * A_TURN + [False] * 2


def spend(conduct):
    """How much it may send at once, in a turn for each word."""
    return sum(conduct.may_send(next(TURNS)) for _ in range(2 * (A_SECOND + 2 * A_CLIENT)))


def test_it_may_send_so_much_in_a_second_and_what_its_clients_give_it_to_send(conduct, clock):
    assert spend(conduct) == A_SECOND + 2 * A_CLIENT
    clock.now += 0.5
    assert spend(conduct) == A_SECOND // 2
    for arrival in range(10):
        conduct.handed(Client(arrival, arrival, 80))
    assert spend(conduct) == 10 * A_CLIENT
    clock.now += 3600
    assert spend(conduct) == A_SECOND + 2 * A_CLIENT, "silence is not saved up"


def test_each_number_is_accepted_once_in_whatever_order(conduct):
    numbers = random.Random(7).sample(range(1, WINDOW), 300)
    assert not any(objects(conduct, numbered(number)) for number in numbers)
    assert all(objects(conduct, numbered(number)) for number in numbers)
    assert not objects(conduct, numbered((1 << 63) - 1)), "no jump is too far, and none takes memory"
    assert objects(conduct, numbered(1 << 62)) and objects(conduct, numbered(-1))
    assert conduct._seen < 1 << WINDOW


def test_what_a_client_that_is_handed_over_may_be_answered(conduct):
    one, two = Client(1, 11, 80), Client(2, 12, 80)
    count = iter(range(1, 100))
    assert objects(conduct, m.Accepted(one, Count(1, next(count))))
    conduct.handed(one)
    assert objects(conduct, m.Accepted(Client(1, 11, 81), Count(1, next(count)))), "not on this port"
    assert not objects(conduct, m.Accepted(one, Count(1, next(count))))
    conduct.handed(two)
    assert not objects(conduct, m.Refused(one, Count(0, next(count)))), "its process has died with it"
    assert not objects(conduct, m.Refused(two, Count(0, next(count))))
    assert objects(conduct, m.Refused(two, Count(0, next(count))))
    conduct.handed(two)
    assert not objects(conduct, m.Accepted(two, Count(1, next(count))), request=two)


def test_a_new_distributor_does_not_know_whom_the_last_has_handed_over(conduct):
    assert not objects(conduct, m.Accepted(Client(1, 1, 80), Count(1, 1)), known=False)
    assert not objects(conduct, m.Refused(Client(2, 2, 80), Count(1, 2)), owed=(80,))
    assert not objects(conduct, m.Disconnect(Client(2, 2, 80), Count(0, 3)), owed=(80,))
    assert objects(conduct, m.Disconnect(Client(2, 2, 80), Count(0, 4)))
