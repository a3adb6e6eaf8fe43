"""The bridge: every step of the code is a step of the relation, and what the relation allows the code does.

For each world that an exploration reaches, and each action in it:

1.  *Same step.*  The action is rendered as a sequence of transitions (`plan`: the event's own, then one for each effect
    that others notice, in the order of the effects).  Each transition's guard must hold where it is taken, and the
    state that they lead to must be the abstraction of the world that the code leads to.
2.  *Same enabledness.*  Where the guard of an *exact* transition holds in the abstraction of a world, with some
    parameters, an action of the code must begin with that transition and those parameters.  Of the others that
    progress rests on, something of the kind must happen (`HELPFUL`).
3.  *Same order.*  Between two transitions of one step of the Distributor, where the second is exact, no other exact
    transition of the Distributor is enabled, except for those that may come in any order (`ANY_ORDER`).

Both readings are of one text (`proofs.refinement.interpreter`).  A world or an action that the relation does not model
(`NotModelled`) is counted, not compared; the exploration does not go on from there.  `proofs/README.md` lists all of
them, and what checks them instead.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, assert_never

import z3
from spec.relation.state import NOW, STATE, up
from spec.relation.system import ACTIONS

from maitred.core import distributor, monitor, server
from maitred.core.messages import (
    Accepted,
    Adopt,
    Allow,
    Begin,
    BindReply,
    CreateServer,
    CreationFailed,
    Disconnect,
    Drain,
    Drained,
    HandOff,
    InitialMsg,
    KeepDialog,
    KeepListener,
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
from maitred.model.story.text import describe
from maitred.model.world import (
    ANY,
    CLASS,
    Action,
    Bounds,
    ClientCloses,
    ClientConnects,
    ConnectionLeaks,
    Deed,
    DistributorCutOff,
    DistributorEnds,
    DistributorStep,
    DistributorTakes,
    EffectDeclined,
    Fate,
    Group,
    MonitorStep,
    PortDeed,
    Program,
    ServerDeed,
    ServerStep,
    System,
    World,
)
from proofs.refinement.abstraction import NotModelled, abstract, canonical_form
from proofs.refinement.interpreter import State, Transition, transition
from proofs.refinement.readers import SHIFT, Unlike, numbered
from proofs.solve import sentence

TRANSITIONS: dict[str, Transition] = {action.name: transition(action) for action in ACTIONS}
Move: TypeAlias = tuple[str, dict[str, Any]]
"""A transition by name, and its parameters."""
Witness: TypeAlias = Callable[[State, str, dict[str, Any]], None]
"""Called for each transition: the state before, its name, its parameters."""


class Divergence(Exception):
    """The code and the relation do not do the same; the text names where."""

    def __init__(self, text: str, about: str = "") -> None:
        """The message in full, and in a word or two: which transition, and what is wrong with it."""
        super().__init__(text)
        self.about = about


class Watch(Protocol):
    """Who looks on, at whatever has been compared without a difference."""

    def walked(self, state: State, wanted: State, moves: Sequence[Move]) -> None:
        """These transitions lead from the one state to the other."""

    def refused(self, state: State, refused: Transition, parameters: Mapping[str, Any]) -> None:
        """This exact transition is not enabled there, and nothing of the kind happens in the code."""


@dataclass
class Tally:
    """What was compared."""

    watch: Watch | None = None
    worlds: int = 0
    steps: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    """How often each transition was taken."""
    outside: Counter[str] = field(default_factory=Counter)


DEEP: Final = {
    "everything dies": Bounds(
        servers=2,
        clients=4,
        ports=2,
        server_crashes=2,
        forked_children=1,
        distributor_crashes=2,
        descriptor_losses=2,
        listener_closes=1,
        reorders=ANY,
        hang_ups=1,
        queue_timeouts=1,
        warm=True,
    ),
    "dynamic servers": Bounds(
        servers=1,
        clients=5,
        dynamic=2,
        creations=ANY,
        deletions=ANY,
        server_crashes=2,
        distributor_crashes=1,
        hand_off_timeouts=1,
        warm=True,
    ),
    "processing elements": Bounds(
        servers=2,
        clients=4,
        max_clients=2,
        elements=3,
        element_failures=2,
        element_returns=1,
        unsent=2,
        accept_failures=1,
        distributor_crashes=1,
        server_crashes=1,
        warm=True,
    ),
    "from the start": Bounds(
        servers=2, clients=3, distributor_crashes=3, descriptor_losses=2, server_crashes=1, repeated_binds=1
    ),
    "unready": Bounds(servers=1, clients=3, dynamic=2, creations=ANY, server_crashes=6, warm=True),
    "who waits is restored": Bounds(servers=1, clients=3, distributor_crashes=2, warm=True),
    "interrupted": Bounds(
        servers=2,
        clients=4,
        ports=2,
        interruptions=12,
        room=1,
        server_crashes=1,
        forked_children=1,
        distributor_crashes=1,
        listener_closes=1,
        descriptor_losses=1,
        audits=2,
        warm=True,
    ),
    "interrupted with room": Bounds(
        servers=1,
        clients=4,
        max_clients=2,
        interruptions=12,
        server_crashes=1,
        forked_children=1,
        distributor_crashes=2,
        listener_closes=2,
        descriptor_losses=1,
        reorders=ANY,
        audits=ANY,
        warm=True,
    ),
    "stale answers": Bounds(
        servers=1, clients=2, distributor_crashes=2, descriptor_losses=2, listener_closes=2, warm=True
    ),
    "many servers": Bounds(
        servers=4, clients=5, ports=3, elements=3, server_crashes=2, forked_children=1, distributor_crashes=1, warm=True
    ),
    "many clients": Bounds(
        servers=1, clients=12, max_clients=5, waiting_limit=6, distributor_crashes=1, hang_ups=1, warm=True
    ),
}
"""Bounds too wide to be explored: walks go there."""
MIDST: Final = Bounds(servers=1, clients=1, interruptions=1, warm=True)
"""2,533 worlds, all to be compared: a process dies with each kind of message about a client."""


@dataclass(frozen=True)
class Helpful:
    """How a transition that progress rests on is compared, though it is not exact."""

    about: tuple[str, ...] = ()
    """Those of its parameters that the code's must have: the others are the code's to choose."""
    instead: tuple[str, ...] = ()
    """What stands for it: the relation leaves open which of them it is, or has it in another order."""


BIND: Final = "a request to bind is read"
HELPFUL: Final[Mapping[str, Helpful]] = {
    # the requests to bind that a dead server has left are read first, of which the relation does not model
    "sees_control_end": Helpful(("s",), (BIND,)),
    "distributor_starts": Helpful(),
    "monitor_creates_server": Helpful((), ("monitor_declines_server",)),
    "monitor_declines_server": Helpful((), ("monitor_creates_server",)),
    "server_refuses": Helpful(("s", "p"), ("server_accepts",)),
}
"""What liveness rests on of the transitions that are not exact.  The others that it names are no actions of their own:
`sends_hand_in_vain` is in the midst of a step, `server_sends` and `server_lets_go` mostly at the end of one.
"""


def _speaks_of(term: z3.ExprRef, part: z3.ExprRef) -> bool:
    return bool(term.eq(part)) or any(_speaks_of(child, part) for child in term.children())


BY_DISTRIBUTOR: Final = frozenset(
    action.name
    for action in ACTIONS
    if action.exact and any(_speaks_of(term, up(NOW)) for _, term in action.step(STATE).guards)
)
"""The exact transitions that only a living Distributor takes."""
ANY_ORDER: Final = (
    *({"sends_initial"}, {"issues_accept"}, {"issues_accept", "wants_server"}),
    *({"reports_drained", "stores_hand"}, {"reports_drained", "sends_hand"}, {"reports_drained", "issues_accept"}),
)
"""Of these, several may follow from one event, and the relation has them in any order."""

# ================================================================ an action, as transitions


def plan(system: System, before: World, action: Action, after: World, state: State) -> list[Move]:
    """The transitions that the action is; the first one's parameters are those by which it is enabled."""
    match action:
        case ClientConnects():
            return [("client_comes", {"c": action.client})]
        case ClientCloses():
            return [("client_closes", {"c": action.client})] if action.what is Deed.HANGS_UP else []
        case MonitorStep():
            stride = system.stride("monitor", before.monitor, action.what)
            return monitor_moves(action.what, stride.effects, before.monitor, stride.state)
        case DistributorStep() | DistributorCutOff() | EffectDeclined():
            return _distributor(system, before, action, state)
        case DistributorEnds(what=Deed.DIES):
            return [("distributor_dies", {})]
        case DistributorEnds():
            raise NotModelled(action.what.value)
        case ServerStep():
            return _server(system, _group(before, action.server), action.what)
        case ServerDeed():
            return _server_deed(system, _group(before, action.server), action)
        case PortDeed():
            return _port_deed(system, _group(before, action.server), action)
        case ConnectionLeaks():
            raise NotModelled(str(action.what))
        case _:
            assert_never(action)


