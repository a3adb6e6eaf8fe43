"""An explanation names what is wrong: for each property that must always hold, the core, a step or a state is bent, the
property is seen to break, and the explanation to name who and what breaks it.
"""

import pathlib
from dataclasses import replace

import pytest
from tests.model.outcome import shown

from maitred.core import distributor, monitor, server
from maitred.core.distributor import Listening, Received
from maitred.core.messages import (
    Accepted,
    Adopt,
    Begin,
    Client,
    Close,
    Count,
    Disconnect,
    Drained,
    DropListeners,
    HandOff,
    Release,
    RestartReply,
    Unresponsive,
)
from maitred.core.monitor import PlacePhase
from maitred.core.transition import Reason, Rejected
from maitred.core.tree import Tree
from maitred.model.check.checker import Bounds, Verdict, check
from maitred.model.claims.property import holds
from maitred.model.claims.safety import PROPERTIES
from maitred.model.search.explorer import Path, Step
from maitred.model.story.explanation import retake, why
from maitred.model.world import ClientConnects, Deed, Fate, ServerDeed, ServerStep, Stride, System

ALWAYS = {name for name, prop in PROPERTIES.items() if prop.kind == "always"}
ADDRESS = "*:1"


def test_every_property_that_must_always_hold_is_broken_in_a_test():
    """Those of a machine's state are in `tests/core/test_invariants.py`."""
    source = pathlib.Path(__file__).read_text(encoding="utf-8")
    assert [name for name in ALWAYS if PROPERTIES[name].state is None and f'"{name}"' not in source] == []


# ================================================================ the core is bent

BENT = {}


def bent(name, *phrases, **bounds):
    """Register: the property that must break, and what its explanation must contain."""

    def register(bend):
        BENT[bend.__name__] = (bend, name, phrases, Bounds(**{"warm": True, **bounds}))
        return bend

    return register


def act(monkeypatch, machine, event, action):
    """Put `action`, which is given the former one as well, in the place of what the machine does on the event."""
    before = machine._ACTIONS[event]
    monkeypatch.setitem(machine._ACTIONS, event, lambda *given: action(before, *given))


@bent(
    "a_request_comes_back_only_from_the_server",
    *("Client 0 was taken from server 1 on Fired(timer=HandOffTimeout(server=1))", "is sent to server 2"),
    servers=2,
    clients=1,
    hand_off_timeouts=1,
)
def a_timer_takes_the_request_back(monkeypatch):
    def fired(before, work, event):
        if isinstance(event.timer, distributor.HandOffTimeout):
            work.take_back(work.state.servers[event.timer.server], resting=True)
        else:
            before(work, event)

    act(monkeypatch, distributor, distributor.Fired, fired)


@bent(
    "no_client_has_two_servers",
    *("Client 0 has been accepted 2 times", "by server 1 in step", "by server 2 in step"),
    servers=2,
    clients=1,
    hand_off_timeouts=1,
)
def a_client_is_given_to_two_servers(monkeypatch):
    a_timer_takes_the_request_back(monkeypatch)


@bent(
    "released_before_sent",
    "Client 1, who has waited, is sent to server 1 before it is released",
    servers=1,
    clients=2,
)
def who_waited_is_released_after_being_sent(monkeypatch):
    def settle(work):
        before(work)
        releases = [
            e for e in work.effects if isinstance(e, distributor.SendMonitor) and isinstance(e.message, Release)
        ]
        work.effects = [e for e in work.effects if e not in releases] + releases

    before = distributor._Work.settle
    monkeypatch.setattr(distributor._Work, "settle", settle)


@bent(
    "no_client_with_a_server_is_restored",
    *("Server 1 has yet to read the hand-off of client 1", "still in the Monitor's store"),
    servers=1,
    clients=2,
)
def who_waited_is_never_released(monkeypatch):
    def leave(work, client):
        before(work, client)
        work.effects.pop()

    before = distributor._Work.leave
    monkeypatch.setattr(distributor._Work, "leave", leave)


@bent("never_stale_low", "server 1 free with 0 clients, but the server serves client 0", servers=1, clients=2)
def counts_are_always_nothing(monkeypatch):
    def received(before, work, event):
        message = replace(event.message, count=Count(0, event.message.count.sequence))
        before(work, replace(event, message=message))

    act(monkeypatch, distributor, distributor.Received, received)


