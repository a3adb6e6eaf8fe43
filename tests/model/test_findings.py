"""What the exploration found in the core, each as the shortest scenario that shows it: mended, and to stay so."""

from errno import ESHUTDOWN

import pytest
from tests.model.outcome import shown

from maitred.core import distributor, monitor, server
from maitred.core.distributor import (
    BIND_YOURSELF,
    Accept,
    BacklogEmpty,
    BindRequested,
    CloseDialog,
    ConnectionRequest,
    Listen,
    Listening,
    Phase,
    Received,
    Send,
    SendControl,
    SendMonitor,
)
from maitred.core.messages import (
    Accepted,
    Adopt,
    Begin,
    BindReply,
    Client,
    Close,
    Count,
    Disconnect,
    Drained,
    DropListeners,
    HandOff,
    InitialMsg,
    KeepListener,
    NotReady,
    RestartReply,
    Restore,
    ServerNotReady,
    ServerReady,
)
from maitred.core.transition import Rejected
from maitred.model.check.checker import Bounds, Verdict, check
from maitred.model.claims.safety import PROPERTIES
from maitred.model.world import Deed, DistributorCutOff, EffectDeclined, System

ADDRESS = "127.0.0.1:1"


class Run:
    """A Distributor, step by step."""

    def __init__(self, *, incarnation=1, listeners=((1, ADDRESS),), fixed=True):
        self.state = distributor.initial(incarnation, 0, 4, listeners, fixed)

    def take(self, *events):
        effects = ()
        for event in events:
            taken = distributor.step(self.state, event)
            assert not isinstance(taken, Rejected), (event, taken)
            self.state, effects = taken.state, taken.effects
        return effects


def ready(**start):
    run = Run(**start)
    run.take(Begin(), Listening(1, ADDRESS), Adopt(1, 2, 1, False, False, (), ()), BindRequested(1, 1, ADDRESS))
    run.take(Received(1, 1, RestartReply(run.state.incarnation, Count(0, 1))))
    return run


def test_a_stop_takes_the_backlog_of_a_socket_that_is_still_being_opened():
    """`Close` came before `Listening` of a kept socket: its backlog was reset."""
    run = Run(incarnation=2)
    run.take(Begin())
    effects = run.take(Close())
    assert not any(isinstance(effect, distributor.CloseListeners) for effect in effects)
    assert Accept(1, wait=False) in run.take(Listening(1, ADDRESS))
    run.take(ConnectionRequest(1, 7))
    assert run.state.waiting == 1
    assert distributor.CloseListeners(1) in run.take(BacklogEmpty(1))


def test_a_bind_before_begin_is_listened_on_once():
    """A bind that a restarted Distributor read before `Begin` was listened on twice; the second failed."""
    run = Run(incarnation=2, listeners=(), fixed=False)
    run.take(Adopt(1, 1, 1, False, False, (), ()))
    assert run.take(BindRequested(1, 1, ADDRESS)) == ()
    assert [effect for effect in run.take(Begin()) if isinstance(effect, Listen)] == [Listen(1, ADDRESS)]


def test_a_bind_repeated_during_a_stop_leaves_the_dialog_open():
    """While closing, a repeated bind closed the dialog in use: its hand-off was never answered."""
    run = ready()
    run.take(ConnectionRequest(1, 7), Close())
    assert run.take(BindRequested(1, 1, ADDRESS)) == (SendControl(1, BindReply(1, 0)),)
    assert run.state.servers[1].request is not None and 1 in run.state.servers[1].dialogs


def test_who_waits_is_restored_though_the_port_was_closed_for_a_stop():
    """The last Distributor had closed the port, its successor did not know it, and who waited there was declined."""
    run = Run(incarnation=2, listeners=())
    run.take(Restore(Client(3, 7, 1)), Begin(), Close())
    assert run.state.waiting == 1 and run.state.phase is Phase.CLOSING