def monitor_moves(
    event: Any,
    effects: Sequence[Any],
    before: monitor.MonitorState,
    after: monitor.MonitorState,
    class_id: monitor.ClassId = CLASS,
) -> list[Move]:
    """The transitions that a step of the Monitor is: the event's own, and those by which servers are replaced.

    Args:
        event: of the Monitor.
        effects: of the step.
        before: the state before.
        after: the state after.
        class_id: of the server class.

    Raises:
        NotModelled: the relation does not model it.
    """
    own = _monitor_event(event, effects, after.phase is monitor.Phase.RUNNING)
    known = {move[1]["s"] for move in own if move[0] in ("monitor_creates_server", "monitor_starts_server")}
    timer = event.timer if isinstance(event, monitor.Fired) else None
    warned = timer.server if isinstance(timer, monitor.StartWarning) else 0
    return [*own, *_changes(effects, known, warned, before.classes[class_id], after.classes[class_id])]


def _changes(
    effects: Sequence[Any], known: Container[int], warned: int, before: monitor.ClassState, after: monitor.ClassState
) -> Iterator[Move]:
    """Who is to leave from this step on, or within a grace; who is started that is not `known` to be; and whether the
    server of which the operator is `warned` is killed.
    """
    former = {place.server: place for place in before.places.values()}
    for place in after.places.values():
        was = former.get(place.server)
        if was is None or not place.alive:
            continue
        if place.retirement is not monitor.Retirement.NONE and was.retirement is monitor.Retirement.NONE:
            yield "monitor_retires", {"s": place.server}
        if place.limited and not was.limited:
            yield "monitor_limits", {"s": place.server}
        if warned == place.server and place.phase is monitor.PlacePhase.KILLING:
            yield "successor_is_late", {"s": place.server}
    plan = after.replacement
    for effect in effects:
        if isinstance(effect, monitor.StartServer) and effect.server not in known:
            succeeds = plan is not None and plan.surge == effect.place
            yield "monitor_starts_successor" if succeeds else "monitor_starts_server", {"s": effect.server}