@bent(
    "the_count_is_exact_when_dialogs_are_quiet",
    *("between the Distributor and server 1", "gives it 1 client, and it serves nobody"),
    servers=1,
    clients=1,
)
def who_leaves_is_not_reported(monkeypatch):
    def disconnected(before, state, event):
        taken = before(state, event)
        return replace(taken, state=replace(taken.state, outbox=state.outbox))

    act(monkeypatch, server, server.Disconnected, disconnected)


@bent(
    "each_process_knows_whom_it_has",
    "The Distributor has the connection of client 0, and does not count it",
    servers=1,
    clients=1,
    descriptor_losses=1,
)
def who_is_refused_is_forgotten(monkeypatch):
    def take_back(work, status, *, resting):
        new = replace(status, request=None, resting=resting)
        work.update(new, status)
        return new

    monkeypatch.setattr(distributor._Work, "take_back", take_back)


@bent(
    "each_process_knows_whom_it_has",
    "Server 1 has the connection of client 0, and does not count it",
    servers=1,
    clients=2,
    listener_closes=1,
)
def a_listener_that_closes_forgets_who_is_served(monkeypatch):
    def closed(before, state, event):
        return before(replace(state, clients=Tree()), event)

    act(monkeypatch, server, server.ListenerClosed, closed)


@bent(
    "rows_are_as_configured",
    "The Distributor's row of server 1 has weight 1, and the configuration has 2",
    servers=1,
    clients=0,
    elements=2,
    warm=False,
)
def every_element_weighs_the_same(monkeypatch):
    before = monitor._Work.adoption
    monkeypatch.setattr(monitor._Work, "adoption", lambda *given: replace(before(*given), weight=1))


@bent("no_client_is_lost", "Client 0 has not left, but nobody holds", servers=1, clients=1)
def a_client_is_accepted_and_discarded(monkeypatch):
    def sent(before, state, event):
        taken = before(state, event)
        return replace(taken, effects=tuple(server.Discard(effect.client) for effect in taken.effects))

    act(monkeypatch, server, server.Sent, sent)


@bent(
    "an_answer_comes_before_the_client",
    "does nothing about it; due: delivers client 0",
    servers=1,
    clients=1,
)
def a_client_is_accepted_and_not_delivered(monkeypatch):
    act(monkeypatch, server, server.Sent, lambda before, *given: replace(before(*given), effects=()))


@bent("no_client_is_lost", "Client 1 has not left, but nobody holds", servers=1, clients=2, distributor_crashes=1)
def a_death_between_two_steps_loses_somebody(monkeypatch):
    """The one who waits is in no store, so that the Distributor alone holds it: that is none of the named instants."""

    def place(work, client):
        before(work, client)
        stores = [e for e in work.effects if isinstance(e, distributor.SendMonitor) and hasattr(e.message, "client")]
        work.effects = [e for e in work.effects if e not in stores]

    before = distributor._Work.place
    monkeypatch.setattr(distributor._Work, "place", place)


@bent(
    "nobody_passes_on_what_it_has_not",
    *("delivers or closes a copy of client 1's connection, and has none", "held by: Distributor (waits)"),
    servers=1,
    clients=2,
    queue_timeouts=1,
)
def who_waits_too_long_is_closed_twice(monkeypatch):
    def fired(before, work, event):
        before(work, event)
        if isinstance(event.timer, distributor.QueueTimeout):
            work.effects.append(distributor.CloseCopy(event.timer.client))

    act(monkeypatch, distributor, distributor.Fired, fired)


@bent(
    "no_client_is_lost",
    "Before this step, client 0's connection was held by: kernel's backlog",
    servers=1,
    clients=1,
    stops=1,
)
def a_stop_leaves_the_backlog(monkeypatch):
    def close(before, work, event):
        before(work, event)
        for port in list(work.state.ports):
            distributor._close_listeners(work, port)

    act(monkeypatch, distributor, Close, close)


@bent(
    "no_one_waits_while_a_seat_is_free",
    "Client 1 waits on port 1 while a seat is free at server 1 (0 of 1)",
    servers=1,
    clients=2,
)
def nobody_is_seated_when_a_seat_becomes_free(monkeypatch):
    monkeypatch.setattr(distributor._Work, "next_to_seat", lambda work: None)


@bent(
    "first_come_first_served",
    "Server 1 was sent client 2 while client 1, who came earlier, waits on port 1",
    servers=1,
    clients=3,
)
def the_last_to_come_is_served_first(monkeypatch):
    def next_to_seat(work):
        return max((client for info in work.state.ports.values() if info.free for client in info.waiting), default=None)

    monkeypatch.setattr(distributor._Work, "next_to_seat", next_to_seat)


