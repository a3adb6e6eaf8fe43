"""The Distributor: each of its numbered rules, starting and closing, each refusal, and any sequence of events."""

from dataclasses import replace
from errno import EADDRINUSE, ESHUTDOWN
from itertools import permutations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.core.driving import (
    ADDRESS,
    OTHER,
    OTHER_ADDRESS,
    PORT,
    Machine,
    adoptions,
    client,
    kinds_within,
    parts,
    values,
)

from maitred.core import distributor, messages
from maitred.core.distributor import (
    CONTROL,
    FORGET_LIMIT,
    Accept,
    AcceptFailed,
    AcceptRetry,
    Audit,
    AuditDue,
    Audited,
    BacklogEmpty,
    BindRequested,
    CloseCopy,
    CloseDialog,
    CloseListeners,
    ConnectionRequest,
    ControlEnded,
    CreateDelay,
    Creation,
    DeleteDelay,
    DialogEnded,
    DialogPhase,
    Fired,
    HandOffTimeout,
    Listen,
    Listening,
    ListeningFailed,
    PeerClosed,
    Phase,
    QueueTimeout,
    Received,
    RestOver,
    Seat,
    Send,
    SendControl,
    SendMonitor,
    SetTimer,
    ShutDown,
    StillServes,
    Unfit,
    Unsent,
    Watch,
    canonical,
    enabled,
    guard,
    initial,
    step,
)
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Adopt,
    Allow,
    Begin,
    BindReply,
    Client,
    Close,
    Closed,
    Count,
    CreateServer,
    CreationFailed,
    Disconnect,
    Drain,
    Drained,
    DropListeners,
    HandOff,
    InitialMsg,
    KeepDialog,
    KeepListener,
    ListenFailed,
    NotReady,
    Refused,
    Release,
    RestartReply,
    Restore,
    ServerNotReady,
    ServerReady,
    Store,
    Unresponsive,
)
from maitred.core.transition import Reason, Rejected
from maitred.core.tree import Tree

# ================================================================ a Distributor to talk to


class Class(Machine):
    """A Distributor, with servers that are played by the test: they number their counts as real ones do."""

    def __init__(self, *listeners, incarnation=1, dynamic=0, limit=100, fixed=True):
        super().__init__(distributor, initial(incarnation, dynamic, limit, listeners, fixed))
        self.sequence = 0
        self.cookies = 1_000

    def count(self, clients):
        self.sequence += 1
        return Count(clients, self.sequence)

    def adopt(self, server, clients=None, *, ports=(PORT,), most=1, weight=1, dynamic=False, draining=False, owed=()):
        """Count a server in; with `clients` it answers on its ports at once that it serves so many."""
        self.take(Adopt(server, most, weight, dynamic, draining, ports, owed))
        if clients is not None:
            for port in ports:
                self.ready(server, clients, port)

    def adopt_coming(self, server, *, most):
        """Count a dynamic server in that has just been started."""
        return self.take(Adopt(server, most, 1, True, False, (), ()))

    def ready(self, server, clients=0, port=PORT):
        return self.take(Received(server, port, RestartReply(self.state.incarnation, self.count(clients))))

    def arrive(self, port=PORT):
        """The next client comes; gives it."""
        arrival = self.state.next_arrival
        self.cookies += 1
        self.take(ConnectionRequest(port, self.cookies))
        return Client(arrival, self.cookies, port)

    def accepted(self, server, clients):
        request = self.state.servers[server].request
        return self.take(Received(server, request.port, Accepted(request, self.count(clients))))

    def refused(self, server, clients=0):
        request = self.state.servers[server].request
        return self.take(Received(server, request.port, Refused(request, self.count(clients))))

    def left(self, server, who, clients):
        return self.take(Received(server, who.port, Disconnect(who, self.count(clients))))

    def handed(self):
        """Who was handed to whom by the last events: (server, client), in order."""
        sends = self.of(Send)
        return [(send.server, send.message.client) for send in sends if isinstance(send.message, HandOff)]

    def sent(self):
        """What the last events sent to the Monitor."""
        return [effect.message for effect in self.of(SendMonitor)]

    def queue(self, port=PORT):
        return list(self.state.ports[port].waiting)

    def status(self, server):
        return self.state.servers[server]


def operating(**options):
    """A Distributor that listens on PORT and has no servers."""
    run = Class((PORT, ADDRESS), **options)
    run.take(Begin(), Listening(PORT, ADDRESS))
    return run


def operating_on_two_ports(**options):
    run = Class((PORT, ADDRESS), (OTHER, OTHER_ADDRESS), **options)
    run.take(Begin(), Listening(PORT, ADDRESS), Listening(OTHER, OTHER_ADDRESS))
    return run


def full(**options):
    """A Distributor with one server, whose one seat is taken by a client that it gives too."""
    run = operating(**options)
    run.adopt(1, 0)
    seated = run.arrive()
    run.accepted(1, 1)
    return run, seated


# ================================================================ the rules


class TestRule1AClientIsHandedToAFreeServerOnly:
    def test_one_that_has_answered_there(self):
        run = operating()
        run.adopt(1, 0)
        who = run.arrive()
        assert run.handed() == [(1, who)]

    def test_not_one_that_has_not_answered(self):
        run = operating()
        run.adopt(1, 0)
        run.adopt(2)
        run.arrive()
        who = run.arrive()
        assert run.handed() == []
        assert run.queue() == [who]

    def test_not_one_that_has_answered_on_another_port_only(self):
        run = operating_on_two_ports()
        run.adopt(1, ports=(PORT, OTHER))
        run.adopt(2, 9, ports=(PORT,), most=9)
        run.ready(1, 0, OTHER)
        run.arrive()
        assert run.handed() == []

    def test_not_one_that_owes_an_answer_on_another_dialog(self):
        run = operating_on_two_ports()
        run.adopt(1, ports=(PORT, OTHER), owed=(PORT, OTHER))
        run.adopt(2, 9, most=9)
        run.ready(1, 0, PORT)
        who = run.arrive()
        assert run.handed() == []
        run.ready(1, 0, OTHER)
        assert run.handed() == [(1, who)]

    def test_not_one_that_serves_its_maximum(self):
        run = operating()
        run.adopt(1, 2, most=2)
        who = run.arrive()
        assert (run.handed(), run.queue()) == ([], [who])

    def test_not_one_that_is_draining(self):
        run = operating()
        run.adopt(1, 1, most=5, draining=True)
        run.arrive()
        assert run.handed() == []

    def test_not_one_that_is_unfit(self):
        run = operating()
        run.adopt(1, 1, most=5)
        run.take(Unfit(1))
        who = run.arrive()
        run.left(1, client(9), 0)
        assert (run.handed(), run.queue()) == ([], [who])

    def test_not_one_that_is_resting(self):
        run = operating()
        run.adopt(1, 0)
        who = run.arrive()
        run.refused(1)
        assert (run.handed(), run.queue()) == ([], [who])
        assert run.take(Fired(RestOver(1)))
        assert run.handed() == [(1, who)]

    def test_not_one_that_does_not_listen_any_more(self):
        run = operating()
        run.adopt(1, 0)
        run.take(Received(1, PORT, NotReady(0, run.count(0))))
        run.arrive()
        assert run.handed() == []