def _monitor_event(event: Any, effects: Sequence[Any], running: bool) -> list[Move]:
    """The transition of the event itself."""
    started = [e.server for e in effects if isinstance(e, monitor.StartServer)]
    match event:
        case monitor.Retire() | monitor.Replace():
            return []  # what follows from it are the changes
        case monitor.Scale():
            return [("monitor_scales", {"n": event.dynamic})]
        case monitor.Reported():
            return [_heard(event.message, started)]
        case monitor.ServerExited():
            return [("monitor_sees_server_end", {"s": event.server})] if effects else []
        case monitor.ServerGone():
            if not running:
                raise NotModelled("a class that is given up")
            return [("monitor_sees_server_gone", {"s": event.server})]
        case monitor.DistributorExited():
            return [("monitor_sees_distributor_dead", {})]
        case monitor.ElementFailed():
            return [("element_fails", {"e": event.element})]
        case monitor.ElementRestored():
            return [("element_returns", {"e": event.element})]
        case monitor.Fired():
            return _monitor_timer(event.timer, effects, started)
    raise NotModelled(type(event).__name__)


def _heard(message: Any, started: Sequence[int]) -> Move:
    names = {
        Store: "monitor_stores",
        Release: "monitor_releases",
        KeepDialog: "monitor_keeps_dialog",
        ServerReady: "monitor_receives_ready",
        ServerNotReady: "monitor_receives_not_ready",
        Drained: "monitor_receives_drained",
        Unresponsive: "monitor_receives_unresponsive",
        KeepListener: "monitor_learns_of_socket",
    }
    if isinstance(message, CreateServer):
        return ("monitor_creates_server", {"s": started[0]}) if started else ("monitor_declines_server", {})
    if type(message) not in names:
        raise NotModelled(type(message).__name__)
    return names[type(message)], {}


def _monitor_timer(timer: Any, effects: Sequence[Any], started: Sequence[int]) -> list[Move]:
    match timer:
        case monitor.RestartServer():
            return [("monitor_starts_server", {"s": started[0]})] if started else []
        case monitor.RestartDistributor():
            begun = [e.element for e in effects if isinstance(e, monitor.StartDistributor)]
            return [("distributor_starts", {"e": begun[0]})] if begun else []
        case monitor.DynamicRest():
            return [("dynamic_rest_is_over", {})]
        case monitor.KillDelay():
            return [("server_outstays", {"s": timer.server})]
        case monitor.DrainOver():
            return [("leave_is_over", {"s": timer.server})]
        case monitor.ServerStable() | monitor.DistributorStable() | monitor.StartWarning():
            return []
    raise NotModelled(type(timer).__name__)


def _group(world: World, number: int) -> Group:
    group = world.group(number)
    assert group is not None, "it acts"
    return group


def _server(system: System, group: Group, event: server.Event) -> list[Move]:
    own = server_moves(group.server, event, group.endpoint)
    left = system.stride("server", group.endpoint, event).state.outbox
    return [*own, *(_left_to_say(group.server, own, left) if system.splits else _all_said(group.server, left))]


def _server_deed(system: System, group: Group, action: ServerDeed) -> list[Move]:
    at = {"s": group.server}
    match action.what:
        case Deed.DIES | Deed.ENDS:
            return [("server_dies", at)]
        case Deed.LEAVES_A_CHILD:
            return _leaves_a_child(system, group)
        case Deed.IS_KILLED:
            return [("server_is_killed", at)]
        case Deed.DEFERS:
            return [("server_lets_go", at)]
        case Deed.RESUMES:
            return [("server_resumes", at)]
        case _:
            assert_never(action.what)