@bent("hand_offs_go_to_free_servers", "which serves 1 client of at most 1", servers=1, clients=2)
def the_maximum_is_one_too_high(monkeypatch):
    def free_on(status, port):
        free = status.answers_on(port) and status.request is None and not status.resting
        return free and status.count.clients <= status.max_clients

    monkeypatch.setattr(distributor.ServerStatus, "free_on", free_on)


@bent("store_has_exactly_those_who_wait", "Client 1 is on the waiting list and not in", servers=1, clients=2)
def who_waits_is_not_stored(monkeypatch):
    def place(work, client):
        before(work, client)
        work.effects = [
            e for e in work.effects if not (isinstance(e, distributor.SendMonitor) and hasattr(e.message, "client"))
        ]

    before = distributor._Work.place
    monkeypatch.setattr(distributor._Work, "place", place)


@bent(
    "never_more_servers_than_configured",
    *("Server 1 and server 2 live at once", "1 static and 0 dynamic: 1 in all"),
    servers=1,
    clients=0,
    server_crashes=1,
    forked_children=1,
)
def a_place_is_free_when_the_main_process_is_dead(monkeypatch):
    def exited(before, work, event):
        before(work, event)
        monitor._server_gone(work, event)

    act(monkeypatch, monitor, monitor.ServerExited, exited)


@bent(
    "no_surprising_rejection",
    *("The Monitor declines", "Release(client 1)", Reason.UNKNOWN_CLIENT.value),
    servers=1,
    clients=2,
)
def the_monitor_is_told_of_a_release_twice(monkeypatch):
    def leave(work, client):
        before(work, client)
        work.report(Release(client))

    before = distributor._Work.leave
    monkeypatch.setattr(distributor._Work, "leave", leave)


@bent(
    "accepts_only_below_the_limit",
    "An accept is issued on port 1 while 1 client waits, of at most 1",
    servers=1,
    clients=2,
    waiting_limit=1,
)
def the_bound_is_forgotten(monkeypatch):
    def accept(work, info):
        if info.opened and info.listening and not info.accepting and not info.pausing:
            work.put(replace(info, accepting=True))
            work.effects.append(distributor.Accept(info.port, wait=True))

    monkeypatch.setattr(distributor._Work, "accept", accept)


@bent("shut_down_before_released", "Client 1 is released before its connection", servers=1, clients=2, queue_timeouts=1)
def who_waits_too_long_is_released_first(monkeypatch):
    def fired(before, work, event):
        if not isinstance(event.timer, distributor.QueueTimeout):
            return before(work, event)
        work.leave(event.timer.client)
        work.effects.append(distributor.ShutDown(event.timer.client))

    act(monkeypatch, distributor, distributor.Fired, fired)


@bent(
    "who_is_to_leave_is_sent_nobody",
    "Server 1 is to leave, and its Distributor has not been sent this",
    servers=1,
    clients=0,
    retirements=1,
)
def the_monitor_keeps_to_itself_who_is_to_leave(monkeypatch):
    def retired(before, work, event):
        before(work, event)
        work.effects = [e for e in work.effects if not isinstance(e, monitor.SendDistributor)]

    act(monkeypatch, monitor, monitor.Retire, retired)


@bent(
    "a_server_is_given_up_only_for_one_that_is_ready",
    "Server 1 is to leave on Replace(",
    servers=1,
    clients=0,
    replacements=1,
)
def an_old_server_leaves_before_its_successor_is_ready(monkeypatch):
    def replaced(before, work, event):
        before(work, event)
        cls = work.state.classes[event.class_id]
        if cls.replacement is not None:
            old = cls.places[cls.replacement.old]
            work.retire(event.class_id, old, monitor.Retirement.REMOVE, limited=True)

    act(monkeypatch, monitor, monitor.Replace, replaced)


@bent("only_drained_servers_are_asked_to_end", "Server 1 is asked to end on StopRequested()", clients=0, stops=1)
def a_stop_asks_everybody_to_end(monkeypatch):
    def stop(before, work, event):
        before(work, event)
        for class_id, cls in work.state.classes.items():
            for place in cls.places.values():
                if place.phase is PlacePhase.READY:
                    work.terminate(class_id, place)

    act(monkeypatch, monitor, monitor.StopRequested, stop)