class TestRule2OfTheFreeServersTheLeastLoadedIsChosen:
    def chosen(self, run, clients):
        """So many clients come, each taken at once: who serves them."""
        order = []
        for _ in range(clients):
            run.arrive()
            ((server, _),) = run.handed()
            order.append(server)
            run.accepted(server, run.status(server).count.clients + 1)
        return order

    def test_the_one_with_the_fewest_clients(self):
        run = operating()
        run.adopt(1, 3, most=9)
        run.adopt(2, 1, most=9)
        run.adopt(3, 2, most=9)
        assert self.chosen(run, 3) == [2, 3, 2]

    def test_one_of_weight_two_takes_two_for_one(self):
        run = operating()
        run.adopt(1, 0, most=9, weight=1)
        run.adopt(2, 0, most=9, weight=2)
        order = self.chosen(run, 9)
        assert [order.count(1), order.count(2)] == [3, 6]

    def test_the_load_after_taking_the_client_is_compared(self):
        """1/2 + 1 more is 2/2 = 1; an idle one of weight 1 becomes 1/1 = 1 too: a tie, which the elder choice wins."""
        run = operating()
        run.adopt(1, 1, most=9, weight=2)
        run.adopt(2, 0, most=9, weight=1)
        run.adopt(3, 2, most=9, weight=3)
        assert [seat.server for seat in run.state.ports[PORT].free] == [1, 2, 3]
        assert self.chosen(run, 3) == [1, 2, 3]

    def test_fractions_are_compared_exactly(self):
        third, more = Seat(1, 3, 0, 1), Seat(333_333_333_333_333_334, 10**18, 0, 2)
        assert third < more
        assert not more < third

    def test_a_tie_goes_to_the_one_that_was_chosen_longest_ago(self):
        run = operating()
        for server in (1, 2, 3):
            run.adopt(server, 0, most=9)
        assert self.chosen(run, 6) == [1, 2, 3, 1, 2, 3]

    def test_the_order_of_choice_is_remembered_when_clients_leave(self):
        run = operating()
        for server in (1, 2):
            run.adopt(server, 0, most=9)
        first = run.arrive()
        run.accepted(1, 1)
        run.left(1, first, 0)
        run.arrive()
        assert run.handed()[0][0] == 2

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=6))
    def test_whoever_is_chosen_nobody_would_be_less_loaded(self, servers):
        run = operating()
        for number, (clients, weight) in enumerate(servers):
            run.adopt(number, clients, most=6, weight=weight)
        run.arrive()
        chosen = run.handed()[0][0]
        clients, weight = servers[chosen]
        assert all((clients + 1) * other <= (others + 1) * weight for others, other in servers)


class TestRule3AServerHasAtMostOneRequestOutstanding:
    def test_the_second_client_waits_although_there_are_seats(self):
        run = operating()
        run.adopt(1, 0, most=9)
        first = run.arrive()
        assert run.handed() == [(1, first)]
        assert run.of(SetTimer) == [SetTimer(HandOffTimeout(1))]
        second = run.arrive()
        assert (run.handed(), run.queue()) == ([], [second])

    def test_the_copy_of_the_connection_is_kept_until_the_reply(self):
        run = operating()
        run.adopt(1, 0, most=9)
        first = run.arrive()
        second = run.arrive()
        assert run.of(CloseCopy) == []
        effects = run.accepted(1, 1)
        assert effects[0] == CloseCopy(first)
        assert run.handed() == [(1, second)]

    def test_a_reply_that_names_another_client_is_no_reply(self):
        run = operating()
        run.adopt(1, 0, most=9)
        who = run.arrive()
        run.take(Received(1, PORT, Accepted(client(99), run.count(1))))
        assert run.of(CloseCopy) == []
        assert run.status(1).request == who
        run.take(Received(1, PORT, Refused(client(99), run.count(1))))
        assert run.status(1).request == who


class TestRule4ARequestComesBackOnlyWhenTheServerCannotHaveTheClient:
    def test_on_the_servers_own_refusal(self):
        run = operating()
        run.adopt(1, 0)
        run.adopt(2, 0)
        who = run.arrive()
        assert run.handed() == [(1, who)]
        run.refused(1)
        assert run.handed() == [(2, who)]
        assert SetTimer(RestOver(1)) in run.effects
        assert run.of(CloseCopy) == []

    def test_on_the_end_of_its_dialog(self):
        run = operating()
        run.adopt(1, 0)
        run.adopt(2, 0)
        who = run.arrive()
        run.take(DialogEnded(1, PORT))
        assert run.handed() == [(2, who)]
        assert CloseDialog(1, PORT) in run.effects

    def test_not_on_the_end_of_another_dialog(self):
        run = operating_on_two_ports()
        run.adopt(1, 0, ports=(PORT, OTHER))
        who = run.arrive(PORT)
        run.take(DialogEnded(1, OTHER))
        assert run.handed() == []
        assert run.status(1).request == who

    def test_when_it_could_not_be_sent_at_all(self):
        run = operating()
        run.adopt(1, 0)
        run.adopt(2, 0)
        who = run.arrive()
        run.take(Unsent(1, who))
        assert run.handed() == [(2, who)]
        assert SetTimer(RestOver(1)) in run.effects

    def test_never_on_a_timer(self):
        run = operating()
        run.adopt(1, 0)
        run.adopt(2, 0)
        who = run.arrive()
        assert run.take(Fired(HandOffTimeout(1))) == [SendMonitor(Unresponsive(1))]
        assert run.status(1).request == who

    def test_never_where_it_serves_on(self):
        run = operating()
        run.adopt(1, 2, most=9)
        who = run.arrive()
        assert run.take(StillServes(1)) == [SetTimer(HandOffTimeout(1))]
        assert run.take(StillServes(1)) == [SetTimer(HandOffTimeout(1))]
        assert run.status(1).request == who and run.status(1).full_at == 2

    def test_a_server_that_has_room_again_and_takes_nobody_hangs(self):
        run = operating()
        run.adopt(1, 2, most=9)
        who = run.arrive()
        run.take(StillServes(1))
        run.left(1, client(1), 1)
        assert run.take(StillServes(1)) == [SendMonitor(Unresponsive(1))]
        assert run.status(1).request == who

    def test_what_is_remembered_is_forgotten_with_the_answer(self):
        run = operating()
        run.adopt(1, 2, most=9)
        run.arrive()
        run.take(StillServes(1))
        run.accepted(1, 3)
        assert run.status(1).full_at == 0
        run.arrive()
        run.take(StillServes(1))
        run.refused(1, 3)
        assert run.status(1).full_at == 0

    def test_a_client_that_stays_too_long_ends_its_server(self):
        run = operating()
        run.adopt(1, 1)
        assert run.take(Unfit(1)) == [SendMonitor(Unresponsive(1))]

    def test_an_unfit_server_that_is_idle_is_reported_before_it_is_drained(self):
        run = operating()
        run.adopt(1, 0)
        assert run.take(Unfit(1)) == [SendMonitor(Unresponsive(1)), SendMonitor(Drained(1))]

    def test_never_on_the_end_of_the_control_socket(self):
        run = operating()
        run.adopt(1, 0)
        who = run.arrive()
        assert run.take(ControlEnded(1)) == [CloseDialog(1, CONTROL)]
        assert run.status(1).request == who

    def test_a_refusal_frees_the_server_when_it_sends_something_new(self):
        run = operating()
        run.adopt(1, 1, most=2)
        who = run.arrive()
        run.refused(1, 1)
        assert run.queue() == [who]
        effects = run.left(1, client(77), 0)
        assert run.handed() == [(1, who)]
        assert SendControl(1, Acknowledge(run.sequence)) in effects

    def test_a_server_whose_processes_have_all_ended_is_forgotten(self):
        run = operating()
        run.adopt(1, 0)
        run.take(ControlEnded(1))
        assert 1 in run.state.servers
        run.take(DialogEnded(1, PORT))
        assert 1 not in run.state.servers
        run.adopt(2, 0)
        run.take(DialogEnded(2, PORT))
        assert 2 in run.state.servers
        run.take(ControlEnded(2))
        assert 2 not in run.state.servers