def _port_deed(system: System, group: Group, action: PortDeed) -> list[Move]:
    s = group.server
    match action.what:
        case Deed.READS_REPLY:
            reply = group.replies[0]
            link = group.link(reply.port)
            bound = link is not None and link.program is Program.BINDING and not reply.errno
            if not bound:
                return []
            own = server_moves(s, server.Bound(reply.port), group.endpoint)
            return [*own, *_left_to_say(s, own, group.endpoint.outbox)]
        case Deed.BINDS | Deed.BINDS_AGAIN:
            return []
        case Deed.SENDS:
            return [("server_sends", _message(s, system.next_to_send(group)))]
        case Deed.LOSES_A_SENDER:
            return [("sender_dies", _message(s, system.in_flight(group)))]
        case Deed.LOSES_A_READER:
            return [_reader_dies(group, action.port)]
        case _:
            assert_never(action.what)


def _message(s: int, reply: server.Reply | None, shift: int = SHIFT) -> dict[str, Any]:
    """The parameters of a transition about a message of the server."""
    assert reply is not None, "it is being sent"
    return {"s": s, "q": reply.message.count.sequence + shift}


def _leaves_a_child(system: System, group: Group) -> list[Move]:
    at = {"s": group.server}
    if not group.sending:
        return [("server_leaves_a_child", at)]
    in_flight = system.in_flight(group)
    if in_flight is None:
        return [("server_lets_go", at), ("server_leaves_a_child", at)]
    return [("server_leaves_a_child_in_the_midst", _message(group.server, in_flight))]


def _reader_dies(group: Group, port: int) -> Move:
    link = group.link(port)
    assert link is not None, "it read there"
    lost = "hand_off" if isinstance(link.to_server[0], HandOff) else "question"
    return f"reader_dies_with_{lost}", {"s": group.server, "p": port}


def _left_to_say(s: int, own: Sequence[Move], outbox: Sequence[server.Reply]) -> list[Move]:
    """Where sending is steps of its own: the lock is held on while, and only while, something is to be sent."""
    held = own[0][0] not in ("server_binds", "server_listens")
    if held == bool(outbox):
        return []
    return [("server_lets_go" if held else "server_resumes", {"s": s})]


def _all_said(s: int, outbox: Sequence[server.Reply]) -> list[Move]:
    """Where it is not: all is sent and noted at once."""
    sent = [move for reply in outbox for move in (("server_sends", _message(s, reply)), ("server_notes", {"s": s}))]
    return [*sent, ("server_lets_go", {"s": s})] if sent else []


def server_moves(s: int, event: Any, endpoint: server.EndpointState, shift: int = SHIFT) -> list[Move]:
    """The transitions that a step of a server's endpoint is.

    Args:
        s: the server.
        event: of its endpoint.
        endpoint: in the state before.
        shift: what is added to the code's sequence numbers.

    Raises:
        NotModelled: the relation does not model it.
    """
    match event:
        case server.Bound():
            return [("server_binds", {"s": s, "p": event.port})]
        case server.Disconnected():
            return [("client_leaves", {"s": s, "c": event.client.cookie})]
        case server.Listened():
            owes = endpoint.listeners[event.port].asked
            return [("server_listens_and_answers" if owes else "server_listens", {"s": s, "p": event.port})]
        case server.ListenerClosed():
            return [("server_closes_listener", {"s": s, "p": event.port})]
        case server.MessageRead():
            at = {"s": s, "p": event.port}
            listens = endpoint.listeners[event.port].listening
            if isinstance(event.message, HandOff):
                return [("server_accepts" if event.intact and listens else "server_refuses", at)]
            return [("server_answers" if listens else "server_answers_later", at)]
        case server.Acknowledged():
            return []
        case server.Sent():
            return [("server_notes", {"s": s})]
        case server.Interrupted():
            return _found(s, event.reply, endpoint, shift)
    raise NotModelled(str(event))


def _found(s: int, reply: server.Reply | None, endpoint: server.EndpointState, shift: int) -> list[Move]:
    """What is done about a process that has died in the midst of a step."""
    accepted = [one for one in endpoint.outbox if isinstance(one.message, Accepted)]
    taken_back: list[Move] = [("server_takes_back", _message(s, one, shift)) for one in accepted]
    if reply in accepted:
        return taken_back
    if reply is None or isinstance(reply.message, Refused):
        name = "server_wants_to_be_asked"
    else:
        name = "server_counts_again" if isinstance(reply.message, Disconnect) else "server_reports_again"
    return [*taken_back, (name, {"s": s})]