@bent(
    "no_one_is_cut_off_by_draining",
    *("Server 1 was asked to end, and", "client 0", "the Monitor is closing"),
    servers=1,
    clients=1,
    stops=1,
)
def a_stop_cuts_clients_off(monkeypatch):
    a_stop_asks_everybody_to_end(monkeypatch)


@bent(
    "an_acknowledgement_changes_nothing",
    *("Server 1 has read Acknowledge(sequence=", "and knows something else than before"),
    servers=1,
    clients=1,
)
def what_should_be_discarded_is_counted(monkeypatch):
    def acknowledged(before, state, event):
        return replace(before(state, event), state=replace(state, sequence=state.sequence + 1))

    act(monkeypatch, server, server.Acknowledged, acknowledged)


@bent(
    "deaths_are_counted",
    "Place 0 has 0 deaths in a row, and should have 1",
    servers=1,
    clients=0,
    server_crashes=1,
)
def a_death_is_not_counted(monkeypatch):
    def exited(before, work, event):
        before(work, event)
        place = work.state.classes[0].places[0]
        work.put_place(0, replace(place, deaths=0))

    act(monkeypatch, monitor, monitor.ServerExited, exited)


@bent(
    "processes_are_killed_only_for_a_reason",
    "The Monitor kills the Distributor on Fired(timer=StartWarning(",
    servers=1,
    clients=0,
    warm=False,
)
def a_slow_start_kills_the_distributor(monkeypatch):
    def fired(before, work, event):
        before(work, event)
        if isinstance(event.timer, monitor.StartWarning):
            work.effects.append(monitor.KillDistributor(event.timer.class_id))

    act(monkeypatch, monitor, monitor.Fired, fired)


@bent(
    "no_surprising_rejection",
    *("The Distributor declines Begin()", Reason.ALREADY_BEGUN.value),
    servers=1,
    clients=0,
    warm=False,
)
def a_step_that_has_only_effects_is_taken(monkeypatch):
    """The Monitor's state stays as it is, and a message is on its way."""

    def fired(before, work, event):
        before(work, event)
        if isinstance(event.timer, monitor.StartWarning):
            work.send(event.timer.class_id, Begin())

    act(monkeypatch, monitor, monitor.Fired, fired)


@pytest.mark.slow
@pytest.mark.parametrize("name", BENT)
def test_what_is_bent_is_named(name, monkeypatch):
    bend, broken, phrases, bounds = BENT[name]
    bend(monkeypatch)
    found = check(bounds, max_states=3_000, stop_at_violation=False)[broken]
    assert found.verdict is Verdict.VIOLATED and found.path is not None, shown(found)
    said = " ".join(why(broken, found.path))
    assert [phrase for phrase in phrases if phrase not in said] == [], said


def test_what_is_not_broken_is_not_explained():
    path = check(Bounds(servers=1, clients=1, warm=True))["a_client_is_served_and_leaves"].path
    assert path is not None
    assert why("a_client_is_served_and_leaves", path) == []
    for name in ("no_client_is_lost", "never_stale_low", "index_is_true", "no_surprising_rejection"):
        assert why(name, path) == []


# ================================================================ sound states


def operating(count=0):
    """A Distributor with servers 1 and 2 ready on port 1, and a client sent to the first."""
    state = distributor.initial(1, 0, 4, ((1, ADDRESS),), True)
    events = [Begin(), Listening(1, ADDRESS)]
    for number in (1, 2):
        events += [Adopt(number, 1, 1, False, False, (), ()), distributor.BindRequested(number, 1, ADDRESS)]
        events += [Received(number, 1, RestartReply(1, Count(0, 1)))]
    for cookie in range(count):
        events.append(distributor.ConnectionRequest(1, cookie))
    for event in events:
        taken = distributor.step(state, event)
        assert not isinstance(taken, Rejected), (event, taken)
        state = taken.state
    return state


def with_row(state, number, **changes):
    return replace(state, servers=state.servers.set(number, replace(state.servers[number], **changes)))


def with_port(state, **changes):
    return replace(state, ports=state.ports.set(1, replace(state.ports[1], **changes)))


def watching():
    """A Monitor that runs one class of two servers."""
    config = monitor.ClassConfig(2, 0, 1, 4, (0,), ((1, ADDRESS),), True)
    taken = monitor.step(monitor.initial((config,), (1,)), monitor.Started())
    assert not isinstance(taken, Rejected)
    return taken.state


def with_class(state, **changes):
    return replace(state, classes=state.classes.set(0, replace(state.classes[0], **changes)))


def with_place(state, number, **changes):
    places = state.classes[0].places
    return with_class(state, places=places.set(number, replace(places[number], **changes)))


