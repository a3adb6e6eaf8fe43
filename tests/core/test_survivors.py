"""What no other test of the core noticed: each was found by a mutant that survived."""

from dataclasses import dataclass, is_dataclass, replace
from errno import EADDRINUSE
from functools import cache
from typing import get_args, get_origin, get_type_hints

import pytest
from tests.core import test_invariants
from tests.core.driving import ADDRESS, OTHER, OTHER_ADDRESS, PORT, Machine, client, parts

from maitred.core import distributor, invariants, monitor, tree, wire
from maitred.core.distributor import (
    AcceptFailed,
    AcceptRetry,
    BacklogEmpty,
    BindRequested,
    CloseDialog,
    ConnectionRequest,
    ControlEnded,
    CreateDelay,
    Dialog,
    DialogEnded,
    DialogPhase,
    HandOffTimeout,
    Listening,
    ListeningFailed,
    PeerClosed,
    Received,
    RestOver,
    Send,
    SendControl,
    SendMonitor,
    SetTimer,
)
from maitred.core.messages import (
    Accepted,
    Adopt,
    Begin,
    BindReply,
    BindRequest,
    Client,
    Close,
    Closed,
    Count,
    CreateServer,
    CreationFailed,
    Disconnect,
    Drained,
    HandOff,
    InitialMsg,
    KeepDialog,
    KeepListener,
    ListenFailed,
    NotReady,
    Refused,
    RestartReply,
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
    DynamicRest,
    Fired,
    Report,
    Reported,
    RestartDistributor,
    RestartServer,
    ServerExited,
    ServerGone,
    StartDistributor,
    Started,
    StopRequested,
)
from maitred.core.record import RecordError, from_record
from maitred.core.tree import Tree

# ================================================================ a machine whose every state is looked at


@cache
def hints_of(kind):
    return get_type_hints(kind)


def fits(value, hint):
    """Whether the value and all that is within it are of the annotated types; of bool, only True and False are."""
    if len(parts(hint)) > 1:
        return any(fits(value, part) for part in parts(hint))
    kind, args = get_origin(hint) or hint, get_args(hint)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return False
    if kind is Tree:
        return all(fits(key, args[0]) and fits(held, args[1]) for key, held in value.items())
    if kind is tuple:
        wanted = (args[0],) * len(value) if args[-1] is Ellipsis else args
        return len(wanted) == len(value) and all(map(fits, value, wanted))
    return not is_dataclass(kind) or all(fits(getattr(value, name), inner) for name, inner in hints_of(kind).items())


class Checked(Machine):
    """A machine whose states, after each step, are of the annotated types and break no invariant."""

    def take(self, *events):
        effects = []
        for event in events:
            effects += super().take(event)
            assert fits(self.state, type(self.state)), f"after {event}: {self.state}"
            assert invariants.broken(self.state) == (), f"after {event}"
        self.effects = effects
        return effects


def test_a_checked_machine_notices_a_flag_that_is_none():
    run = restarted(Adopt(1, 1, 1, False, False, (PORT,), ()))
    assert fits(run.state, distributor.DistributorState)
    ports = run.state.ports.set(PORT, replace(run.state.ports[PORT], pausing=None))
    assert not fits(replace(run.state, ports=ports), distributor.DistributorState)


# ================================================================ the Distributor


def restarted(*adoptions, dynamic=0, limit=8):
    """A second Distributor of two ports, which listens on both and has adopted these servers."""
    listeners = ((PORT, ADDRESS), (OTHER, OTHER_ADDRESS))
    run = Checked(distributor, distributor.initial(2, dynamic, limit, listeners, True))
    run.take(*adoptions, Begin(), Listening(PORT, ADDRESS), Listening(OTHER, OTHER_ADDRESS))
    return run


def ready_on_both_ports():
    """The same with one server, which has a seat for one client and has answered on both ports."""
    run = restarted(Adopt(1, 1, 1, False, False, (PORT, OTHER), ()))
    run.take(Received(1, PORT, RestartReply(2, Count(0, 1))), Received(1, OTHER, RestartReply(2, Count(0, 2))))
    return run


def test_a_server_that_may_have_a_hand_off_unread_is_not_drained():
    """It has reported on one port that it serves nobody; on the other its predecessor may have sent it a client."""
    run = restarted(Adopt(1, 2, 1, False, False, (PORT, OTHER), (PORT, OTHER)))
    run.take(Close(), BacklogEmpty(PORT), BacklogEmpty(OTHER))
    assert SendMonitor(Drained(1)) not in run.take(Received(1, PORT, RestartReply(2, Count(0, 1))))
    assert SendMonitor(Drained(1)) in run.take(Received(1, OTHER, NotReady(2, Count(0, 2))))