def _distributor(system: System, before: World, action: DistributorTakes, state: State) -> list[Move]:
    assert before.distributor is not None, "it acts"
    stride = system.stride("distributor", before.distributor, action.what)

    declined = action.declined if isinstance(action, EffectDeclined) else None

    def in_vain(i: int, effect: distributor.Send) -> bool:
        group = before.group(effect.server)
        return i == declined or group is None or not group.alive

    if declined is not None and isinstance(stride.effects[declined], distributor.Listen):
        raise NotModelled("a socket that cannot be opened")
    dies = isinstance(action, DistributorCutOff)
    performed = stride.effects[: action.performed] if isinstance(action, DistributorCutOff) else stride.effects
    step = PerformedStep(action.what, stride.effects, performed, stride.rejected is not None, dies)
    return distributor_moves(step, before.distributor, state, in_vain)


@dataclass(frozen=True)
class PerformedStep:
    """A step of the Distributor."""

    event: Any  # Any: an event of the Distributor's
    effects: Sequence[Any]
    performed: Sequence[Any]
    """Those that it performed: all, or as many as it came to."""
    rejected: bool
    dies: bool
    shift: int = SHIFT
    """What is added to the code's sequence numbers."""


def distributor_moves(
    step: PerformedStep,
    before: distributor.DistributorState,
    state: State,
    in_vain: Callable[[int, distributor.Send], bool],
) -> list[Move]:
    """The transitions that a step of the Distributor is.

    Args:
        step: the step.
        before: the Distributor's state before.
        state: the whole system's.
        in_vain: of the place of an effect that sends a hand-off, and of the effect: whether nobody will get it.

    Raises:
        NotModelled: the relation does not model it.
        Divergence: which transition it is cannot be decided, as there should be just one.
    """
    own = [] if step.rejected else _event(step, before, state)
    if step.rejected and isinstance(step.event, distributor.Unsent):
        own = [("notices_unsent_late", {"s": step.event.server, "c": step.event.client.cookie})]
    if step.dies and isinstance(step.event, distributor.Received) and not any(_is_message(e) for e in step.performed):
        q = step.event.message.count.sequence + step.shift
        return [("distributor_dies_having_read", {"s": step.event.server, "q": q})]
    if step.dies and _is_undone(step.event, step.performed):
        return [("distributor_dies", {})]
    moves = [*own, *_effects(step, before, in_vain)]
    return [*moves, ("distributor_dies", {})] if step.dies else moves


def _is_message(effect: Any) -> bool:
    return isinstance(effect, (distributor.SendMonitor, distributor.Send))


def _is_undone(event: Any, performed: Sequence[Any]) -> bool:
    """The Distributor died before anything of what the event brings about could be noticed."""
    if isinstance(event, (distributor.PeerClosed, distributor.Fired, Adopt, distributor.BindRequested)):
        return not any(
            isinstance(e, (distributor.ShutDown, distributor.SendMonitor, distributor.Send)) for e in performed
        )
    return isinstance(event, distributor.Listening) and not any(_is_message(e) for e in performed)


def _event(step: PerformedStep, before: distributor.DistributorState, now: State) -> list[Move]:
    """The transition of the event itself."""
    event = step.event
    match event:
        case Adopt():
            newcomer = now.value("late", event.server)
            return [("adopts_newcomer" if newcomer else "adopts", {"s": event.server})]
        case Restore():
            return [("restores", {"c": event.client.cookie})]
        case Begin():
            return [("begins", {})]
        case CreationFailed():
            return [("learns_that_none_comes", {})]
        case Drain():
            known = before.servers[event.server].draining
            return [("drains_leaver", {"s": event.server})] if not known else []
        case Allow():
            return [("learns_how_many_may_come", {"n": event.dynamic})]
        case distributor.ConnectionRequest():
            return [("accepts", {"c": event.cookie})]
        case distributor.AcceptFailed():
            return [("accept_fails", {"p": event.port})]
        case distributor.PeerClosed():
            return [("shuts_waiter_down", {"c": event.client.cookie})]
        case distributor.Received():
            return [_received(event, now, step.shift)]
        case distributor.DialogEnded():
            return [("sees_dialog_end", {"s": event.server, "p": event.port})]
        case distributor.ControlEnded():
            return [("sees_control_end", {"s": event.server})]
        case distributor.Unsent():
            return [("notices_unsent", {"s": event.server})]
        case distributor.Listening():
            return [("learns_of_socket", {"p": event.port})]
        case distributor.BindRequested():
            return _bind(event, before, step.effects)
        case distributor.StillServes():
            reported = any(isinstance(e, distributor.SendMonitor) for e in step.effects)
            return [("finds_server_unresponsive", {"s": event.server})] if reported else []
        case distributor.Unfit():
            return [("finds_server_unfit", {"s": event.server})]
        case distributor.Audited(gone=gone):
            if gone:
                raise NotModelled("an audit that finds connections gone")
            return [("asks_again", {"s": e.server, "p": e.port}) for e in step.effects]
        case distributor.Fired():
            return _timer(event.timer, step.effects)
    raise NotModelled(type(event).__name__)


