"""What `spec/requirements.toml` requires and the tests of the single machines leave out."""

from tests.core.driving import OTHER, PORT, client
from tests.core.test_distributor import operating, operating_on_two_ports, restarted

from maitred.core.distributor import Accept, ConnectionRequest, DialogEnded, Received, Withdraw
from maitred.core.messages import Adopt, Count, Disconnect, RestartReply, Store
from maitred.core.monitor import CRASH_LOOP
from maitred.core.timing import Durations
from maitred.core.transition import Reason


def test_the_numbers_that_the_requirements_name():
    usual = Durations()
    assert (usual.hand_off_timeout, usual.request_timeout, usual.rest) == (60, 0, 0.1)
    assert CRASH_LOOP == 5


def test_a_stale_message_makes_nobody_eligible_but_its_count_is_heeded():
    """Two threads of a server send: `Disconnect`, which is newer, overtakes the `RestartReply` that counts one more."""
    run = restarted(Adopt(1, 1, 1, False, False, (PORT,), (PORT,)), waiting=[client(4)])
    run.take(Received(1, PORT, Disconnect(client(3), Count(0, 8))))
    assert run.status(1).count == Count(0, 8)
    assert run.handed() == [], "it has not answered yet"

    run.take(Received(1, PORT, RestartReply(2, Count(1, 7))))

    assert run.status(1).count == Count(0, 8)
    assert run.handed() == [(1, client(4))], "the server has a seat: the older count would have it full"


def test_a_server_that_answers_late_holds_up_nobody_else():
    late, prompt = (Adopt(number, 1, 1, False, False, (PORT,), (PORT,)) for number in (1, 2))
    run = restarted(late, prompt, waiting=[client(4), client(5)])
    assert run.handed() == []

    run.ready(2)

    assert run.handed() == [(2, client(4))]
    assert run.queue() == [client(5)]
    run.ready(1)
    assert run.handed() == [(1, client(5))]


def test_who_comes_back_waits_although_the_bound_is_reached():
    run = operating(limit=1)
    run.adopt(1, 0)
    handed, waiting = run.arrive(), run.arrive()
    assert run.queue() == [waiting] and run.of(Accept) == []

    run.take(DialogEnded(1, PORT))

    assert run.queue() == [handed, waiting]
    assert Store(handed) in run.sent()
    assert run.of(Accept) == []


def test_an_accept_that_is_outstanding_on_another_port_is_withdrawn_where_the_bound_is_reached():
    run = operating_on_two_ports(limit=1)
    run.adopt(1, 1, ports=(PORT, OTHER))

    first = run.arrive(PORT)

    assert (run.queue(PORT), run.of(Accept, Withdraw)) == ([first], [Withdraw(OTHER)])
    assert run.declines(ConnectionRequest(OTHER, 7)) is Reason.NOT_ACCEPTING