# ================================================================ a step, or a world, is bent


def stepped(name, before, event, after, *effects):
    """The step must break the property: how, in a sentence."""
    (said,) = PROPERTIES[name].step(before, event, Stride(after, effects, None, ()))
    return said


def test_a_dialog_that_is_closed_in_use_is_named():
    state = operating(count=1)
    said = stepped("a_dialog_in_use_stays_open", state, Close(), state, distributor.CloseDialog(1, 1))
    assert "the dialog with server 1 on port 1, which its table still has ready" in said
    assert "awaits an answer about client 0" in said


def test_an_address_that_is_asked_for_twice_is_named():
    state = operating()
    said = stepped("an_address_is_listened_on_once", state, Close(), state, distributor.Listen(1, ADDRESS))
    assert said == "*:1 is asked for, and has been asked for already"


def test_the_server_that_should_have_been_chosen_is_named():
    before = with_row(operating(), 1, count=Count(0, 1))
    client = Client(0, 5, 1)
    after = with_row(with_row(before, 2, request=client, count=Count(1, 2), max_clients=4), 1, max_clients=4)
    before = with_row(with_row(before, 2, count=Count(1, 2), max_clients=4), 1, max_clients=4)
    event = distributor.ConnectionRequest(1, 5)
    send = distributor.Send(2, 1, HandOff(client))
    said = stepped("the_chosen_server_was_least_loaded", before, event, after, send)
    assert said == "client 5 was sent to server 2 (1 client), while server 1 (0 clients) was free on port 1"


MACHINES = {"distributor": distributor, "server": server, "monitor": monitor}


def without(*kinds):
    """The step's effects, but for those of these kinds."""
    return lambda effects: tuple(effect for effect in effects if not isinstance(effect, kinds))


def closing():
    """A Distributor that takes what its backlog holds."""
    taken = distributor.step(operating(), Close())
    assert not isinstance(taken, Rejected)
    return taken.state


def binding():
    """A Distributor with a server whose bind awaits the listening socket."""
    state = distributor.initial(1, 0, 4, ((1, ADDRESS),), True)
    for event in (Begin(), Adopt(1, 1, 1, False, False, (), ()), distributor.BindRequested(1, 1, ADDRESS)):
        taken = distributor.step(state, event)
        assert not isinstance(taken, Rejected)
        state = taken.state
    return state


def serves(*cookies, listening=True):
    """A server whose program has bound port 1."""
    return server.EndpointState(
        Tree.of([(1, server.VirtualListener(listening))]),
        Tree.of((Client(cookie, cookie, 1), None) for cookie in cookies),
    )


def answering():
    """A server whose answer to the hand-off of client 0 is yet to be sent."""
    taken = server.step(serves(), OFFERED)
    assert not isinstance(taken, Rejected)
    return taken.state


def storing():
    """A Monitor that stores client 0."""
    return with_class(watching(), store=Tree.of([(Client(0, 0, 1), None)]))


GUEST = Client(0, 0, 1)
OFFERED = server.MessageRead(1, HandOff(GUEST))
ANSWER = server.Reply(1, Accepted(GUEST, Count(1, 1)))
LEFT = Received(1, 1, Disconnect(GUEST, Count(0, 2)))
CONNECTS = distributor.ConnectionRequest(1, 0)
ANOTHER = distributor.Accept(1, wait=True)

