"""What must hold of each machine's state by itself does in any run, and each invariant names what is broken."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from tests.core import test_distributor, test_monitor, test_server
from tests.core.driving import ADDRESS, OTHER, PORT, client

from maitred.core import distributor, invariants, monitor, server
from maitred.core.distributor import Creation, Dialog, DialogPhase, Seat
from maitred.core.invariants import DISTRIBUTOR, MONITOR, SERVER, broken
from maitred.core.messages import Count, Disconnect
from maitred.core.server import EndpointState, VirtualListener
from maitred.core.transition import Rejected
from maitred.core.tree import Tree

# ================================================================ a sound state of each machine


def busy():
    """A Distributor with a request outstanding at server 1, a full server 2 and one who waits."""
    run = test_distributor.operating(dynamic=1)
    run.adopt(1, 0)
    run.adopt(2, 1)
    run.arrive()
    run.arrive()
    return run.state


def closed():
    run = test_distributor.with_one_idle()
    run.take(distributor.Close(), distributor.BacklogEmpty(PORT))
    return run.state


def served():
    run = test_server.listening()
    run.take(test_server.offered(1))
    return run.state


def watched():
    run = test_monitor.serving(test_monitor.config(static=2, dynamic=1))
    run.dies(2)
    return run.state


def ended():
    return test_monitor.ended().state


SOUND = (busy, closed, served, watched, ended)


@pytest.mark.parametrize("state", SOUND)
def test_a_sound_state_breaks_nothing(state):
    assert broken(state()) == ()


# ================================================================ and ways to break each invariant


def with_port(state, **changes):
    return replace(state, ports=state.ports.set(PORT, replace(state.ports[PORT], **changes)))


def with_server(state, number, **changes):
    return replace(state, servers=state.servers.set(number, replace(state.servers[number], **changes)))


def with_class(state, **changes):
    return replace(state, classes=state.classes.set(0, replace(state.classes[0], **changes)))


def with_place(state, number, **changes):
    places = state.classes[0].places
    return with_class(state, places=places.set(number, replace(places[number], **changes)))


def with_element(state, **changes):
    return replace(state, elements=state.elements.set(0, replace(state.elements[0], **changes)))


SEAT = Tree.of([(Seat(1, 1, -1, 1), None)])
WAITER = distributor.Client(1, 1_002, PORT)
SEATS = Tree.of([(Seat(1, 1, -1, 1), None), (Seat(1, 1, 0, 2), None)])
BINDING = Dialog(DialogPhase.BINDING)
RUNNING = monitor.DistributorPhase.RUNNING


def unopened():
    return with_port(busy(), listeners=Tree())


def answering():
    """A server that has yet to report that it has taken a client, and that it listens no more."""
    return test_server.silent(test_server.offered(1), server.ListenerClosed(PORT)).state


def leaving():
    """A server that has yet to report that a client has left."""
    return replace(answering(), outbox=(server.Reply(PORT, Disconnect(client(1), Count(0, 3))),))


BROKEN = [
    (
        "index_is_true",
        lambda: with_port(busy(), free=SEAT),
        ("free on port 4049, by the index: server 1 (load 1, weight 1, rank -1); by the table: no server",),
    ),
    (
        "index_is_true",
        lambda: with_port(busy(), free=SEATS),
        (
            "free on port 4049, by the index: server 1 (load 1, weight 1, rank -1),"
            " server 2 (load 1, weight 1, rank 0); by the table: no server",
        ),
    ),
    (
        "index_is_true",
        lambda: with_server(test_distributor.with_one_idle().state, 1, rank=5),
        (
            "free on port 4049, by the index: server 1 (load 1, weight 1, rank 0);"
            " by the table: server 1 (load 1, weight 1, rank 5)",
        ),
    ),
    (
        "summaries_are_true",
        lambda: replace(busy(), outstanding=0),
        ("kept as number of requests outstanding: 0; by the rows of the server table: 1",),
    ),
    (
        "summaries_are_true",
        lambda: replace(busy(), promised=1),
        ("kept as number of promised seats: 1; by the rows of the server table: 0",),
    ),
    (
        "summaries_are_true",
        lambda: replace(busy(), drained=1),
        ("kept as number of drained servers: 1; by the rows of the server table: 0",),
    ),
    (
        "summaries_are_true",
        lambda: replace(busy(), drainable=Tree.of([(1, None)])),
        ("kept as servers that could be drained: [1]; by the rows of the server table: []",),
    ),
    (
        "waiting_total_is_true",
        lambda: replace(busy(), waiting=2),
        ("kept as number of those who wait: 2; on the waiting lists: 1",),
    ),
    (
        "no_one_waits_while_a_seat_is_free",
        lambda: with_port(busy(), free=SEAT),
        ("client 1002 waits on port 4049 while a seat is free at server 1 (0 of 1)",),
    ),
    (
        "waiters_wait_on_their_own_port",
        lambda: with_port(busy(), waiting=Tree.of([(client(1, OTHER), None)])),
        ("client 1001, who came to port 6157, is on the waiting list of port 4049",),
    ),
    (
        "no_client_is_held_twice",
        lambda: with_server(busy(), 2, request=WAITER),
        ("client 1002 is held twice: on a waiting list, or on the way to a server",),
    ),
    (
        "arrivals_lie_in_the_past",
        lambda: replace(busy(), next_arrival=1),
        ("client 1002 is held with arrival 1, and the next will have 1",),
    ),
    (
        "requests_travel_on_ready_dialogs",
        lambda: with_server(busy(), 1, dialogs=Tree()),
        ("server 1 is to answer about client 1001 on port 4049, and the table has no such dialog",),
    ),
    ("rows_and_ports_agree", lambda: with_server(busy(), 1, server=9), ("the row of server 1 is about server 9",)),
    (
        "rows_and_ports_agree",
        lambda: with_server(busy(), 2, attached=False, dialogs=Tree()),
        ("server 2 has neither a control channel nor a dialog left, and is still in the table",),
    ),
    (
        "rows_and_ports_agree",
        lambda: replace(busy(), ports=busy().ports.remove(PORT)),
        (
            "server 1 has a dialog on port 4049, which is not in the table of ports",
            "server 2 has a dialog on port 4049, which is not in the table of ports",
        ),
    ),
    (
        "rows_and_ports_agree",
        lambda: with_server(busy(), 1, owed=Tree.of([(OTHER, None)])),
        ("server 1 owes an answer on port 6157, where it has no dialog",),
    ),
    (
        "binders_await_the_listeners",
        lambda: with_server(busy(), 2, dialogs=Tree.of([(PORT, BINDING)])),
        ("server 2's bind to port 4049 is unanswered, and the port is listened on",),
    ),
    (
        "binders_await_the_listeners",
        lambda: with_server(unopened(), 2, dialogs=Tree.of([(PORT, BINDING)])),
        ("server 2's bind to port 4049 is unanswered, and the port is not being opened",),
    ),
    (
        "accepts_only_where_it_listens",
        lambda: with_port(busy(), listeners=Tree()),
        ("an accept is outstanding on port 4049, and no socket is there",),
    ),
    (
        "accepts_only_where_it_listens",
        lambda: replace(with_port(busy(), accepting=True), phase=distributor.Phase.CLOSED),
        ("an accept is outstanding on port 4049, and the Distributor is closed",),
    ),
    (
        "servers_are_wanted_only_by_waiters",
        lambda: replace(busy(), creation=Creation.NONE),
        (
            "clients that wait: 1; seats of the dynamic servers that are coming up: 0;"
            " and no further server is being asked for",
        ),
    ),
    ("closed_means_over", lambda: replace(closed(), waiting=1), ("the Distributor is closed, with 1 waiting",)),
    (
        "closed_means_over",
        lambda: with_port(closed(), listeners=Tree.of([(ADDRESS, True)])),
        ("the Distributor is closed, and listens on port 4049",),
    ),
    (
        "closed_means_over",
        lambda: with_server(closed(), 1, draining=False),
        ("the Distributor is closed, and server 1 was never drained",),
    ),
    (
        "closed_means_over",
        lambda: with_server(closed(), 1, request=client(1)),
        ("the Distributor is closed, and server 1 is to answer about client 1001",),
    ),
    (
        "ranks_are_past",
        lambda: replace(busy(), next_rank=0),
        (
            "a server has rank 1, and the next to be chosen will have rank 0",
            "a server has rank 2, and the next to be chosen will have rank 0",
        ),
    ),
    ("ranks_are_past", lambda: with_server(busy(), 2, rank=busy().servers[1].rank), ("two servers have rank 2",)),
    (
        "ranks_are_past",
        lambda: with_server(busy(), 2, rank=-1),
        ("a server has rank -1, and the next to be chosen will have rank 3",),
    ),
    (
        "only_who_was_asked_is_full",
        lambda: with_server(busy(), 2, request=None, full_at=1),
        ("no hand-off to server 2 is unanswered, and it is remembered as taking nobody",),
    ),
    (
        "clients_came_through_a_listener",
        lambda: replace(served(), listeners=Tree()),
        ("serves client 1001 of port 4049, which its program has not bound",),
    ),
    (
        "an_answer_is_owed_only_while_deaf",
        lambda: EndpointState(Tree.of([(PORT, VirtualListener(listening=True, asked=1))])),
        ("owes Distributor 1 the answer that its program listens on port 4049, as it does",),
    ),
    (
        "counts_are_issued_in_order",
        lambda: replace(answering(), sequence=0),
        ("is to send counts with the numbers [1, 2], and the last that it issued is 0",),
    ),
    (
        "counts_are_issued_in_order",
        lambda: replace(answering(), outbox=answering().outbox[::-1]),
        ("is to send counts with the numbers [2, 1], and the last that it issued is 2",),
    ),
    (
        "nothing_out_of_date_is_to_be_sent",
        lambda: replace(answering(), outbox=answering().outbox[1:] * 2),
        ("is to send two messages on port 4049 that say whether the program listens: the first is out of date",),
    ),
    (
        "nothing_out_of_date_is_to_be_sent",
        lambda: replace(leaving(), outbox=leaving().outbox * 2),
        ("is to send two messages on port 4049 that say who has left: the first is out of date",),
    ),
    (
        "who_is_accepted_is_counted",
        lambda: replace(answering(), clients=Tree()),
        ("is to say that it has client 1001, whom it does not count",),
    ),
    (
        "living_is_true",
        lambda: with_class(watched(), living=Tree()),
        ("the index of living servers has them at the places {}, and the table of places at {1: 0}",),
    ),
    (
        "places_are_within_the_configuration",
        lambda: with_class(watched(), vacant=Tree()),
        ("dynamic places: 0 filled, 0 vacant; configured: 1",),
    ),
    (
        "places_are_within_the_configuration",
        lambda: with_place(watched(), 1, dynamic=True),
        (
            "static places: 1; configured: 2",
            "dynamic places: 1 filled, 1 vacant; configured: 1",
        ),
    ),
    (
        "places_are_within_the_configuration",
        lambda: with_class(
            watched(),
            config=test_monitor.config(static=1, dynamic=2),
            places=watched().classes[0].places.set(1, monitor.Place(1, dynamic=True)),
            vacant=Tree.of([(1, None)]),
        ),
        ("dynamic place 1 is filled, and counts as vacant",),
    ),
    (
        "processes_are_counted",
        lambda: with_element(watched(), processes=7),
        ("processes counted on processing element 0: 7; by the tables: 2",),
    ),
    (
        "processes_are_counted",
        lambda: with_element(watched(), processes=1),
        ("processes counted on processing element 0: 1; by the tables: 2",),
    ),
    (
        "servers_are_new",
        lambda: replace(watched(), next_server=1),
        (
            "place 0 has server 1, and the next to start will be 1",
            "place 1 has server 2, and the next to start will be 1",
        ),
    ),
    (
        "an_empty_place_keeps_nothing",
        lambda: with_place(watched(), 1, dialogs=Tree.of([(PORT, True)])),
        ("place 1 is empty, and dialogs are kept for it, on the ports [4049]",),
    ),
    (
        "who_is_to_leave_has_a_server",
        lambda: with_place(watched(), 0, phase=monitor.PlacePhase.DOWN, retirement=monitor.Retirement.REMOVE),
        ("place 0 waits for its server to leave, and is empty",),
    ),
    (
        "who_is_to_leave_has_a_server",
        lambda: with_place(watched(), 0, limited=True),
        ("place 0 has a limit, and no server that is to leave",),
    ),
    (
        "a_replacement_is_of_places_that_are_there",
        lambda: with_class(watched(), replacement=monitor.Replacement(0, 0, Tree(), old=8, surge=9)),
        (
            "place 9 is that of a successor, and none with program 0 comes up there",
            "it is the turn of place 8, which is not there",
        ),
    ),
    (
        "a_replacement_is_of_places_that_are_there",
        lambda: with_class(watched(), replacement=monitor.Replacement(0, 0, Tree(), old=0)),
        ("no successor of the server in place 0 comes up, and that one is not to leave",),
    ),
    (
        "a_replacement_is_of_places_that_are_there",
        lambda: with_class(
            with_place(watched(), 1, dynamic=True),
            replacement=monitor.Replacement(0, 0, Tree(), old=0, surge=1),
        ),
        (
            "place 1 is that of a successor, and none with program 0 comes up there",
            "one of the places 0 and 1 is dynamic, and the other is not",
        ),
    ),
    (
        "ended_means_over",
        lambda: with_class(ended(), store=Tree.of([(client(1), None)])),
        ("the Monitor has ended, with these in its store: client 1001",),
    ),
    (
        "ended_means_over",
        lambda: with_place(ended(), 0, phase=monitor.PlacePhase.READY),
        ("the Monitor has ended, and server 1 is ready",),
    ),
    (
        "ended_means_over",
        lambda: with_class(ended(), living=Tree.of([(1, 0)])),
        ("the Monitor has ended, and counts these servers as living: [1]",),
    ),
    (
        "ended_means_over",
        lambda: with_class(ended(), distributor=monitor.DistributorPlace(RUNNING)),
        ("the Monitor has ended, and the Distributor runs",),
    ),
]


INVARIANTS = {**DISTRIBUTOR, **SERVER, **MONITOR}


@pytest.mark.parametrize(("name", "state", "problems"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_each_invariant_names_what_is_broken(name, state, problems):
    assert name in broken(state())
    assert [*INVARIANTS[name](state())] == [*problems]


def test_every_invariant_has_been_broken():
    assert {name for name, *_ in BROKEN} == {*INVARIANTS}
    assert all(getattr(invariants, name) is violations for name, violations in INVARIANTS.items())


def test_of_anything_else_nothing_is_broken():
    assert broken("no state") == ()


# ================================================================ any run


@settings(max_examples=50)
@given(test_distributor.STARTS, test_distributor.CHOICES)
def test_a_distributor_keeps_its_invariants_in_any_run(start, choices):
    for _, event, outcome in test_distributor.runs(start, choices):
        if not isinstance(outcome, Rejected):
            assert broken(outcome.state) == (), event


@settings(max_examples=50)
@given(test_monitor.LIKELY)
def test_a_monitor_keeps_its_invariants_in_any_run(choices):
    for _, event, outcome in test_monitor.runs(choices):
        if not isinstance(outcome, Rejected):
            assert broken(outcome.state) == (), event


@given(test_server.EVENTS)
def test_a_server_keeps_its_invariants_in_any_run(events):
    state = EndpointState()
    for event in events:
        outcome = server.step(state, event)
        if not isinstance(outcome, Rejected):
            state = outcome.state
            assert broken(state) == (), event
