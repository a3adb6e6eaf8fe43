"""The Monitor: each of its numbered rules, starting and stopping, each refusal, and any sequence of events."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.driving import (
    ADDRESS,
    OTHER,
    OTHER_ADDRESS,
    PORT,
    Machine,
    client,
    kinds_within,
    parts,
    values,
)

from maitred.core import messages, monitor
from maitred.core.messages import (
    Adopt,
    Begin,
    Client,
    Close,
    Closed,
    CreateServer,
    CreationFailed,
    Drained,
    DropListeners,
    KeepDialog,
    KeepListener,
    ListenFailed,
    Release,
    Restore,
    ServerNotReady,
    ServerReady,
    Store,
    Unresponsive,
)
from maitred.core.monitor import (
    CRASH_LOOP,
    ClassConfig,
    Complaint,
    DistributorExited,
    DistributorPhase,
    DistributorStable,
    DrainOver,
    DropDuplicate,
    DropListener,
    DropServer,
    DynamicRest,
    ElementFailed,
    ElementRestored,
    Exit,
    Fired,
    GraceOver,
    Kill,
    KillDelay,
    KillDistributor,
    Phase,
    PlacePhase,
    Replace,
    Report,
    Reported,
    RestartDistributor,
    RestartServer,
    Retire,
    Scale,
    SendDistributor,
    ServerExited,
    ServerGone,
    ServerStable,
    SetTimer,
    ShutDownStored,
    StartDistributor,
    Started,
    StartServer,
    StartWarning,
    StopRequested,
    Terminate,
    enabled,
    guard,
    initial,
    step,
)
from maitred.core.transition import Reason, Rejected
from maitred.core.tree import Tree

# ================================================================ a Monitor to talk to


def config(static=1, dynamic=0, elements=(0,), listeners=((PORT, ADDRESS),)):
    return ClassConfig(static, dynamic, 64, 100, elements, listeners, True)


class Watched(Machine):
    """A Monitor, with Distributors and servers that are played by the test.  Methods mean class 0."""

    def __init__(self, *classes, weights=(1,)):
        super().__init__(monitor, initial(classes or (config(),), weights))

    def send(self, *messages):
        """The Distributor sends this."""
        return self.take(*(Reported(0, message) for message in messages))

    def sent(self):
        """What the last events sent to the Distributor of class 0."""
        return [effect.message for effect in self.of(SendDistributor) if effect.class_id == 0]

    def dies(self, server):
        """The server's main process ends, then the last of its descendants."""
        return self.take(ServerExited(0, server), ServerGone(0, server))

    @property
    def cls(self):
        return self.state.classes[0]

    def place(self, place=0):
        return self.cls.places[place]

    def servers(self):
        return list(self.cls.living)


def running(*classes, weights=(1,)):
    """A Monitor that has started everything."""
    run = Watched(*classes, weights=weights)
    run.take(Started())
    return run


def serving(*classes, weights=(1,)):
    """The same, and every server of class 0 is ready."""
    run = running(*classes, weights=weights)
    for server in run.servers():
        run.send(KeepDialog(server, PORT), ServerReady(server, PORT))
    return run


def restart(run):
    """The timers by which the last events will start a server or a Distributor again."""
    return [effect.timer for effect in run.of(SetTimer) if isinstance(effect.timer, RestartServer | RestartDistributor)]


# ================================================================ the rules