def test_the_seats_of_a_dead_dynamic_server_are_promised_no_longer():
    """Its dialog has yet to end; but whoever waits for its seats waits in vain."""
    run = restarted(Adopt(1, 1, 1, False, False, (PORT,), ()), Adopt(2, 1, 1, True, False, (PORT,), (PORT,)), dynamic=1)
    run.take(Received(1, PORT, RestartReply(2, Count(1, 1))), ConnectionRequest(PORT, 7))
    assert run.of(SetTimer) == [SetTimer(distributor.QueueTimeout(run.state.ports[PORT].waiting.first()[0]))]
    assert SetTimer(CreateDelay()) in run.take(ControlEnded(2))


def test_a_dynamic_server_promises_its_seats_once_however_far_its_bind_has_come():
    run = Checked(distributor, distributor.initial(1, 1, 8, ((PORT, ADDRESS),), True))
    run.take(Begin(), Adopt(1, 3, 1, True, False, (), ()), BindRequested(1, PORT, ADDRESS))
    assert run.state.promised == 3
    run.take(Listening(PORT, ADDRESS))
    assert run.state.promised == 3
    assert run.state.servers[1].dialogs == Tree.of([(PORT, Dialog(DialogPhase.OPENED))])


def test_everybody_who_asked_is_informed_that_a_port_cannot_be_listened_on():
    run = Checked(distributor, distributor.initial(1, 2, 8, ((PORT, ADDRESS),), True))
    run.take(*(Adopt(server, 1, 1, True, False, (), ()) for server in (1, 2)), Begin())
    run.take(BindRequested(1, PORT, ADDRESS), BindRequested(2, PORT, ADDRESS))
    assert run.take(ListeningFailed(PORT, ADDRESS, EADDRINUSE)) == [
        SendMonitor(ListenFailed(PORT, ADDRESS, EADDRINUSE)),
        SendControl(1, BindReply(PORT, EADDRINUSE)),
        CloseDialog(1, PORT),
        SendControl(2, BindReply(PORT, EADDRINUSE)),
        CloseDialog(2, PORT),
    ]


def test_from_a_server_that_was_there_before_the_distributor_nothing_has_been_received():
    """One without dialogs has just been started: its first count is to come, and until then it serves nobody."""
    run = restarted(Adopt(1, 1, 1, False, False, (PORT,), ()), Adopt(2, 1, 1, False, False, (), ()))
    assert [status.count for status in run.state.servers.values()] == [Count(0, -1), Count(0, 0)]


def test_a_static_server_that_comes_is_not_the_dynamic_one_that_was_asked_for():
    run = restarted(Adopt(1, 1, 1, False, False, (PORT,), ()), dynamic=1)
    run.take(Received(1, PORT, RestartReply(2, Count(1, 1))), ConnectionRequest(PORT, 7))
    assert run.take(distributor.Fired(CreateDelay())) == [SendMonitor(CreateServer())]
    assert run.take(Adopt(2, 1, 1, False, False, (), ())) == []
    assert SetTimer(CreateDelay()) in run.take(CreationFailed())


def test_a_message_with_a_number_that_was_received_already_changes_nothing():
    """Rule 5: the highest sequence number wins, and this one is not higher."""
    run = restarted(Adopt(1, 1, 1, False, False, (PORT,), ()))
    run.take(Received(1, PORT, RestartReply(2, Count(0, 1))))
    before = run.state
    run.take(Received(1, PORT, NotReady(2, Count(1, 1))))
    assert run.state == before


def test_only_a_hand_off_on_the_same_dialog_may_be_unread_when_a_server_reports_not_ready():
    run = ready_on_both_ports()
    run.take(ConnectionRequest(PORT, 7))
    assert SendMonitor(ServerNotReady(1, PORT)) not in run.take(Received(1, PORT, NotReady(2, Count(0, 3))))
    assert SendMonitor(ServerNotReady(1, OTHER)) in run.take(Received(1, OTHER, NotReady(2, Count(0, 4))))


def test_a_server_that_loses_the_dialog_of_its_request_does_not_rest():
    """It has refused nobody: on its other port it takes the next client at once."""
    run = ready_on_both_ports()
    run.take(ConnectionRequest(PORT, 7), DialogEnded(1, PORT))
    next_client = Client(run.state.next_arrival, 8, OTHER)
    run.take(ConnectionRequest(OTHER, 8))
    assert run.of(Send, SetTimer) == [Send(1, OTHER, HandOff(next_client)), SetTimer(HandOffTimeout(1))]