class TestRule5CountsAreTheServersAndTheHighestSequenceNumberWins:
    def test_in_whatever_order_they_come(self):
        """Three clients come and one goes; the four counts arrive in any order."""
        for order in permutations([(1, 1), (2, 2), (3, 3), (2, 4)]):
            run = operating()
            run.adopt(1, most=9)
            for clients, number in order:
                run.take(Received(1, PORT, Disconnect(client(50), Count(clients, number))))
            assert run.status(1).count == Count(2, 4)

    def test_an_accepted_that_was_overtaken_still_ends_the_request(self):
        run = operating()
        run.adopt(1, 0, most=9)
        who = run.arrive()
        run.take(Received(1, PORT, Disconnect(who, Count(0, 11))))
        assert run.status(1).request == who
        run.take(Received(1, PORT, Accepted(who, Count(1, 10))))
        assert run.of(CloseCopy) == [CloseCopy(who)]
        assert (run.status(1).count, run.status(1).request) == (Count(0, 11), None)

    def test_a_count_of_zero_clients_is_a_count(self):
        run, seated = full()
        run.left(1, seated, 0)
        assert run.status(1).count.clients == 0

    def test_not_ready_that_was_overtaken_by_a_newer_reply_changes_nothing(self):
        run = operating()
        run.adopt(1)
        run.take(Received(1, PORT, RestartReply(1, Count(0, 5))))
        run.take(Received(1, PORT, NotReady(1, Count(0, 4))))
        assert run.status(1).dialogs[PORT].phase is DialogPhase.READY
        assert run.sent() == []

    def test_a_reply_that_was_overtaken_by_a_newer_not_ready_changes_nothing(self):
        run = operating()
        run.adopt(1)
        run.take(Received(1, PORT, NotReady(1, Count(0, 5))))
        run.take(Received(1, PORT, RestartReply(1, Count(0, 4))))
        assert run.status(1).dialogs[PORT].phase is DialogPhase.OPENED

    def test_ready_received_twice_is_reported_once(self):
        run = operating()
        run.adopt(1)
        run.ready(1)
        assert run.sent() == [ServerReady(1, PORT)]
        run.ready(1)
        assert run.sent() == []


class TestRule6WhoFindsNoFreeServerWaitsInTheOrderOfArrival:
    def test_first_come_first_served(self):
        run, seated = full()
        first, second = run.arrive(), run.arrive()
        assert run.queue() == [first, second]
        run.left(1, seated, 0)
        assert run.handed() == [(1, first)]
        assert run.queue() == [second]

    def test_a_request_that_comes_back_goes_to_the_head(self):
        run = operating()
        run.adopt(1, 0)
        first = run.arrive()
        second = run.arrive()
        run.refused(1)
        assert run.queue() == [first, second]

    def test_a_request_that_comes_back_with_the_end_of_a_dialog_keeps_its_arrival(self):
        run = operating()
        run.adopt(1, 0)
        run.adopt(2, 0)
        first, second, third = run.arrive(), run.arrive(), run.arrive()
        run.take(DialogEnded(2, PORT))
        run.take(DialogEnded(1, PORT))
        assert run.queue() == [first, second, third]

    def test_a_free_server_takes_the_earliest_across_the_ports_it_is_free_on(self):
        run = operating_on_two_ports()
        run.adopt(1, 0, ports=(PORT, OTHER))
        run.arrive(PORT)
        first, second, third = run.arrive(OTHER), run.arrive(PORT), run.arrive(OTHER)
        run.accepted(1, 1)
        order = []
        for seated in (first, second, third):
            run.left(1, seated, 0)
            order += [who for _, who in run.handed()]
            run.accepted(1, 1)
        assert order == [first, second, third]

    def test_a_port_without_free_servers_holds_nobody_up_on_another(self):
        run = operating_on_two_ports()
        run.adopt(1, 0, ports=(PORT,))
        run.adopt(2, 0, ports=(OTHER,))
        run.arrive(PORT)
        run.accepted(1, 1)
        early = run.arrive(PORT)
        late = run.arrive(OTHER)
        assert run.handed() == [(2, late)]
        assert run.queue(PORT) == [early]

    def test_one_step_seats_as_many_as_there_are_seats(self):
        run = operating_on_two_ports()
        run.adopt(1, 0, ports=(PORT,))
        run.take(Adopt(2, 1, 1, False, False, (OTHER,), ()))
        waiting = run.arrive(PORT), run.arrive(PORT)
        run.refused(1)
        run.adopt(3, 0, ports=(PORT,))
        assert run.handed() == [(3, waiting[0])]


class TestRule7WhoStartsToWaitIsStoredAndWhoStopsIsReleasedFirst:
    def test_stored_before_anything_else_happens_to_it(self):
        run, _ = full()
        who = run.arrive()
        assert run.effects[:3] == [SendMonitor(Store(who)), Watch(who), SetTimer(QueueTimeout(who))]

    def test_released_before_it_is_handed_to_a_server(self):
        run, seated = full()
        who = run.arrive()
        effects = run.left(1, seated, 0)
        assert effects.index(SendMonitor(Release(who))) < effects.index(Send(1, PORT, HandOff(who)))

    def test_shut_down_before_it_is_released_where_it_has_hung_up(self):
        run, _ = full()
        who = run.arrive()
        assert run.take(PeerClosed(who, False, False))[:2] == [ShutDown(who), SendMonitor(Release(who))]
        assert (run.queue(), run.state.waiting) == ([], 0)

    def test_shut_down_before_it_is_released_where_it_has_waited_too_long(self):
        run, _ = full()
        who = run.arrive()
        assert run.take(Fired(QueueTimeout(who)))[:2] == [ShutDown(who), SendMonitor(Release(who))]
        assert (run.queue(), run.state.waiting) == ([], 0)

    def test_a_reset_is_a_hang_up_whatever_was_sent(self):
        run, _ = full()
        who = run.arrive()
        assert run.take(PeerClosed(who, True, True))[0] == ShutDown(who)

    def test_a_half_close_with_data_waiting_is_not(self):
        run, _ = full()
        who = run.arrive()
        assert run.declines(PeerClosed(who, False, True)) is Reason.NOT_HANG_UP
        assert run.queue() == [who]

    def test_who_is_seated_at_once_is_never_stored(self):
        run = operating()
        run.adopt(1, 0)
        run.arrive()
        assert run.sent() == []

    def test_who_comes_back_and_finds_no_seat_is_stored_then(self):
        run = operating()
        run.adopt(1, 0)
        who = run.arrive()
        run.refused(1)
        assert Store(who) in run.sent()


class TestRule8AtTheBoundOfTheWaitingListTheDistributorStopsAccepting:
    def test_the_rest_wait_in_the_backlog_until_there_is_room(self):
        run, seated = full(limit=2)
        run.arrive()
        assert run.of(Accept) == [Accept(PORT, True)]
        run.arrive()
        assert run.of(Accept) == []
        assert run.declines(ConnectionRequest(PORT, 1)) is Reason.NOT_ACCEPTING
        run.left(1, seated, 0)
        assert run.of(Accept) == [Accept(PORT, True)]

    def test_nobody_is_accepted_before_some_server_has_answered_on_the_port(self):
        run = operating_on_two_ports()
        assert run.of(Accept) == []
        run.adopt(1, ports=(PORT, OTHER))
        run.ready(1, 0, PORT)
        assert run.of(Accept) == [Accept(PORT, True)]

    def test_nobody_is_accepted_before_every_address_of_the_port_listens(self):
        run = Class((PORT, ADDRESS), (PORT, "[::]:4049"))
        run.take(Begin(), Listening(PORT, ADDRESS))
        run.adopt(1, 0)
        assert run.of(Accept) == []
        run.take(Listening(PORT, "[::]:4049"))
        assert run.of(Accept) == [Accept(PORT, True)]

    def test_one_accept_at_a_time(self):
        run = operating()
        run.adopt(1, 0)
        assert run.of(Accept) == [Accept(PORT, True)]
        run.ready(1)
        assert run.of(Accept) == []

    def test_an_accept_that_fails_for_want_of_descriptors_is_tried_again_after_a_while(self):
        run = operating()
        run.adopt(1, 0)
        assert run.take(AcceptFailed(PORT)) == [SetTimer(AcceptRetry(PORT))]
        assert run.take(Fired(AcceptRetry(PORT))) == [Accept(PORT, True)]