def _received(event: distributor.Received, now: State, shift: int) -> Move:
    """Which of the transitions for a message of this class it is: just one of them is enabled."""
    names = {
        Accepted: ("receives_accepted",),
        Refused: ("receives_refused", "receives_stale_refusal"),
        Disconnect: ("receives_disconnect",),
        RestartReply: ("learns_that_it_listens", "learns_that_it_still_listens"),
        NotReady: ("learns_that_it_is_deaf", "learns_that_it_has_closed", "learns_that_it_was_deaf"),
    }[type(event.message)]
    at = {"s": event.server, "q": event.message.count.sequence + shift}
    fit = [name for name in names if TRANSITIONS[name].refused(now, at) is None]
    if len(fit) != 1:
        if fit:
            why = f"just one of these should be enabled: {_places(fit)}"
        else:
            false = "; ".join(sentence.refusal(TRANSITIONS[name], now, at) for name in names)
            why = f"one of {', '.join(names)} should be enabled, and of each a sentence does not hold: {false}"
        raise Divergence(why, f"{names[0]} is not enabled")
    return fit[0], at


def _bind(event: distributor.BindRequested, state: Any, effects: Sequence[Any]) -> list[Move]:
    if any(isinstance(e, distributor.SendMonitor) and isinstance(e.message, KeepDialog) for e in effects):
        return []  # the dialog is opened by the effect
    known = event.port in state.servers[event.server].dialogs
    declined = any(
        isinstance(e, distributor.SendControl) and isinstance(e.message, BindReply) and e.message.errno for e in effects
    )
    if known or declined:
        return []
    return [("binds_later", {"s": event.server, "p": event.port})]


def _timer(timer: Any, effects: Sequence[Any]) -> list[Move]:
    match timer:
        case distributor.QueueTimeout():
            return [("shuts_waiter_down", {"c": timer.client.cookie})]
        case distributor.HandOffTimeout():
            return [("finds_server_unresponsive", {"s": timer.server})]
        case distributor.RestOver():
            return [("rest_is_over", {"s": timer.server})]
        case distributor.CreateDelay():
            asked = any(isinstance(e, distributor.SendMonitor) and isinstance(e.message, CreateServer) for e in effects)
            return [("asks_for_server" if asked else "asks_for_no_server", {})]
        case distributor.DeleteDelay():
            return [("drains_idle_server", {"s": timer.server})]
        case distributor.AcceptRetry():
            return [("accept_is_tried_again", {"p": timer.port})]
        case distributor.AuditDue():
            return []
    raise NotModelled(type(timer).__name__)


def _effects(
    step: PerformedStep, before: distributor.DistributorState, in_vain: Callable[[int, distributor.Send], bool]
) -> Iterator[Move]:
    """One transition for each effect that others notice, but for those that are the event's own."""
    dropping = isinstance(step.event, distributor.PeerClosed) or (
        isinstance(step.event, distributor.Fired) and isinstance(step.event.timer, distributor.QueueTimeout)
    )
    for i, effect in enumerate(step.performed):
        match effect:
            case distributor.Send(message=HandOff()):
                yield ("sends_hand_in_vain" if in_vain(i, effect) else "sends_hand"), {"s": effect.server}
            case distributor.Send(message=InitialMsg()):
                yield "sends_initial", {"s": effect.server, "p": effect.port}
            case distributor.SendMonitor(message=Store()):
                yield "stores_hand", {}
            case distributor.SendMonitor(message=Release(client=client)):
                if dropping:
                    dropping = False
                    yield "releases_dropped", {}
                else:
                    yield "releases", {"c": client.cookie}
            case distributor.SendMonitor(message=Drained(server=s)):
                gone = _is_the_last_to_end(step.event, before)
                yield ("reports_drained_of_the_gone" if gone else "reports_drained"), {"s": s}
            case distributor.SendMonitor(message=KeepDialog(server=s, port=p)):
                yield "opens_dialog", {"s": s, "p": p}
            case distributor.Accept():
                yield "issues_accept", {"p": effect.port}
            case distributor.SetTimer(timer=distributor.CreateDelay()):
                yield "wants_server", {}
            case distributor.Listen():
                yield "opens_socket", {"p": effect.port}
            case _:
                pass  # nobody else notices, or it is the event's own


def _is_the_last_to_end(event: Any, before: distributor.DistributorState) -> bool:
    """Whether nothing is left by which the Distributor knows the server: it leaves the table."""
    if not isinstance(event, distributor.DialogEnded):
        return False
    status = before.servers[event.server]
    return not status.attached and [*status.dialogs] == [event.port]


# ================================================================ the comparison