class TestRule1WhatShouldRunIsStartedAndStartedAgain:
    def test_first_the_distributor_then_the_static_servers(self):
        run = Watched(config(static=2))
        run.take(Started())
        assert run.of(StartDistributor, StartServer) == [
            StartDistributor(0, 1, 0, ((PORT, ADDRESS),), 0),
            StartServer(0, 1, 0, 0),
            StartServer(0, 2, 1, 0),
        ]
        assert run.sent() == [
            Begin(),
            Adopt(1, 64, 1, False, False, (), ()),
            Adopt(2, 64, 1, False, False, (), ()),
        ]

    def test_every_class_has_its_own(self):
        run = running(config(), config(listeners=((OTHER, OTHER_ADDRESS),)))
        assert [(start.class_id, start.listeners) for start in run.of(StartDistributor)] == [
            (0, ((PORT, ADDRESS),)),
            (1, ((OTHER, OTHER_ADDRESS),)),
        ]
        assert [(start.class_id, start.server) for start in run.of(StartServer)] == [(0, 1), (1, 2)]

    def test_a_static_server_that_dies_is_started_again_after_a_delay_as_another(self):
        run = serving()
        run.dies(1)
        assert restart(run) == [RestartServer(0, 0, 0)]
        assert run.of(StartServer) == []
        run.take(Fired(RestartServer(0, 0, 0)))
        assert run.of(StartServer) == [StartServer(0, 2, 0, 0)]
        assert run.sent() == [Adopt(2, 64, 1, False, False, (), ())]

    def test_each_death_makes_the_delay_longer(self):
        run = serving()
        attempts = []
        for server in (1, 2, 3):
            run.dies(server)
            attempts += restart(run)
            run.take(Fired(attempts[-1]))
            run.send(ServerReady(server + 1, PORT))
        assert attempts == [RestartServer(0, 0, 0), RestartServer(0, 0, 1), RestartServer(0, 0, 2)]

    def test_deaths_are_forgotten_once_the_server_has_lived_for_a_while(self):
        run = serving()
        run.dies(1)
        run.take(Fired(RestartServer(0, 0, 0)))
        run.send(ServerReady(2, PORT))
        assert SetTimer(ServerStable(0, 2)) in run.effects
        run.take(Fired(ServerStable(0, 2)))
        run.dies(2)
        assert restart(run) == [RestartServer(0, 0, 0)]

    def test_a_distributor_that_dies_is_started_again_after_a_delay(self):
        run = serving()
        run.take(DistributorExited(0))
        assert restart(run) == [RestartDistributor(0, 0)]
        run.take(Fired(RestartDistributor(0, 0)))
        assert run.of(StartDistributor) == [StartDistributor(0, 2, 0, ((PORT, ADDRESS),), 0)]
        run.take(DistributorExited(0))
        assert restart(run) == [RestartDistributor(0, 1)]

    def test_and_its_deaths_are_forgotten_too(self):
        run = serving()
        run.take(DistributorExited(0), Fired(RestartDistributor(0, 0)))
        assert SetTimer(DistributorStable(0, 2)) in run.effects
        run.take(Fired(DistributorStable(0, 2)), DistributorExited(0))
        assert restart(run) == [RestartDistributor(0, 0)]

    def test_a_server_that_does_not_listen_is_reported_again_and_again_and_left_to_run(self):
        run = running()
        assert SetTimer(StartWarning(0, 1)) in run.effects
        for _ in range(2):
            run.take(Fired(StartWarning(0, 1)))
            assert run.effects == [Report(0, Complaint.NOT_LISTENING, 1), SetTimer(StartWarning(0, 1))]


class TestRule2ADynamicServerIsStartedWhenTheDistributorAsks:
    def test_while_the_class_has_one_left(self):
        run = serving(config(static=1, dynamic=1))
        run.send(CreateServer())
        assert run.of(StartServer) == [StartServer(0, 2, 1, 0)]
        assert run.sent() == [Adopt(2, 64, 1, True, False, (), ())]
        assert run.send(CreateServer()) == [SendDistributor(0, CreationFailed())]

    def test_after_one_that_died_before_it_was_ready_the_next_must_wait(self):
        run = serving(config(static=1, dynamic=2))
        run.send(CreateServer())
        assert SetTimer(DynamicRest(0, 0)) in run.dies(2)
        run.send(CreateServer())
        assert run.sent() == [CreationFailed()] and run.of(StartServer) == []
        run.take(Fired(DynamicRest(0, 0)))
        run.send(CreateServer())
        assert SetTimer(DynamicRest(0, 1)) in run.dies(3)
        assert run.declines(Fired(DynamicRest(0, 1))) is None
        for server in range(4, 4 + monitor.CRASH_LOOP - 2):
            run.take(Fired(DynamicRest(0, 0)))
            run.send(CreateServer())
            run.dies(server)
        assert Report(0, Complaint.CRASH_LOOP, server) in run.effects

    def test_one_that_became_ready_forgives_the_others(self):
        run = serving(config(static=1, dynamic=1))
        run.send(CreateServer())
        run.dies(2)
        run.take(Fired(DynamicRest(0, 0)))
        run.send(CreateServer(), ServerReady(3, PORT))
        assert run.cls.dynamic_deaths == 0
        run.dies(3)
        run.send(CreateServer())
        assert run.of(StartServer) == [StartServer(0, 4, 1, 0)]
        assert run.declines(Fired(DynamicRest(0, 0))) is Reason.TIMER_IS_STALE

    def test_it_is_not_started_again_and_its_place_is_free(self):
        run = serving(config(static=1, dynamic=1))
        run.send(CreateServer(), ServerReady(2, PORT))
        run.dies(2)
        assert restart(run) == []
        run.send(CreateServer())
        assert run.of(StartServer) == [StartServer(0, 3, 1, 0)]

    def test_not_where_no_element_is_up(self):
        run = serving(config(dynamic=1))
        run.take(ElementFailed(0))
        run.send(CreateServer())
        assert run.effects[0] == Report(0, Complaint.NO_ELEMENT, 0)
        assert run.sent() == [CreationFailed()]
        assert list(run.cls.vacant) == [1]

    def test_not_while_stopping(self):
        run = serving(config(dynamic=1))
        run.take(StopRequested())
        assert run.send(CreateServer()) == [SendDistributor(0, CreationFailed())]


