"""What must always hold of the closed system, and what must sometimes happen.  One sentence each.

An *always* property is asked of every world that is reached, or of every step of a machine; one counterexample refutes
it.  A *sometimes* property is a witness: one occurrence shows that what the others speak of does happen, so that they
do not hold for want of an occasion.  A property that the bounds leave no occasion for is not applicable, and said so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from maitred.core import distributor, invariants, monitor, server
from maitred.core.distributor import DistributorState
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Begin,
    BindReply,
    Client,
    Close,
    CreateServer,
    CreationFailed,
    Disconnect,
    Drained,
    DropListeners,
    HandOff,
    InitialMsg,
    KeepDialog,
    KeepListener,
    NotReady,
    Port,
    Refused,
    Release,
    RestartReply,
    Restore,
    ServerId,
    ServerNotReady,
    ServerReady,
    Store,
    Unresponsive,
)
from maitred.core.monitor import MonitorState
from maitred.core.transition import Reason
from maitred.model.world import (
    CLASS,
    Action,
    Bounds,
    Deed,
    DistributorCutOff,
    Fate,
    Group,
    PortDeed,
    ServerStep,
    Stride,
    World,
    is_lost,
    released,
    weight_of,
)

WorldPredicate: TypeAlias = Callable[[World], bool]
StepPredicate: TypeAlias = Callable[[str, Any, Any, Stride], bool]  # Any: of whichever machine
Witness: TypeAlias = Callable[[World, Action, World], bool]


@dataclass(frozen=True, slots=True)
class Property:
    """A statement about the closed system."""

    name: str
    kind: Literal["always", "sometimes"]
    text: str
    """One sentence, in the words of the requirements."""
    applies: Callable[[Bounds], bool]
    """Whether the bounds leave an occasion for it."""
    world: WorldPredicate | None = None
    """Always: true of every world."""
    step: StepPredicate | None = None
    """Always: true of every step of a machine: who, the state before, the event, and what came of it."""
    witness: Witness | None = None
    """Sometimes: true of one step of the system: before, the action, after."""

    def __reduce__(self) -> tuple[Callable[[str], Property], tuple[str]]:
        """Travel between processes by name: what is asked cannot be pickled, and is the same everywhere."""
        return named, (self.name,)


PROPERTIES: dict[str, Property] = {}
"""All properties, by name; `always` first."""


def named(name: str) -> Property:
    """The property of this name."""
    return PROPERTIES[name]


def _text(function: Callable[..., bool]) -> str:
    return " ".join((function.__doc__ or "").split())


def _everywhere(bounds: Bounds) -> bool:
    return True


def _stops(bounds: Bounds) -> bool:
    return bounds.stops != 0


_OCCASIONS: Final[Mapping[str, Callable[[Bounds], bool]]] = {
    "the_table_is_exact_again_after_a_restart": lambda b: b.distributor_crashes + b.element_failures != 0,
    "no_one_is_cut_off_by_draining": lambda b: b.stops != 0 or (b.dynamic > 0 and b.deletions != 0),
    "only_drained_servers_are_asked_to_end": lambda b: b.stops != 0 or (b.dynamic > 0 and b.deletions != 0),
    "servers_are_wanted_only_by_waiters": lambda b: b.dynamic > 0,
    "shut_down_before_released": lambda b: b.hang_ups != 0 or b.queue_timeouts != 0,
    "a_half_close_is_no_hang_up": lambda b: b.hang_ups != 0,
    "closed_means_over": _stops,
    "ended_means_over": _stops,
}
"""Where an always property would hold for want of an occasion: what it takes for there to be one."""


def _always(predicate: WorldPredicate) -> WorldPredicate:
    name = predicate.__name__
    PROPERTIES[name] = Property(name, "always", _text(predicate), _OCCASIONS.get(name, _everywhere), world=predicate)
    return predicate


def _always_step(predicate: StepPredicate) -> StepPredicate:
    name = predicate.__name__
    PROPERTIES[name] = Property(name, "always", _text(predicate), _OCCASIONS.get(name, _everywhere), step=predicate)
    return predicate


def _and_of_a_world(predicate: WorldPredicate) -> WorldPredicate:
    """What the step property of the same name asks of every world besides."""
    name = predicate.__name__.removeprefix("_")
    PROPERTIES[name] = replace(PROPERTIES[name], world=predicate)
    return predicate


def _sometimes(applies: Callable[[Bounds], bool]) -> Callable[[Witness], Witness]:
    def register(witness: Witness) -> Witness:
        name = witness.__name__
        PROPERTIES[name] = Property(name, "sometimes", _text(witness), applies, witness=witness)
        return witness

    return register


# ================================================================ always, of a world


@_always
def never_above_the_maximum(world: World) -> bool:
    """No server's processes ever hold the connections of more clients than its maximum."""
    most = world.monitor.classes[CLASS].config.max_clients
    return all(len(group.held) <= most for group in world.groups)


@_always
def never_stale_low(world: World) -> bool:
    """A server that the Distributor may send a client to has, or has unread, at most as many as its table says."""
    state = world.distributor
    if state is None:
        return True
    free = {seat.server for info in state.ports.values() for seat in info.free}
    for group in world.groups:
        if group.server in free and group.alive and _truth(group) > state.servers[group.server].count.clients:
            return False
    return True


def _truth(group: Group) -> int:
    """How many clients' connections the server's processes hold, or have yet to read."""
    return len(group.held) + len(_unread(group))


def _unread(group: Group) -> list[Client]:
    """The clients whose hand-offs the server has yet to read."""
    return [m.client for link in group.links for m in link.to_server if isinstance(m, HandOff)]


@_always
def no_client_has_two_servers(world: World) -> bool:
    """No client is ever accepted by a server twice, whether by two servers or by one."""
    return all(guest.taken <= 1 for guest in world.guests)


@_always
def who_is_served_was_answered_for(world: World) -> bool:
    """No program is given a client before the `Accepted` that says so is in the socket."""
    return all(guest.answered or not guest.taken for guest in world.guests if guest.fate is Fate.IN)


@_always
def no_client_lost(world: World) -> bool:
    """A client ends only as it wishes, by the queue's timeout, by a stop, or at one of the instants that are named:
    with the Distributor that alone held it in the midst of a step (one for each death), unanswered at the Distributor's
    death and then not taken by its server, with the processes that held it, or in the backlog of a socket that was not
    kept yet.
    """
    return all(guest.fate is not Fate.LOST for guest in world.guests)


@_always
def nobody_passes_on_what_it_has_not(world: World) -> bool:
    """No process passes on, delivers or closes a copy of a connection that it does not have."""
    return not any(guest.void for guest in world.guests)


@_always
def each_process_knows_whom_it_has(world: World) -> bool:
    """Distributor, Monitor and each server have the connections of those whom they count, and of nobody else; but a
    server counts also those who were lost without its noticing, until an audit.
    """
    return all(booked == has for _, booked, has in books(world))


def books(world: World) -> list[tuple[str, int, int]]:
    """Of each process: whom its machine counts, and whose connections it has; clients as one bit for each cookie."""
    state = world.distributor
    at_distributor = at_monitor = 0
    for cookie, guest in enumerate(world.guests):
        if guest.at_distributor:
            at_distributor |= 1 << cookie
        if guest.at_monitor:
            at_monitor |= 1 << cookie
    found = [("the Monitor", _bits(world.monitor.classes[CLASS].store), at_monitor)]
    if state is not None:
        booked = 0
        for info in state.ports.values():
            booked |= _bits(info.waiting)
        for status in state.servers.values():
            if status.request is not None:
                booked |= 1 << status.request.cookie
        found.append(("the Distributor", booked, at_distributor))
    for group in world.groups:
        counted = group.endpoint.clients
        if group.alive and (group.held or len(counted)):
            found.append((f"server {group.server}", _bits(counted), _bits(group.held) | _bits(group.gone)))
    return found


def _bits(clients: Iterable[Client]) -> int:
    mask = 0
    for client in clients:
        mask |= 1 << client.cookie
    return mask


@_always
def at_most_one_request_outstanding(world: World) -> bool:
    """No server has more than one hand-off unread, or unanswered, at any time."""
    state = world.distributor
    for group in world.groups:
        unread = _unread(group)
        if len(unread) > 1:
            return False
        status = state.servers.get(group.server, None) if state is not None else None
        if unread and status is not None and not status.owed and status.request not in (None, unread[0]):
            return False
    return True


