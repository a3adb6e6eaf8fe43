"""What must hold of each machine's state by itself: it does in any run, and each invariant can tell a broken state."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from tests.core import test_distributor, test_monitor, test_server
from tests.core.driving import ADDRESS, OTHER, PORT, client

from maitred.core import distributor, invariants, monitor, server
from maitred.core.distributor import Creation, Dialog, DialogPhase, Seat
from maitred.core.invariants import DISTRIBUTOR, MONITOR, SERVER, broken
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
BINDING = Dialog(DialogPhase.BINDING)


def answering():
    """A server that has yet to say that it has taken a client, and that it listens no more."""
    return test_server.silent(test_server.offered(1), server.ListenerClosed(PORT)).state


BROKEN = [
    ("index_is_true", lambda: with_port(busy(), free=SEAT)),
    ("index_is_true", lambda: with_server(test_distributor.with_one_idle().state, 1, rank=5)),
    ("summaries_are_true", lambda: replace(busy(), outstanding=0)),
    ("summaries_are_true", lambda: replace(busy(), promised=1)),
    ("summaries_are_true", lambda: replace(busy(), drained=1)),
    ("summaries_are_true", lambda: replace(busy(), drainable=Tree.of([(1, None)]))),
    ("waiting_total_is_true", lambda: replace(busy(), waiting=2)),
    ("no_one_waits_while_a_seat_is_free", lambda: with_port(busy(), free=SEAT)),
    ("waiters_wait_on_their_own_port", lambda: with_port(busy(), waiting=Tree.of([(client(1, OTHER), None)]))),
    ("no_client_is_held_twice", lambda: with_server(busy(), 2, request=WAITER)),
    ("arrivals_lie_in_the_past", lambda: replace(busy(), next_arrival=1)),
    ("requests_travel_on_ready_dialogs", lambda: with_server(busy(), 1, dialogs=Tree())),
    ("rows_and_ports_agree", lambda: with_server(busy(), 1, server=9)),
    ("rows_and_ports_agree", lambda: with_server(busy(), 2, attached=False, dialogs=Tree())),
    ("rows_and_ports_agree", lambda: replace(busy(), ports=busy().ports.remove(PORT))),
    ("rows_and_ports_agree", lambda: with_server(busy(), 1, owed=Tree.of([(OTHER, None)]))),
    ("binders_await_the_listeners", lambda: with_server(busy(), 2, dialogs=Tree.of([(PORT, BINDING)]))),
    ("accepts_only_where_it_listens", lambda: with_port(busy(), listeners=Tree())),
    ("servers_are_wanted_only_by_waiters", lambda: replace(busy(), creation=Creation.NONE)),
    ("closed_means_over", lambda: replace(closed(), waiting=1)),
    ("closed_means_over", lambda: with_port(closed(), listeners=Tree.of([(ADDRESS, True)]))),
    ("closed_means_over", lambda: with_server(closed(), 1, draining=False)),
    ("ranks_are_past", lambda: replace(busy(), next_rank=0)),
    ("ranks_are_past", lambda: with_server(busy(), 2, rank=busy().servers[1].rank)),
    ("only_who_was_asked_is_full", lambda: with_server(busy(), 2, request=None, full_at=1)),
    ("clients_came_through_a_listener", lambda: replace(served(), listeners=Tree())),
    (
        "an_answer_is_owed_only_while_deaf",
        lambda: EndpointState(Tree.of([(PORT, VirtualListener(listening=True, asked=1))])),
    ),
    ("counts_are_issued_in_order", lambda: replace(answering(), sequence=0)),
    ("counts_are_issued_in_order", lambda: replace(answering(), outbox=answering().outbox[::-1])),
    ("nothing_out_of_date_is_to_be_sent", lambda: replace(answering(), outbox=answering().outbox[1:] * 2)),
    ("who_is_accepted_is_counted", lambda: replace(answering(), clients=Tree())),
    ("living_is_true", lambda: with_class(watched(), living=Tree())),
    ("places_are_within_the_configuration", lambda: with_class(watched(), vacant=Tree())),
    ("places_are_within_the_configuration", lambda: with_place(watched(), 1, dynamic=True)),
    (
        "places_are_within_the_configuration",
        lambda: with_class(
            watched(),
            config=test_monitor.config(static=1, dynamic=2),
            places=watched().classes[0].places.set(1, monitor.Place(1, dynamic=True)),
            vacant=Tree.of([(1, None)]),
        ),
    ),
    ("processes_are_counted", lambda: with_element(watched(), processes=7)),
    ("processes_are_counted", lambda: with_element(watched(), processes=1)),
    ("servers_are_new", lambda: replace(watched(), next_server=1)),
    ("an_empty_place_keeps_nothing", lambda: with_place(watched(), 1, dialogs=Tree.of([(PORT, True)]))),
    ("ended_means_over", lambda: with_class(ended(), store=Tree.of([(client(1), None)]))),
    ("ended_means_over", lambda: with_place(ended(), 0, phase=monitor.PlacePhase.READY)),
]


@pytest.mark.parametrize(("name", "state"), BROKEN, ids=[name for name, _ in BROKEN])
def test_each_invariant_can_tell_a_broken_state(name, state):
    assert name in broken(state())


def test_every_invariant_has_been_broken():
    assert {name for name, _ in BROKEN} == {*DISTRIBUTOR, *SERVER, *MONITOR}
    assert all(getattr(invariants, name) is holds for name, holds in {**DISTRIBUTOR, **SERVER, **MONITOR}.items())


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