class TestRule3AProcessRunsOnItsOwnElementOrOnTheEmptiest:
    def test_they_are_spread(self):
        run = running(config(static=3, elements=(0, 1)), weights=(1, 1))
        assert run.of(StartDistributor)[0].element == 0
        assert [start.element for start in run.of(StartServer)] == [1, 0, 1]

    def test_the_weight_of_the_element_is_sent(self):
        run = running(config(static=2, elements=(0, 1)), weights=(3, 5))
        assert [adopt.weight for adopt in run.sent()[1:]] == [5, 3]

    def test_only_on_the_elements_of_its_class(self):
        run = running(config(static=3, elements=(1,)), weights=(1, 1))
        assert {start.element for start in run.of(StartServer)} == {1}

    def test_again_on_its_own_although_another_is_emptier(self):
        run = serving(config(static=2, elements=(0, 1)), weights=(1, 1))
        assert (run.cls.distributor.element, run.place(0).element, run.place(1).element) == (0, 1, 0)
        for server in run.servers():
            run.dies(server)
        run.take(Fired(RestartServer(0, 1, 0)))
        assert run.of(StartServer)[0].element == 0

    def test_when_its_own_has_failed_all_on_it_are_killed_and_start_elsewhere(self):
        run = serving(config(static=2, elements=(0, 1)), weights=(1, 1))
        on_1 = run.place(0)
        assert (on_1.element, run.cls.distributor.element, run.place(1).element) == (1, 0, 0)
        run.take(ElementFailed(0))
        assert run.effects == [KillDistributor(0), Kill(0, 2)]
        run.take(DistributorExited(0), ServerExited(0, 2), ServerGone(0, 2))
        assert restart(run) == [RestartDistributor(0, 0), RestartServer(0, 1, 0)]
        run.take(Fired(RestartDistributor(0, 0)))
        assert run.of(StartDistributor)[0].element == 1
        assert run.sent()[0].server == 1
        run.take(Fired(RestartServer(0, 1, 0)))
        assert run.of(StartServer)[0].element == 1

    def test_what_runs_on_the_others_is_left_alone(self):
        run = serving(config(static=2, elements=(0, 1)), weights=(1, 1))
        run.take(ElementFailed(1))
        assert run.effects == [Kill(0, 1)]

    def test_the_death_of_an_element_is_not_held_against_its_servers(self):
        run = running()
        run.take(ElementFailed(0), ServerExited(0, 1), ServerGone(0, 1))
        assert (run.place().deaths, run.place().unready_deaths) == (0, 0)

    def test_without_any_element_it_is_reported_and_what_is_missing_starts_when_one_is_back(self):
        run = serving()
        run.take(ElementFailed(0), DistributorExited(0), ServerExited(0, 1), ServerGone(0, 1))
        run.take(Fired(RestartDistributor(0, 0)), Fired(RestartServer(0, 0, 0)))
        assert run.effects == [Report(0, Complaint.NO_ELEMENT, 0), Report(0, Complaint.NO_ELEMENT, 1)]
        run.take(ElementRestored(0))
        assert restart(run) == [RestartDistributor(0, 0), RestartServer(0, 0, 0)]
        run.take(Fired(RestartDistributor(0, 0)), Fired(RestartServer(0, 0, 0)))
        assert run.of(StartDistributor) and run.of(StartServer)

    def test_what_runs_is_not_started_twice_when_an_element_is_back(self):
        run = serving(config(static=2, dynamic=1, elements=(0, 1)), weights=(1, 1))
        run.send(CreateServer())
        run.take(ElementFailed(1))
        run.take(ElementRestored(1))
        assert restart(run) == []


class TestRule4WhenAServerDiesEveryDescendantIsKilledAndOnlyThenIsItsPlaceFree:
    def test_when_its_main_process_dies(self):
        run = serving()
        assert run.take(ServerExited(0, 1)) == [Kill(0, 1)]
        assert run.place().phase is PlacePhase.KILLING
        assert restart(run) == []
        run.take(ServerGone(0, 1))
        assert run.effects[0] == DropServer(0, 1)
        assert run.place().phase is PlacePhase.DOWN

    def test_when_it_does_not_answer(self):
        run = serving()
        assert run.send(Unresponsive(1)) == [Kill(0, 1)]
        run.dies(1)
        assert restart(run) == [RestartServer(0, 0, 0)]

    def test_once(self):
        run = serving()
        run.send(Unresponsive(1))
        assert run.take(ServerExited(0, 1)) == []

    def test_the_distributor_is_sent_nothing(self):
        run = serving()
        run.dies(1)
        assert run.sent() == []

    def test_all_that_was_kept_for_it_is_dropped(self):
        run = serving()
        run.dies(1)
        assert run.place().dialogs == Tree()
        assert run.declines(Reported(0, ServerReady(1, PORT))) is Reason.UNKNOWN_SERVER