class TestRule9WhileSomebodyWaitsNoServerIsFree:
    """That it holds after every step of any run is shown at the end of this file; here, each way to become free."""

    def waiting(self):
        run, seated = full()
        return run, seated, run.arrive()

    def test_a_client_leaves(self):
        run, seated, who = self.waiting()
        run.left(1, seated, 0)
        assert run.handed() == [(1, who)]

    def test_a_server_comes(self):
        run, _, who = self.waiting()
        run.adopt(2)
        run.ready(2)
        assert run.handed() == [(2, who)]

    def test_a_server_opens_its_listener_again(self):
        run = operating()
        run.adopt(1, 0)
        run.take(Received(1, PORT, NotReady(0, run.count(0))))
        who = run.arrive()
        run.ready(1)
        assert run.handed() == [(1, who)]

    def test_a_rest_is_over(self):
        run = operating()
        run.adopt(1, 0)
        who = run.arrive()
        run.refused(1)
        run.take(Fired(RestOver(1)))
        assert run.handed() == [(1, who)]

    def test_the_last_dialog_that_owed_an_answer_ends(self):
        run = operating_on_two_ports(incarnation=2)
        run.adopt(2, 9, most=9)
        run.adopt(1, ports=(PORT, OTHER), owed=(PORT, OTHER))
        who = run.arrive()
        run.ready(1)
        run.take(DialogEnded(1, OTHER))
        assert run.handed() == [(1, who)]


# ================================================================ dynamic servers


class TestDynamicServersComeUnderLoadAndGoWhenIdle:
    def test_one_is_asked_for_once_somebody_has_waited_for_the_create_delay(self):
        run, _ = full(dynamic=1)
        run.arrive()
        assert SetTimer(CreateDelay()) in run.effects
        assert run.sent() == [Store(run.queue()[0])]
        assert run.take(Fired(CreateDelay())) == [SendMonitor(CreateServer())]
        assert run.state.creation is Creation.REQUESTED

    def test_one_at_a_time(self):
        run, _ = full(dynamic=2)
        run.arrive()
        run.take(Fired(CreateDelay()))
        run.arrive()
        assert SetTimer(CreateDelay()) not in run.effects
        run.adopt(2, dynamic=True)
        assert SetTimer(CreateDelay()) in run.effects

    def test_none_where_whoever_waited_has_been_seated(self):
        run, seated = full(dynamic=1)
        run.arrive()
        run.left(1, seated, 0)
        assert run.take(Fired(CreateDelay())) == []
        assert run.state.creation is Creation.NONE

    def test_none_where_the_class_has_none(self):
        run, _ = full(dynamic=0)
        run.arrive()
        assert SetTimer(CreateDelay()) not in run.effects

    def test_asked_for_again_when_none_could_be_started(self):
        run, _ = full(dynamic=1)
        run.arrive()
        run.take(Fired(CreateDelay()))
        assert run.take(CreationFailed()) == [SetTimer(CreateDelay())]

    def test_no_more_are_asked_for_than_those_who_wait_will_need(self):
        """One that comes up has seats for `most`; only who would not find one there is a reason for another."""
        run, _ = full(dynamic=9)
        run.arrive()
        run.take(Fired(CreateDelay()))
        assert SetTimer(CreateDelay()) not in run.adopt_coming(2, most=2)
        run.arrive()
        assert SetTimer(CreateDelay()) not in run.effects
        run.arrive()
        assert SetTimer(CreateDelay()) in run.effects
        run.take(Fired(CreateDelay()))
        assert run.sent() == [CreateServer()]

    def test_one_that_dies_as_it_comes_up_is_asked_for_again(self):
        run, _ = full(dynamic=9)
        run.arrive()
        run.take(Fired(CreateDelay()))
        run.adopt_coming(2, most=2)
        assert SetTimer(CreateDelay()) in run.take(ControlEnded(2))

    def test_it_takes_who_waits(self):
        run, _ = full(dynamic=1)
        who = run.arrive()
        run.take(Fired(CreateDelay()))
        run.adopt(2, 0, dynamic=True)
        assert run.handed() == [(2, who)]

    def test_it_is_drained_when_it_has_been_idle_for_the_delete_delay(self):
        run, _ = full(dynamic=1)
        run.adopt(2, 0, dynamic=True)
        seated = run.arrive()
        run.accepted(2, 1)
        assert run.declines(Fired(DeleteDelay(2))) is Reason.NOT_SPARE
        run.left(2, seated, 0)
        assert SetTimer(DeleteDelay(2)) in run.effects
        assert run.take(Fired(DeleteDelay(2))) == [SendMonitor(Drained(2))]
        assert run.status(2).draining
        run.arrive()
        assert run.handed() == []

    def test_its_delay_begins_when_it_has_come_up_however_long_that_took(self):
        run = operating()
        run.adopt(1, ports=(), dynamic=True)
        run.take(BindRequested(1, PORT, ADDRESS))
        assert run.declines(Fired(DeleteDelay(1))) is Reason.NOT_SPARE
        assert SetTimer(DeleteDelay(1)) in run.ready(1)

    def test_it_keeps_its_delay_from_the_moment_it_became_idle(self):
        run = operating()
        run.adopt(1, 0, dynamic=True)
        assert SetTimer(DeleteDelay(1)) not in run.ready(1)

    def test_a_static_one_stays(self):
        run = operating()
        run.adopt(1, 0)
        assert run.declines(Fired(DeleteDelay(1))) is Reason.NOT_SPARE

    def test_one_with_a_request_outstanding_is_not_idle(self):
        run = operating()
        run.adopt(1, 0, dynamic=True)
        run.arrive()
        assert run.declines(Fired(DeleteDelay(1))) is Reason.NOT_SPARE


# ================================================================ starting: ports, binds, listeners