def compare(
    bounds: Bounds,
    worlds: int | None = None,
    tally: Tally | None = None,
    enabled: bool = True,
    witness: Witness | None = None,
    symmetric: bool = False,
) -> Tally:
    """Compare the code with the relation in every world that can be reached, or in the first so many.

    Args:
        bounds: of the system.
        worlds: after so many the comparison ends.
        tally: to be counted on.
        enabled: whether to ask as well that the relation allows nothing that the code does not do.
        witness: is given each transition before it is taken: the state, its name, its parameters.
        symmetric: identify worlds up to renaming of servers and clients.

    Raises:
        Divergence: the first difference.
    """
    tally = tally or Tally()
    system, steady = System(bounds, symmetric=symmetric), System(bounds, steady=True)
    first = system.initial()
    seen, queue = {system.key(first)}, deque([first])
    while queue and (worlds is None or tally.worlds < worlds):
        world = queue.popleft()
        tally.worlds += 1
        for after in _compare(steady, bounds, world, tally, enabled, witness):
            normal = system.seal(system.canonical(after))  # whose parts may be `steady`'s: keys are of one system
            key = system.key(normal)
            if key not in seen:
                seen.add(key)
                queue.append(normal)
    return tally


def compare_on_the_way(
    bounds: Bounds,
    seed: str,
    length: int,
    tally: Tally | None = None,
    enabled: bool = True,
    witness: Witness | None = None,
    first: int | None = None,
) -> Tally:
    """Compare in every world on a random walk, which gets deeper than an exploration; the rest is as of `compare`.

    Args:
        bounds: of the system.
        seed: of the walk.
        length: how many steps.
        tally: to be counted on.
        enabled: as of `compare`.
        witness: as of `compare`.
        first: renumber nothing on the way, and begin every counter so far up.

    Raises:
        Divergence: the first difference.
    """
    tally = tally or Tally()
    system, steady = System(bounds, first=first), System(bounds, steady=True, first=first)
    dice, world = random.Random(seed), system.initial()
    for _ in range(length):
        tally.worlds += 1
        following = [*_compare(steady, bounds, world, tally, enabled, witness)]
        if not following:
            break
        chosen = dice.choice(following)
        world = system.canonical(chosen) if first is None else chosen
    return tally


def _compare(
    steady: System, bounds: Bounds, world: World, tally: Tally, enabled: bool, witness: Witness | None
) -> Iterator[World]:
    firsts: set[tuple[str, tuple[tuple[str, Any], ...]]] = set()
    first = steady.first or 0
    usual = abstract(world, bounds, {}, {}, first)
    for action, after, _ in steady.successors(world):
        try:
            started, ports = _given(world, after)
            state = abstract(world, bounds, ports, started, first) if started or ports else usual
            state = state.with_changes({"reordering": {(): isinstance(action, DistributorTakes) and action.late}})
            wanted = abstract(after, bounds, {}, {}, first)
            moves = plan(steady, world, action, after, state)
        except NotModelled as outside:
            tally.outside[str(outside)] += 1
            continue
        except Unlike as unlike:
            raise Divergence(f"{_rendered(action)}: {unlike}", "copies of a client differ") from unlike
        if moves and not isinstance(action, DistributorCutOff):
            firsts.add((moves[0][0], tuple(sorted(moves[0][1].items()))))
        if isinstance(action.what, distributor.BindRequested):
            firsts.add((BIND, (("s", action.what.server),)))
        _walk(state, wanted, moves, action, tally, enabled, witness)
        tally.steps += 1
        yield after
    if enabled:
        _nothing_else(usual, firsts, tally)
        _something_helps(usual, firsts)


def _given(world: World, after: World) -> tuple[dict[int, tuple[int, int]], dict[int, int]]:
    """What the step decides that never changes: where a server is started, and which port a client comes to."""
    cls = after.monitor.classes[CLASS]
    new = range(world.monitor.next_server, after.monitor.next_server)
    places = {s: cls.places[cls.living[s]] for s in new if s in cls.living}
    started = {s: (numbered(place), place.element) for s, place in places.items()}
    queued = ((cookie, i + 1) for i, queue in enumerate(after.kernel.backlog) for cookie in queue)
    return started, {cookie: port for cookie, port in queued if world.guests[cookie].fate is Fate.ABSENT}


def _walk(
    state: State,
    wanted: State,
    moves: Sequence[Move],
    action: Action,
    tally: Tally,
    enabled: bool,
    witness: Witness | None,
) -> None:
    """Take the transitions, and compare where they lead."""
    beginning = state
    by_distributor = isinstance(action, (DistributorStep, EffectDeclined))
    for place, (name, parameters) in enumerate(moves):
        if enabled and by_distributor and place:
            _nothing_else_in_the_midst(state, moves[place:], action, tally)
        if witness is not None:
            witness(state, name, parameters)
        transition_ = TRANSITIONS[name]
        if transition_.refused(state, parameters) is not None:
            false = sentence.refusal(transition_, state, parameters)
            what = f"{_rendered(action)}: {name}{parameters} is not enabled, as this does not hold: {false}"
            raise Divergence(what, f"{name} is not enabled")
        state = transition_.after(state, parameters)
        tally.taken[name] += 1
    integers = tuple(sorted({*state.domains["Int"], *wanted.domains["Int"]}))  # the code's may have been closed up
    domains = {**state.domains, "Int": integers}
    got, want = (canonical_form(State(of.tables, domains, of.defaults)) for of in (state, wanted))
    if got != want:
        where = f"{moves[-1][0]} leads elsewhere" if moves else "something changes"
        at = f" ({_places(name for name, _ in moves)})" if moves else ""
        raise Divergence(f"{_rendered(action)}: {[*moves]}{at} leads elsewhere: {differences(got, want)}", where)
    if tally.watch is not None:
        tally.watch.walked(beginning, wanted, moves)