def test_a_bind_to_a_port_that_was_closed_for_a_stop_is_answered():
    """... and a bind there was left without an answer for ever."""
    run = Run(incarnation=2, listeners=())
    run.take(Adopt(1, 1, 1, False, False, (), ()), Restore(Client(3, 7, 1)))
    assert run.take(BindRequested(1, 1, ADDRESS)) == (SendControl(1, BindReply(1, ESHUTDOWN)), CloseDialog(1, 1))
    assert BIND_YOURSELF != ESHUTDOWN


def test_a_server_that_sent_nothing_since_the_restart_is_not_idle():
    """Its listener was closed, so nothing was owed; but it served a client, and was drained and asked to end."""
    run = Run(incarnation=2)
    run.take(Adopt(1, 1, 1, False, False, (1,), ()), Begin(), Listening(1, ADDRESS))
    effects = [*run.take(Close()), *run.take(BacklogEmpty(1))]
    assert SendMonitor(Drained(1)) not in effects
    assert SendMonitor(Drained(1)) not in run.take(Received(1, 1, NotReady(2, Count(1, 5))))
    assert SendMonitor(Drained(1)) in run.take(Received(1, 1, distributor.Disconnect(Client(0, 7, 1), Count(0, 6))))


def test_an_echo_from_before_a_hand_off_does_not_show_that_it_was_read():
    """The Monitor knew that nothing is unread; a successor would have taken the count for exact."""
    run = ready()
    client = Client(0, 7, 1)
    run.take(Received(1, 1, distributor.Disconnect(Client(9, 9, 1), Count(1, 2))))
    assert run.take(distributor.Audited(1, (client,))) == (Send(1, 1, InitialMsg(1, (client,))),)
    assert Send(1, 1, HandOff(client)) in run.take(ConnectionRequest(1, 7))
    run.take(Received(1, 1, NotReady(0, Count(1, 3))))
    assert SendMonitor(ServerNotReady(1, 1)) not in run.take(Received(1, 1, NotReady(1, Count(0, 4))))
    run.take(Received(1, 1, distributor.Refused(client, Count(0, 5))))
    assert SendMonitor(ServerNotReady(1, 1)) in run.take(Received(1, 1, NotReady(1, Count(0, 6))))
    assert SendMonitor(ServerReady(1, 1)) in run.take(Received(1, 1, RestartReply(1, Count(0, 7))))


def test_a_second_stop_is_at_once_after_the_grace_too():
    state = monitor.initial((monitor.ClassConfig(1, 0, 1, 4, (0,)),), (1,))
    for event in (monitor.Started(), monitor.StopRequested(), monitor.Fired(monitor.GraceOver())):
        taken = monitor.step(state, event)
        assert not isinstance(taken, Rejected)
        state = taken.state
    taken = monitor.step(state, monitor.StopRequested())
    assert not isinstance(taken, Rejected)
    assert monitor.Kill(0, 1) in taken.effects


def test_the_canonical_state_chooses_as_the_state_does():
    """A server that was never chosen keeps its place before one that joined later."""
    run = Run()
    run.take(Begin(), Listening(1, ADDRESS))
    for number in (1, 2):
        run.take(Adopt(number, 1, 1, False, False, (), ()), BindRequested(number, 1, ADDRESS))
        run.take(Received(number, 1, RestartReply(1, Count(0, 1))))
        run.state = distributor.canonical(run.state)
    assert Send(1, 1, HandOff(Client(0, 7, 1))) in run.take(ConnectionRequest(1, 7))
    assert distributor.canonical(run.state) == distributor.canonical(distributor.canonical(run.state))
    assert [status.rank for status in distributor.canonical(run.state).servers.values()] == [1, 0]


@pytest.mark.campaign
def test_the_model_alone_finds_the_server_that_is_cut_off(monkeypatch):
    """The deepest of them, found again when the mend is undone: 19 actions."""
    idle = property(lambda status: status.count.clients == 0 and status.request is None and not status.owed)
    monkeypatch.setattr(distributor.ServerStatus, "idle", idle)
    bounds = Bounds(servers=1, clients=1, listener_closes=1, distributor_crashes=1, stops=1, warm=True)
    result = check(bounds, max_states=400_000)
    found = result["no_one_is_cut_off_by_draining"]
    assert found.verdict is Verdict.VIOLATED and found.path is not None, shown(found)
    assert len(found.path.steps) == 19, shown(found)