class TestAServerBindsAPort:
    def test_a_configured_one_is_its_when_it_listens(self):
        run = operating()
        run.adopt(1, ports=())
        effects = run.take(BindRequested(1, PORT, "127.0.0.1:4049"))
        assert effects == [
            SendMonitor(KeepDialog(1, PORT)),
            SendControl(1, BindReply(PORT, 0)),
            Send(1, PORT, InitialMsg(1)),
        ]

    def test_before_it_listens_the_bind_waits(self):
        run = Class((PORT, ADDRESS))
        run.take(Begin())
        assert run.effects == [Listen(PORT, ADDRESS), SetTimer(AuditDue())]
        run.adopt(1, ports=())
        assert run.take(BindRequested(1, PORT, ADDRESS)) == []
        assert run.take(BindRequested(1, PORT, ADDRESS)) == []
        run.take(Listening(PORT, ADDRESS))
        assert run.effects[0] == SendMonitor(KeepListener(PORT, ADDRESS))
        assert run.effects[2] == SendControl(1, BindReply(PORT, 0))

    def test_a_reply_on_a_dialog_that_is_not_open_opens_nothing(self):
        run = Class((PORT, ADDRESS))
        run.take(Begin())
        run.adopt(1, ports=())
        run.take(BindRequested(1, PORT, ADDRESS))
        run.ready(1)
        assert run.status(1).dialogs[PORT].phase is DialogPhase.BINDING

    def test_the_address_of_the_configuration_wins(self):
        run = operating()
        run.adopt(1, ports=())
        run.take(BindRequested(1, PORT, "127.0.0.1:4049"))
        assert list(run.state.ports[PORT].listeners) == [ADDRESS]
        assert run.of(Listen) == []

    def test_a_port_of_no_class_is_left_to_the_program(self):
        run = operating()
        run.adopt(1, ports=())
        effects = run.take(BindRequested(1, OTHER, OTHER_ADDRESS))
        assert effects == [SendControl(1, BindReply(OTHER, -1)), CloseDialog(1, OTHER)]
        assert OTHER not in run.status(1).dialogs

    def test_without_configuration_the_first_bind_decides(self):
        run = Class(fixed=False)
        run.take(Begin())
        run.adopt(1, ports=())
        assert run.take(BindRequested(1, PORT, ADDRESS)) == [Listen(PORT, ADDRESS)]
        run.take(Listening(PORT, ADDRESS))
        assert SendControl(1, BindReply(PORT, 0)) in run.effects
        run.take(BindRequested(1, OTHER, OTHER_ADDRESS))
        assert SendControl(1, BindReply(OTHER, -1)) in run.effects

    def test_and_a_second_address_of_that_port_is_listened_on_too(self):
        run = Class(fixed=False)
        run.take(Begin())
        run.adopt(1, ports=())
        run.take(BindRequested(1, PORT, ADDRESS), Listening(PORT, ADDRESS))
        assert run.take(BindRequested(1, PORT, "[::]:4049")) == [
            Listen(PORT, "[::]:4049"),
            SendControl(1, BindReply(PORT, 0)),
        ]

    def test_bound_before_it_begins_it_is_listened_on_once(self):
        run = Class(incarnation=2, fixed=False)
        run.adopt(1, ports=())
        assert run.take(BindRequested(1, PORT, ADDRESS)) == []
        run.take(Begin())
        assert run.of(Listen) == [Listen(PORT, ADDRESS)]

    def test_where_every_configured_address_failed_nothing_may_be_bound(self):
        run = Class((PORT, ADDRESS))
        run.adopt(1, ports=())
        run.take(Begin(), ListeningFailed(PORT, ADDRESS, EADDRINUSE))
        run.take(BindRequested(1, PORT, ADDRESS))
        assert run.effects == [SendControl(1, BindReply(PORT, ESHUTDOWN)), CloseDialog(1, PORT)]

    def test_a_bind_repeated_is_answered_again_without_a_second_dialog(self):
        run = operating()
        run.adopt(1, 0)
        assert run.take(BindRequested(1, PORT, ADDRESS)) == [SendControl(1, BindReply(PORT, 0))]

    def test_why_a_bind_fails_reaches_the_program(self):
        run = Class(fixed=False)
        run.take(Begin())
        run.adopt(1, ports=())
        run.take(BindRequested(1, PORT, ADDRESS))
        effects = run.take(ListeningFailed(PORT, ADDRESS, EADDRINUSE))
        assert effects == [SendControl(1, BindReply(PORT, EADDRINUSE)), CloseDialog(1, PORT)]
        assert PORT not in run.state.ports
        assert run.take(BindRequested(1, OTHER, OTHER_ADDRESS)) == [Listen(OTHER, OTHER_ADDRESS)]

    def test_a_port_that_others_use_stays_when_a_second_address_of_it_fails(self):
        run = Class(fixed=False)
        run.take(Begin())
        run.adopt(1, ports=())
        run.take(BindRequested(1, PORT, ADDRESS), Listening(PORT, ADDRESS))
        run.take(BindRequested(1, PORT, "[::]:4049"), ListeningFailed(PORT, "[::]:4049", EADDRINUSE))
        assert list(run.state.ports[PORT].listeners) == [ADDRESS]
        run.ready(1)
        assert run.of(Accept) == [Accept(PORT, True)]

    def test_a_configured_address_that_fails_is_reported_to_the_monitor(self):
        run = Class((PORT, ADDRESS))
        run.take(Begin())
        assert run.take(ListeningFailed(PORT, ADDRESS, EADDRINUSE)) == [
            SendMonitor(ListenFailed(PORT, ADDRESS, EADDRINUSE))
        ]

    def test_while_closing_nothing_may_be_bound(self):
        run = operating()
        run.adopt(1, ports=())
        run.take(Close())
        run.take(BindRequested(1, PORT, ADDRESS))
        assert run.effects == [SendControl(1, BindReply(PORT, ESHUTDOWN)), CloseDialog(1, PORT)]

    def test_a_server_that_does_not_listen_is_reported_to_the_monitor_and_asked_again(self):
        run = operating()
        run.adopt(1, 0)
        effects = run.take(Received(1, PORT, NotReady(0, run.count(0))))
        assert effects == [Send(1, PORT, InitialMsg(1)), SendControl(1, Acknowledge(run.sequence))]
        effects = run.take(Received(1, PORT, NotReady(1, run.count(0))))
        assert effects == [SendMonitor(ServerNotReady(1, PORT)), SendControl(1, Acknowledge(run.sequence))]
        assert run.ready(1) == [SendMonitor(ServerReady(1, PORT))]


# ================================================================ restart (FIG. 9)


def restarted(*adoptions, waiting=(), begun=True):
    """The second Distributor of its class, which knows who lives and who waits."""
    run = Class((PORT, ADDRESS), (OTHER, OTHER_ADDRESS), incarnation=2, dynamic=1)
    run.take(*adoptions, *(Restore(who) for who in waiting))
    if begun:
        run.take(Begin(), Listening(PORT, ADDRESS), Listening(OTHER, OTHER_ADDRESS))
    return run


class TestANewDistributorTakesOverFromADeadOne:
    def test_it_asks_on_every_dialog_that_it_adopts(self):
        run = restarted(begun=False)
        effects = run.take(Adopt(1, 5, 1, False, False, (PORT, OTHER), (PORT,)))
        assert effects == [Send(1, PORT, InitialMsg(2)), Send(1, OTHER, InitialMsg(2))]

    def test_it_neither_listens_nor_seats_before_begin(self):
        run = restarted(Adopt(1, 5, 1, False, False, (PORT,), (PORT,)), waiting=[client(4)], begun=False)
        run.ready(1)
        assert run.handed() == [] and run.of(Listen, Accept) == []
        run.take(Begin())
        assert run.handed() == [(1, client(4))]
        assert run.of(Listen) == [Listen(PORT, ADDRESS), Listen(OTHER, OTHER_ADDRESS)]

    def test_counts_are_exact_again_only_when_all_that_owe_have_answered(self):
        run = restarted(Adopt(1, 3, 1, False, False, (PORT, OTHER), (PORT, OTHER)), waiting=[client(4)])
        run.take(Received(1, PORT, RestartReply(2, Count(2, 7))))
        assert run.handed() == []
        run.take(Received(1, OTHER, Accepted(client(3, OTHER), Count(3, 8))))
        assert run.of(CloseCopy) == []
        run.take(Received(1, OTHER, RestartReply(2, Count(3, 9))))
        assert run.status(1).count == Count(3, 9)
        assert run.handed() == []
        run.left(1, client(3, OTHER), 9)
        run.take(Received(1, OTHER, Disconnect(client(3, OTHER), Count(2, 10))))
        assert run.handed() == [(1, client(4))]

    def test_a_reply_to_its_predecessor_is_no_answer(self):
        run = restarted(Adopt(1, 3, 1, False, False, (PORT,), (PORT,)), waiting=[client(4)])
        run.take(Received(1, PORT, RestartReply(1, Count(0, 3))))
        assert run.handed() == [] and PORT in run.status(1).owed
        run.take(Received(1, PORT, NotReady(1, Count(0, 4))))
        assert PORT in run.status(1).owed
        run.take(Received(1, PORT, RestartReply(2, Count(0, 5))))
        assert run.handed() == [(1, client(4))]

    def test_a_server_that_does_not_listen_there_owes_no_more_either(self):
        run = restarted(Adopt(1, 3, 1, False, False, (PORT, OTHER), (PORT, OTHER)), waiting=[client(4)])
        run.take(Received(1, OTHER, NotReady(2, Count(0, 3))))
        assert run.sent() == [ServerNotReady(1, OTHER)]
        run.take(Received(1, PORT, RestartReply(2, Count(0, 4))))
        assert run.handed() == [(1, client(4))]

    def test_a_dialog_that_ends_owes_no_more(self):
        run = restarted(Adopt(1, 3, 1, False, False, (PORT, OTHER), (PORT, OTHER)), waiting=[client(4)])
        run.take(Received(1, PORT, RestartReply(2, Count(0, 4))))
        run.take(DialogEnded(1, OTHER))
        assert run.handed() == [(1, client(4))]

    def test_a_dialog_that_was_never_used_owes_nothing(self):
        run = restarted(Adopt(1, 3, 1, False, False, (PORT, OTHER), (PORT,)), waiting=[client(4)])
        run.take(Received(1, PORT, RestartReply(2, Count(0, 4))))
        assert run.handed() == [(1, client(4))]

    def test_who_waited_goes_on_waiting_in_the_old_order_before_who_comes_later(self):
        run = restarted(Adopt(1, 5, 1, False, False, (PORT,), ()), waiting=[client(7), client(4), client(5, OTHER)])
        assert run.queue() == [client(4), client(7)]
        assert run.queue(OTHER) == [client(5, OTHER)]
        run.ready(1)
        assert run.handed() == [(1, client(4))]
        late = run.arrive()
        assert late.arrival == 8
        assert run.queue() == [client(7), late]

    def test_who_is_restored_is_watched_and_timed_but_not_stored_again(self):
        run = restarted(begun=False)
        assert run.take(Restore(client(4))) == [Watch(client(4)), SetTimer(QueueTimeout(client(4)))]

    def test_a_server_that_was_draining_is_still_to_be_stopped(self):
        run = restarted(Adopt(1, 5, 1, True, True, (PORT,), (PORT,)))
        run.ready(1)
        assert Drained(1) in run.sent()

    def test_a_new_server_without_dialogs_that_is_to_be_stopped_is_drained_at_once(self):
        run = restarted(begun=False)
        assert run.take(Adopt(1, 5, 1, False, True, (), ())) == [SendMonitor(Drained(1))]

    def test_who_waited_on_a_port_that_has_been_closed_for_a_stop_still_waits(self):
        run = Class(incarnation=2)
        run.take(Restore(client(4)), Begin(), Close())
        assert run.queue() == [client(4)]
        assert run.state.phase is Phase.CLOSING

    def test_a_dialog_on_an_unknown_port_makes_the_port_known(self):
        run = Class(incarnation=2, fixed=False)
        run.take(Adopt(1, 5, 1, False, False, (PORT,), (PORT,)))
        assert PORT in run.state.ports