class TestRule5AServerIsAskedToEndWhenItIsDrainedOrTheGraceHasEnded:
    def test_when_it_is_drained(self):
        run = serving(config(dynamic=1))
        run.send(CreateServer())
        assert run.send(Drained(2)) == [Terminate(0, 2), SetTimer(KillDelay(0, 2))]
        assert run.send(Drained(2)) == []
        run.dies(2)
        assert run.of(SetTimer) == []

    def test_when_the_grace_has_ended(self):
        run = serving(config(static=2))
        assert run.take(StopRequested()) == [SetTimer(GraceOver()), SendDistributor(0, Close())]
        run.take(Fired(GraceOver()))
        assert run.effects == [
            KillDistributor(0),
            Terminate(0, 1),
            SetTimer(KillDelay(0, 1)),
            Terminate(0, 2),
            SetTimer(KillDelay(0, 2)),
        ]

    def test_one_that_does_not_end_is_killed(self):
        run = serving()
        run.send(Drained(1))
        assert run.take(Fired(KillDelay(0, 1))) == [Kill(0, 1)]

    def test_one_that_ended_as_it_was_asked_has_not_died(self):
        run = serving()
        run.send(Drained(1))
        run.dies(1)
        assert run.place().deaths == 0


class TestRule6TheStoreHasExactlyTheClientsThatWait:
    def test_stored_and_released(self):
        run = serving()
        assert run.send(Store(client(1)), Store(client(2))) == []
        assert run.send(Release(client(1))) == [DropDuplicate(0, client(1))]
        assert list(run.cls.store) == [client(2)]

    def test_a_new_distributor_is_sent_who_lives_then_who_waits_then_begin(self):
        run = serving(config(static=2, dynamic=1))
        run.send(KeepDialog(2, OTHER), CreateServer(), Drained(2))
        run.send(Store(client(5)), Store(client(3)), Store(client(4)), Release(client(4)))
        run.take(DistributorExited(0), Fired(RestartDistributor(0, 0)))
        assert run.sent() == [
            Adopt(1, 64, 1, False, False, (PORT,), (PORT,)),
            Adopt(2, 64, 1, False, True, (PORT, OTHER), (PORT,)),
            Adopt(3, 64, 1, True, False, (), ()),
            Restore(client(3)),
            Restore(client(5)),
            Begin(),
        ]

    def test_a_dialog_owes_an_answer_from_when_it_is_ready_until_it_is_not(self):
        run = running()
        owed = []
        for message in (KeepDialog(1, PORT), ServerReady(1, PORT), KeepDialog(1, PORT), ServerNotReady(1, PORT)):
            run.send(message)
            run.take(DistributorExited(0), Fired(RestartDistributor(0, 0)))
            owed.append(run.sent()[0].owed)
        assert owed == [(), (PORT,), (PORT,), ()]

    def test_a_dead_server_is_not_adopted(self):
        run = serving(config(static=2))
        run.dies(1)
        run.take(DistributorExited(0), Fired(RestartDistributor(0, 0)))
        assert [adopt.server for adopt in run.sent() if isinstance(adopt, Adopt)] == [2]

    def test_one_whose_descendants_are_still_being_killed_is_adopted_as_draining(self):
        run = serving()
        run.take(ServerExited(0, 1), DistributorExited(0), Fired(RestartDistributor(0, 0)))
        assert run.sent()[0].draining

    def test_without_a_distributor_nothing_is_sent(self):
        run = serving()
        run.dies(1)
        run.take(DistributorExited(0), Fired(RestartServer(0, 0, 0)))
        assert run.sent() == []
        run.take(Fired(RestartDistributor(0, 0)))
        assert [adopt.server for adopt in run.sent() if isinstance(adopt, Adopt)] == [2]

    def test_listening_sockets_outlive_the_distributor_until_the_port_is_closed(self):
        run = running(config(listeners=()))
        run.send(KeepListener(PORT, ADDRESS), KeepListener(OTHER, OTHER_ADDRESS))
        run.take(DistributorExited(0), Fired(RestartDistributor(0, 0)))
        assert run.of(StartDistributor)[0].listeners == ((PORT, ADDRESS), (OTHER, OTHER_ADDRESS))
        assert run.send(DropListeners(PORT)) == [DropListener(0, PORT)]
        run.take(DistributorExited(0), Fired(RestartDistributor(0, 1)))
        assert run.of(StartDistributor)[0].listeners == ((OTHER, OTHER_ADDRESS),)