ALTERED = (
    (
        *("what_may_fire_was_set", "distributor", operating(), CONNECTS, without(distributor.SetTimer)),
        "sets no timer HandOffTimeout(server=1) on ConnectionRequest(port=1, cookie=0), after which it may fire",
    ),
    (
        *("what_may_fire_was_set", "monitor", watching(), monitor.StopRequested(), without(monitor.SetTimer)),
        "sets no timer GraceOver() on StopRequested(), after which it may fire",
    ),
    (
        *("one_accept_at_a_time", "distributor", operating(), CONNECTS, lambda effects: (*effects, ANOTHER)),
        "an accept is issued on port 1 twice",
    ),
    (
        *("one_accept_at_a_time", "distributor", operating(), LEFT, lambda effects: (*effects, ANOTHER)),
        "an accept is issued on port 1 while another is outstanding",
    ),
    (
        *("one_accept_at_a_time", "distributor", operating(), CONNECTS, without(distributor.Accept)),
        "has an accept outstanding on port 1, and none is issued",
    ),
    (
        *("one_accept_at_a_time", "distributor", closing(), CONNECTS, lambda effects: (*effects[:-1], ANOTHER)),
        "an accept is issued on port 1 to wait for a client while closing",
    ),
    (
        *("one_accept_at_a_time", "distributor", operating(), distributor.AcceptFailed(1)),
        *(lambda effects: (*effects, ANOTHER), "on port 1 while it pauses after one that failed"),
    ),
    (
        *("copies_are_closed_when_clients_are_let_go", "distributor", operating(count=1)),
        *(Received(1, 1, Accepted(GUEST, Count(1, 2))), without(distributor.CloseCopy)),
        "client 0 is let go, and the Distributor's copy of its connection stays open",
    ),
    (
        *("copies_are_closed_when_clients_are_let_go", "distributor", operating(count=1)),
        *(Received(1, 1, Accepted(GUEST, Count(1, 2))), lambda effects: effects * 2),
        "closes its copy of client 0's connection 2 times",
    ),
    (
        *("copies_are_closed_when_clients_are_let_go", "distributor", operating(), CONNECTS),
        *(lambda effects: (*effects, distributor.CloseCopy(GUEST)), "client 0's connection, which it does not let go"),
    ),
    (
        *("an_answer_comes_before_the_client", "server", serves(), OFFERED, lambda effects: (server.Deliver(GUEST),)),
        "reads the hand-off of client 0, which has come with its descriptor to a port where the program listens,"
        " and accepts client 0, then delivers client 0; due: accepts client 0",
    ),
    (
        *("an_answer_comes_before_the_client", "server", serves(listening=False), OFFERED, lambda effects: ()),
        "a port where the program does not listen, and refuses client 0; due: refuses client 0, then discards client 0",
    ),
    (
        *("an_answer_comes_before_the_client", "server", serves(0), server.Disconnected(GUEST)),
        *(
            lambda effects: (server.Discard(GUEST),),
            "on Disconnected(client 0) discards client 0; due: nothing about a hand-off",
        ),
    ),
    (
        *("an_answer_comes_before_the_client", "server", answering(), server.Sent(ANSWER), lambda effects: ()),
        "does nothing about it; due: delivers client 0",
    ),
    (
        *("an_answer_comes_before_the_client", "server", answering(), server.Interrupted(1, ANSWER)),
        *(lambda effects: (server.Deliver(GUEST),), "refuses client 0, then delivers client 0; due: refuses client 0"),
    ),
    (
        *("what_is_opened_is_kept", "distributor", binding(), Listening(1, ADDRESS), lambda effects: effects[1:]),
        "*:1 listens, and the Monitor is given no duplicate",
    ),
    (
        *("what_is_opened_is_kept", "distributor", binding(), Listening(1, ADDRESS)),
        *(
            lambda effects: (effects[0], *effects[:0:-1]),
            "the bind of port 1 is answered to server 1's program before the Monitor",
        ),
    ),
    (
        *("what_is_opened_is_kept", "distributor", binding(), Listening(1, ADDRESS), without(distributor.SendControl)),
        "server 1's bind of port 1 is decided, and not answered",
    ),
    (
        *("a_dialog_in_use_stays_open", "distributor", operating(), distributor.DialogEnded(1, 1)),
        *(without(distributor.CloseDialog), "keeps its end of the dialog with server 1 on port 1 open"),
    ),
    (
        *("a_dialog_in_use_stays_open", "distributor", operating(), distributor.ControlEnded(1)),
        *(without(distributor.CloseDialog), "keeps its end of server 1's control socket open"),
    ),
    (
        *("only_drained_servers_are_asked_to_end", "monitor", watching(), monitor.Reported(0, Drained(1))),
        *(without(monitor.Terminate), "server 1 is marked as stopping, and is not asked to end"),
    ),
    (
        *("what_is_no_longer_kept_is_dropped", "monitor", storing(), monitor.Reported(0, Release(GUEST))),
        *(without(monitor.DropDuplicate), "strikes client 0 off, and leaves the duplicates open"),
    ),
    (
        *("what_is_no_longer_kept_is_dropped", "monitor", watching(), monitor.ServerGone(0, 1)),
        *(lambda effects: effects[:1] + effects, "strikes server 1 off, and closes the duplicates that it keeps for"),
    ),
    (
        *("what_is_no_longer_kept_is_dropped", "monitor", watching(), monitor.Reported(0, DropListeners(1))),
        *(without(monitor.DropListener), "strikes port 1 off, and leaves the duplicates open"),
    ),
    (
        *("what_is_no_longer_kept_is_dropped", "monitor", watching(), monitor.StopRequested()),
        *(lambda effects: (monitor.DropServer(0, 2),), "keeps for server 2, which it has not struck off"),
    ),
    (
        *("every_leave_is_acknowledged", "distributor", operating(), LEFT, without(distributor.SendControl)),
        "sends no acknowledgement, and should send Acknowledge(sequence=2) to server 1",
    ),
)


