"""A check that cannot fail shows nothing: the core is bent, and the named property must be refuted, with a way there.

Each mutant changes one guard, effect or rule of the core, as a slip of the pen might.
"""

from dataclasses import replace

import pytest

from maitred.core import distributor, monitor, server
from maitred.core.distributor import Seat, ServerStatus
from maitred.core.messages import Acknowledge, Close, Count, Release, RestartReply
from maitred.core.transition import Transition
from maitred.core.tree import Tree
from maitred.model.checker import Bounds, Verdict, check
from maitred.model.narrate import narrate

pytestmark = pytest.mark.properties

WORK = distributor._Work
MUTANTS = {}


def mutant(*killers, **bounds):
    """Register: the properties of which one must be refuted, within which bounds."""

    def register(bend):
        MUTANTS[bend.__name__] = (bend, killers, Bounds(warm=True, **bounds))
        return bend

    return register


@mutant(
    "no_client_has_two_servers", "a_request_comes_back_only_from_the_server", servers=2, clients=1, hand_off_timeouts=1
)
def a_timer_takes_the_request_back(monkeypatch):
    def fired(work, event):
        if isinstance(event.timer, distributor.HandOffTimeout):
            work.take_back(work.servers[event.timer.server], resting=True)
        else:
            before(work, event)

    before = distributor._ACTIONS[distributor.Fired]
    monkeypatch.setitem(distributor._ACTIONS, distributor.Fired, fired)


@mutant("released_before_sent", "no_client_has_two_servers", servers=1, clients=2, distributor_crashes=1)
def who_waited_is_released_after_being_sent(monkeypatch):
    def settle(work):
        before(work)
        releases = [e for e in work.effects if isinstance(e, distributor.Tell) and isinstance(e.message, Release)]
        work.effects = [e for e in work.effects if e not in releases] + releases

    before = WORK.settle
    monkeypatch.setattr(WORK, "settle", settle)


@mutant("no_successor_is_told_of_a_client_with_a_server", "released_before_sent", servers=1, clients=2)
def who_waited_is_never_released(monkeypatch):
    def leave(work, client):
        before(work, client)
        work.effects.pop()

    before = WORK.leave
    monkeypatch.setattr(WORK, "leave", leave)


@mutant("never_stale_low", "never_above_the_maximum", "the_count_is_exact_when_dialogs_are_quiet", servers=1, clients=2)
def counts_are_differences(monkeypatch):
    """Each Accepted adds one and each Disconnect takes one off, whatever was counted before, but never below 1."""

    def received(work, event):
        status = work.servers[event.server]
        off = isinstance(event.message, (server.Refused, distributor.Disconnect))
        clients = max(status.count.clients - 1, 0) if off else 0
        message = replace(event.message, count=Count(clients, event.message.count.sequence))
        before(work, replace(event, message=message))

    before = distributor._ACTIONS[distributor.Received]
    monkeypatch.setitem(distributor._ACTIONS, distributor.Received, received)


@mutant(
    "never_stale_low",
    "never_above_the_maximum",
    "the_count_is_exact_when_dialogs_are_quiet",
    servers=1,
    clients=2,
    reorders=1,
)
def the_last_count_wins_whatever_its_sequence(monkeypatch):
    def received(work, event):
        status = work.servers[event.server]
        forgotten = replace(status, count=replace(status.count, sequence=-1))
        work.update(forgotten, status)
        before(work, event)

    before = distributor._ACTIONS[distributor.Received]
    monkeypatch.setitem(distributor._ACTIONS, distributor.Received, received)


@mutant("never_stale_low", "never_above_the_maximum", servers=1, clients=2, ports=2, distributor_crashes=1)
def what_is_owed_is_forgotten(monkeypatch):
    def adopt(work, event):
        before(work, replace(event, owed=()))

    before = distributor._ACTIONS[distributor.Adopt]
    monkeypatch.setitem(distributor._ACTIONS, distributor.Adopt, adopt)


@mutant(
    "never_stale_low",
    "never_above_the_maximum",
    "the_table_is_exact_again_after_a_restart",
    servers=1,
    clients=2,
    max_clients=2,
    distributor_crashes=1,
)
def a_server_is_ready_before_it_echoes(monkeypatch):
    def received(work, event):
        message = event.message
        if isinstance(message, RestartReply) or hasattr(message, "client"):
            work.update(replace(work.servers[event.server], owed=Tree()), work.servers[event.server])
            echo = RestartReply(work.incarnation, message.count)
            before(work, replace(event, message=echo))
        before(work, event)

    before = distributor._ACTIONS[distributor.Received]
    monkeypatch.setitem(distributor._ACTIONS, distributor.Received, received)


@mutant("no_client_lost", servers=1, clients=1, descriptor_losses=1)
def the_copy_is_closed_when_the_client_is_sent(monkeypatch):
    """The Distributor keeps no copy: a Refused brings nobody back."""

    def take_back(work, status, *, resting):
        new = replace(status, request=None, resting=resting)
        work.update(new, status)
        return new

    monkeypatch.setattr(WORK, "take_back", take_back)


@mutant("no_one_waits_while_a_seat_is_free", servers=1, clients=2)
def nobody_is_seated_when_a_seat_becomes_free(monkeypatch):
    monkeypatch.setattr(WORK, "next_to_seat", lambda work: None)


@mutant("first_come_first_served", servers=1, clients=3)
def the_last_to_come_is_served_first(monkeypatch):
    def next_to_seat(work):
        return max((client for info in work.ports.values() if info.free for client in info.waiting), default=None)

    monkeypatch.setattr(WORK, "next_to_seat", next_to_seat)