@_always
def rows_are_as_configured(world: World) -> bool:
    """The Distributor's row of a server has the maximum of its class, the weight of the processing element where it
    runs, and whether it is dynamic: as the configuration has them, whatever the Monitor said.
    """
    return not any(said != true for _, _, said, true in configured(world))


def configured(world: World) -> Iterator[tuple[ServerId, str, object, object]]:
    """Of each row, what it says and what the configuration says: the server, of what, and both."""
    if world.distributor is None:
        return
    cls = world.monitor.classes[CLASS]
    for group in world.groups:
        row = world.distributor.servers.get(group.server, None)
        if row is None:
            continue
        yield group.server, "maximum", row.max_clients, cls.config.max_clients
        yield group.server, "weight", row.weight, weight_of(group.element)
        place = cls.living.get(group.server, None)
        if place is not None:
            yield group.server, "being dynamic", row.dynamic, place >= cls.config.static


@_always
def never_more_servers_than_configured(world: World) -> bool:
    """No more servers live than static and dynamic ones are configured."""
    config = world.monitor.classes[CLASS].config
    return sum(group.alive for group in world.groups) <= config.static + config.dynamic


@_always
def the_count_is_exact_when_dialogs_are_quiet(world: World) -> bool:
    """When nothing is on its way between them, the Distributor's count of a server's clients is the server's own."""
    return all(status.count.clients == len(group.endpoint.clients) for group, status in quiet(world))


@_always
def the_table_is_exact_again_after_a_restart(world: World) -> bool:
    """Once every dialog has answered the new Distributor, its table says of each server what is true of it.  (But a
    hand-off whose reader has died stays outstanding until it times out.)
    """
    if world.distributor is None or world.distributor.incarnation < 2 or world.pending:
        return True
    for group, status in quiet(world):
        outstanding = status.request is not None and not is_lost(world, group.server)
        if status.count.clients != len(group.endpoint.clients) or outstanding:
            return False
        for port, dialog in status.dialogs.items():
            listener = group.endpoint.listeners.get(port, None)
            listens = listener is not None and listener.listening
            if (dialog.phase is distributor.DialogPhase.READY) is not listens:
                return False
    return True


def quiet(world: World) -> Iterator[tuple[Group, distributor.ServerStatus]]:
    """The living servers of the table between which and the Distributor no message is on its way."""
    if world.distributor is None:
        return
    for group in world.groups:
        status = world.distributor.servers.get(group.server, None)
        if status is None or not group.alive or status.owed:
            continue
        busy = group.unsaid or group.sending
        if not busy and not any(link.to_server or link.to_distributor for link in group.links):
            yield group, status


@_always
def store_has_exactly_those_who_wait(world: World) -> bool:
    """When nothing is on its way between Monitor and Distributor, the store holds those who wait and no others."""
    state = world.distributor
    if state is None or world.to_monitor or any(isinstance(m, Restore) for m in world.to_distributor):
        return True
    store = world.monitor.classes[CLASS].store
    waiting = [client for info in state.ports.values() for client in info.waiting]
    return len(store) == len(waiting) and all(client in store for client in waiting)


@_always
def no_successor_is_told_of_a_client_with_a_server(world: World) -> bool:
    """Whoever a server has, or may yet read, will not be in the store when a next Distributor is told who waits."""
    if not any(group.held or any(link.to_server for link in group.links) for group in world.groups):
        return True
    store = {*world.monitor.classes[CLASS].store}
    store |= {m.client for m in world.to_monitor if isinstance(m, Store)}
    store -= released(world.to_monitor)
    if not store:
        return True
    return not any(client in store for group in world.groups for client in (*group.held, *_unread(group)))


@_always
def no_one_is_cut_off_by_draining(world: World) -> bool:
    """Before the grace has ended, a server that is asked to end serves nobody and has nobody's hand-off unread."""
    if world.monitor.phase not in (monitor.Phase.RUNNING, monitor.Phase.CLOSING):
        return True
    return not any(group.asked and group.alive and _truth(group) for group in world.groups)


# ================================================================ always, of a step


@_always_step
def first_come_first_served(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: of each machine
    """Clients wait in the order in which they were accepted; no hand-off overtakes an earlier client of its port, and a
    free server takes the earliest across its ports.
    """
    if who != "distributor":
        return True
    sends = _hand_offs(stride)
    after: DistributorState = stride.state
    for i, (number, client) in enumerate(sends):
        served = {c for _, c in sends[:i]}
        status = after.servers[number]
        for port, info in after.ports.items():
            if port != client.port and not status.answers_on(port):
                continue
            earlier = {*info.waiting, *(c for _, c in sends[i + 1 :] if c.port == port)}
            if port in before.ports:
                earlier |= {c for c in before.ports[port].waiting if c in info.waiting}
            if any(other < client for other in earlier - served):
                return False
    return True


@_and_of_a_world
def _first_come_first_served(world: World) -> bool:
    """The arrivals by which the Distributor orders clients say of each that it came when the kernel says."""
    line = in_line(world)
    return line == sorted(line, key=world.kernel.accepted.index)


def in_line(world: World) -> list[int]:
    """The cookies of those whom the Distributor holds and no server has accepted, in the order that it goes by."""
    if world.distributor is None:
        return []
    rows = world.distributor.servers.values()
    held = [*_waiting(world.distributor), *(row.request for row in rows if row.request is not None)]
    return [client.cookie for client in sorted(held) if client.cookie in world.kernel.accepted]


def _hand_offs(stride: Stride) -> list[tuple[int, Client]]:
    return [
        (effect.server, effect.message.client)
        for effect in stride.effects
        if isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff)
    ]


