"""The bridge: every step of the code is a step of the relation, and what the relation allows the code does.

For each world that an exploration reaches, and each action in it:

1.  *Same step.*  The action is told as a sequence of transitions (`plan`: the event's own, then one for each effect
    that others notice, in the order of the effects).  Each transition's guard must hold where it is taken, and the
    state that they lead to must be the abstraction of the world that the code leads to.
2.  *Same enabledness.*  Where the guard of an *exact* transition holds in the abstraction of a world, with some
    parameters, an action of the code must begin with that transition and those parameters.

Both readings are of one text (`proofs.evaluate`).  A world or an action that the relation does not tell (`Outside`: a
stop, an audit, a socket that cannot be opened) is counted, not compared; the exploration does not go on from there.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spec.relation.system import ACTIONS

from maitred.core import distributor, monitor, server
from maitred.core.messages import (
    Accepted,
    Adopt,
    Begin,
    CreateServer,
    CreationFailed,
    Disconnect,
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
from maitred.model.narrate import tell
from maitred.model.world import CLASS, Action, Bounds, Deed, Program, System, World
from proofs.abstraction import Outside, abstract, essence
from proofs.evaluate import State, Transition, transition

TRANSITIONS: dict[str, Transition] = {action.name: transition(action) for action in ACTIONS}
Move = tuple[str, dict[str, Any]]
"""A transition by name, and its parameters."""


class Divergence(Exception):
    """The code and the relation do not do the same; the text says where."""


@dataclass
class Tally:
    """What was compared."""

    worlds: int = 0
    steps: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    """How often each transition was taken."""
    refused: Counter[str] = field(default_factory=Counter)
    """How often each guard, by its place in the specification, was false where a transition was tried."""
    outside: Counter[str] = field(default_factory=Counter)


# ================================================================ an action, told in transitions


def plan(system: System, before: World, action: Action, after: World, state: State) -> list[Move]:
    """The transitions that the action is; the first one's parameters are those by which it is enabled."""
    if action.who.startswith("client"):
        return _client(action)
    if action.who == "monitor":
        return _monitor(system, before, action, after)
    if action.who == "distributor":
        return _distributor(system, before, action, state)
    return _server(system, before, action)


def _client(action: Action) -> list[Move]:
    c = int(action.who.split()[1])
    if action.what is Deed.ARRIVES:
        return [("client_comes", {"c": c})]
    return [("client_closes", {"c": c})] if action.what is Deed.HANGS_UP else []


def _monitor(system: System, before: World, action: Action, after: World) -> list[Move]:
    event = action.what
    effects = system.stride("monitor", before.monitor, event).effects
    started = [e.server for e in effects if isinstance(e, monitor.StartServer)]
    match event:
        case monitor.Told():
            return [_told(event.message, started)]
        case monitor.ServerExited():
            return [("monitor_sees_server_end", {"s": event.server})] if effects else []
        case monitor.ServerGone():
            if after.monitor.phase is not monitor.Phase.RUNNING:
                raise Outside("a class that is given up")
            return [("monitor_sees_server_gone", {"s": event.server})]
        case monitor.DistributorExited():
            return [("monitor_sees_distributor_dead", {})]
        case monitor.ElementFailed():
            return [("element_fails", {"e": event.element})]
        case monitor.ElementRestored():
            return [("element_returns", {"e": event.element})]
        case monitor.Fired():
            return _monitor_timer(event.timer, effects, started)
    raise Outside(type(event).__name__)


def _told(message: Any, started: Sequence[int]) -> Move:
    names = {
        Store: "monitor_stores",
        Release: "monitor_releases",
        KeepDialog: "monitor_keeps_dialog",
        ServerReady: "monitor_hears_ready",
        ServerNotReady: "monitor_hears_not_ready",
        Drained: "monitor_hears_drained",
        Unresponsive: "monitor_hears_unresponsive",
        KeepListener: "monitor_hears_of_socket",
    }
    if isinstance(message, CreateServer):
        return ("monitor_creates_server", {"s": started[0]}) if started else ("monitor_declines_server", {})
    if type(message) not in names:
        raise Outside(type(message).__name__)
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
        case monitor.ServerStable() | monitor.DistributorStable() | monitor.StartWarning():
            return []
    raise Outside(type(timer).__name__)