# ================================================================ the audit


class TestTheAuditAsksServersToForgetConnectionsThatTheKernelHasForgotten:
    def test_all_are_audited_again_and_again_as_one_that_seems_idle_may_have_something_to_report(self):
        run = operating()
        run.adopt(1, 0, most=9)
        run.adopt(2, 2, most=9)
        assert run.take(Fired(AuditDue())) == [Audit(1), Audit(2), SetTimer(AuditDue())]

    def test_the_server_is_asked_and_its_count_is_left_alone(self):
        run = operating()
        run.adopt(1, 2, most=9)
        assert run.take(Audited(1, (client(1),))) == [Send(1, PORT, InitialMsg(1, (client(1),)))]
        assert run.status(1).count.clients == 2
        run.ready(1, 1)
        assert run.status(1).count.clients == 1

    def test_one_message_names_so_many_at_most(self):
        run = operating()
        run.adopt(1, 2, most=9)
        run.take(Audited(1, tuple(client(n) for n in range(FORGET_LIMIT + 1))))
        assert len(run.effects[0].message.forget) == FORGET_LIMIT

    def test_a_dialog_that_is_ready_carries_it_rather_than_one_that_is_open(self):
        run = operating_on_two_ports()
        run.adopt(1, ports=(PORT, OTHER))
        assert run.take(Audited(1, (client(1),)))[0].port == PORT
        run.ready(1, 3, OTHER)
        assert run.take(Audited(1, (client(1),)))[0].port == OTHER

    def test_a_server_with_something_left_to_report_is_asked_though_nobody_is_gone(self):
        run = operating()
        run.adopt(1)
        assert run.take(Audited(1, ())) == [Send(1, PORT, InitialMsg(run.state.incarnation))]


# ================================================================ the graceful close


class TestTheOperationPhaseIsClosedGracefully:
    def test_what_the_backlog_holds_is_taken_then_the_listeners_are_closed(self):
        run = operating()
        run.adopt(1, 0, most=9)
        assert run.take(Close()) == [Accept(PORT, False)]
        who = run.arrive()
        assert run.handed() == [(1, who)]
        assert run.of(Accept) == [Accept(PORT, False)]
        assert run.take(BacklogEmpty(PORT)) == [CloseListeners(PORT), SendMonitor(DropListeners(PORT))]
        assert run.of(Accept) == []

    def test_even_where_no_server_has_ever_answered(self):
        run = operating()
        assert run.take(Close()) == [Accept(PORT, False)]

    def test_who_waits_is_seated_and_each_server_drained_when_it_is_idle(self):
        run, first = full()
        run.adopt(2, 0, most=1)
        second = run.arrive()
        run.accepted(2, 1)
        third = run.arrive()
        run.take(Close(), BacklogEmpty(PORT))
        assert Drained(1) not in run.sent()
        run.left(1, first, 0)
        assert run.handed() == [(1, third)]
        run.left(2, second, 0)
        assert run.sent() == []  # server 1 has not answered: its client may come back
        run.accepted(1, 1)
        assert run.sent() == [Drained(2)]
        run.left(1, third, 0)
        assert run.sent() == [Drained(1), Closed()]
        assert run.state.phase is Phase.CLOSED

    def test_a_request_that_comes_back_finds_a_server_that_was_kept_for_it(self):
        run = operating()
        run.adopt(1, 0)
        run.adopt(2, 0)
        who = run.arrive()
        run.take(Close(), BacklogEmpty(PORT))
        run.refused(1)
        assert run.handed() == [(2, who)]

    def test_a_port_that_is_still_being_opened_is_emptied_and_closed_like_the_others(self):
        """Its socket may be a dead Distributor's, with clients in the backlog."""
        run = Class((PORT, ADDRESS), incarnation=2)
        run.take(Begin(), Close())
        assert run.effects == [Listen(PORT, ADDRESS), SetTimer(AuditDue())]
        assert run.take(Listening(PORT, ADDRESS)) == [SendMonitor(KeepListener(PORT, ADDRESS)), Accept(PORT, False)]
        run.take(BacklogEmpty(PORT))
        assert run.sent() == [DropListeners(PORT), Closed()]

    def test_whose_bind_waits_meanwhile_is_answered(self):
        run = Class((PORT, ADDRESS))
        run.take(Begin())
        run.adopt(1, ports=())
        run.take(BindRequested(1, PORT, ADDRESS), Close())
        run.take(Listening(PORT, ADDRESS))
        assert SendControl(1, BindReply(PORT, 0)) in run.effects
        run.take(Received(1, PORT, NotReady(1, run.count(0))), BacklogEmpty(PORT))
        assert run.sent()[-2:] == [Drained(1), Closed()]

    def test_without_servers_and_clients_it_is_over_at_once(self):
        run = operating()
        run.take(Close())
        run.take(BacklogEmpty(PORT))
        assert run.sent() == [DropListeners(PORT), Closed()]

    def test_no_dynamic_server_is_asked_for_any_more(self):
        run, _ = full(dynamic=1)
        run.take(Close())
        run.arrive()
        assert SetTimer(CreateDelay()) not in run.effects

    def test_a_server_that_has_never_bound_is_let_go_at_once(self):
        """It cannot serve anybody: no dialog of it was ever kept."""
        run = operating()
        run.adopt(1, ports=())
        run.take(Close(), BacklogEmpty(PORT))
        assert run.sent() == [DropListeners(PORT), Drained(1), Closed()]

    def test_one_that_is_adopted_with_a_dialog_must_first_report_how_many_it_serves(self):
        """Its listener may be closed, and clients still be there."""
        run = operating(incarnation=2)
        run.adopt(1)
        run.take(Close(), BacklogEmpty(PORT))
        assert run.sent() == [DropListeners(PORT)]
        run.take(Received(1, PORT, NotReady(2, run.count(0))))
        assert run.sent()[-2:] == [Drained(1), Closed()]

    def test_a_server_whose_count_is_not_certain_holds_up_the_end(self):
        run = operating(incarnation=2)
        run.adopt(1, owed=(PORT,))
        run.take(Close(), BacklogEmpty(PORT))
        assert run.state.phase is Phase.CLOSING
        run.ready(1)
        assert run.sent() == [ServerReady(1, PORT), Drained(1), Closed()]


# ================================================================ refusals


def waiting():
    run, _ = full()
    run.arrive()
    return run


def with_one_idle():
    run = operating()
    run.adopt(1, 0)
    return run


def with_one_served():
    run = operating()
    run.adopt(1, 1, most=9)
    return run


def without_dialog():
    run = operating()
    run.adopt(1, ports=())
    return run


def closing():
    run = with_one_idle()
    run.take(Close())
    return run


def closed():
    run = operating()
    run.take(Close(), BacklogEmpty(PORT))
    return run


def starting():
    return Class((PORT, ADDRESS))


def restoring():
    run = starting()
    run.take(Restore(client(1)))
    return run