@mutant("the_chosen_server_was_least_loaded", servers=2, clients=2, max_clients=2)
def the_busiest_server_is_chosen(monkeypatch):
    before = Seat.__lt__
    monkeypatch.setattr(
        Seat,
        "__lt__",
        lambda a, b: ((b.load, b.server) < (a.load, a.server) and a != b) or (a.load == b.load and before(a, b)),
    )


@mutant(
    "never_stale_low",
    "at_most_one_request_outstanding",
    "hand_offs_go_to_free_servers",
    "a_request_comes_back_only_from_the_server",
    servers=1,
    clients=2,
    max_clients=2,
)
def a_server_is_sent_clients_without_waiting_for_its_answer(monkeypatch):
    def free_on(status, port):
        return status.answers_on(port) and status.count.clients < status.max_clients and not status.draining

    monkeypatch.setattr(ServerStatus, "free_on", free_on)


@mutant("never_above_the_maximum", "never_stale_low", "hand_offs_go_to_free_servers", servers=1, clients=2)
def the_maximum_is_one_too_high(monkeypatch):
    def free_on(status, port):
        free = status.answers_on(port) and status.request is None and not status.resting
        return free and status.count.clients <= status.max_clients

    monkeypatch.setattr(ServerStatus, "free_on", free_on)


@mutant("store_has_exactly_those_who_wait", "no_client_lost", servers=1, clients=2, distributor_crashes=1)
def who_waits_is_not_stored(monkeypatch):
    def place(work, client):
        before(work, client)
        work.effects = [
            e for e in work.effects if not (isinstance(e, distributor.Tell) and hasattr(e.message, "client"))
        ]

    before = WORK.place
    monkeypatch.setattr(WORK, "place", place)


@mutant("never_more_servers_than_configured", servers=1, clients=1, server_crashes=1, forked_children=1)
def a_place_is_free_when_the_main_process_is_dead(monkeypatch):
    def exited(work, event):
        before(work, event)
        monitor._server_gone(work, event)

    before = monitor._ACTIONS[monitor.ServerExited]
    monkeypatch.setitem(monitor._ACTIONS, monitor.ServerExited, exited)


@mutant(
    "no_client_has_two_servers",
    "a_request_comes_back_only_from_the_server",
    servers=2,
    clients=1,
    server_crashes=1,
    forked_children=1,
)
def the_control_channels_end_is_taken_for_the_dialogs(monkeypatch):
    """A child that lives on holds the dialog; here the Distributor is told of its parent's death and believes it."""

    def kill(work, class_id, place):
        before(work, class_id, place)
        work.tell(class_id, Close())

    def close(work, event):
        for status in list(work.servers.values()):
            if status.request is not None:
                work.take_back(status, resting=True)

    before = monitor._Work.kill
    monkeypatch.setattr(monitor._Work, "kill", kill)
    monkeypatch.setitem(distributor._ACTIONS, Close, close)


@mutant("the_count_is_exact_when_dialogs_are_quiet", servers=1, clients=1)
def a_client_that_leaves_is_not_reported(monkeypatch):
    def disconnected(state, event):
        taken = before(state, event)
        return Transition(taken.state, ())

    before = server._ACTIONS[server.Disconnected]
    monkeypatch.setitem(server._ACTIONS, server.Disconnected, disconnected)


@mutant("no_client_lost", servers=1, clients=1, stops=1)
def a_stop_leaves_the_backlog(monkeypatch):
    def close(work, event):
        before(work, event)
        for port in list(work.ports):
            distributor._close_listeners(work, port)

    before = distributor._ACTIONS[Close]
    monkeypatch.setitem(distributor._ACTIONS, Close, close)


@mutant("index_is_true", servers=1, clients=1)
def the_index_is_not_kept(monkeypatch):
    def received(work, event):
        before(work, event)
        status = work.servers[event.server]
        work.servers = work.servers.set(event.server, replace(status, draining=True))

    before = distributor._ACTIONS[distributor.Received]
    monkeypatch.setitem(distributor._ACTIONS, distributor.Received, received)


@mutant("no_surprising_rejection", servers=1, clients=2)
def the_monitor_is_told_of_a_release_twice(monkeypatch):
    def leave(work, client):
        before(work, client)
        work.tell(Release(client))

    before = WORK.leave
    monkeypatch.setattr(WORK, "leave", leave)


@pytest.mark.parametrize("name", MUTANTS)
def test_killed(name, monkeypatch):
    bend, killers, bounds = MUTANTS[name]
    bend(monkeypatch)
    result = check(bounds, max_states=60_000)
    refuted = {on.property.name for on in result.verdicts if on.verdict is Verdict.VIOLATED}
    assert refuted & set(killers), f"not refuted after {result.states} states; refuted: {refuted}"
    assert not result.ok
    found = result.counterexample
    assert found is not None and found.path is not None and found.path.steps
    assert len(list(narrate(found.path))) > len(found.path.steps)


def test_the_unbent_core_passes_the_same_checks():
    """The mutants are killed by what was bent, not by the bounds."""
    for bounds in {(b.servers, b.clients, b.ports, b.max_clients): b for _, _, b in MUTANTS.values()}.values():
        assert check(bounds, max_states=3_000)["no_client_lost"].verdict is not Verdict.VIOLATED


def test_an_acknowledgement_changes_nothing():
    """The model delivers it at once: here is why it may."""
    state = server.EndpointState()
    assert server.step(state, server.Acknowledged(Acknowledge(1))) == Transition(state, ())