@pytest.mark.parametrize(
    "event",
    [distributor.Fired(RestOver(1)), Received(1, PORT, Disconnect(client(0), Count(0, 2)))],
    ids=["timer", "news"],
)
def test_an_idle_server_whose_rest_ends_is_not_idle_anew(event):
    """What is to happen after some time of idleness is timed from its beginning.

    The news has been overtaken: the refusal, which was sent after it, has reported already that the server is idle.
    """
    run = restarted(Adopt(1, 2, 1, True, False, (PORT,), ()), dynamic=1)
    run.take(Received(1, PORT, RestartReply(2, Count(1, 1))), ConnectionRequest(PORT, 7))
    refused = run.state.servers[1].request
    run.take(Received(1, PORT, Refused(refused, Count(0, 3))), PeerClosed(refused, reset=True, unread=False))
    run.take(event)
    assert not run.state.servers[1].resting
    assert run.of(SetTimer) == []


def test_a_flag_that_is_lowered_is_false():
    """`Checked` looks at each state, in which a flag is lowered and stays so: nothing raises it in the same step."""
    run = restarted(Adopt(1, 2, 1, False, False, (PORT,), ()), limit=1)
    run.take(Received(1, PORT, RestartReply(2, Count(0, 1))), ConnectionRequest(PORT, 7))
    run.take(Received(1, PORT, Accepted(run.state.servers[1].request, Count(1, 2))))
    run.take(AcceptFailed(PORT), distributor.Fired(AcceptRetry(PORT)), ConnectionRequest(PORT, 8))
    run.take(Received(1, PORT, Refused(run.state.servers[1].request, Count(1, 3))), ConnectionRequest(PORT, 9))
    assert not run.state.ports[PORT].accepting
    run.take(distributor.Fired(RestOver(1)), ControlEnded(1), Close())
    assert not run.state.ports[PORT].accepting
    [last] = run.state.ports[PORT].waiting
    run.take(PeerClosed(last, reset=True, unread=False), BacklogEmpty(PORT))
    assert not run.state.ports[PORT].accepting


def test_a_state_is_canonical_only_if_its_next_rank_is():
    """The server that was adopted last is gone, and its rank with it; a state that is canonical is given back."""
    run = restarted(Adopt(1, 1, 1, False, False, (), ()), Adopt(2, 1, 1, False, False, (), ()))
    run.take(ControlEnded(2))
    numbered = distributor.canonical(run.state)
    assert numbered == replace(run.state, next_rank=1)
    assert distributor.canonical(numbered) is numbered


# ================================================================ the Monitor


def watching(static=1, dynamic=0, elements=(0,), listeners=()):
    """A Monitor that has started everything of one class; the servers are numbered from 1."""
    config = ClassConfig(static, dynamic, 1, 4, elements, listeners)
    run = Checked(monitor, monitor.initial((config,), (1,) * len(elements)))
    run.take(Started())
    return run


def ready(server):
    return (Reported(0, KeepDialog(server, PORT)), Reported(0, ServerReady(server, PORT)))


def dies(server):
    return (ServerExited(0, server), ServerGone(0, server))


def test_a_class_that_has_worked_is_never_given_up():
    """Its one server was ready once; from then on however many die before they are ready are a crash loop, no more."""
    run = watching()
    run.take(*ready(1), *dies(1))
    for number in range(2, CRASH_LOOP + 2):
        run.take(Fired(RestartServer(0, 0, 0)), *dies(number))
    assert run.of(Report) == [Report(0, Complaint.CRASH_LOOP, CRASH_LOOP + 1)]
    assert run.state.phase is monitor.Phase.RUNNING
    assert run.state.failure is None


def test_the_class_that_is_given_up_is_named():
    run = watching()
    for number in range(1, CRASH_LOOP):
        run.take(*dies(number), Fired(RestartServer(0, 0, 0)))
    run.take(*dies(CRASH_LOOP))
    assert run.of(Report) == [Report(0, Complaint.CRASH_LOOP, CRASH_LOOP), Report(0, Complaint.GIVEN_UP, 0)]