class TestRule7ServersThatDieBeforeTheyWereReadyAreReported:
    def crash(self, run, place, times):
        """The server of the place dies so many times before it is ready; gives every complaint."""
        complaints = []
        for _ in range(times):
            if run.place(place).phase is PlacePhase.DOWN:
                run.take(Fired(RestartServer(0, place, 0)))
            run.dies(run.place(place).server)
            complaints += [(report.complaint, report.server) for report in run.of(Report)]
        return complaints

    def test_a_crash_loop_is_reported_and_takes_no_healthy_server_down(self):
        run = running(config(static=2))
        run.send(ServerReady(2, PORT))
        complaints = self.crash(run, 0, 2 * CRASH_LOOP)
        assert [complaint for complaint, _ in complaints] == [Complaint.CRASH_LOOP] * 2
        assert run.of(Kill, KillDistributor, Terminate) == [Kill(0, run.place(0).server)]
        assert restart(run) == [RestartServer(0, 0, 2 * CRASH_LOOP - 1)]
        assert run.state.phase is Phase.RUNNING

    def test_deaths_after_having_been_ready_are_no_crash_loop(self):
        run = serving()
        for server in range(1, 3 * CRASH_LOOP):
            run.dies(server)
            assert run.of(Report) == []
            run.take(Fired(RestartServer(0, 0, 0)))
            run.send(ServerReady(server + 1, PORT))

    def test_a_class_of_which_none_has_ever_been_ready_is_given_up(self):
        run = running(config(static=2))
        assert self.crash(run, 0, CRASH_LOOP) == [(Complaint.CRASH_LOOP, run.place(0).server)]
        assert run.state.phase is Phase.RUNNING
        complaints = self.crash(run, 1, CRASH_LOOP)
        assert [complaint for complaint, _ in complaints] == [Complaint.CRASH_LOOP, Complaint.GIVEN_UP]
        assert run.effects[-1] == KillDistributor(0)
        run.take(DistributorExited(0))
        assert run.effects == [Exit(Complaint.GIVEN_UP)]

    def test_not_while_one_of_them_still_might_be(self):
        run = running(config(static=2))
        self.crash(run, 0, 3 * CRASH_LOOP)
        assert run.state.phase is Phase.RUNNING

    def test_however_much_oftener_one_has_died_than_the_other(self):
        run = running(config(static=2))
        self.crash(run, 0, CRASH_LOOP + 1)
        self.crash(run, 1, CRASH_LOOP - 1)
        assert run.state.phase is Phase.RUNNING
        assert (Complaint.GIVEN_UP, 0) in self.crash(run, 1, 1)

    def test_an_address_that_cannot_be_listened_on_ends_it_too(self):
        run = running()
        run.send(ListenFailed(PORT, ADDRESS, 98))
        assert run.effects == [Report(0, Complaint.CANNOT_LISTEN, 0), KillDistributor(0), Kill(0, 1)]
        run.take(ServerExited(0, 1), ServerGone(0, 1), DistributorExited(0))
        assert run.effects[-1] == Exit(Complaint.CANNOT_LISTEN)

    def test_but_not_while_it_is_stopping_anyway(self):
        run = running()
        run.take(StopRequested())
        assert run.send(ListenFailed(PORT, ADDRESS, 98)) == []


# ================================================================ stopping


class TestAStopIsGracefulTheFirstTimeAndAtOnceTheSecond:
    def test_it_ends_when_the_distributor_has_closed_and_the_last_server_is_gone(self):
        run = serving(config(static=2))
        run.take(StopRequested())
        run.send(Drained(1), Drained(2), Closed())
        assert run.state.phase is Phase.CLOSING
        run.take(DistributorExited(0))
        assert restart(run) == []
        run.dies(1)
        assert restart(run) == [] and run.of(Exit) == []
        run.dies(2)
        assert run.effects[-1] == Exit(None)
        assert run.state.phase is Phase.ENDED

    def test_it_waits_for_every_class(self):
        run = serving(config(static=0), config(static=0))
        run.take(StopRequested())
        run.send(Closed())
        assert run.of(Exit) == []
        run.take(Reported(1, Closed()))
        assert run.effects == [Exit(None)]

    def test_a_distributor_that_dies_meanwhile_is_replaced_for_those_who_wait(self):
        run = serving()
        run.send(Store(client(1)))
        run.take(StopRequested(), DistributorExited(0))
        assert restart(run) == [RestartDistributor(0, 0)]
        run.dies(1)
        assert run.of(Exit) == []
        run.take(Fired(RestartDistributor(0, 0)))
        assert run.sent() == [Restore(client(1)), Begin(), Close()]

    def test_a_static_server_that_dies_meanwhile_is_not(self):
        run = serving()
        run.take(StopRequested())
        run.dies(1)
        assert restart(run) == []
        assert run.declines(Fired(RestartServer(0, 0, 0))) is Reason.TIMER_IS_STALE

    def test_who_still_waits_at_the_end_of_the_grace_is_shut_down(self):
        run = serving()
        run.send(Store(client(2)), Store(client(1)))
        run.take(StopRequested(), Fired(GraceOver()), DistributorExited(0))
        run.dies(1)
        assert run.effects[-3:] == [ShutDownStored(0, client(1)), ShutDownStored(0, client(2)), Exit(None)]

    def test_a_second_request_kills_everything_at_once(self):
        run = serving(config(static=3))
        run.send(Drained(1))
        run.dies(2)
        run.take(StopRequested(), StopRequested())
        assert run.of(Kill, KillDistributor) == [KillDistributor(0), Kill(0, 1), Kill(0, 3)]
        assert run.state.phase is Phase.ENDING

    def test_so_does_one_after_the_grace_has_ended(self):
        run = serving(config(static=2))
        run.take(StopRequested(), Fired(GraceOver()), ServerExited(0, 1))
        run.take(StopRequested())
        assert run.of(Kill) == [Kill(0, 2)]

    def test_a_distributor_that_dies_while_ending_is_not_replaced(self):
        run = serving()
        run.take(StopRequested(), StopRequested(), DistributorExited(0))
        assert restart(run) == []
        assert run.declines(Fired(RestartDistributor(0, 0))) is Reason.TIMER_IS_STALE

    def test_a_server_that_died_already_is_not_waited_for(self):
        run = serving()
        run.dies(1)
        run.take(StopRequested(), Fired(GraceOver()))
        assert run.effects[-1] == KillDistributor(0)
        assert run.take(DistributorExited(0)) == [Exit(None)]