@_always_step
def the_chosen_server_was_least_loaded(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """Of the servers that were free, the chosen one was least loaded for its weight; among equals, longest unchosen.

    That the rows, of which this is asked, have the weights of the configuration is `rows_are_as_configured`.
    """
    if who != "distributor":
        return True
    sends = _hand_offs(stride)
    after: DistributorState = stride.state
    for i, (number, client) in enumerate(sends):
        chosen = after.servers[number]
        later = {server_id for server_id, _ in sends[i + 1 :]}
        for other in after.servers.values():
            free = other.free_on(client.port) or (other.server in later and other.answers_on(client.port))
            if other.server != number and free and prefers(before, other, chosen):
                return False
    return True


def prefers(before: DistributorState, other: distributor.ServerStatus, chosen: distributor.ServerStatus) -> bool:
    """Whether the other server should have been chosen."""
    theirs = (other.count.clients + 1) * chosen.weight
    ours = (chosen.count.clients + 1) * other.weight
    if theirs != ours:
        return theirs < ours
    return before.servers[other.server].rank < before.servers[chosen.server].rank


@_always_step
def hand_offs_go_to_free_servers(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """A client is sent only to a server that listens, is below its maximum, and is neither draining nor resting."""
    if who != "distributor":
        return True
    for number, client in _hand_offs(stride):
        status = stride.state.servers[number]
        fit = status.answers_on(client.port) and status.count.clients < status.max_clients
        if not fit or status.draining or status.resting or status.request != client:
            return False
        old = before.servers.get(number, None)
        if old is not None and old.request is not None and not answers(event, number, old.request):
            return False
    return True


def answers(event: object, number: ServerId, request: Client) -> bool:
    """Whether the event ends the server's outstanding request: its answer about that client, the end of the dialog on
    which the hand-off was sent, or the word that it could not be sent.
    """
    match event:
        case distributor.Received(server=other, message=Accepted(client) | Refused(client)):
            return other == number and client == request
        case distributor.DialogEnded(server=other, port=port):
            return other == number and port == request.port
        case distributor.Unsent(server=other, client=client):
            return other == number and client == request
        case _:
            return False


@_always_step
def a_request_comes_back_only_from_the_server(
    who: str, before: Any, event: Any, stride: Stride
) -> bool:  # Any: as above
    """A client that was sent to a server is placed anew only when the server refused it, the dialog on which it was
    sent ended, or the kernel declined to send it.
    """
    if who != "distributor":
        return True
    after: DistributorState = stride.state
    for number, old in before.servers.items():
        if old.request is None:
            continue
        new = after.servers.get(number, None)
        if (new is None or new.request != old.request) and not answers(event, number, old.request):
            return False
    return True


@_always_step
def released_before_sent(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """Who has waited is released from the store before being handed to a server."""
    if who != "distributor":
        return True
    out: set[Client] = set()
    stored = _waiting(before)
    for effect in stride.effects:
        if isinstance(effect, distributor.Tell) and isinstance(effect.message, Store):
            stored.add(effect.message.client)
        elif isinstance(effect, distributor.Tell) and isinstance(effect.message, Release):
            out.add(effect.message.client)
        elif isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff):
            early = effect.message.client in stored - out
            if early:
                return False
    return True


@_always_step
def shut_down_before_released(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """A waiter that is dropped is shut down before it is released, as other copies of its connection exist."""
    if who != "distributor":
        return True
    seen: set[Client] = set()
    for effect in stride.effects:
        if isinstance(effect, distributor.Tell) and isinstance(effect.message, Release):
            seen.add(effect.message.client)
        elif isinstance(effect, distributor.ShutDown) and effect.client in seen:
            return False
    return True


@_always_step
def a_dialog_in_use_stays_open(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """The Distributor closes its end of a dialog only when it has struck the dialog off its table, and does so then, or
    when it declines the bind; and its end of a control socket when that has ended.
    """
    if who != "distributor":
        return True
    for effect in stride.effects:
        if isinstance(effect, distributor.CloseDialog) and effect.port != distributor.CONTROL:
            status = stride.state.servers.get(effect.server, None)
            if status is not None and effect.port in status.dialogs:
                return False
    return not left_open(before, event, stride)


def left_open(before: DistributorState, event: object, stride: Stride) -> set[tuple[ServerId, Port]]:
    """The ends of dialogs and control sockets that are of no more use after the step, and that it does not close."""
    if stride.rejected is not None:
        return set()
    due = {(server, port) for server, status in before.servers.items() for port in status.dialogs}
    due -= {(server, port) for server, status in stride.state.servers.items() for port in status.dialogs}
    for effect in stride.effects:
        if isinstance(effect, distributor.SendControl) and isinstance(effect.message, BindReply):
            due |= {(effect.server, effect.message.port)} if effect.message.errno else set()
    if isinstance(event, distributor.ControlEnded):
        due.add((event.server, distributor.CONTROL))
    return due - {(e.server, e.port) for e in stride.effects if isinstance(e, distributor.CloseDialog)}


@_always_step
def an_address_is_listened_on_once(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """The Distributor does not ask for a socket that it listens on, or has asked for already; and those of a port that
    it strikes off it closes, and tells the Monitor to.
    """
    if who != "distributor":
        return True
    if isinstance(event, distributor.BacklogEmpty) and stride.rejected is None:
        ends = {distributor.CloseListeners(event.port), distributor.Tell(DropListeners(event.port))}
        if not ends <= {*stride.effects}:
            return False
    if before.phase is distributor.Phase.INITIALISING and not isinstance(event, Begin):
        return not any(isinstance(effect, distributor.Listen) for effect in stride.effects)
    asked = [(e.port, e.address) for e in stride.effects if isinstance(e, distributor.Listen)]
    if isinstance(event, Begin):
        return len(asked) == len(set(asked))
    known = {(port, address) for port, info in before.ports.items() for address in info.listeners}
    return not known & set(asked)


@_always_step
def accepts_only_below_the_limit(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """No accept is issued once as many clients wait as may."""
    if who != "distributor":
        return True
    issued = any(isinstance(effect, distributor.Accept) for effect in stride.effects)
    return not issued or stride.state.waiting < stride.state.waiting_limit


@_always_step
def only_drained_servers_are_asked_to_end(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """A server is asked to end only when its Distributor has said that it is drained, or when the grace has ended; and
    whoever is stopping from then on has been asked.
    """
    if who != "monitor":
        return True
    asked = [(effect.class_id, effect.server) for effect in stride.effects if isinstance(effect, monitor.Terminate)]
    if sorted(asked) != sorted(stopping(stride.state) - stopping(before)):
        return False
    if not asked:
        return True
    if isinstance(event, monitor.Fired):
        return isinstance(event.timer, monitor.GraceOver)
    return isinstance(event, monitor.Told) and isinstance(event.message, Drained)


def stopping(state: MonitorState) -> set[tuple[int, ServerId]]:
    """The servers that are to end by themselves, each with its class."""
    phase = monitor.PlacePhase.STOPPING
    return {(i, p.server) for i, cls in state.classes.items() for p in cls.places.values() if p.phase is phase}


@_always_step
def processes_are_killed_only_for_a_reason(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """The Monitor kills a server whose main process has died, which does not answer, which does not end as it was asked
    to or whose processing element has failed, a Distributor only in the last case, and all once everything is to end;
    but the end of the grace kills Distributors only, and nobody is killed who is being killed.
    """
    return who != "monitor" or not killings_without_reason(before, event, stride)


def killings_without_reason(before: MonitorState, event: object, stride: Stride) -> list[Any]:  # Any: its effects
    """The Monitor's killings that nothing gives it a reason for: servers by their id, Distributors by None."""
    if stride.rejected is not None:
        return []
    killings = [effect for effect in stride.effects if isinstance(effect, (monitor.Kill, monitor.KillDistributor))]
    again = [effect for effect in killings if isinstance(effect, monitor.Kill) and _is_being_killed(before, effect)]
    if stride.state.phase is monitor.Phase.ENDING:
        graceful = isinstance(event, monitor.Fired) and isinstance(event.timer, monitor.GraceOver)
        return [effect for effect in killings if graceful and isinstance(effect, monitor.Kill)] or again
    return again + [effect for effect in killings if effect not in again and not _has_reason(before, event, effect)]


def _is_being_killed(before: MonitorState, effect: monitor.Kill) -> bool:
    cls = before.classes[effect.class_id]
    place = cls.living.get(effect.server, None)
    return place is not None and cls.places[place].phase is monitor.PlacePhase.KILLING


def _has_reason(before: MonitorState, event: object, effect: monitor.Kill | monitor.KillDistributor) -> bool:
    cls = before.classes[effect.class_id]
    if isinstance(effect, monitor.KillDistributor):
        return isinstance(event, monitor.ElementFailed) and cls.distributor.element == event.element
    place = cls.living.get(effect.server, None)
    match event:
        case monitor.ElementFailed():
            return place is not None and cls.places[place].element == event.element
        case monitor.ServerExited():
            return event.server == effect.server
        case monitor.Told(message=Unresponsive(number)):
            return number == effect.server
        case monitor.Fired(timer=monitor.KillDelay(server=number)):
            return number == effect.server
        case _:
            return False


@_always_step
def deaths_are_counted(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """The Monitor counts each death that nobody asked for once, those before a server was ready apart, and forgets them
    when the server is ready or has lived for a while; and a restart's delay is that of the deaths counted.
    """
    return who != "monitor" or stride.rejected is not None or not any(miscounted(before, event, stride))


def miscounted(before: MonitorState, event: object, stride: Stride) -> Iterator[str]:
    """What the Monitor counts otherwise than it should, a sentence each."""
    for class_id, old in before.classes.items():
        new = stride.state.classes[class_id]
        counts = [
            ("the Distributor", new.distributor.deaths, _distributor_deaths(class_id, old, event)),
            ("the line of dynamic servers", new.dynamic_deaths, _dynamic_deaths(class_id, old, event)),
        ]
        for number, place in old.places.items():
            now = new.places.get(number, None)
            if now is not None:
                deaths, unready = _server_deaths(class_id, place, event)
                counts.append((f"place {number}", now.deaths, deaths))
                counts.append((f"place {number}, before it was ready", now.unready_deaths, unready))
        for what, counted_as, true in counts:
            if counted_as != true:
                yield f"{what} has {counted_as} deaths in a row, and should have {true}"
        for effect in stride.effects:
            if isinstance(effect, monitor.SetTimer) and not isinstance(event, monitor.ElementRestored):
                yield from _wrong_attempt(class_id, new, effect.timer)


def _distributor_deaths(class_id: int, old: monitor.ClassState, event: object) -> int:
    match event:
        case monitor.DistributorExited(class_id=other) if other == class_id:
            return old.distributor.deaths + (old.distributor.phase is not monitor.DistributorPhase.DONE)
        case monitor.Fired(timer=monitor.DistributorStable(class_id=other)) if other == class_id:
            return 0
        case _:
            return old.distributor.deaths


def _dynamic_deaths(class_id: int, old: monitor.ClassState, event: object) -> int:
    """How many dynamic servers in a row should have died before they were ready."""
    match event:
        case monitor.ServerGone(class_id=other, server=number) if other == class_id and number in old.living:
            place = old.places[old.living[number]]
            return old.dynamic_deaths + bool(place.dynamic and place.unready_deaths)
        case monitor.Told(class_id=other, message=ServerReady(server=number)) if other == class_id:
            place = old.places[old.living[number]] if number in old.living else monitor.Place(0, dynamic=False)
            return 0 if place.dynamic and place.phase is monitor.PlacePhase.STARTING else old.dynamic_deaths
        case _:
            return old.dynamic_deaths


def _server_deaths(class_id: int, place: monitor.Place, event: object) -> tuple[int, int]:
    """How many deaths in a row the place should have after the event, and how many before it was ready."""
    deaths, unready = place.deaths, place.unready_deaths
    starting = place.phase is monitor.PlacePhase.STARTING
    asked = place.phase in (monitor.PlacePhase.STOPPING, monitor.PlacePhase.KILLING)
    match event:
        case monitor.ServerExited(class_id=other, server=number) if (other, number) == (class_id, place.server):
            return deaths + (not asked), unready + starting
        case monitor.Told(class_id=other, message=Unresponsive(number)) if (other, number) == (class_id, place.server):
            return deaths + (place.phase is not monitor.PlacePhase.KILLING), unready
        case monitor.Told(class_id=other, message=ServerReady(server=number)) if starting:
            return deaths, 0 if (other, number) == (class_id, place.server) else unready
        case monitor.Fired(timer=monitor.ServerStable(class_id=other, server=number)):
            return 0 if (other, number) == (class_id, place.server) else deaths, unready
        case _:
            return deaths, unready


def _wrong_attempt(class_id: int, new: monitor.ClassState, timer: monitor.Timer) -> Iterator[str]:
    match timer:
        case monitor.RestartServer(class_id=other, place=number, attempt=attempt) if other == class_id:
            true = new.places[number].deaths
        case monitor.RestartDistributor(class_id=other, attempt=attempt) if other == class_id:
            true = new.distributor.deaths
        case monitor.DynamicRest(class_id=other, attempt=attempt) if other == class_id:
            true = new.dynamic_deaths
        case _:
            return
    if attempt != max(true - 1, 0):
        yield f"{type(timer).__name__} is set as after {attempt + 1} deaths in a row, and there are {true}"


@_always_step
def what_may_fire_was_set(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """A timer that a step brings into season, or leaves there when it has fired, is started by that step; but a
    hand-off's comes once, as the end of the server follows it.
    """
    return not never_set(who, before, event, stride)


def never_set(who: str, before: Any, event: Any, stride: Stride) -> list[Any]:  # Any: timers of either machine
    """The timers that are in season after the step and that nobody has started."""
    if who not in ("distributor", "monitor") or stride.rejected is not None:
        return []
    running = {_plain(timer) for timer in in_season(before)}
    if isinstance(event, (distributor.Fired, monitor.Fired)) and not isinstance(
        event.timer, distributor.HandOffTimeout
    ):
        running.discard(_plain(event.timer))
    kinds = (distributor.SetTimer, monitor.SetTimer)
    if isinstance(event, distributor.StillServes) and not taken_for_hung(stride):
        running.discard(distributor.HandOffTimeout(event.server))
    running |= {_plain(effect.timer) for effect in stride.effects if isinstance(effect, kinds)}
    return [timer for timer in in_season(stride.state) if _plain(timer) not in running]


def taken_for_hung(stride: Stride) -> list[ServerId]:
    """The servers that the Distributor's step reports as unresponsive."""
    told = [effect.message for effect in stride.effects if isinstance(effect, distributor.Tell)]
    return [message.server for message in told if isinstance(message, Unresponsive)]


def in_season(state: DistributorState | MonitorState) -> list[Any]:  # Any: as above
    """The timers that may fire, and are then not in vain: a restart needs a processing element that can take it."""
    if isinstance(state, DistributorState):
        return [fired.timer for fired in distributor.enabled(state)]
    return [fired.timer for fired in monitor.enabled(state) if _can_be_taken(state, fired.timer)]


def _can_be_taken(state: MonitorState, timer: monitor.Timer) -> bool:
    if not isinstance(timer, (monitor.RestartServer, monitor.RestartDistributor)):
        return True
    return any(state.elements[element].up for element in state.classes[timer.class_id].config.elements)


def _plain(timer: Any) -> Any:  # Any: as above
    """The timer without the number that only its length depends on."""
    if isinstance(timer, (monitor.RestartServer, monitor.DynamicRest, monitor.RestartDistributor)):
        return replace(timer, attempt=0)
    return timer


@_always_step
def a_full_server_is_spared(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """A server that leaves a hand-off unanswered and serves its clients is taken for hung only once it has had room
    since; and how many it had is remembered.
    """
    if who != "distributor" or not isinstance(event, distributor.StillServes) or stride.rejected is not None:
        return True
    old, new = before.servers[event.server], stride.state.servers[event.server]
    room = old.count.clients < old.full_at
    return taken_for_hung(stride) == ([event.server] if room else []) and (room or new.full_at == old.count.clients)


@_always_step
def a_half_close_is_no_hang_up(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """A waiting client that has closed its sending side, with data of it unread, goes on waiting."""
    if not isinstance(event, distributor.PeerClosed) or event.reset or not event.unread:
        return True
    return event.client not in _waiting(before) or event.client in _waiting(stride.state)


def _waiting(state: DistributorState) -> set[Client]:
    return {client for info in state.ports.values() for client in info.waiting}


@_always_step
def one_accept_at_a_time(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """An accept is issued where one is to be outstanding that is not yet, and not during a pause; in operation only
    on a port where some server has answered, and while closing without waiting for a client.
    """
    if who != "distributor" or stride.rejected is not None:
        return True
    accepts = [effect for effect in stride.effects if isinstance(effect, distributor.Accept)]
    closing = stride.state.phase is distributor.Phase.CLOSING
    for effect in accepts:
        info = stride.state.ports[effect.port]
        if info.pausing or not (info.opened or closing) or effect.wait is closing:
            return False
    accepting = [port for port, info in stride.state.ports.items() if info.accepting]
    fresh = [port for port in accepting if not accept_goes_on(before, event, port)]
    return sorted(effect.port for effect in accepts) == fresh


def accept_goes_on(before: DistributorState, event: object, port: Port) -> bool:
    """Whether an accept is outstanding there that the event neither completes nor, by the word to close, ends."""
    info = before.ports.get(port, None)
    if info is None or not info.accepting or isinstance(event, Close):
        return False
    completions = (distributor.ConnectionRequest, distributor.AcceptFailed, distributor.BacklogEmpty)
    return not (isinstance(event, completions) and event.port == port)


@_always_step
def copies_are_closed_when_clients_are_let_go(
    who: str, before: Any, event: Any, stride: Stride
) -> bool:  # Any: as above
    """The Distributor closes its copy of a connection once, in the step in which it lets go of the client."""
    if who != "distributor":
        return True
    closed = [e.client for e in stride.effects if isinstance(e, (distributor.CloseCopy, distributor.ShutDown))]
    return sorted(closed) == sorted(held(before) - held(stride.state))


def held(state: DistributorState) -> set[Client]:
    """The clients of whose connections the Distributor has a copy: those who wait, and those on their way."""
    return _waiting(state) | {status.request for status in state.servers.values() if status.request is not None}


@_always_step
def an_answer_comes_before_the_client(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """Of a hand-off that has come whole to a program that listens, a server issues `Accepted`, and delivers the client
    when that is in the socket; of any other it issues `Refused`, and discards what has come; likewise `Refused` of
    whoever was with a process that has died before that.
    """
    return who != "server" or dealings(before, stride) == due_dealings(before, event, stride)


def due_dealings(before: server.EndpointState, event: object, stride: Stride) -> list[tuple[type, Client]]:
    """What the server should do about hand-offs."""
    if stride.rejected is not None:
        return []
    match event:
        case server.MessageRead(port=port, message=HandOff(client=client), intact=intact):
            if intact and before.listeners[port].listening:
                return [(Accepted, client)]
            return [(Refused, client), (server.Discard, client)]
        case server.Sent(reply=server.Reply(message=Accepted(client=client))):
            return [(server.Deliver, client)]
        case server.Interrupted():
            return [(Refused, r.message.client) for r in before.outbox if isinstance(r.message, Accepted)]
    return []


def dealings(before: server.EndpointState, stride: Stride) -> list[tuple[type, Client]]:
    """What a server does about hand-offs: the answer that it issues, and what becomes of the client."""
    issued = [reply.message for reply in stride.state.outbox if reply not in before.outbox]
    done: list[tuple[type, Client]] = [(type(m), m.client) for m in issued if isinstance(m, (Accepted, Refused))]
    return done + [(type(effect), effect.client) for effect in stride.effects]


@_always_step
def what_is_opened_is_kept(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """A listening socket is kept with the Monitor as soon as it listens, and a dialog before its bind succeeds; and a
    bind is answered in the step that decides it.
    """
    if who != "distributor" or stride.rejected is not None:
        return True
    if isinstance(event, distributor.Listening):
        kept = distributor.Tell(KeepListener(event.port, event.address))
        if kept not in stride.effects:
            return False
    return not any(unkept_dialogs(before, stride)) and not unanswered_binds(before, event, stride)


def unanswered_binds(before: DistributorState, event: object, stride: Stride) -> set[tuple[ServerId, Port]]:
    """The binds that the step decides, by opening the dialog or because its port has failed, and does not answer."""
    if not isinstance(event, (distributor.BindRequested, distributor.Listening, distributor.ListeningFailed)):
        return set()
    binding = distributor.DialogPhase.BINDING
    awaited = {(s, port) for s, row in before.servers.items() for port, d in row.dialogs.items() if d.phase is binding}
    awaited |= {(event.server, event.port)} if isinstance(event, distributor.BindRequested) else set()
    after = stride.state.servers
    awaited -= {(s, port) for s, row in after.items() for port, d in row.dialogs.items() if d.phase is binding}
    for effect in stride.effects:
        if isinstance(effect, distributor.SendControl) and isinstance(effect.message, BindReply):
            awaited.discard((effect.server, effect.message.port))
    return awaited


def unkept_dialogs(before: DistributorState, stride: Stride) -> Iterator[tuple[ServerId, Port]]:
    """The dialogs that a program is told to listen through before the Monitor has been given a duplicate."""
    for i, effect in enumerate(stride.effects):
        if not isinstance(effect, distributor.SendControl) or not isinstance(effect.message, BindReply):
            continue
        number, port = effect.server, effect.message.port
        status = before.servers.get(number, None)
        dialog = status.dialogs.get(port, None) if status is not None else None
        fresh = dialog is None or dialog.phase is distributor.DialogPhase.BINDING
        kept = distributor.Tell(KeepDialog(number, port)) in stride.effects[:i]
        if effect.message.errno == 0 and fresh and not kept:
            yield number, port


@_always_step
def what_is_no_longer_kept_is_dropped(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """The Monitor closes the duplicates that it keeps for a client, server or port when it strikes it off, once; a port
    when it is told to.
    """
    if who != "monitor":
        return True
    told = event.message if isinstance(event, monitor.Told) and stride.rejected is None else None
    for class_id, old in before.classes.items():
        new = stride.state.classes[class_id]
        drops = [effect for effect in stride.effects if isinstance(effect, _DROPS) and effect.class_id == class_id]
        clients = [e.client for e in drops if isinstance(e, (monitor.DropDuplicate, monitor.ShutDownStored))]
        servers = [e.server for e in drops if isinstance(e, monitor.DropServer)]
        ports = {e.port for e in drops if isinstance(e, monitor.DropListener)}
        if sorted(clients) != sorted({*old.store} - {*new.store}) or servers != sorted({*old.living} - {*new.living}):
            return False
        if not {port for port, _ in old.listeners} - {port for port, _ in new.listeners} <= ports:
            return False
        if isinstance(told, DropListeners) and event.class_id == class_id and told.port in dict(new.listeners):
            return False
    return True


_DROPS: Final = (monitor.DropDuplicate, monitor.ShutDownStored, monitor.DropServer, monitor.DropListener)


@_always_step
def every_leave_is_acknowledged(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """The Distributor acknowledges each `Disconnect` and each `NotReady`, by its sequence number, and nothing else."""
    if who != "distributor":
        return True
    sent = [e for e in stride.effects if isinstance(e, distributor.SendControl) and isinstance(e.message, Acknowledge)]
    return sent == due_acknowledgements(event, stride)


def due_acknowledgements(event: object, stride: Stride) -> list[distributor.SendControl]:
    """What the step should acknowledge."""
    if stride.rejected is not None or not isinstance(event, distributor.Received):
        return []
    if not isinstance(event.message, (Disconnect, NotReady)):
        return []
    return [distributor.SendControl(event.server, Acknowledge(event.message.count.sequence))]


@_always_step
def an_acknowledgement_changes_nothing(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """A server discards an acknowledgement: it knows and says afterwards what it did before."""
    if who != "server" or not isinstance(event, server.Acknowledged):
        return True
    return stride.state == before and not stride.effects and stride.rejected is None


LEGITIMATE: Final[frozenset[tuple[type, type | None, Reason]]] = frozenset(
    {
        # The client has sent data: the half-close is no hang-up.
        (distributor.PeerClosed, None, Reason.NOT_HANG_UP),
        # The dialog ended before the Distributor came to read that the hand-off could not be sent.
        (distributor.Unsent, None, Reason.NOT_THIS_REQUEST),
        (distributor.Unsent, None, Reason.UNKNOWN_SERVER),
        # The server, or each of its dialogs, ended while the kernel was being asked about its clients.
        (distributor.Audited, None, Reason.UNKNOWN_SERVER),
        (distributor.Audited, None, Reason.NO_DIALOG),
        # The server was gone, and its place free, before the Monitor heard this of it.
        (monitor.Told, KeepDialog, Reason.UNKNOWN_SERVER),
        (monitor.Told, ServerReady, Reason.UNKNOWN_SERVER),
        (monitor.Told, ServerNotReady, Reason.UNKNOWN_SERVER),
        (monitor.Told, Drained, Reason.UNKNOWN_SERVER),
        (monitor.Told, Unresponsive, Reason.UNKNOWN_SERVER),
    }
)
"""The rejections that a sound system comes to: two things happened at once.  Of `Told`, with the message's class."""


@_always_step
def no_surprising_rejection(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    """A machine declines an event only where two things happened at once, as listed with the property."""
    if stride.rejected is None:
        return True
    message = type(event.message) if isinstance(event, monitor.Told) else None
    return (type(event), message, stride.rejected) in LEGITIMATE


# ---------------------------------------------------------------- always, of one machine's state


def _invariant(name: str, text: str) -> None:
    """An invariant of the core: `System` asks it of every state that a step leads to."""
    PROPERTIES[name] = Property(name, "always", text, _OCCASIONS.get(name, _everywhere), step=_asked_by_the_system)


def _asked_by_the_system(who: str, before: Any, event: Any, stride: Stride) -> bool:  # Any: as above
    return True


_INVARIANTS: Final[Mapping[str, Callable[..., bool]]] = {
    **invariants.DISTRIBUTOR,
    **invariants.SERVER,
    **invariants.MONITOR,
}
for _name, _predicate in _INVARIANTS.items():
    _invariant(_name, _text(_predicate))


def judge(who: str, before: Any, event: Any, stride: Stride) -> tuple[str, ...]:  # Any: as above
    """The names of the properties that a machine's step breaks."""
    return tuple(
        name for name, prop in PROPERTIES.items() if prop.step is not None and not prop.step(who, before, event, stride)
    )


# ================================================================ sometimes


def _completed(action: Action, kind: type) -> bool:
    """A step of a machine, for an event of this class, that its process survived."""
    return isinstance(action.what, kind) and not isinstance(action, DistributorCutOff)


def _received(action: Action, kind: type) -> bool:
    """The Distributor read such a message of a server."""
    return isinstance(action.what, distributor.Received) and isinstance(action.what.message, kind)


def _enough_clients(bounds: Bounds) -> bool:
    return bounds.clients > bounds.servers * bounds.max_clients


@_sometimes(lambda b: b.clients > 0)
def a_client_is_served_and_leaves(before: World, action: Action, after: World) -> bool:
    """A client is seated at a server, and leaves."""
    return isinstance(action.what, server.Disconnected)


@_sometimes(_enough_clients)
def a_server_is_full_while_somebody_waits(before: World, action: Action, after: World) -> bool:
    """A server serves as many as it may, and somebody waits."""
    state = after.distributor
    if state is None or not state.waiting:
        return False
    return any(status.count.clients >= status.max_clients for status in state.servers.values())


@_sometimes(_enough_clients)
def a_waiter_is_seated(before: World, action: Action, after: World) -> bool:
    """A client that has waited is handed to a server."""
    if before.distributor is None or after.distributor is None:
        return False
    if not before.distributor.waiting:
        return False
    waited = {client for info in before.distributor.ports.values() for client in info.waiting}
    return any(status.request in waited for status in after.distributor.servers.values())


@_sometimes(lambda b: b.ports == 1 and b.clients > b.servers * b.max_clients + b.waiting_limit)
def the_backlog_holds_who_may_not_wait(before: World, action: Action, after: World) -> bool:
    """As many wait as may, and another client stays in the kernel's backlog."""
    state = after.distributor
    if state is None or state.waiting < state.waiting_limit:
        return False
    return any(after.kernel.backlog) and not any(info.accepting for info in state.ports.values())


@_sometimes(lambda b: b.clients > 1 and b.servers > 1)
def the_less_loaded_server_is_chosen(before: World, action: Action, after: World) -> bool:
    """A client is sent past a server that is busier to one that is less so."""
    old, new = before.distributor, after.distributor
    if old is None or new is None or not isinstance(action.what, distributor.ConnectionRequest):
        return False
    loads = [s.count.clients for s in old.servers.values() if s.answers_on(action.what.port)]
    chosen = [s.count.clients for s in new.servers.values() if s.request and s.request.cookie == action.what.cookie]
    return bool(chosen) and max(loads) > chosen[0]


@_sometimes(lambda b: b.descriptor_losses != 0 and b.servers > 1)
def a_refused_client_is_served_elsewhere(before: World, action: Action, after: World) -> bool:
    """A server refuses a hand-off, and the client is handed to another."""
    if not _received(action, Refused) or before.distributor is None or after.distributor is None:
        return False
    assert isinstance(action.what, distributor.Received)
    client = before.distributor.servers[action.what.server].request
    return client is not None and any(s.request == client for s in after.distributor.servers.values())


@_sometimes(lambda b: b.server_crashes > 0 and b.clients > 0)
def a_client_outlives_the_server_it_was_sent_to(before: World, action: Action, after: World) -> bool:
    """A dialog ends with a hand-off unanswered, and the client goes on."""
    if not _completed(action, distributor.DialogEnded) or before.distributor is None or after.distributor is None:
        return False
    assert isinstance(action.what, distributor.DialogEnded)
    status = before.distributor.servers[action.what.server]
    return status.request is not None and status.request.port == action.what.port


@_sometimes(lambda b: b.distributor_crashes > 0 and b.clients > 0)
def the_table_becomes_exact_after_a_death_with_a_request_outstanding(
    before: World, action: Action, after: World
) -> bool:
    """A Distributor died with a hand-off unanswered, and its successor's table has come to count the client."""
    state = after.distributor
    if state is None or state.incarnation < 2 or not _received(action, RestartReply):
        return False
    for group, status in quiet(after):
        if any(after.guests[client.cookie].unanswered for client in group.endpoint.clients):
            return status.count.clients == len(group.endpoint.clients)
    return False


@_sometimes(lambda b: b.distributor_crashes > 0 and _enough_clients(b))
def a_stored_client_is_restored_and_served(before: World, action: Action, after: World) -> bool:
    """A client that waited when the Distributor died is handed to a server by the next."""
    if not isinstance(action.what, Begin) or before.distributor is None or after.distributor is None:
        return False
    restored = {client for info in before.distributor.ports.values() for client in info.waiting}
    return any(status.request in restored for status in after.distributor.servers.values())


@_sometimes(lambda b: b.distributor_crashes > 0 and b.clients > 0)
def the_named_loss_happens(before: World, action: Action, after: World) -> bool:
    """A Distributor dies with a client that it alone holds: the one loss that its death may cause."""
    return any(guest.fate is Fate.LOST_ALONE for guest in after.guests)


@_sometimes(lambda b: b.dynamic > 0 and b.creations != 0 and _enough_clients(b))
def a_dynamic_server_starts(before: World, action: Action, after: World) -> bool:
    """A dynamic server is started because somebody waits, and takes a client."""
    dynamic = {p.server for p in after.monitor.classes[CLASS].places.values() if p.dynamic}
    return any(group.server in dynamic and group.endpoint.clients for group in after.groups)


@_sometimes(lambda b: b.dynamic > 0 and b.creations != 0 and b.deletions != 0 and _enough_clients(b))
def an_idle_dynamic_server_is_let_go(before: World, action: Action, after: World) -> bool:
    """A dynamic server that has become idle is drained, asked to end, and ends."""
    return action.what is Deed.ENDS


@_sometimes(lambda b: b.dynamic > 0 and not 0 <= b.creations <= b.dynamic and _enough_clients(b))
def a_dynamic_server_is_declined(before: World, action: Action, after: World) -> bool:
    """One more dynamic server is asked for than the class may have, and is declined."""
    return isinstance(action.what, CreationFailed)


@_sometimes(lambda b: b.reorders != 0 and b.clients > 0)
def a_count_arrives_out_of_order(before: World, action: Action, after: World) -> bool:
    """An older count arrives after a newer one, and is ignored."""
    if before.distributor is None or not isinstance(action.what, distributor.Received):
        return False
    known = before.distributor.servers[action.what.server].count
    return action.what.message.count.sequence < known.sequence


@_sometimes(lambda b: b.interruptions > 0 and b.clients > 0)
def who_was_about_to_be_delivered_is_refused(before: World, action: Action, after: World) -> bool:
    """A process dies between a hand-off's reading and its answer, another of the server finds it, and the client goes
    back to the Distributor.
    """
    match action.what:
        case server.Interrupted(reply=server.Reply(message=Accepted(client=client))):
            state = after.distributor
            return state is not None and any(status.request == client for status in state.servers.values())
    return False


@_sometimes(lambda b: b.interruptions > 0 and b.clients > 0)
def an_answer_is_given_twice(before: World, action: Action, after: World) -> bool:
    """A process dies when its answer is in the socket, before anybody knows: the Distributor, which has heard it, is
    sent another, and does not heed that.
    """
    if not _received(action, Refused) or before.distributor is None:
        return False
    assert isinstance(action.what, distributor.Received)
    status = before.distributor.servers[action.what.server]
    return status.request is None and before.distributor.incarnation == 1


@_sometimes(lambda b: b.interruptions > 0 and b.clients > 0)
def a_hand_off_is_lost_with_its_reader(before: World, action: Action, after: World) -> bool:
    """A process dies having read a hand-off and done nothing about it, and others of the server live on."""
    if not isinstance(action, PortDeed) or action.what is not Deed.LOSES_A_READER:
        return False
    group = before.group(action.server)
    link = group.link(action.port) if group is not None else None
    return link is not None and isinstance(link.to_server[0], HandOff)


@_sometimes(lambda b: b.room > 0 and b.clients > b.room)
def a_full_dialog_defers_what_is_to_be_said(before: World, action: Action, after: World) -> bool:
    """A server finds the dialog full, goes on, and sends later what it had to say."""
    return action.what is Deed.RESUMES


@_sometimes(lambda b: b.server_crashes > 0 and b.forked_children > 0 and b.clients > 0)
def a_forked_child_takes_a_hand_off(before: World, action: Action, after: World) -> bool:
    """A forked child accepts a client after its parent's death."""
    match action:
        case ServerStep(what=server.MessageRead(message=HandOff(), intact=True)):
            group = before.group(action.server)
            return group is not None and not group.main
    return False


@_sometimes(lambda b: b.element_failures > 0 and b.elements > 1)
def a_server_restarts_elsewhere(before: World, action: Action, after: World) -> bool:
    """A processing element fails, and a server that ran there is started on another."""
    fired = action.what.timer if isinstance(action.what, monitor.Fired) else None
    if not isinstance(fired, monitor.RestartServer):
        return False
    old = before.monitor.classes[CLASS].places[fired.place]
    new = after.monitor.classes[CLASS].places[fired.place]
    return new.alive and old.element != new.element


@_sometimes(lambda b: b.element_failures > 0 and b.elements > 1)
def the_distributor_restarts_elsewhere(before: World, action: Action, after: World) -> bool:
    """The Distributor's processing element fails, and the Distributor is started on another."""
    old, new = before.monitor.classes[CLASS].distributor, after.monitor.classes[CLASS].distributor
    return new.incarnation > old.incarnation and old.element != new.element


@_sometimes(lambda b: b.stops != 0)
def a_graceful_stop_completes(before: World, action: Action, after: World) -> bool:
    """After a stop was asked for, the Distributor closes by itself and the Monitor ends."""
    if after.monitor.phase is not monitor.Phase.ENDED or before.monitor.phase is not monitor.Phase.CLOSING:
        return False
    return after.monitor.failure is None


@_sometimes(lambda b: b.stops != 0 and b.clients > 0)
def a_stop_takes_what_the_backlog_holds(before: World, action: Action, after: World) -> bool:
    """While closing, a client is taken from the backlog."""
    closing = before.distributor is not None and before.distributor.phase is distributor.Phase.CLOSING
    return closing and isinstance(action.what, distributor.ConnectionRequest)


@_sometimes(lambda b: b.hang_ups != 0 and _enough_clients(b))
def a_waiter_hangs_up(before: World, action: Action, after: World) -> bool:
    """A waiting client closes its side and is dropped."""
    return isinstance(action.what, distributor.PeerClosed) and not action.what.unread


@_sometimes(lambda b: b.hang_ups != 0 and _enough_clients(b))
def a_waiter_that_has_half_closed_is_seated(before: World, action: Action, after: World) -> bool:
    """A waiting client has closed its sending side, having sent data, and is handed to a server."""
    if before.distributor is None or after.distributor is None:
        return False
    requests = (status.request for status in after.distributor.servers.values() if status.request is not None)
    waiting = _waiting(before.distributor)
    return any(client in waiting and after.guests[client.cookie].hung == 2 for client in requests)


@_sometimes(lambda b: b.queue_timeouts != 0 and _enough_clients(b))
def a_waiter_is_timed_out(before: World, action: Action, after: World) -> bool:
    """A client has waited too long and is dropped."""
    return isinstance(action.what, distributor.Fired) and isinstance(action.what.timer, distributor.QueueTimeout)


@_sometimes(lambda b: b.hand_off_timeouts != 0 and b.clients > 0)
def an_unresponsive_server_is_killed(before: World, action: Action, after: World) -> bool:
    """A server leaves a hand-off unanswered, and is killed for it."""
    if not isinstance(action.what, monitor.Told) or not isinstance(action.what.message, Unresponsive):
        return False
    if before.distributor is None:
        return False
    status = before.distributor.servers.get(action.what.message.server, None)
    return status is not None and status.request is not None


@_sometimes(lambda b: b.hand_off_timeouts != 0 and b.max_clients > 1 and b.clients > 1)
def a_server_that_takes_nobody_serves_on(before: World, action: Action, after: World) -> bool:
    """A server leaves a hand-off unanswered, serves the clients that it has, and is spared."""
    return isinstance(action.what, distributor.StillServes) and after.to_monitor == before.to_monitor


@_sometimes(lambda b: b.hand_off_timeouts != 0 and b.clients > 0)
def an_unfit_server_is_killed(before: World, action: Action, after: World) -> bool:
    """A server is not to be kept, which the Monitor is told."""
    return isinstance(action.what, distributor.Unfit) and any(isinstance(m, Unresponsive) for m in after.to_monitor)


@_sometimes(lambda b: b.listener_closes != 0 and b.clients > 0)
def a_closed_listener_refuses(before: World, action: Action, after: World) -> bool:
    """A program closes its listening socket with a hand-off unread, and the client is placed anew."""
    if not _received(action, Refused) or not _completed(action, distributor.Received):
        return False
    return before.budget.descriptor_losses == after.budget.descriptor_losses and before.distributor is not None


@_sometimes(lambda b: b.listener_closes != 0)
def a_server_listens_again(before: World, action: Action, after: World) -> bool:
    """A program that had closed its listening socket listens again, and is ready again."""
    if not _received(action, RestartReply) or before.distributor is None or after.distributor is None:
        return False
    assert isinstance(action.what, distributor.Received)
    dialog = before.distributor.servers[action.what.server].dialogs[action.what.port]
    return dialog.sequence >= 0 and dialog.phase is distributor.DialogPhase.OPENED


@_sometimes(lambda b: b.audits != 0 and b.leaks != 0 and b.clients > 0)
def an_audit_corrects_a_count(before: World, action: Action, after: World) -> bool:
    """A server that counts a connection which is gone is told to forget it, and counts one less."""
    match action:
        case ServerStep(what=server.MessageRead(message=InitialMsg(forget=forget))):
            old, new = before.group(action.server), after.group(action.server)
            known, left = (len(group.endpoint.clients) if group is not None else 0 for group in (old, new))
            return bool(forget) and left < known
    return False


@_sometimes(lambda b: b.accept_failures != 0)
def an_accept_fails_and_is_tried_again(before: World, action: Action, after: World) -> bool:
    """An accept fails for want of descriptors, and is issued again after a while."""
    return isinstance(action.what, distributor.Fired) and isinstance(action.what.timer, distributor.AcceptRetry)


@_sometimes(lambda b: b.unsent != 0 and b.clients > 0)
def an_unsent_client_is_placed_anew(before: World, action: Action, after: World) -> bool:
    """The kernel declines to send a hand-off, and the client is placed anew."""
    return _completed(action, distributor.Unsent) and after.distributor is not before.distributor


@_sometimes(lambda b: b.listen_failures != 0)
def an_address_cannot_be_listened_on(before: World, action: Action, after: World) -> bool:
    """An address cannot be listened on, and this is reported or the program is told."""
    return isinstance(action.what, distributor.ListeningFailed)


@_sometimes(lambda b: not b.fixed)
def the_first_bind_decides_the_port(before: World, action: Action, after: World) -> bool:
    """Without a configured port, the first that a program binds becomes the server class's."""
    if before.distributor is None or not isinstance(action.what, distributor.BindRequested):
        return False
    return not before.distributor.ports


@_sometimes(lambda b: b.server_crashes > 0)
def a_dead_server_is_started_again(before: World, action: Action, after: World) -> bool:
    """A static server dies, and its place is filled again."""
    return isinstance(action.what, monitor.Fired) and isinstance(action.what.timer, monitor.RestartServer)


@_sometimes(lambda b: b.dynamic > 0 and b.creations != 0)
def the_monitor_is_asked_for_a_server(before: World, action: Action, after: World) -> bool:
    """The Distributor asks the Monitor for a dynamic server."""
    return isinstance(action.what, monitor.Told) and isinstance(action.what.message, CreateServer)


@_sometimes(lambda b: not b.warm)
def a_program_that_is_deaf_is_not_ready(before: World, action: Action, after: World) -> bool:
    """A program that does not listen yet answers so, and is not handed anybody."""
    return _received(action, NotReady)


@_sometimes(lambda b: b.clients > 1)
def a_server_with_a_request_outstanding_is_spared(before: World, action: Action, after: World) -> bool:
    """A client comes while a server with room has yet to answer for another, and is not sent to it."""
    if not _completed(action, distributor.ConnectionRequest) or before.distributor is None or after.distributor is None:
        return False
    rows = after.distributor.servers
    return any(
        status.request is not None and rows[number].request == status.request and status.count.clients == 0
        for number, status in before.distributor.servers.items()
    )


@_sometimes(lambda b: b.clients > b.servers * b.max_clients + 1 and b.waiting_limit > 1)
def the_earlier_of_two_waiters_goes_first(before: World, action: Action, after: World) -> bool:
    """Two clients wait, and the one that came first is seated first."""
    old, new = before.distributor, after.distributor
    if old is None or new is None or old.waiting < 2 or new.waiting != 1 or isinstance(action, DistributorCutOff):
        return False
    first = min(client for info in old.ports.values() for client in info.waiting)
    return any(status.request == first for status in new.servers.values())


@_sometimes(lambda b: b.clients > 1 and b.servers > 1 and (b.elements == 1 or b.max_clients > 1))
def a_tie_goes_to_the_longest_unchosen(before: World, action: Action, after: World) -> bool:
    """Two servers are equally loaded, and a client is sent to the one whose turn it is."""
    if not _completed(action, distributor.ConnectionRequest) or before.distributor is None:
        return False
    assert isinstance(action.what, distributor.ConnectionRequest)
    free = [*before.distributor.ports[action.what.port].free]
    return len(free) > 1 and free[0].load * free[1].weight == free[1].load * free[0].weight


@_sometimes(lambda b: b.repeated_binds != 0)
def a_bind_is_asked_for_twice(before: World, action: Action, after: World) -> bool:
    """A server asks again for a port whose dialog it has, or is about to have."""
    if not isinstance(action.what, distributor.BindRequested) or before.distributor is None:
        return False
    return action.what.port in before.distributor.servers[action.what.server].dialogs


@_sometimes(lambda b: b.servers > 1 and not b.warm)
def a_second_server_shares_the_socket(before: World, action: Action, after: World) -> bool:
    """A server binds a port that is bound for another already."""
    if not isinstance(action.what, distributor.BindRequested) or before.distributor is None:
        return False
    port = action.what.port
    return any(port in s.dialogs for n, s in before.distributor.servers.items() if n != action.what.server)


@_sometimes(lambda b: b.ports > 1 and b.clients > b.servers * b.max_clients + 1 and b.waiting_limit > 1)
def somebody_waits_on_each_of_two_ports(before: World, action: Action, after: World) -> bool:
    """Clients of two ports wait at the same time."""
    state = after.distributor
    return state is not None and sum(len(info.waiting) > 0 for info in state.ports.values()) > 1


@_sometimes(lambda b: b.server_crashes > 0 and not b.warm)
def the_monitor_hears_of_a_server_that_is_gone(before: World, action: Action, after: World) -> bool:
    """The Distributor says something of a server whose end the Monitor has seen by then."""
    if not isinstance(action.what, monitor.Told):
        return False
    number = getattr(action.what.message, "server", None)
    return number is not None and number not in before.monitor.classes[CLASS].living


WITNESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "never_above_the_maximum": ("a_server_is_full_while_somebody_waits",),
    "never_stale_low": ("a_server_is_full_while_somebody_waits", "a_count_arrives_out_of_order"),
    "no_client_has_two_servers": (
        "a_refused_client_is_served_elsewhere",
        "a_client_outlives_the_server_it_was_sent_to",
        "a_stored_client_is_restored_and_served",
        "a_forked_child_takes_a_hand_off",
    ),
    "who_is_served_was_answered_for": ("a_client_is_served_and_leaves", "who_was_about_to_be_delivered_is_refused"),
    "no_client_lost": ("the_named_loss_happens", "an_unsent_client_is_placed_anew", "a_closed_listener_refuses"),
    "nobody_passes_on_what_it_has_not": ("a_stored_client_is_restored_and_served", "a_waiter_is_seated"),
    "each_process_knows_whom_it_has": ("a_client_is_served_and_leaves", "an_audit_corrects_a_count"),
    "at_most_one_request_outstanding": ("a_server_with_a_request_outstanding_is_spared",),
    "rows_are_as_configured": ("a_dynamic_server_starts", "the_less_loaded_server_is_chosen"),
    "never_more_servers_than_configured": ("a_dynamic_server_is_declined", "a_dead_server_is_started_again"),
    "the_count_is_exact_when_dialogs_are_quiet": ("a_client_is_served_and_leaves", "an_audit_corrects_a_count"),
    "the_table_is_exact_again_after_a_restart": (
        "the_table_becomes_exact_after_a_death_with_a_request_outstanding",
        "a_server_listens_again",
    ),
    "store_has_exactly_those_who_wait": ("a_waiter_is_seated", "a_stored_client_is_restored_and_served"),
    "no_successor_is_told_of_a_client_with_a_server": ("a_stored_client_is_restored_and_served",),
    "no_one_is_cut_off_by_draining": ("an_idle_dynamic_server_is_let_go", "a_graceful_stop_completes"),
    "first_come_first_served": ("the_earlier_of_two_waiters_goes_first",),
    "the_chosen_server_was_least_loaded": ("the_less_loaded_server_is_chosen", "a_tie_goes_to_the_longest_unchosen"),
    "hand_offs_go_to_free_servers": ("a_server_is_full_while_somebody_waits",),
    "a_request_comes_back_only_from_the_server": (
        "an_unresponsive_server_is_killed",
        "an_unfit_server_is_killed",
        "a_refused_client_is_served_elsewhere",
    ),
    "released_before_sent": ("a_waiter_is_seated",),
    "shut_down_before_released": ("a_waiter_hangs_up", "a_waiter_is_timed_out"),
    "a_dialog_in_use_stays_open": ("a_bind_is_asked_for_twice",),
    "an_address_is_listened_on_once": ("a_second_server_shares_the_socket", "the_first_bind_decides_the_port"),
    "accepts_only_below_the_limit": ("the_backlog_holds_who_may_not_wait", "an_accept_fails_and_is_tried_again"),
    "only_drained_servers_are_asked_to_end": ("an_idle_dynamic_server_is_let_go", "a_graceful_stop_completes"),
    "processes_are_killed_only_for_a_reason": ("a_dead_server_is_started_again", "the_distributor_restarts_elsewhere"),
    "deaths_are_counted": ("a_dead_server_is_started_again", "an_unresponsive_server_is_killed"),
    "what_may_fire_was_set": ("an_accept_fails_and_is_tried_again", "a_dead_server_is_started_again"),
    "a_full_server_is_spared": ("a_server_that_takes_nobody_serves_on",),
    "a_half_close_is_no_hang_up": ("a_waiter_that_has_half_closed_is_seated",),
    "one_accept_at_a_time": ("an_accept_fails_and_is_tried_again", "a_stop_takes_what_the_backlog_holds"),
    "copies_are_closed_when_clients_are_let_go": ("a_client_is_served_and_leaves", "a_waiter_is_timed_out"),
    "an_answer_comes_before_the_client": ("a_client_is_served_and_leaves", "a_refused_client_is_served_elsewhere"),
    "what_is_opened_is_kept": ("a_second_server_shares_the_socket", "a_bind_is_asked_for_twice"),
    "what_is_no_longer_kept_is_dropped": ("a_waiter_is_seated", "a_dead_server_is_started_again"),
    "every_leave_is_acknowledged": ("a_client_is_served_and_leaves", "a_program_that_is_deaf_is_not_ready"),
    "an_acknowledgement_changes_nothing": ("a_client_is_served_and_leaves",),
    "no_surprising_rejection": ("the_monitor_hears_of_a_server_that_is_gone",),
    "index_is_true": ("a_waiter_is_seated",),
    "summaries_are_true": ("an_idle_dynamic_server_is_let_go",),
    "waiting_total_is_true": ("a_waiter_is_seated",),
    "no_one_waits_while_a_seat_is_free": ("a_server_is_full_while_somebody_waits", "a_waiter_is_seated"),
    "waiters_wait_on_their_own_port": ("somebody_waits_on_each_of_two_ports",),
    "no_client_is_held_twice": ("a_refused_client_is_served_elsewhere",),
    "arrivals_lie_in_the_past": ("a_stored_client_is_restored_and_served",),
    "requests_travel_on_ready_dialogs": ("a_server_with_a_request_outstanding_is_spared",),
    "rows_and_ports_agree": ("a_dead_server_is_started_again",),
    "binders_await_the_listeners": ("an_address_cannot_be_listened_on", "a_second_server_shares_the_socket"),
    "accepts_only_where_it_listens": ("a_stop_takes_what_the_backlog_holds",),
    "servers_are_wanted_only_by_waiters": ("the_monitor_is_asked_for_a_server", "a_dynamic_server_starts"),
    "closed_means_over": ("a_graceful_stop_completes",),
    "ranks_are_past": ("a_tie_goes_to_the_longest_unchosen",),
    "only_who_was_asked_is_full": ("a_server_that_takes_nobody_serves_on",),
    "clients_came_through_a_listener": ("a_client_is_served_and_leaves",),
    "an_answer_is_owed_only_while_deaf": ("a_program_that_is_deaf_is_not_ready",),
    "counts_are_issued_in_order": ("a_full_dialog_defers_what_is_to_be_said",),
    "nothing_out_of_date_is_to_be_sent": ("a_full_dialog_defers_what_is_to_be_said",),
    "who_is_accepted_is_counted": ("who_was_about_to_be_delivered_is_refused",),
    "living_is_true": ("a_dead_server_is_started_again",),
    "places_are_within_the_configuration": ("an_idle_dynamic_server_is_let_go", "a_server_restarts_elsewhere"),
    "processes_are_counted": ("the_distributor_restarts_elsewhere",),
    "servers_are_new": ("a_dead_server_is_started_again",),
    "an_empty_place_keeps_nothing": ("a_dead_server_is_started_again",),
    "ended_means_over": ("a_graceful_stop_completes",),
}
"""Of each always property, what shows that the situations which it speaks of do occur."""