def _nothing_else(state: State, firsts: set[tuple[str, tuple[tuple[str, Any], ...]]], tally: Tally) -> None:
    """Every exact transition that the relation enables is one with which an action of the code begins."""
    for transition_ in TRANSITIONS.values():
        if not transition_.exact or (tally.watch is None and transition_.impossible(state)):
            continue
        for parameters in _parameters(transition_, state):
            if transition_.refused(state, parameters) is not None:
                if tally.watch is not None:
                    tally.watch.refused(state, transition_, parameters)
            elif (transition_.name, tuple(sorted(parameters.items()))) not in firsts:
                what = f"the relation enables {_places([transition_.name])}{parameters}, and the code does not"
                raise Divergence(what, f"{transition_.name} does not happen")


def _nothing_else_in_the_midst(state: State, moves: Sequence[Move], action: Action, tally: Tally) -> None:
    """In the midst of a step of the Distributor, no exact transition of the Distributor is enabled but the next.

    Where the next is not exact, the relation leaves open when it comes: there nothing is compared.
    """
    following, *later = moves
    if not TRANSITIONS[following[0]].exact:
        return
    for transition_ in (one for name, one in TRANSITIONS.items() if name in BY_DISTRIBUTOR):
        if tally.watch is None and transition_.impossible(state):
            continue
        for parameters in _parameters(transition_, state):
            move = transition_.name, parameters
            if move == following or ({transition_.name, following[0]} in ANY_ORDER and move in later):
                continue
            if transition_.refused(state, parameters) is None:
                enabled = f"the relation enables {_places([transition_.name])}{parameters}"
                what = f"{_rendered(action)}: in its midst {enabled}, and the code does {following[0]}{following[1]}"
                raise Divergence(what, f"{transition_.name} does not happen")
            if tally.watch is not None:
                tally.watch.refused(state, transition_, parameters)


def _parameters(transition_: Transition, state: State) -> Iterator[dict[str, Any]]:
    """All parameters that the transition may have in the state."""
    for place in itertools.product(*(state.domains[sort] for sort in transition_.sorts.values())):
        yield dict(zip(transition_.sorts, place, strict=True))


def _something_helps(state: State, firsts: set[tuple[str, tuple[tuple[str, Any], ...]]]) -> None:
    """Where the relation enables one of `HELPFUL`, an action of the code begins with it, or with what stands for it."""
    done = [(name, dict(parameters)) for name, parameters in firsts]
    for name, helpful in HELPFUL.items():
        transition_ = TRANSITIONS[name]
        if transition_.impossible(state):
            continue
        for parameters in _parameters(transition_, state):
            if transition_.refused(state, parameters) is not None:
                continue
            wanted = {key: parameters[key] for key in helpful.about}
            if not any(one in (name, *helpful.instead) and wanted.items() <= of.items() for one, of in done):
                enabled = f"the relation enables {_places([name])}{parameters}, which progress rests on"
                what = f"{enabled}, and the code does not"
                raise Divergence(what, f"{name} does not happen")


def is_compared(name: str) -> bool:
    """Whether the code is asked for the transition wherever the relation enables it."""
    return TRANSITIONS[name].exact or name in HELPFUL


def _places(names: Iterable[str]) -> str:
    """The transitions, and where each stands."""
    return ", ".join(f"{sentence.place(ACTIONS.by_name[name].body)} {name}" for name in dict.fromkeys(names))


def _rendered(action: Action) -> str:
    what = action.what.value if isinstance(action.what, Deed) else describe(action.what)
    dies = f" (dies after {action.performed})" if isinstance(action, DistributorCutOff) else ""
    return f"{action.who}: {what}{dies}"


def differences(got: Mapping[str, Any], want: Mapping[str, Any], at: str = "") -> list[str]:
    """Where the two canonical forms differ: relation, then code."""
    found = []
    for key in {**got, **want}:
        a, b = got.get(key), want.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{at}{key}.")
        elif a != b:
            found.append(f"{at}{key}: {a} in the relation, {b} in the code")
    return found


def uncovered(tally: Tally) -> list[str]:
    """The transitions that no step took; `proofs.refinement.guard_cases` has both sides of each guard."""
    return [name for name in TRANSITIONS if not tally.taken[name]]