# ================================================================ refusals


def new():
    return Watched()


def stopping():
    run = serving()
    run.take(StopRequested())
    return run


def storing():
    run = serving()
    run.send(Store(client(1)))
    return run


def orphaned():
    run = serving()
    run.take(DistributorExited(0))
    return run


def ended():
    run = stopping()
    run.send(Closed())
    run.dies(1)
    return run


def replacing():
    """A Monitor whose only server is being replaced."""
    run = serving()
    run.take(Replace(0, (0,), 0, at_once=False))
    return run


REFUSALS = [
    (serving, Started(), Reason.ALREADY_STARTED),
    (new, Scale(0, 1, 0), Reason.NOT_RUNNING),
    (serving, Retire(0, 9, limited=True), Reason.UNKNOWN_PLACE),
    (serving, Scale(0, 0, 0), Reason.NO_STATIC_SERVER),
    (replacing, Scale(0, 1, 0), Reason.REPLACING),
    (new, StopRequested(), Reason.NOT_STARTED),
    (ended, StopRequested(), Reason.ENDED),
    (new, ElementFailed(7), Reason.UNKNOWN_ELEMENT),
    (new, ElementRestored(7), Reason.UNKNOWN_ELEMENT),
    (new, ElementRestored(0), Reason.SAME_ELEMENT_STATE),
    (new, Reported(7, Closed()), Reason.UNKNOWN_CLASS),
    (storing, Reported(0, Store(client(1))), Reason.DUPLICATE_CLIENT),
    (storing, Reported(0, Release(client(2))), Reason.UNKNOWN_CLIENT),
    (serving, Reported(0, KeepDialog(7, PORT)), Reason.UNKNOWN_SERVER),
    (serving, Reported(0, ServerReady(7, PORT)), Reason.UNKNOWN_SERVER),
    (serving, Reported(0, ServerNotReady(7, PORT)), Reason.UNKNOWN_SERVER),
    (serving, Reported(0, Drained(7)), Reason.UNKNOWN_SERVER),
    (serving, Reported(0, Unresponsive(7)), Reason.UNKNOWN_SERVER),
    (serving, ServerExited(0, 7), Reason.NO_SUCH_PROCESS),
    (serving, ServerExited(7, 1), Reason.NO_SUCH_PROCESS),
    (serving, ServerGone(0, 7), Reason.NO_SUCH_PROCESS),
    (serving, DistributorExited(7), Reason.UNKNOWN_CLASS),
    (orphaned, DistributorExited(0), Reason.NO_SUCH_PROCESS),
    (serving, Fired(GraceOver()), Reason.NOT_CLOSING),
    (serving, Fired(RestartServer(7, 0, 0)), Reason.UNKNOWN_CLASS),
    (serving, Fired(RestartServer(0, 0, 0)), Reason.TIMER_IS_STALE),
    (serving, Fired(RestartServer(0, 7, 0)), Reason.TIMER_IS_STALE),
    (serving, Fired(RestartDistributor(0, 0)), Reason.TIMER_IS_STALE),
    (serving, Fired(DistributorStable(0, 1)), Reason.TIMER_IS_STALE),
    (serving, Fired(DistributorStable(0, 7)), Reason.TIMER_IS_STALE),
    (orphaned, Fired(DistributorStable(0, 1)), Reason.TIMER_IS_STALE),
    (serving, Fired(ServerStable(0, 7)), Reason.NO_SUCH_PROCESS),
    (serving, Fired(ServerStable(0, 1)), Reason.TIMER_IS_STALE),
    (serving, Fired(StartWarning(0, 1)), Reason.TIMER_IS_STALE),
    (serving, Fired(KillDelay(0, 1)), Reason.TIMER_IS_STALE),
]


@pytest.mark.parametrize(("state", "event", "reason"), REFUSALS)
def test_what_may_not_happen_is_declined_with_its_reason(state, event, reason):
    run = state()
    before = hash(run.state)
    assert run.declines(event) is reason
    assert hash(run.state) == before


# ================================================================ a whole life