# ---------------------------------------------------------------- deeper than an exploration reaches

BY_PROOF = Bounds(
    servers=1, ports=2, clients=2, max_clients=2, listener_closes=2, distributor_crashes=1, stops=1, warm=True
)


def happens(who, kind, **fields):
    """One step of a scenario: whose it is, and of its event (or of the message in that) what matters."""

    def fits(action):
        event = action.what
        if action.who != who or isinstance(action, DistributorCutOff | EffectDeclined):
            return False
        if isinstance(kind, Deed):
            return event is kind and all(getattr(action, name) == value for name, value in fields.items())
        message = getattr(event, "message", None)
        named = isinstance(event, kind) or isinstance(message, kind) or isinstance(getattr(event, "timer", None), kind)
        return named and all(getattr(event, name, getattr(message, name, None)) == v for name, v in fields.items())

    return fits


def follow(system, steps):
    """The world after each step of the scenario; every step must be possible."""
    world = system.initial()
    for i, fits in enumerate(steps):
        after = next((after for action, after, _ in system.successors(world) if fits(action)), None)
        if after is None:
            return i, world
        world = after
    return len(steps), world


def closes(port):
    """The server closes its listener on the port, and the Monitor comes to know that nothing is unread there."""
    return [
        happens("server 1", server.ListenerClosed, port=port),
        happens("distributor", NotReady, port=port),
        happens("server 1", InitialMsg, port=port),
        happens("distributor", NotReady, port=port),
        happens("monitor", ServerNotReady),
    ]


STALE_ZERO = [
    happens("client 0", Deed.ARRIVES, port=1),
    happens("distributor", ConnectionRequest, port=1),
    happens("server 1", HandOff, port=1),
    happens("distributor", Accepted, port=1),
    *closes(1),
    happens("server 1", server.Disconnected),  # its Disconnect stays unread, and reports: nobody
    happens("client 1", Deed.ARRIVES, port=2),
    happens("distributor", ConnectionRequest, port=2),
    happens("server 1", HandOff, port=2),
    happens("distributor", Accepted, port=2),
    *closes(2),
    happens("distributor", Deed.DIES),
    happens("monitor", monitor.DistributorExited),
    happens("monitor", monitor.RestartDistributor),
    happens("distributor", Adopt),
    happens("distributor", Begin),
    happens("distributor", Disconnect),  # the next Distributor reads it first
    happens("monitor", monitor.StopRequested),
    happens("distributor", Listening, port=1),
    happens("distributor", Listening, port=2),
    happens("distributor", Close),
    *[happens("monitor", KeepListener)] * 2,
    happens("distributor", BacklogEmpty, port=1),
    happens("distributor", BacklogEmpty, port=2),
    *[happens("monitor", DropListeners)] * 2,
    happens("monitor", Drained),
]
"""A server that serves a client, and owes no answer as both its listeners are closed, reported long ago that it serves
nobody.  36 steps: found when the invariant that `no_one_is_cut_off_by_draining` rests on could not be written down.
"""


def test_an_old_count_of_nobody_drains_nobody():
    done, world = follow(System(BY_PROOF), STALE_ZERO)
    assert done == len(STALE_ZERO) - 1, "everything happens but the last: it is not said to be drained"
    assert [len(group.endpoint.clients) for group in world.groups] == [1]


def test_it_would_be_cut_off_if_any_count_would_do(monkeypatch):
    idle = property(lambda s: s.count.clients == 0 and s.count.sequence >= 0 and s.request is None and not s.owed)
    monkeypatch.setattr(distributor.ServerStatus, "idle", idle)
    done, world = follow(System(BY_PROOF), STALE_ZERO)
    assert done == len(STALE_ZERO)
    cut_off = PROPERTIES["no_one_is_cut_off_by_draining"].world
    assert cut_off is not None
    assert [*cut_off(world)], "the sentence of its violation"