NOT_THERE = client(99)
REFUSALS = [
    (with_one_idle, Adopt(1, 1, 1, False, False, (), ()), Reason.DUPLICATE_SERVER),
    (closed, Adopt(1, 1, 1, False, False, (), ()), Reason.CLOSED),
    (with_one_idle, Begin(), Reason.ALREADY_BEGUN),
    (with_one_idle, Restore(client(1)), Reason.ALREADY_BEGUN),
    (restoring, Restore(client(1)), Reason.DUPLICATE_CLIENT),
    (with_one_idle, CreationFailed(), Reason.NOT_REQUESTED),
    (starting, Drain(9), Reason.UNKNOWN_SERVER),
    (starting, Close(), Reason.NOT_BEGUN),
    (closing, Close(), Reason.ALREADY_CLOSING),
    (starting, Listening(OTHER, ADDRESS), Reason.UNKNOWN_PORT),
    (starting, Listening(PORT, OTHER_ADDRESS), Reason.UNKNOWN_ADDRESS),
    (starting, ListeningFailed(PORT, OTHER_ADDRESS, 1), Reason.UNKNOWN_ADDRESS),
    (with_one_idle, Listening(PORT, ADDRESS), Reason.ALREADY_LISTENING),
    (with_one_idle, BindRequested(9, PORT, ADDRESS), Reason.UNKNOWN_SERVER),
    (with_one_idle, ControlEnded(9), Reason.UNKNOWN_SERVER),
    (with_one_idle, ConnectionRequest(OTHER, 1), Reason.UNKNOWN_PORT),
    (with_one_idle, AcceptFailed(OTHER), Reason.UNKNOWN_PORT),
    (starting, ConnectionRequest(PORT, 1), Reason.NOT_ACCEPTING),
    (starting, AcceptFailed(PORT), Reason.NOT_ACCEPTING),
    (with_one_idle, BacklogEmpty(PORT), Reason.NOT_CLOSING),
    (waiting, PeerClosed(NOT_THERE, True, False), Reason.NOT_WAITING),
    (waiting, PeerClosed(client(1, OTHER), True, False), Reason.NOT_WAITING),
    (waiting, PeerClosed(Client(1, 1_002, PORT), False, True), Reason.NOT_HANG_UP),
    (with_one_idle, Received(9, PORT, NotReady(1, Count(0, 1))), Reason.UNKNOWN_SERVER),
    (with_one_idle, Received(1, OTHER, NotReady(1, Count(0, 1))), Reason.UNKNOWN_DIALOG),
    (with_one_idle, DialogEnded(9, PORT), Reason.UNKNOWN_SERVER),
    (with_one_idle, DialogEnded(1, OTHER), Reason.UNKNOWN_DIALOG),
    (with_one_idle, Unsent(9, NOT_THERE), Reason.UNKNOWN_SERVER),
    (with_one_idle, Unsent(1, NOT_THERE), Reason.NOT_THIS_REQUEST),
    (with_one_idle, Audited(9, (NOT_THERE,)), Reason.UNKNOWN_SERVER),
    (without_dialog, Audited(1, ()), Reason.NO_DIALOG),
    (with_one_idle, StillServes(9), Reason.UNKNOWN_SERVER),
    (with_one_idle, StillServes(1), Reason.NOT_SERVING),
    (with_one_served, StillServes(1), Reason.NOT_OUTSTANDING),
    (with_one_idle, Unfit(9), Reason.UNKNOWN_SERVER),
    (waiting, Fired(QueueTimeout(NOT_THERE)), Reason.NOT_WAITING),
    (with_one_idle, Fired(CreateDelay()), Reason.TIMER_IS_STALE),
    (with_one_idle, Fired(AcceptRetry(PORT)), Reason.TIMER_IS_STALE),
    (with_one_idle, Fired(AcceptRetry(OTHER)), Reason.TIMER_IS_STALE),
    (starting, Fired(AuditDue()), Reason.NOT_BEGUN),
    (with_one_idle, Fired(HandOffTimeout(9)), Reason.UNKNOWN_SERVER),
    (with_one_idle, Fired(HandOffTimeout(1)), Reason.NOT_OUTSTANDING),
    (with_one_idle, Fired(RestOver(1)), Reason.NOT_RESTING),
    (with_one_idle, Fired(DeleteDelay(1)), Reason.NOT_SPARE),
]


@pytest.mark.parametrize(("state", "event", "reason"), REFUSALS)
def test_what_may_not_happen_is_declined_with_its_reason(state, event, reason):
    run = state()
    before = hash(run.state)
    assert run.declines(event) is reason
    assert hash(run.state) == before


# ================================================================ a whole life


def test_a_server_that_is_to_leave_is_sent_nobody_and_is_reported_once_it_is_idle():
    run = with_one_idle()
    run.adopt(2)
    run.ready(2)
    run.take(Drain(1))
    assert run.of(SendMonitor) == [SendMonitor(Drained(1))]
    run.arrive()
    assert run.of(Send)[0].server == 2
    run.take(Drain(1))
    assert not run.of(SendMonitor), "to be asked twice changes nothing"


def test_a_class_that_is_allowed_dynamic_servers_asks_for_one():
    run = with_one_idle()
    run.take(Drain(1))
    run.arrive()
    assert SetTimer(CreateDelay()) not in run.of(SetTimer)
    run.take(Allow(1))
    assert SetTimer(CreateDelay()) in run.of(SetTimer)


def test_a_whole_life_meets_every_event_message_timer_and_effect():
    run = Class((PORT, ADDRESS), (OTHER, OTHER_ADDRESS), incarnation=2, dynamic=1)
    run.adopt(1, ports=(PORT,), owed=(PORT,), most=2)
    run.take(Restore(client(1)), Begin(), Listening(PORT, ADDRESS), ListeningFailed(OTHER, OTHER_ADDRESS, 13))
    run.ready(1)
    run.refused(1)
    run.take(Fired(RestOver(1)), Fired(HandOffTimeout(1)))
    run.take(Received(1, PORT, RestartReply(2, run.count(1))), StillServes(1))
    run.take(Unsent(1, client(1)), Fired(RestOver(1)))
    run.accepted(1, 1)
    run.take(Fired(AuditDue()), Audited(1, (client(5),)))
    run.take(AcceptFailed(PORT), Fired(AcceptRetry(PORT)))
    run.take(Received(1, PORT, NotReady(0, run.count(1))))
    run.take(Received(1, PORT, NotReady(2, run.count(1))))
    waiting = [run.arrive() for _ in range(3)]
    run.take(PeerClosed(waiting[0], True, False), Fired(QueueTimeout(waiting[1])))
    run.take(Fired(CreateDelay()), CreationFailed(), Fired(CreateDelay()))
    run.adopt(2, ports=(), dynamic=True)
    run.take(BindRequested(2, PORT, ADDRESS))
    run.ready(2)
    run.accepted(2, 1)
    run.left(2, waiting[2], 0)
    run.take(Fired(DeleteDelay(2)), Drain(2), Allow(1), Unfit(2), DialogEnded(2, PORT), ControlEnded(2))
    run.take(Close(), BacklogEmpty(PORT))
    run.left(1, client(1), 0)
    assert run.state.phase is Phase.CLOSED
    events = {kind for event in run.events_seen for kind in kinds_within(event)}
    effects = {kind for effect in run.effects_seen for kind in kinds_within(effect)}
    assert {*parts(distributor.Event), *parts(messages.FromServer), *parts(distributor.Timer)} <= events
    assert {*parts(distributor.Effect), *parts(messages.ToServer), *parts(messages.ToMonitor)} <= effects
    assert {*parts(messages.ControlToServer), *parts(distributor.Timer)} <= effects


# ================================================================ any run

SMALL = st.integers(0, 4)
CLIENTS = st.builds(client, st.integers(0, 6), st.sampled_from([PORT, OTHER]))
ARBITRARY = values(
    distributor.Event,
    integers=st.one_of(SMALL, st.sampled_from([PORT, OTHER])),
    texts=st.sampled_from([ADDRESS, OTHER_ADDRESS]),
    instead={Client: CLIENTS, Adopt: adoptions(st.integers(1, 4), st.sampled_from([PORT, OTHER]))},
)