def test_a_whole_life_meets_every_event_message_timer_and_effect():
    run = running(config(static=2, dynamic=1, elements=(0, 1)), weights=(1, 1))
    run.take(Fired(StartWarning(0, 1)))
    run.send(KeepListener(PORT, ADDRESS), KeepDialog(1, PORT), ServerReady(1, PORT), ServerNotReady(1, PORT))
    run.send(Store(client(1)), Store(client(2)), Release(client(1)), CreateServer(), CreateServer(), Drained(3))
    run.take(Fired(KillDelay(0, 3)), ServerExited(0, 3), ServerGone(0, 3))
    run.send(CreateServer())
    run.dies(4)
    run.take(Fired(DynamicRest(0, 0)))
    run.send(Unresponsive(1))
    run.dies(1)
    run.take(Fired(RestartServer(0, 0, 0)))
    run.send(ServerReady(5, PORT))
    run.take(Fired(ServerStable(0, 5)))
    run.take(DistributorExited(0), Fired(RestartDistributor(0, 0)), Fired(DistributorStable(0, 2)))
    run.take(ElementFailed(0), ElementRestored(0), DistributorExited(0), Fired(RestartDistributor(0, 0)))
    run.take(Scale(0, 3, 1), Replace(0, (0,), 0, at_once=True), Retire(0, 3, limited=True))
    run.take(Fired(DrainOver(0, run.place(3).server)))
    run.take(StopRequested())
    run.send(ListenFailed(PORT, ADDRESS, 98), DropListeners(PORT))
    run.take(Fired(GraceOver()))
    run.send(Closed())
    for server in run.servers():
        run.dies(server)
    assert run.state.phase is Phase.ENDED
    events = {kind for event in run.events_seen for kind in kinds_within(event)}
    effects = {kind for effect in run.effects_seen for kind in kinds_within(effect)}
    assert {*parts(monitor.Event), *parts(messages.ToMonitor), *parts(monitor.Timer)} <= events
    assert {*parts(monitor.Effect), *parts(messages.ToDistributor), *parts(monitor.Timer)} <= effects


# ================================================================ any run

ARBITRARY = values(
    monitor.Event,
    integers=st.one_of(st.integers(0, 4), st.just(PORT)),
    texts=st.just(ADDRESS),
    instead={
        Client: st.builds(client, st.integers(0, 4)),
        Scale: st.builds(Scale, st.integers(0, 1), st.integers(0, 4), st.integers(-1, 3)),
    },
)


def likely(state):
    """What might really happen next in the state."""
    yield from (Started(), StopRequested(), *enabled(state))
    for element in state.elements:
        yield from (ElementFailed(element), ElementRestored(element))
    for class_id, cls in state.classes.items():
        if cls.distributor.phase is DistributorPhase.RUNNING:
            yield DistributorExited(class_id)
            possible = [Store(client(1)), Store(client(2)), Release(client(1)), Release(client(2)), CreateServer()]
            possible += [KeepListener(PORT, ADDRESS), DropListeners(PORT), ListenFailed(PORT, ADDRESS, 98)]
            possible += [Closed()] if state.phase is not Phase.RUNNING else []
            for server in cls.living:
                possible += [KeepDialog(server, PORT), ServerReady(server, PORT), ServerNotReady(server, PORT)]
                possible += [Drained(server), Unresponsive(server)]
            yield from (Reported(class_id, message) for message in possible)
        for server in cls.living:
            yield from (ServerExited(class_id, server), ServerGone(class_id, server))
        for place in cls.places:
            yield from (Retire(class_id, place, limited=True), Retire(class_id, place, limited=False))
        for program in (cls.program, cls.program + 1):
            yield Replace(class_id, tuple(cls.places)[:2], program, at_once=False)
            yield Replace(class_id, (), program, at_once=True)
        yield from (Scale(class_id, 1, 0), Scale(class_id, 3, 2))


CHOICES = st.lists(st.one_of(st.integers(0, 60), ARBITRARY), max_size=60)
LIKELY = st.lists(st.integers(0, 60), max_size=60)


def runs(choices):
    """The steps of a run: the state before, the event and the outcome of each."""
    state = initial((config(static=2, dynamic=1, elements=(0, 1)), config(elements=(1,))), (1, 2))
    for choice in [Started()] * (len(choices) % 2) + choices:
        event = choice
        if isinstance(choice, int):
            events = list(likely(state))
            event = events[choice % len(events)]
        outcome = step(state, event)
        yield state, event, outcome
        if not isinstance(outcome, Rejected):
            state = outcome.state


def test_a_message_from_what_does_not_run_is_rejected():
    assert new().declines(Reported(0, Closed())) is Reason.NO_SUCH_PROCESS
    assert orphaned().declines(Reported(0, Store(client(1)))) is Reason.NO_SUCH_PROCESS


def test_a_distributor_that_has_closed_exits_once():
    run = stopping()
    run.send(Closed())
    run.take(DistributorExited(0))
    assert run.declines(DistributorExited(0)) is Reason.NO_SUCH_PROCESS


def rebuilt(state):
    """The state with every tree rebuilt, in the reverse order."""

    def again(tree):
        return Tree.of(reversed(list(tree.items())))

    def of(cls):
        trees = {name: again(getattr(cls, name)) for name in ("places", "vacant", "living", "store", "listeners")}
        return replace(cls, **trees)

    classes = Tree.of((class_id, of(cls)) for class_id, cls in reversed(list(state.classes.items())))
    return replace(state, classes=classes, elements=again(state.elements))


@settings(max_examples=50)
@given(CHOICES)
def test_no_run_raises_and_no_step_touches_its_argument(choices):
    for state, event, outcome in runs(choices):
        copy = rebuilt(state)
        assert copy == state and hash(copy) == hash(state)
        assert isinstance(outcome, Rejected) is (guard(state, event) is not None)
        again = step(state, event)
        assert again == outcome and hash(again) == hash(outcome)