def test_a_server_that_was_ready_ends_a_row_of_deaths_before_that():
    run = watching()
    for number in range(1, CRASH_LOOP):
        run.take(*dies(number), Fired(RestartServer(0, 0, 0)))
    run.take(*ready(CRASH_LOOP), *dies(CRASH_LOOP), Fired(RestartServer(0, 0, 0)), *dies(CRASH_LOOP + 1))
    assert run.of(Report) == []


def test_every_restart_is_due_after_the_reported_delay():
    """`enabled` knows the timers that the Monitor has set: the model asks the one, the shell performs the other."""
    run = watching(dynamic=1)
    for attempt in range(3):
        run.take(Reported(0, CreateServer()))
        run.take(*(event for server in run.state.classes[0].living for event in dies(server)), DistributorExited(0))
        due = [RestartDistributor(0, attempt), DynamicRest(0, attempt), RestartServer(0, 0, attempt)]
        assert {monitor.SetTimer(timer) for timer in due} <= {*run.effects}
        assert {Fired(timer) for timer in due} <= {*monitor.enabled(run.state)}
        run.take(*map(Fired, due))


def test_a_ready_static_server_implies_nothing_about_dynamic_ones():
    run = watching(dynamic=1)
    run.take(
        Reported(0, CreateServer()),
        *dies(2),
        Fired(DynamicRest(0, 0)),
        *ready(1),
        Reported(0, CreateServer()),
        *dies(3),
    )
    assert monitor.SetTimer(DynamicRest(0, 1)) in run.effects


def test_a_server_that_hangs_again_is_restarted_later():
    run = watching()
    run.take(
        Reported(0, Unresponsive(1)), *dies(1), Fired(RestartServer(0, 0, 0)), Reported(0, Unresponsive(2)), *dies(2)
    )
    assert monitor.SetTimer(RestartServer(0, 0, 1)) in run.effects


def test_a_distributor_is_restarted_on_its_own_element_though_another_is_emptier():
    run = watching(static=2, elements=(0, 1), listeners=((PORT, ADDRESS),))
    assert run.of(StartDistributor) == [StartDistributor(0, 1, 0, ((PORT, ADDRESS),), 0)]
    run.take(*dies(1), DistributorExited(0))
    assert [element.processes for element in run.state.elements.values()] == [1, 0]
    run.take(Fired(RestartDistributor(0, 0)))
    assert run.of(StartDistributor) == [StartDistributor(0, 2, 0, ((PORT, ADDRESS),), 0)]


def test_places_are_numbered_from_the_static_ones_on():
    cls = watching(static=1, dynamic=2).state.classes[0]
    assert ([*cls.places], [*cls.vacant]) == ([0], [1, 2])


def test_a_listening_socket_is_kept_once_the_distributor_has_sent_it():
    run = watching(listeners=((PORT, ADDRESS),))
    assert run.state.classes[0].listeners == Tree.of([((PORT, ADDRESS), False)])
    run.take(Reported(0, KeepListener(PORT, ADDRESS)))
    assert run.state.classes[0].listeners == Tree.of([((PORT, ADDRESS), True)])


def test_nothing_is_kept_of_who_waits_when_all_is_over():
    """`Checked` looks at each state on the way, in which flags are lowered and phases end."""
    run = watching()
    run.take(*ready(1), Reported(0, ServerNotReady(1, PORT)), Reported(0, Store(client(0))))
    run.take(StopRequested(), Reported(0, Closed()), DistributorExited(0))
    assert run.state.classes[0].distributor.phase is monitor.DistributorPhase.GONE
    run.take(*dies(1))
    assert run.of(monitor.ShutDownStored, monitor.Exit) == [monitor.ShutDownStored(0, client(0)), monitor.Exit(None)]


# ================================================================ what must hold of each state


def one_process_more():
    state = test_invariants.watched()
    return test_invariants.with_element(state, processes=state.elements[0].processes + 1)


def a_rank_that_is_to_come():
    state = test_invariants.busy()
    return test_invariants.with_server(state, 2, rank=state.next_rank)


def a_server_that_is_to_come():
    state = test_invariants.watched()
    return test_invariants.with_place(state, 0, server=state.next_server)


def ended_beside_a_distributor():
    running = monitor.DistributorPlace(monitor.DistributorPhase.RUNNING)
    return test_invariants.with_class(test_invariants.ended(), distributor=running)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("ranks_are_past", a_rank_that_is_to_come),
        ("processes_are_counted", one_process_more),
        ("servers_are_new", a_server_that_is_to_come),
        ("ended_means_over", ended_beside_a_distributor),
    ],
)
def test_an_invariant_is_exact(name, state):
    """These states are as little beyond it as can be."""
    assert name in invariants.broken(state())