@pytest.mark.parametrize(("name", "who", "before", "event", "alter", "phrase"), ALTERED)
def test_a_step_with_other_effects_is_explained(name, who, before, event, alter, phrase):
    taken = MACHINES[who].step(before, event)
    assert not isinstance(taken, Rejected), taken
    step, stride = PROPERTIES[name].step, Stride(taken.state, taken.effects, None, ())
    assert [*step(before, event, stride)] == []
    said = [*step(before, event, stride._replace(effects=alter(taken.effects)))]
    assert [*filter(lambda sentence: phrase in sentence, said)] != [], said


def test_an_accept_that_the_table_does_not_have_outstanding_is_named():
    state = with_port(operating(), accepting=False)
    said = stepped("one_accept_at_a_time", state, LEFT, state, ANOTHER)
    assert said == "an accept is issued on port 1 that the table does not have outstanding"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Drained(2), ["server 1 is asked to end on Reported(class_id=0, message=Drained(server=2)), which is neither"]),
        (Drained(1), []),
    ],
)
def test_a_server_is_asked_to_end_because_it_is_drained_and_no_other(event, said):
    stopping = with_place(watching(), 0, phase=PlacePhase.STOPPING)
    stride = Stride(stopping, (monitor.Terminate(0, 1),), None, ())
    found = [*PROPERTIES["only_drained_servers_are_asked_to_end"].step(watching(), monitor.Reported(0, event), stride)]
    assert len(found) == len(said) and all(map(str.startswith, found, said)), found


def test_who_is_asked_to_end_and_not_marked_as_stopping_is_named():
    """The sentence names what is wrong, and not the reason, which is right."""
    state, end = watching(), monitor.Terminate(0, 1)
    found = [
        *PROPERTIES["only_drained_servers_are_asked_to_end"].step(
            state, monitor.Reported(0, Drained(1)), Stride(state, (end, end), None, ())
        )
    ]
    assert found == [
        "server 1 is asked to end, and is not marked as stopping in this step",
        "server 1 is asked to end 2 times",
    ]


@pytest.mark.parametrize(
    ("full_at", "then", "hung", "said"),
    [
        (0, 0, True, "server 1 has 1 client, and was not spared before; it is reported as unresponsive"),
        (2, 2, False, "server 1 has 1 client, and had 2 when it was last spared; nobody is reported as unresponsive"),
        (0, 0, False, "server 1 has 1 client, is spared, and is remembered as having 0"),
    ],
)
def test_what_is_wrong_about_a_server_that_takes_nobody_is_named(full_at, then, hung, said):
    state = with_row(operating(), 1, count=Count(1, 2), full_at=full_at)
    after = with_row(state, 1, full_at=then)
    effects = [distributor.SendMonitor(Unresponsive(1))] if hung else []
    assert stepped("a_full_server_is_spared", state, distributor.StillServes(1), after, *effects) == said


def test_an_unfit_server_that_may_be_sent_clients_is_named():
    state = operating()
    said = stepped(
        "the_unfit_are_sent_nobody", state, distributor.Unfit(1), state, distributor.SendMonitor(Unresponsive(1))
    )
    assert said == "server 1 may be sent clients after Unfit(server=1)"
    quarantined = with_row(state, 1, draining=True)
    assert stepped("the_unfit_are_sent_nobody", quarantined, distributor.RestOver(1), state) == said.replace(
        "Unfit", "RestOver"
    )


def test_an_accept_before_any_server_has_answered_is_named():
    state = binding()
    said = stepped("one_accept_at_a_time", state, Close(), with_port(state, accepting=True), ANOTHER)
    assert said == "an accept is issued on port 1 before any server has answered there"


def test_a_half_close_that_ends_the_waiting_is_named():
    state = operating(count=3)
    event = distributor.PeerClosed(Client(2, 2, 1), reset=False, unread=True)
    taken = distributor.step(state, replace(event, reset=True))
    assert not isinstance(taken, Rejected)
    said = stepped("a_half_close_is_no_hang_up", state, event, taken.state, *taken.effects)
    assert said.startswith("client 2 has closed its sending side only") and said.endswith("it is in no table")