def _server(system: System, before: World, action: Action) -> list[Move]:
    s = int(action.who.split()[1])
    group = before.group(s)
    assert group is not None, "it acts"
    event = action.what
    match event:
        case Deed.DIES | Deed.ENDS:
            return [("server_dies", {"s": s})]
        case Deed.LEAVES_A_CHILD:
            return [("server_leaves_a_child", {"s": s})]
        case Deed.IS_KILLED:
            return [("server_is_killed", {"s": s})]
        case Deed.READS_REPLY:
            reply = group.replies[0]
            link = group.link(reply.port)
            bound = link is not None and link.program is Program.BINDING and not reply.errno
            return [("server_binds", {"s": s, "p": reply.port})] if bound else []
        case Deed.BINDS | Deed.BINDS_AGAIN:
            return []
        case server.Disconnected():
            return [("client_leaves", {"s": s, "c": event.client.cookie})]
        case server.Listened():
            owes = group.endpoint.listeners[event.port].asked
            return [("server_listens_and_answers" if owes else "server_listens", {"s": s, "p": event.port})]
        case server.ListenerClosed():
            return [("server_closes_listener", {"s": s, "p": event.port})]
        case server.MessageRead():
            at = {"s": s, "p": event.port}
            listens = group.endpoint.listeners[event.port].listening
            if isinstance(event.message, HandOff):
                return [("server_accepts" if event.intact and listens else "server_refuses", at)]
            return [("server_answers" if listens else "server_answers_later", at)]
    raise Outside(str(event))


def _distributor(system: System, before: World, action: Action, state: State) -> list[Move]:
    if action.what is Deed.DIES:
        return [("distributor_dies", {})]
    if isinstance(action.what, Deed):
        raise Outside(action.what.value)
    assert before.distributor is not None, "it acts"
    stride = system.stride("distributor", before.distributor, action.what)
    performed = stride.effects if action.performed is None else stride.effects[: action.performed]
    dies = action.performed is not None
    own = [] if stride.rejected else _event(action.what, before.distributor, stride.effects, state)
    if stride.rejected and isinstance(action.what, distributor.Unsent):
        own = [("notices_unsent_late", {"s": action.what.server})]
    if dies and isinstance(action.what, distributor.Received) and not any(_is_told(e) for e in performed):
        q = action.what.message.count.sequence
        return [("distributor_dies_having_read", {"s": action.what.server, "q": q + 1})]
    if dies and _is_undone(action.what, performed):
        return [("distributor_dies", {})]
    moves = [*own, *_effects(performed, action, before)]
    return [*moves, ("distributor_dies", {})] if dies else moves


def _is_told(effect: Any) -> bool:
    return isinstance(effect, (distributor.Tell, distributor.Send))


def _is_undone(event: Any, performed: Sequence[Any]) -> bool:
    """The Distributor died before anything of what the event brings about could be noticed."""
    if isinstance(event, (distributor.PeerClosed, distributor.Fired, Adopt, distributor.BindRequested)):
        return not any(isinstance(e, (distributor.ShutDown, distributor.Tell, distributor.Send)) for e in performed)
    return isinstance(event, distributor.Listening) and not any(_is_told(e) for e in performed)


def _event(event: Any, state: distributor.DistributorState, effects: Sequence[Any], now: State) -> list[Move]:
    """The transition of the event itself."""
    match event:
        case Adopt():
            newcomer = now.value("late", event.server)
            return [("adopts_newcomer" if newcomer else "adopts", {"s": event.server})]
        case Restore():
            return [("restores", {"c": event.client.cookie})]
        case Begin():
            return [("begins", {})]
        case CreationFailed():
            return [("hears_that_none_comes", {})]
        case distributor.ConnectionRequest():
            return [("accepts", {"c": event.cookie})]
        case distributor.AcceptFailed():
            return [("accept_fails", {"p": event.port})]
        case distributor.PeerClosed():
            return [("shuts_waiter_down", {"c": event.client.cookie})]
        case distributor.Received():
            return [_received(event, now)]
        case distributor.DialogEnded():
            return [("sees_dialog_end", {"s": event.server, "p": event.port})]
        case distributor.ControlEnded():
            return [("sees_control_end", {"s": event.server})]
        case distributor.Unsent():
            return [("notices_unsent", {"s": event.server})]
        case distributor.Listening():
            return [("hears_of_socket", {"p": event.port})]
        case distributor.BindRequested():
            return _bind(event, state, effects)
        case distributor.Fired():
            return _timer(event.timer, effects)
    raise Outside(type(event).__name__)


