"""Tests of what an operator asks of the Monitor while it runs: servers that leave, are replaced, are more or fewer."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.driving import PORT
from tests.core.test_monitor import config, likely, serving

from maitred.core import invariants
from maitred.core.messages import Adopt, Allow, CreateServer, Drain, Drained, KeepDialog, ServerReady
from maitred.core.monitor import (
    NO_PLACE,
    Complaint,
    DistributorExited,
    DrainOver,
    ElementFailed,
    ElementRestored,
    Fired,
    KillDelay,
    Phase,
    PlacePhase,
    Replace,
    Report,
    RestartDistributor,
    RestartServer,
    Retire,
    Retirement,
    Scale,
    ServerExited,
    ServerGone,
    SetTimer,
    StartDistributor,
    StartServer,
    StartWarning,
    StopRequested,
    Terminate,
    enabled,
    initial,
    step,
)
from maitred.core.transition import Reason, Rejected


def ready(run, server):
    run.send(KeepDialog(server, PORT), ServerReady(server, PORT))


def leaves(run, server):
    """The server has no clients any more, is asked to end, and ends."""
    run.send(Drained(server))
    run.dies(server)


def places(run):
    """Which server is in which place."""
    return {number: place.server for number, place in run.cls.places.items() if place.alive}


def rolling(*names, program=0):
    return Replace(0, names, program, at_once=False)


# ================================================================ a server is to leave


def test_a_server_that_is_to_leave_is_drained_then_asked_to_end_and_its_place_stays_empty():
    run = serving(config(static=2))
    run.take(Retire(0, 0, limited=False))
    assert run.sent() == [Drain(1)] and not run.of(SetTimer) and not run.of(Terminate)
    run.send(Drained(1))
    assert run.of(Terminate) == [Terminate(0, 1)]
    run.dies(1)
    assert run.place(0).phase is PlacePhase.DOWN and not run.of(SetTimer)
    assert run.declines(Fired(RestartServer(0, 0, 0))) is Reason.TIMER_IS_STALE
    run.take(ElementFailed(0), ElementRestored(0))
    assert Fired(RestartServer(0, 0, 0)) not in list(enabled(run.state))


def test_a_server_with_a_limit_is_asked_to_end_once_its_grace_is_over():
    run = serving(config(static=2))
    assert run.take(Retire(0, 0, limited=True))[1:] == [SetTimer(DrainOver(0, 1))]
    assert run.take(Fired(DrainOver(0, 1))) == [Terminate(0, 1), SetTimer(KillDelay(0, 1))]
    assert run.declines(Fired(DrainOver(0, 1))) is Reason.TIMER_IS_STALE


def test_without_a_limit_no_grace_ends():
    run = serving(config(static=2))
    run.take(Retire(0, 0, limited=False))
    assert run.declines(Fired(DrainOver(0, 1))) is Reason.TIMER_IS_STALE
    run.take(Retire(0, 0, limited=True))
    assert SetTimer(DrainOver(0, 1)) in run.of(SetTimer)
    run.take(Retire(0, 0, limited=False))
    assert not run.of(SetTimer) and run.place(0).limited, "what is limited stays so"


def test_a_server_that_is_ended_already_is_not_drained_and_does_not_come_back():
    run = serving(config(static=2))
    run.take(ServerExited(0, 1), Retire(0, 0, limited=True))
    assert not run.sent()
    run.take(ServerGone(0, 1))
    assert not run.of(SetTimer) and run.place(0).retirement is Retirement.HOLD


def test_an_empty_place_is_held_at_once():
    run = serving(config(static=2))
    run.dies(1)
    run.take(Retire(0, 0, limited=True))
    assert run.declines(Fired(RestartServer(0, 0, 0))) is Reason.TIMER_IS_STALE


def test_the_next_distributor_is_sent_that_a_server_is_to_leave():
    run = serving(config(static=2))
    run.take(DistributorExited(0), Retire(0, 0, limited=False))
    assert not run.sent()
    run.take(Fired(RestartDistributor(0, 0)))
    assert [m.draining for m in run.sent() if isinstance(m, Adopt)] == [True, False]


def test_a_dynamic_server_that_is_to_leave_leaves_its_place_vacant():
    run = serving(config(static=1, dynamic=1))
    run.send(CreateServer())
    run.take(Retire(0, 1, limited=True))
    leaves(run, 2)
    assert 1 in run.cls.vacant


# ================================================================ servers are replaced


def test_a_new_server_is_ready_before_an_old_one_is_drained():
    run = serving(config(static=2))
    run.take(rolling(0, 1))
    assert run.of(StartServer) == [StartServer(0, 3, 2, 0)] and Drain(1) not in run.sent()
    ready(run, 3)
    assert Drain(1) in run.sent() and not run.of(StartServer)
    leaves(run, 1)
    assert run.of(StartServer) == [StartServer(0, 4, 0, 0)] and places(run) == {0: 4, 1: 2, 2: 3}
    ready(run, 4)
    leaves(run, 2)
    assert places(run) == {0: 4, 2: 3} and run.cls.replacement is None and not run.of(StartServer)


def test_another_program_replaces_every_server_but_those_that_are_held():
    run = serving(config(static=3))
    run.take(Retire(0, 1, limited=False))
    leaves(run, 2)
    run.take(rolling(program=5))
    for new, old in ((4, 1), (5, 3)):
        assert run.of(StartServer)[0].program == 5
        ready(run, new)
        leaves(run, old)
    assert run.cls.replacement is None and run.cls.program == 5
    assert {n: p.program for n, p in run.cls.places.items() if p.alive} == {3: 5, 0: 5}
    run.take(rolling(1, program=5))
    ready(run, 6)
    assert run.cls.replacement is None and run.cls.places.get(1, None) is None, "a held place that is named is filled"


def test_after_the_first_that_is_ready_dynamic_servers_run_the_new_program():
    run = serving(config(static=1, dynamic=2))
    run.take(rolling(program=1))
    run.send(CreateServer())
    assert run.of(StartServer)[0].program == 0
    ready(run, 2)
    run.send(CreateServer())
    assert run.of(StartServer)[0].program == 1


def test_a_successor_that_dies_ends_the_replacement():
    run = serving(config(static=2))
    run.take(rolling(0, 1))
    run.dies(3)
    assert run.of(Report) == [Report(0, Complaint.NOT_REPLACED, 3)]
    assert run.cls.replacement is None and places(run) == {0: 1, 1: 2} and not run.of(SetTimer)


def test_a_successor_that_does_not_listen_in_time_is_killed():
    run = serving(config(static=1))
    run.take(rolling(0))
    run.take(Fired(StartWarning(0, 2)))
    assert run.cls.places[1].phase is PlacePhase.KILLING
    run.take(ServerGone(0, 2))
    assert run.cls.replacement is None and places(run) == {0: 1}


def test_what_was_brought_by_a_program_that_fails_is_replaced_back():
    run = serving(config(static=2))
    run.take(rolling(program=1))
    ready(run, 3)
    leaves(run, 1)
    run.dies(4)
    assert Report(0, Complaint.NOT_REPLACED, 4) in run.of(Report)
    assert run.of(StartServer) == [StartServer(0, 5, 0, 0, 0)] and run.cls.program == 0
    ready(run, 5)
    leaves(run, 3)
    assert run.cls.replacement is None
    assert {place.program for place in run.cls.places.values()} == {0} and places(run) == {0: 5, 1: 2}


def test_a_way_back_that_fails_ends_there():
    run = serving(config(static=2))
    run.take(rolling(program=1))
    ready(run, 3)
    leaves(run, 1)
    run.dies(4)
    run.dies(5)
    assert run.cls.replacement is None and run.of(Report) == [Report(0, Complaint.NOT_REPLACED, 5)]


def test_where_no_processing_element_is_up_nothing_is_replaced():
    run = serving(config(static=1))
    run.take(ElementFailed(0))
    run.take(rolling(0))
    assert Report(0, Complaint.NOT_REPLACED, 0) in run.of(Report) and run.cls.replacement is None
    assert [*run.cls.places] == [0]


def test_the_old_server_may_be_down_when_its_successor_is_ready():
    run = serving(config(static=2))
    run.take(rolling(0))
    run.dies(1)
    ready(run, 3)
    assert run.cls.replacement is None and places(run) == {1: 2, 2: 3}


def test_a_dynamic_server_is_replaced_by_a_dynamic_one():
    run = serving(config(static=1, dynamic=1))
    run.send(CreateServer())
    run.take(rolling(1))
    assert run.cls.places[2].dynamic
    ready(run, 3)
    leaves(run, 2)
    assert run.cls.replacement is None and not run.cls.vacant and places(run) == {0: 1, 2: 3}


def test_a_dynamic_server_that_leaves_by_itself_gives_its_place_to_its_successor():
    run = serving(config(static=1, dynamic=1))
    run.send(CreateServer())
    run.take(rolling(1))
    leaves(run, 2)
    assert not run.cls.vacant and run.cls.replacement.old == NO_PLACE
    ready(run, 3)
    assert run.cls.replacement is None and not run.cls.vacant
    run.take(rolling(2))
    leaves(run, 3)
    run.dies(4)
    assert [*run.cls.vacant] == [1] and run.cls.replacement is None


def test_all_at_once_each_place_is_filled_again_when_it_is_empty():
    run = serving(config(static=2, dynamic=1))
    run.send(CreateServer())
    run.dies(2)
    run.take(Replace(0, (0,), 4, at_once=True))
    assert run.sent() == [Drain(1), Drain(3)] or Drain(1) in run.sent()
    assert [(s.place, s.program) for s in run.of(StartServer)] == [(1, 4)]
    leaves(run, 1)
    assert [(s.place, s.program) for s in run.of(StartServer)] == [(0, 4)] and run.place(
        0
    ).retirement is Retirement.NONE
    leaves(run, 3)
    run.send(CreateServer())
    assert run.of(StartServer)[0].program == 4


# ================================================================ more, or fewer


def test_more_static_servers_are_started_at_once():
    run = serving(config(static=1, dynamic=1))
    run.take(Scale(0, 3, 2))
    assert run.sent()[0] == Allow(2)
    assert [s.place for s in run.of(StartServer)] == [2, 3] and [*run.cls.vacant] == [1, 4]
    run.take(DistributorExited(0), Fired(RestartDistributor(0, 0)))
    assert run.of(StartDistributor)[0].dynamic == 2


def test_of_fewer_servers_the_empty_places_go_first():
    run = serving(config(static=3))
    run.dies(1)
    run.take(Scale(0, 1, 0))
    assert run.sent() == [Allow(0), Drain(3)] and [*run.cls.places] == [1, 2]
    leaves(run, 3)
    assert [*run.cls.places] == [1]
    run.take(Scale(0, 2, 0))
    assert [s.place for s in run.of(StartServer)] == [0]


def test_fewer_dynamic_servers_leave_and_leave_no_vacancy():
    run = serving(config(static=1, dynamic=3))
    run.send(CreateServer(), CreateServer())
    run.take(Scale(0, 1, 1))
    assert Drain(3) in run.sent() and Drain(2) not in run.sent() and not run.cls.vacant
    leaves(run, 3)
    assert not run.cls.vacant


def test_what_is_to_be_struck_off_is_whatever_is_wished_later():
    run = serving(config(static=2))
    run.take(Scale(0, 1, 0), Retire(0, 1, limited=False))
    leaves(run, 2)
    assert [*run.cls.places] == [0]


# ================================================================ what is refused


def test_wishes_that_cannot_be_met_are_declined():
    run = serving(config(static=2))
    assert run.declines(Retire(0, 9, limited=True)) is Reason.UNKNOWN_PLACE
    assert run.declines(rolling(9)) is Reason.UNKNOWN_PLACE
    assert run.declines(Retire(3, 0, limited=True)) is Reason.UNKNOWN_CLASS
    assert run.declines(Scale(0, 0, 0)) is Reason.NO_STATIC_SERVER
    assert run.declines(Scale(0, 1, -1)) is Reason.NO_STATIC_SERVER
    run.take(rolling(0))
    assert run.declines(rolling(1)) is Reason.REPLACING
    assert run.declines(Scale(0, 1, 0)) is Reason.REPLACING
    assert run.declines(Retire(0, 0, limited=True)) is Reason.REPLACING
    assert run.declines(Retire(0, 2, limited=True)) is Reason.REPLACING
    run.take(Retire(0, 1, limited=True))
    run.take(StopRequested())
    for wish in (rolling(1), Scale(0, 1, 0), Retire(0, 1, limited=True)):
        assert run.declines(wish) is Reason.NOT_RUNNING


def test_a_stop_leaves_a_replacement_as_it_is():
    run = serving(config(static=1))
    run.take(rolling(0))
    run.take(StopRequested())
    ready(run, 2)
    assert Drain(1) not in run.sent() and run.cls.replacement is not None
    run.dies(2)
    assert run.cls.replacement is None and not run.of(Report) and not run.of(StartServer)


def test_a_place_that_was_to_be_filled_again_is_not_during_a_stop():
    run = serving(config(static=1))
    run.take(Replace(0, (0,), 0, at_once=True), StopRequested())
    run.dies(1)
    assert not run.of(StartServer) and run.place(0).phase is PlacePhase.DOWN


# ================================================================ any run


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=120))
def test_never_more_servers_than_configured_and_one_that_is_to_replace_another(choices):
    """And every other invariant of the Monitor; who is not to leave is never asked to end while it is in operation."""
    state = initial((config(static=2, dynamic=1),), (1,))
    for choice in choices:
        events = list(likely(state))
        event = events[choice % len(events)]
        outcome = step(state, event)
        if isinstance(outcome, Rejected):
            continue
        asked = [e.server for e in outcome.effects if isinstance(e, Terminate)]
        places_of = state.classes[0].places.values()
        if state.phase is Phase.RUNNING and isinstance(event, Fired):
            assert all(p.retirement is not Retirement.NONE for p in places_of if p.server in asked)
        state = outcome.state
        assert invariants.broken(state) == ()