@settings(max_examples=50)
@given(LIKELY)
def test_after_every_step_of_any_run_the_tables_agree(choices):
    for _, _, outcome in runs(choices):
        if isinstance(outcome, Rejected):
            continue
        state = outcome.state
        occupied = dict.fromkeys(state.elements, 0)
        for cls in state.classes.values():
            alive = [place for place in cls.places.values() if place.alive]
            assert dict(cls.living.items()) == {place.server: place.place for place in alive}
            dynamic = [place for place in cls.places.values() if place.dynamic]
            assert all(place.alive for place in dynamic)
            if cls.replacement is None:
                assert sum(place.stays for place in dynamic) + len(cls.vacant) == cls.config.dynamic
                staying = sum(not place.dynamic and place.stays for place in cls.places.values())
                assert staying == cls.config.static
            for place in alive:
                occupied[place.element] += 1
            if cls.distributor.phase is DistributorPhase.RUNNING:
                occupied[cls.distributor.element] += 1
        if all(cls.distributor.phase is not DistributorPhase.DONE for cls in state.classes.values()):
            assert {element: held.processes for element, held in state.elements.items()} == occupied


@settings(max_examples=50)
@given(LIKELY)
def test_in_any_run_no_server_id_is_used_twice_and_no_more_run_than_configured(choices):
    started = []
    for _, _, outcome in runs(choices):
        if isinstance(outcome, Rejected):
            continue
        started += [effect.server for effect in outcome.effects if isinstance(effect, StartServer)]
        for cls in outcome.state.classes.values():
            staying = sum(place.stays for place in cls.places.values() if place.alive)
            assert staying <= cls.config.static + cls.config.dynamic + (cls.replacement is not None)
    assert len(set(started)) == len(started)


@settings(max_examples=50)
@given(LIKELY)
def test_in_any_run_a_new_distributor_is_sent_adopt_then_restore_then_begin_then_close(choices):
    order = [Adopt, Restore, Begin, Close]
    for _, _, outcome in runs(choices):
        effects = () if isinstance(outcome, Rejected) else outcome.effects
        for at, effect in enumerate(effects):
            if not isinstance(effect, StartDistributor):
                continue
            sent_there = [
                e.message for e in effects[at:] if isinstance(e, SendDistributor) and e.class_id == effect.class_id
            ]
            protocol = sent_there[: next(i for i, message in enumerate(sent_there) if isinstance(message, Begin)) + 1]
            ranks = [order.index(type(message)) for message in protocol]
            assert ranks == sorted(ranks)
            cls = outcome.state.classes[effect.class_id]
            assert [message.client for message in protocol if isinstance(message, Restore)] == list(cls.store)
            closing = outcome.state.phase is Phase.CLOSING
            assert [type(message) for message in sent_there[len(protocol) :]] == [Close] * closing or not closing


def same_but_attempt(timer):
    """What a timer is for; a restart is the same restart whatever its delay."""
    return replace(timer, attempt=0) if hasattr(timer, "attempt") else timer


BY_SERVER = (ServerStable, StartWarning, KillDelay, DrainOver)


def may_fire(state):
    """The timers that the guard lets fire, of all there could be; each stands for the same with other attempts."""
    universe = [GraceOver()]
    for class_id in range(3):
        universe += [RestartServer(class_id, place, 0) for place in range(12)]
        universe += [RestartDistributor(class_id, 0), DynamicRest(class_id, 0)]
        universe += [DistributorStable(class_id, incarnation) for incarnation in range(30)]
        servers = range(state.next_server + 1)
        universe += [kind(class_id, server) for kind in BY_SERVER for server in servers]
    return {timer for timer in universe if guard(state, Fired(timer)) is None}


@settings(max_examples=50)
@given(LIKELY)
def test_in_any_run_what_is_enabled_may_fire_and_nothing_else(choices):
    for state, _, _ in runs(choices):
        assert {same_but_attempt(fired.timer) for fired in enabled(state)} == may_fire(state)


def waits_for_an_element(state, timer):
    """A restart for which there is no element: no timer runs, the return of one will set it."""
    if not isinstance(timer, RestartServer | RestartDistributor):
        return False
    return not any(state.elements[element].up for element in state.classes[timer.class_id].config.elements)


@settings(max_examples=50)
@given(LIKELY)
def test_in_any_run_a_timer_that_becomes_enabled_is_running(choices):
    """Else it would be waited for in vain.  One that fires out of season is spent."""
    timers = set()
    for state, event, outcome in runs(choices):
        if isinstance(event, Fired):
            timers.discard(same_but_attempt(event.timer))
        if isinstance(outcome, Rejected):
            continue
        timers |= {same_but_attempt(effect.timer) for effect in outcome.effects if isinstance(effect, SetTimer)}
        before, after = ({same_but_attempt(fired.timer) for fired in enabled(s)} for s in (state, outcome.state))
        vain = after - before - timers
        assert not {timer for timer in vain if not waits_for_an_element(outcome.state, timer)}