def _received(event: distributor.Received, now: State) -> Move:
    """Which of the transitions for a message of this class it is: just one of them is enabled."""
    names = {
        Accepted: ("hears_accepted",),
        Refused: ("hears_refused", "hears_stale_refusal"),
        Disconnect: ("hears_disconnect",),
        RestartReply: ("hears_that_it_listens", "hears_that_it_still_listens"),
        NotReady: ("hears_that_it_is_deaf", "hears_that_it_has_closed", "hears_that_it_was_deaf"),
    }[type(event.message)]
    at = {"s": event.server, "q": event.message.count.sequence + 1}
    fit = [name for name in names if TRANSITIONS[name].refused(now, at) is None]
    if len(fit) != 1:
        why = {name: TRANSITIONS[name].refused(now, at) for name in names}
        raise Divergence(f"of {names}, one should be enabled: {why}")
    return fit[0], at


def _bind(event: distributor.BindRequested, state: Any, effects: Sequence[Any]) -> list[Move]:
    if any(isinstance(e, distributor.Tell) and isinstance(e.message, KeepDialog) for e in effects):
        return []  # the dialog is opened by the effect
    known = event.port in state.servers[event.server].dialogs
    declined = any(isinstance(e, distributor.SendControl) and e.message.errno for e in effects)
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
            asked = any(isinstance(e, distributor.Tell) and isinstance(e.message, CreateServer) for e in effects)
            return [("asks_for_server" if asked else "asks_for_no_server", {})]
        case distributor.DeleteDelay():
            return [("drains_idle_server", {"s": timer.server})]
        case distributor.AcceptRetry():
            return [("accept_is_tried_again", {"p": timer.port})]
        case distributor.AuditDue():
            return []
    raise Outside(type(timer).__name__)


def _effects(performed: Sequence[Any], action: Action, before: World) -> Iterator[Move]:
    """One transition for each effect that others notice, but for those that are the event's own."""
    dropping = isinstance(action.what, distributor.PeerClosed) or (
        isinstance(action.what, distributor.Fired) and isinstance(action.what.timer, distributor.QueueTimeout)
    )
    for i, effect in enumerate(performed):
        match effect:
            case distributor.Send(message=HandOff()):
                group = before.group(effect.server)
                vain = i == action.declined or group is None or not group.alive
                yield ("sends_hand_in_vain" if vain else "sends_hand"), {"s": effect.server}
            case distributor.Send(message=InitialMsg()):
                yield "sends_initial", {"s": effect.server, "p": effect.port}
            case distributor.Tell(message=Store()):
                yield "stores_hand", {}
            case distributor.Tell(message=Release()):
                if dropping:
                    dropping = False
                    yield "releases_dropped", {}
                else:
                    yield "releases", {"c": effect.message.client.cookie}
            case distributor.Tell(message=Drained()):
                yield "says_drained", {"s": effect.message.server}
            case distributor.Tell(message=KeepDialog()):
                yield "opens_dialog", {"s": effect.message.server, "p": effect.message.port}
            case distributor.Accept():
                yield "issues_accept", {"p": effect.port}
            case distributor.SetTimer(timer=distributor.CreateDelay()):
                yield "wants_server", {}
            case distributor.Listen():
                if i == action.declined:
                    raise Outside("a socket that cannot be opened")
                yield "opens_socket", {"p": effect.port}
            case _:
                pass  # nobody else notices, or it is the event's own


# ================================================================ the comparison


def compare(bounds: Bounds, worlds: int | None = None, tally: Tally | None = None, enabled: bool = True) -> Tally:
    """Compare the code with the relation in every world that can be reached, or in the first so many.

    Raises:
        Divergence: the first difference.
    """
    tally = tally or Tally()
    system, steady = System(bounds), System(bounds, steady=True)
    first = system.initial()
    seen, queue = {system.key(first)}, deque([first])
    while queue and (worlds is None or tally.worlds < worlds):
        world = queue.popleft()
        tally.worlds += 1
        for after in _compare(steady, bounds, world, tally, enabled):
            normal = system.canonical(after)
            key = system.key(normal)
            if key not in seen:
                seen.add(key)
                queue.append(normal)
    return tally