# ================================================================ traces


def test_a_tuple_may_have_one_item():
    assert from_record(tuple[int], [1]) == (1,)


@dataclass(frozen=True)
class BOX:
    """Its name ends as none of the machines' classes does."""

    item: int


@pytest.mark.parametrize(
    ("hint", "record", "where", "complaint"),
    [
        (int, "1", "BOX.", "BOX: '1' is none of int"),
        (BOX, {"is": "BOX"}, "", "BOX: missing or unknown: item"),
        (tuple[int], [1, 2], "BOX.", "BOX: has 2 items, should have 1"),
        (tuple[int, ...], ["1"], "BOX.", "BOX[0]: '1' is none of int"),
        (distributor.Listening, {"is": "Listening"}, "", "Listening: missing or unknown: address, port"),
    ],
)
def test_an_error_names_the_place_and_all_that_is_odd(hint, record, where, complaint):
    with pytest.raises(RecordError) as caught:
        from_record(hint, record, where)
    assert str(caught.value) == complaint


# ================================================================ trees


def seven():
    """A tree that was made just now, so that it knows no digest yet."""
    return Tree.of((key, 0) for key in range(7))


@pytest.mark.parametrize(
    "bend",
    [
        lambda _: Tree(),
        lambda numbers: numbers.remove(3),
        lambda numbers: Tree.of((key + 1, 0) for key in numbers),
        *(lambda numbers, key=key: numbers.set(key, 1) for key in range(7)),
    ],
    ids=["empty", "less", "other keys", *(f"other value of {key}" for key in range(7))],
)
def test_two_trees_are_compared_without_their_digests_too(bend):
    """`Tree.__eq__` looks at the digests first, so that a slip in what comes after would show in a collision only."""
    numbers, other = seven(), bend(seven())
    assert not tree._equal(numbers._root, other._root)
    assert not tree._equal(other._root, numbers._root)
    assert hash(numbers) != hash(other)


def test_two_trees_of_one_entry_each_differ_by_their_keys():
    assert not tree._equal(Tree.of([(1, 0)])._root, Tree.of([(2, 0)])._root)


def test_a_removal_loses_nothing_else():
    numbers = Tree.of((key, 0) for key in range(100))
    for key in numbers:
        assert [*numbers.remove(key)] == [other for other in range(100) if other != key]


def test_priorities_have_thirty_bits_and_are_hardly_ever_equal():
    for step in (1, 2**10, 2**32):
        priorities = {tree._priority(step * count) for count in range(1_000)}
        assert len(priorities) >= 998 and min(priorities) >= 0 and 2**29 < max(priorities) < 2**30


def test_a_key_that_is_missing_is_named():
    with pytest.raises(KeyError) as caught:
        seven()[7]
    assert caught.value.args == (7,)


# ================================================================ packets

FIELDS_BEFORE_TEXT = 1 + 8 + 2
"""Bytes of a BindRequest without its address: tag, port, length."""


def test_the_layout_of_a_message_comes_with_those_of_what_it_holds():
    """mutmut changes nothing that runs as the module is imported, as this does: so it is run again."""
    found = {}
    wire._layout(InitialMsg, found)
    assert found == {
        InitialMsg: (("incarnation", int), ("forget", tuple[Client, ...])),
        Client: (("arrival", int), ("cookie", int), ("port", int)),
    }


def test_the_largest_packet_is_as_large_as_the_limit():
    message = BindRequest(PORT, "a" * (wire.LIMIT - FIELDS_BEFORE_TEXT))
    packet = wire.encode(message)
    assert len(packet) == wire.LIMIT
    assert wire.decode(packet) == message


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("a" * wire.LIMIT, "BindRequest would take 65546 bytes; a packet has at most 65535"),
        ("a" * (wire.LIMIT + 1), "65536 items or bytes in one field; at most 65535 fit"),
        ("\udc80", "'\\udc80' has no UTF-8"),
    ],
    ids=["packet", "field", "utf8"],
)
def test_what_cannot_be_encoded_is_reported(address, complaint):
    with pytest.raises(wire.WireError) as caught:
        wire.encode(BindRequest(PORT, address))
    assert str(caught.value) == complaint


def test_a_packet_that_is_too_long_is_reported():
    with pytest.raises(wire.WireError) as caught:
        wire.decode(bytes(wire.LIMIT + 1))
    assert str(caught.value) == "65536 bytes are no packet; one has at most 65535"