def likely(state, number, flag):
    """What might really happen next in the state, without end: `number` makes counts and cookies."""
    count = Count(number % 3, number)
    yield from (Begin(), Close(), CreationFailed(), *enabled(state))
    for port, info in state.ports.items():
        yield from (ConnectionRequest(port, number), ConnectionRequest(port, number + 1))
        yield from (AcceptFailed(port), BacklogEmpty(port))
        for address, up in info.listeners.items():
            yield Listening(port, address)
            if not up:
                yield ListeningFailed(port, address, 13)
        yield from (PeerClosed(who, flag, not flag) for who in info.waiting)
    for server, status in state.servers.items():
        yield from (BindRequested(server, port, ADDRESS) for port in (PORT, OTHER))
        for port in status.dialogs:
            yield Received(server, port, RestartReply(state.incarnation, count))
            yield Received(server, port, NotReady(state.incarnation * flag, count))
            yield Received(server, port, Disconnect(client(0, port), count))
            yield DialogEnded(server, port)
        if status.request:
            yield Received(server, status.request.port, Accepted(status.request, count))
            yield Received(server, status.request.port, Refused(status.request, count))
            yield Unsent(server, status.request)
        yield from (ControlEnded(server), Audited(server, (client(0),)), StillServes(server), Unfit(server))


STARTS = st.sampled_from([((), False), (((PORT, ADDRESS),), True), (((PORT, ADDRESS), (OTHER, OTHER_ADDRESS)), True)])
CHOICES = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 50), st.integers(0, 9), st.booleans()),
        adoptions(st.integers(1, 4), st.sampled_from([PORT, OTHER])),
        ARBITRARY,
    ),
    max_size=60,
)


def runs(start, choices):
    """The steps of a run: the state before, the event and the outcome of each."""
    listeners, fixed = start
    state = initial(2, 1, 3, listeners, fixed)
    for turn, choice in enumerate(choices):
        event = choice
        if isinstance(choice, tuple):
            index, jitter, flag = choice
            events = list(likely(state, turn + jitter, flag))
            event = events[index % len(events)]
        outcome = step(state, event)
        yield state, event, outcome
        if not isinstance(outcome, Rejected):
            state = outcome.state


def test_who_waits_on_a_port_that_can_no_longer_be_listened_on_is_not_forgotten():
    run = Class((PORT, ADDRESS), incarnation=2, fixed=False)
    run.take(Restore(client(1)), Begin(), ListeningFailed(PORT, ADDRESS, EADDRINUSE))
    assert run.state.waiting == sum(len(info.waiting) for info in run.state.ports.values())


def test_a_server_that_has_died_while_it_waited_to_bind_is_forgotten_when_the_bind_fails():
    run = Class((PORT, ADDRESS))
    run.take(Begin())
    run.adopt(1, ports=())
    run.take(BindRequested(1, PORT, ADDRESS), ControlEnded(1), ListeningFailed(PORT, ADDRESS, EADDRINUSE))
    assert 1 not in run.state.servers


def test_an_address_that_is_listened_on_cannot_fail():
    run = with_one_idle()
    assert run.declines(ListeningFailed(PORT, ADDRESS, EADDRINUSE)) is Reason.ALREADY_LISTENING


def test_when_all_is_over_no_server_is_adopted():
    run = closed()
    assert run.declines(Adopt(1, 1, 1, False, False, (), ())) is Reason.CLOSED


def rebuilt(state):
    """The state with every tree rebuilt, in the reverse order."""
    return replace(
        state,
        servers=Tree.of(reversed(list(state.servers.items()))),
        ports=Tree.of(
            (
                port,
                replace(
                    info,
                    free=Tree.of(reversed(list(info.free.items()))),
                    waiting=Tree.of(reversed(list(info.waiting.items()))),
                ),
            )
            for port, info in reversed(list(state.ports.items()))
        ),
    )


@settings(max_examples=50)
@given(STARTS, CHOICES)
def test_no_run_raises_and_no_step_touches_its_argument(start, choices):
    for state, event, outcome in runs(start, choices):
        copy = rebuilt(state)
        assert copy == state and hash(copy) == hash(state)
        assert isinstance(outcome, Rejected) is (guard(state, event) is not None)
        again = step(state, event)
        assert again == outcome and hash(again) == hash(outcome)


@settings(max_examples=50)
@given(STARTS, CHOICES)
def test_after_every_step_of_any_run_nobody_waits_while_a_server_is_free(start, choices):
    for _, event, outcome in runs(start, choices):
        if isinstance(outcome, Rejected) or outcome.state.phase is Phase.INITIALISING:
            continue
        for info in outcome.state.ports.values():
            free = [status for status in outcome.state.servers.values() if status.free_on(info.port)]
            assert not (info.waiting and free), event


@settings(max_examples=50)
@given(STARTS, CHOICES)
def test_after_every_step_of_any_run_the_indexes_agree_with_the_tables(start, choices):
    for _, _, outcome in runs(start, choices):
        if isinstance(outcome, Rejected):
            continue
        state = outcome.state
        for info in state.ports.values():
            free = Tree.of((Seat.of(s), None) for s in state.servers.values() if s.free_on(info.port))
            assert info.free == free
            assert all(who.port == info.port for who in info.waiting)
        assert state.waiting == sum(len(info.waiting) for info in state.ports.values())
        requests = [status.request for status in state.servers.values() if status.request]
        held = requests + [who for info in state.ports.values() for who in info.waiting]
        assert len(set(held)) == len(held)


@settings(max_examples=50)
@given(STARTS, CHOICES)
def test_in_any_run_whoever_waits_is_stored_exactly_as_long(start, choices):
    """The Monitor's store, kept here from the effects, has exactly who waits; and who is handed off is not in it."""
    store = set()
    for state, event, outcome in runs(start, choices):
        if isinstance(event, messages.Restore) and not isinstance(outcome, Rejected):
            store.add(event.client)
        for effect in () if isinstance(outcome, Rejected) else outcome.effects:
            match effect:
                case SendMonitor(Store(who)):
                    assert who not in store
                    store.add(who)
                case SendMonitor(Release(who)):
                    store.remove(who)
                case Send(_, _, HandOff(who)):
                    assert who not in store
        after = state if isinstance(outcome, Rejected) else outcome.state
        assert store == {who for info in after.ports.values() for who in info.waiting}


@settings(max_examples=50)
@given(STARTS, CHOICES)
def test_in_any_run_what_is_enabled_may_fire_and_nothing_else(start, choices):
    for state, _, _ in runs(start, choices):
        everyone = {who for info in state.ports.values() for who in info.waiting} | {client(98), client(99, OTHER)}
        universe = [CreateDelay(), AuditDue(), *map(QueueTimeout, everyone), *map(AcceptRetry, (PORT, OTHER, 0))]
        universe += [kind(server) for kind in (HandOffTimeout, RestOver, DeleteDelay) for server in range(6)]
        may = {timer for timer in universe if not isinstance(step(state, Fired(timer)), Rejected)}
        assert {fired.timer for fired in enabled(state)} == may


@settings(max_examples=50)
@given(STARTS, CHOICES)
def test_in_any_run_a_timer_that_becomes_enabled_is_running(start, choices):
    """Else it would be waited for in vain.  One that fires out of season is spent."""
    timers = set()
    for state, event, outcome in runs(start, choices):
        if isinstance(event, Fired):
            timers.discard(event.timer)
        if isinstance(outcome, Rejected):
            continue
        timers |= {effect.timer for effect in outcome.effects if isinstance(effect, SetTimer)}
        before, after = ({fired.timer for fired in enabled(s)} for s in (state, outcome.state))
        assert after - before <= timers


@settings(max_examples=50)
@given(STARTS, CHOICES)
@example(((), False), [Adopt(1, 1, 1, False, False, (), ()), Adopt(2, 1, 1, False, False, (), ())])
def test_states_with_renumbered_ranks_do_the_same(start, choices):
    for state, event, outcome in runs(start, choices):
        small = canonical(state)
        assert canonical(small) == small
        ranks = sorted(status.rank for status in small.servers.values() if status.rank >= 0)
        assert ranks == list(range(small.next_rank))
        again = step(small, event)
        if isinstance(outcome, Rejected):
            assert again == outcome
        else:
            assert again.effects == outcome.effects
            assert canonical(again.state) == canonical(outcome.state)