def compare_on_the_way(bounds: Bounds, seed: str, length: int, tally: Tally | None = None) -> Tally:
    """Compare in every world on a random walk, which gets deeper than an exploration.

    Raises:
        Divergence: the first difference.
    """
    tally = tally or Tally()
    system, steady = System(bounds), System(bounds, steady=True)
    dice, world = random.Random(seed), system.initial()
    for _ in range(length):
        tally.worlds += 1
        following = [*_compare(steady, bounds, world, tally, enabled=True)]
        if not following:
            break
        world = system.canonical(dice.choice(following))
    return tally


def _compare(steady: System, bounds: Bounds, world: World, tally: Tally, enabled: bool) -> Iterator[World]:
    firsts: set[tuple[str, tuple[tuple[str, Any], ...]]] = set()
    for action, after, _ in steady.successors(world):
        try:
            started, ports = _given(world, after)
            state = abstract(world, bounds, ports, started)
            state.tables["reordering"] = {(): action.late}
            wanted = abstract(after, bounds, ports, {})
            moves = plan(steady, world, action, after, state)
        except Outside as outside:
            tally.outside[str(outside)] += 1
            continue
        if moves and action.performed is None:
            firsts.add((moves[0][0], tuple(sorted(moves[0][1].items()))))
        _walk(state, wanted, moves, action, tally)
        tally.steps += 1
        yield after
    if enabled:
        _nothing_else(abstract(world, bounds, {}, {}), firsts, tally)


def _given(world: World, after: World) -> tuple[dict[int, tuple[int, int]], dict[int, int]]:
    """What the step decides that never changes: where a server is started, and which port a client comes to."""
    cls = after.monitor.classes[CLASS]
    new = range(world.monitor.next_server, after.monitor.next_server)
    started = {s: (cls.living[s], cls.places[cls.living[s]].element) for s in new if s in cls.living}
    ports = {cookie: i + 1 for i, queue in enumerate(after.kernel.backlog) for cookie in queue}
    return started, ports


def _walk(state: State, wanted: State, moves: Iterable[Move], action: Action, tally: Tally) -> None:
    """Take the transitions, and compare where they lead."""
    for name, parameters in moves:
        state = _settled(state)
        transition_ = TRANSITIONS[name]
        line = transition_.refused(state, parameters)
        if line is not None:
            raise Divergence(f"{_told_action(action)}: {name}{parameters} is not enabled: {line} does not hold")
        state = transition_.after(state, parameters)
        tally.taken[name] += 1
    state = _settled(state)
    got, want = essence(state), essence(State(wanted.tables, state.domains, wanted.defaults))
    if got != want:
        raise Divergence(f"{_told_action(action)}: {[*moves]} leads elsewhere: {_differences(got, want)}")


def _settled(state: State) -> State:
    """Take what nobody else notices: a server that turns out not to be drained after all."""
    quiet = TRANSITIONS["is_drained_no_more"]
    for s in state.domains["Server"]:
        if quiet.refused(state, {"s": s}) is None:
            state = quiet.after(state, {"s": s})
    return state


def _nothing_else(state: State, firsts: set[tuple[str, tuple[tuple[str, Any], ...]]], tally: Tally) -> None:
    """Every exact transition that the relation enables is one with which an action of the code begins."""
    for transition_ in TRANSITIONS.values():
        if not transition_.exact:
            continue
        for place in itertools.product(*(state.domains[sort] for sort in transition_.sorts.values())):
            parameters = dict(zip(transition_.sorts, place, strict=True))
            line = transition_.refused(state, parameters)
            if line is not None:
                tally.refused[line] += 1
            elif (transition_.name, tuple(sorted(parameters.items()))) not in firsts:
                raise Divergence(f"the relation enables {transition_.name}{parameters}, and the code does not")


def _told_action(action: Action) -> str:
    what = action.what.value if isinstance(action.what, Deed) else tell(action.what)
    return f"{action.who}: {what}" + (f" (dies after {action.performed})" if action.performed is not None else "")


def _differences(got: Mapping[str, Any], want: Mapping[str, Any], at: str = "") -> list[str]:
    """Where the two essences differ: relation, then code."""
    found = []
    for key in {**got, **want}:
        a, b = got.get(key), want.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{at}{key}.")
        elif a != b:
            found.append(f"{at}{key}: {a} in the relation, {b} in the code")
    return found


def uncovered(tally: Tally) -> list[str]:
    """The transitions that no step took, and the guards of exact ones that were never false."""
    return [name for name in TRANSITIONS if not tally.taken[name] and name != "is_drained_no_more"]