@pytest.mark.parametrize(("warm", "comes_up"), [(False, False), (True, True)])
def test_what_is_wrong_before_the_first_world_is_found_and_explained(monkeypatch, warm, comes_up):
    def started(before, work, event):
        before(work, event)
        work.effects = list(without(monitor.SetTimer)(work.effects))

    act(monkeypatch, monitor, monitor.Started, started)
    found = check(Bounds(servers=1, clients=0, warm=warm))["what_may_fire_was_set"]
    assert found.verdict is Verdict.VIOLATED and found.path is not None and not found.path.steps, shown(found)
    (said,) = why("what_may_fire_was_set", found.path)
    assert said.startswith("A step that leads to the first world breaks it: the Monitor's start")
    assert ("does not begin warm" in said) is comes_up


def ready_world(**changes):
    """A warm world whose parts a test replaces, and the path of one step that leads there."""
    bounds = Bounds(servers=1, clients=2, warm=True)
    world = System(bounds).initial()
    after = world._replace(**{name: change(world) for name, change in changes.items()})
    return Path(bounds, world, (Step(ServerDeed(1, Deed.DIES), after),))


def broken(name, path):
    breaks = PROPERTIES[name].world
    assert holds(breaks(path.start)) and not holds(breaks(path.steps[-1].world))
    return " ".join(why(name, path))


def serving(*cookies, **changes):
    """The groups, of which the one server serves these clients."""

    def change(world):
        group = world.groups[0]
        held = tuple(Client(cookie, cookie, 1) for cookie in cookies)
        clients = Tree.of((client, None) for client in held)
        return (group._replace(endpoint=replace(group.endpoint, clients=clients), held=held, **changes),)

    return change


def test_who_is_above_the_maximum_is_named():
    said = broken("never_above_the_maximum", ready_world(groups=serving(0, 1)))
    assert said == "Server 1 serves client 0 and client 1, and may serve 1 at a time."


def test_who_is_served_before_its_answer_is_named():
    def unanswered(world):
        guest = world.guests[0]._replace(fate=Fate.IN, taken=1)
        return (guest, *world.guests[1:])

    said = broken("who_is_served_was_answered_for", ready_world(guests=unanswered))
    assert said == "Client 0 is served, and its Accepted has not been sent."


def test_two_requests_outstanding_are_named():
    def sent(world):
        group = world.groups[0]
        unread = tuple(HandOff(Client(cookie, cookie, 1)) for cookie in (0, 1))
        return (group._replace(links=(group.links[0]._replace(to_server=unread),)),)

    said = broken("at_most_one_request_outstanding", ready_world(groups=sent))
    assert said == "Server 1 has the hand-offs of client 0 and client 1 unread at once."


def test_a_table_that_is_not_exact_after_a_restart_is_named():
    def restarted(world):
        return with_row(replace(world.distributor, incarnation=2), 1, count=Count(2, 9), request=Client(0, 0, 1))

    path = ready_world(distributor=restarted, groups=serving(0))
    said = broken("the_table_is_exact_again_after_a_restart", path)
    assert "gives it 2 clients, and it serves client 0" in said
    assert "awaits an answer about client 0 from server 1" in said


def test_who_is_stored_and_does_not_wait_is_named():
    def stored(world):
        return with_class(world.monitor, store=Tree.of([(Client(0, 0, 1), None)]))

    said = broken("store_has_exactly_those_who_wait", ready_world(monitor=stored))
    assert "Client 0 is in the Monitor's store and not on the waiting list" in said


def test_the_world_that_is_first_can_be_explained_too():
    bounds = Bounds(servers=1, clients=2, warm=True)
    world = System(bounds).initial()
    bad = world._replace(groups=serving(0, 1)(world))
    assert why("never_above_the_maximum", Path(bounds, bad, ())) != []
    assert why("released_before_sent", Path(bounds, bad, ())) == []


def test_a_step_is_taken_once_more_only_where_a_machine_took_it():
    system = System(Bounds(servers=1, clients=1, warm=True))
    world = system.initial()
    assert retake(system, world, ClientConnects(0, 1)) is None
    taken = retake(system, world, ServerStep(1, server.MessageRead(1, HandOff(Client(0, 0, 1)))))
    assert taken is not None and taken.rejected is None and taken.state.outbox and not world.groups[0].endpoint.outbox
    assert world.guests[0].fate is Fate.ABSENT  # the world itself is untouched
