"""Why a property is broken: a sentence or two that name the servers, clients, counts and messages at fault.

Theory of operation
-------------------
A property only says yes or no.  `EXPLANATIONS` has, under the same name, a function that looks at the last step of a
counterexample with the property's own eyes and says what it found.  `Moment` is what such a function is given: the
worlds around the step and, where a machine took it, the machine's step taken once more.  `facts` is a world as a table,
of which `changes` shows the rows that a step has altered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from maitred.core import distributor, invariants, monitor, server
from maitred.core.distributor import DialogPhase, DistributorState, Phase, Seat, ServerStatus
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Begin,
    Client,
    DropListeners,
    HandOff,
    KeepListener,
    Refused,
    Release,
    Store,
)
from maitred.core.monitor import ClassState, DistributorPhase, MonitorState, PlacePhase
from maitred.core.server import EndpointState
from maitred.core.transition import Rejected
from maitred.model.claims.safety import (
    PROPERTIES,
    accept_goes_on,
    answers,
    books,
    configured,
    dealings,
    due_acknowledgements,
    due_dealings,
    held,
    in_line,
    judge,
    killings_without_reason,
    left_open,
    miscounted,
    never_set,
    prefers,
    quiet,
    stopping,
    taken_for_hung,
    unanswered_binds,
    unkept_dialogs,
)
from maitred.model.search.explorer import Path
from maitred.model.story.text import NOBODY, NOTHING, clients_listed, counted, holders, listed, tell
from maitred.model.world import (
    CLASS,
    Action,
    DistributorCutOff,
    DistributorStep,
    EffectDeclined,
    Fate,
    Group,
    MonitorStep,
    ServerStep,
    Stride,
    System,
    World,
    is_lost,
    released,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """The last step of a path, and the machine's step behind it."""

    path: Path
    before: World
    after: World
    action: Action | None = None
    """None where the path is only its first world."""
    who: str = ""
    """``distributor``, ``monitor`` or ``server``; empty where no machine took a step."""
    state: Any = None  # Any: of whichever machine
    """The machine's state before."""
    event: Any = None  # Any: of whichever machine
    stride: Stride | None = None
    outcome: Any = None  # Any: of whichever machine
    """The machine's state after, as `step` left it: before the model renumbers anything."""

    @property
    def hand_offs(self) -> list[tuple[int, Client]]:
        """The clients that the step sends, in order, each with its server."""
        sends = [effect for effect in self.effects if isinstance(effect, distributor.Send)]
        return [(send.server, send.message.client) for send in sends if isinstance(send.message, HandOff)]

    @property
    def effects(self) -> tuple[Any, ...]:  # Any: of whichever machine
        """All effects of the machine's step, performed or not."""
        return self.stride.effects if self.stride is not None else ()


def last_moment(path: Path) -> Moment:
    """The last step of the path, ready to be looked at."""
    if not path.steps:
        return Moment(path, path.start, path.start)
    before = path.steps[-2].world if len(path.steps) > 1 else path.start
    action, after = path.steps[-1].action, path.steps[-1].world
    state = state_behind(before, action)
    if state is None:
        return Moment(path, before, after, action)
    result = _MACHINES[_machine(action)].step(state, action.what)
    outcome = state if isinstance(result, Rejected) else result.state
    stride = retake(System(path.bounds, steady=True), before, action)
    return Moment(path, before, after, action, _machine(action), state, action.what, stride, outcome)


def retake(system: System, before: World, action: Action) -> Stride | None:
    """The machine's step behind the action, taken once more; None where no machine takes one."""
    state = state_behind(before, action)
    return None if state is None else system.stride(_machine(action), state, action.what)


def _machine(action: Action) -> str:
    return action.who if action.who in _MACHINES else "server"


_MACHINES: Mapping[str, Any] = {  # Any: modules, each with a `step` of its own types
    "distributor": distributor,
    "monitor": monitor,
    "server": server,
}


def state_behind(before: World, action: Action) -> MonitorState | DistributorState | EndpointState | None:
    """The state of the machine that takes the action's step; None where no machine does."""
    match action:
        case MonitorStep():
            return before.monitor
        case DistributorStep() | DistributorCutOff() | EffectDeclined():
            return before.distributor
        case ServerStep():
            group = before.group(action.server)
            return group.endpoint if group is not None else None
        case _:
            return None


def why(name: str, path: Path) -> list[str]:
    """Why the property does not hold at the end of the path, in sentences that name who and what breaks it.

    Empty where the property is none of those that must always hold, or where the path does not break it.
    """
    if name not in EXPLANATIONS:
        return []
    for moment in _moments(path):
        if _breaks(name, moment):
            return [_sentence(text) for text in EXPLANATIONS[name](moment)]
    return [] if path.steps else [_sentence(text) for text in _before_the_first_world(name, path)]


def _moments(path: Path) -> Iterator[Moment]:
    """The last step of the path; then what a server does in the same action, where its replies are sent at once."""
    moment = last_moment(path)
    yield moment
    system = System(path.bounds, steady=True)
    if moment.who != "server" or system.splits:
        return
    while moment.stride is not None and moment.stride.rejected is None and moment.outcome.outbox:
        event = server.Sent(moment.outcome.outbox[0])
        stride = system.stride("server", moment.outcome, event)
        moment = replace(moment, state=moment.outcome, event=event, stride=stride, outcome=stride.state)
        yield moment


def _before_the_first_world(name: str, path: Path) -> Iterator[str]:
    system = System(path.bounds, judge)
    system.initial()
    if name in system.amiss:
        yield "a step that leads to the first world breaks it: the Monitor's start" + (
            ", or another by which the system comes up, which is shown where the system does not begin warm"
            if path.bounds.warm
            else ""
        )


def _breaks(name: str, moment: Moment) -> bool:
    """Whether the property is broken there: only then does its explanation know what it looks at."""
    prop = PROPERTIES[name]
    if prop.world is not None and not prop.world(moment.after):
        return True
    if moment.stride is None:
        return False
    if name in invariants.broken(moment.outcome) or any(name in read.wrong for _, _, read in _acknowledged(moment)):
        return True
    return prop.step is not None and not prop.step(moment.who, moment.state, moment.event, moment.stride)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _is(items: Sized) -> str:
    """The verb of so many."""
    return "is" if len(items) == 1 else "are"


def _busy(served: list[Client], unread: list[Client]) -> str:
    """What a server does with whom."""
    parts = [f"serves {clients_listed(served)}"] if served or not unread else []
    return listed([*parts, f"has yet to read the hand-off of {clients_listed(unread)}"] if unread else parts)


def _waiters(state: DistributorState) -> list[Client]:
    return [client for info in state.ports.values() for client in info.waiting]


def _unread(group: Group) -> list[Client]:
    """The clients whose hand-offs lie unread in the server's dialogs."""
    return [m.client for link in group.links for m in link.to_server if isinstance(m, HandOff)]


# ================================================================ of a world

Explanation: TypeAlias = Callable[[Moment], Iterator[str]]
EXPLANATIONS: dict[str, Explanation] = {}
"""By the name of the property."""


def _explains(explanation: Explanation) -> Explanation:
    EXPLANATIONS[explanation.__name__.removeprefix("_")] = explanation
    return explanation


@_explains
def _never_above_the_maximum(moment: Moment) -> Iterator[str]:
    most = moment.after.monitor.classes[CLASS].config.max_clients
    for group in moment.after.groups:
        if len(group.held) > most:
            yield f"server {group.server} serves {clients_listed(group.held)}, and may serve {most} at a time"


@_explains
def _never_stale_low(moment: Moment) -> Iterator[str]:
    state = moment.after.distributor
    if state is None:
        return
    free = {seat.server for info in state.ports.values() for seat in info.free}
    for group in moment.after.groups:
        if group.server not in free or not group.alive:
            continue
        served, unread = list(group.held), _unread(group)
        told = state.servers[group.server].count.clients
        if len(served) + len(unread) > told:
            yield (
                f"the Distributor's table has server {group.server} free with {counted(told, 'client')}, but the"
                f" server {_busy(served, unread)}"
            )


@_explains
def _no_client_has_two_servers(moment: Moment) -> Iterator[str]:
    for cookie, guest in enumerate(moment.after.guests):
        if guest.taken > 1:
            takings = [
                f"by {step.action.who} in step {number}"
                for number, step in enumerate(moment.path.steps, 1)
                if _takes(step.action, cookie)
            ]
            yield f"client {cookie} has been accepted {guest.taken} times: {listed(takings)}"


def _takes(action: Action, cookie: int) -> bool:
    """Whether a server accepts the client in this step."""
    match action.what:
        case server.MessageRead(message=HandOff(client=client), intact=True):
            return client.cookie == cookie
        case server.Sent(reply=server.Reply(message=Accepted(client=client))):
            return client.cookie == cookie
    return False


@_explains
def _who_is_served_was_answered_for(moment: Moment) -> Iterator[str]:
    for cookie, guest in enumerate(moment.after.guests):
        if guest.fate is Fate.IN and guest.taken and not guest.answered:
            yield f"client {cookie} is served, and no server has said so: its Accepted has not been sent"


@_explains
def _no_client_lost(moment: Moment) -> Iterator[str]:
    for cookie, guest in enumerate(moment.after.guests):
        old = moment.before.guests[cookie].fate
        if guest.fate is not Fate.LOST:
            continue
        if old is Fate.BACKLOG:
            yield f"client {cookie} was in the kernel's backlog, and the listening socket was closed over it"
            continue
        held = listed(place.text for place in holders(moment.before, cookie))
        yield (
            f"client {cookie} has not left, but nobody holds its connection any more; before this step it was held by:"
            f" {held}; and this is none of the instants at which a client may be lost"
        )


@_explains
def _nobody_passes_on_what_it_has_not(moment: Moment) -> Iterator[str]:
    for cookie, guest in enumerate(moment.after.guests):
        if guest.void:
            where = listed(place.text for place in holders(moment.before, cookie))
            yield (
                f"in this step a process passes on, delivers or closes a copy of client {cookie}'s connection, and has"
                f" none; before it the connection was held by: {where}"
            )


@_explains
def _each_process_knows_whom_it_has(moment: Moment) -> Iterator[str]:
    for who, booked, has in books(moment.after):
        for cookie in range(len(moment.after.guests)):
            if has & ~booked & 1 << cookie:
                yield f"{who} has the connection of client {cookie}, and does not count it"
            elif booked & ~has & 1 << cookie:
                yield f"{who} counts client {cookie}, and has no copy of its connection"


@_explains
def _at_most_one_request_outstanding(moment: Moment) -> Iterator[str]:
    state = moment.after.distributor
    for group in moment.after.groups:
        unread = _unread(group)
        if len(unread) > 1:
            yield f"server {group.server} has the hand-offs of {clients_listed(unread)} unread at once"
            continue
        status = state.servers.get(group.server, None) if state is not None else None
        if unread and status is not None and not status.owed and status.request not in (None, unread[0]):
            yield (
                f"the hand-off of {clients_listed(unread)} lies unread in the dialog of server {group.server}, while"
                f" the Distributor awaits its answer about {tell(status.request)}"
            )


@_explains
def _rows_are_as_configured(moment: Moment) -> Iterator[str]:
    for number, what, said, true in configured(moment.after):
        if said != true:
            yield f"the Distributor's row of server {number} has {what} {said}, and the configuration has {true}"


@_explains
def _never_more_servers_than_configured(moment: Moment) -> Iterator[str]:
    config = moment.after.monitor.classes[CLASS].config
    living = [f"server {group.server}" for group in moment.after.groups if group.alive]
    yield (
        f"{listed(living)} live at once, and the configuration has {config.static} static and"
        f" {config.dynamic} dynamic: {config.static + config.dynamic} in all"
    )


@_explains
def _the_count_is_exact_when_dialogs_are_quiet(moment: Moment) -> Iterator[str]:
    for group, status in quiet(moment.after):
        if status.count.clients != len(group.endpoint.clients):
            yield _inexact(group, status)


def _inexact(group: Group, status: ServerStatus) -> str:
    return (
        f"nothing is on its way between the Distributor and server {group.server}; the Distributor's table gives it"
        f" {counted(status.count.clients, 'client')}, and it serves {clients_listed(group.endpoint.clients)}"
    )


@_explains
def _the_table_is_exact_again_after_a_restart(moment: Moment) -> Iterator[str]:
    for group, status in quiet(moment.after):
        if status.count.clients != len(group.endpoint.clients):
            yield _inexact(group, status)
        if status.request is not None and not is_lost(moment.after, group.server):
            yield (
                f"the Distributor awaits an answer about {tell(status.request)} from server {group.server}, which has"
                " nothing of it to read"
            )
        for port, dialog in status.dialogs.items():
            listener = group.endpoint.listeners.get(port, None)
            listens = listener is not None and listener.listening
            if (dialog.phase is DialogPhase.READY) is not listens:
                yield (
                    f"the Distributor's table has the dialog with server {group.server} on port {port}"
                    f" {dialog.phase.value}, and the program {'listens' if listens else 'does not listen'} there"
                )


@_explains
def _store_has_exactly_those_who_wait(moment: Moment) -> Iterator[str]:
    if moment.after.distributor is None:
        return
    store = list(moment.after.monitor.classes[CLASS].store)
    waiting = _waiters(moment.after.distributor)
    forgotten = [client for client in waiting if client not in store]
    kept = [client for client in store if client not in waiting]
    if forgotten:
        yield (
            f"{clients_listed(forgotten)} {_is(forgotten)} on the waiting list and not in the Monitor's store:"
            " no successor would know"
        )
    if kept:
        yield (
            f"{clients_listed(kept)} {_is(kept)} in the Monitor's store and not on the waiting list: a successor would"
            " serve again who is served already"
        )


@_explains
def _no_successor_is_told_of_a_client_with_a_server(moment: Moment) -> Iterator[str]:
    world = moment.after
    store = {*world.monitor.classes[CLASS].store}
    store |= {m.client for m in world.to_monitor if isinstance(m, Store)}
    store -= released(world.to_monitor)
    for group in world.groups:
        for client in (*group.held, *_unread(group)):
            if client in store:
                has = "serves" if client in group.held else "has yet to read the hand-off of"
                yield (
                    f"server {group.server} {has} {tell(client)}, which is still in the Monitor's store, and nothing on"
                    " its way to the Monitor releases it: were the Distributor to die now, its successor would give the"
                    " client to a server again"
                )


@_explains
def _no_one_is_cut_off_by_draining(moment: Moment) -> Iterator[str]:
    for group in moment.after.groups:
        unread = _unread(group)
        if group.asked and group.alive and (group.held or unread):
            yield (
                f"server {group.server} was asked to end, and {_busy(list(group.held), unread)}; the Monitor is"
                f" {moment.after.monitor.phase.value}, so no grace has ended"
            )


# ================================================================ of a step


@_explains
def _first_come_first_served(moment: Moment) -> Iterator[str]:
    line = in_line(moment.after)
    came = sorted(line, key=moment.after.kernel.accepted.index)
    if line != came:
        told = [" before ".join(f"client {cookie}" for cookie in order) for order in (line, came)]
        yield f"the Distributor has {told[0]}, by their arrivals, and accepted {told[1]}"
    if moment.who != "distributor":
        return
    after: DistributorState = moment.stride.state if moment.stride else moment.state
    for i, (number, client) in enumerate(moment.hand_offs):
        for port, info in after.ports.items():
            if port != client.port and not after.servers[number].answers_on(port):
                continue
            later = [other for _, other in moment.hand_offs[i + 1 :] if other.port == port]
            served = [other for _, other in moment.hand_offs[:i]]
            for other in sorted({*info.waiting, *later} - {*served}):
                if other < client:
                    does = "is sent after it" if other in later else f"waits on port {port}"
                    yield f"server {number} was sent {tell(client)} while {tell(other)}, who came earlier, {does}"


@_explains
def _the_chosen_server_was_least_loaded(moment: Moment) -> Iterator[str]:
    after: DistributorState = moment.stride.state if moment.stride else moment.state
    for i, (number, client) in enumerate(moment.hand_offs):
        chosen = after.servers[number]
        later = {other for other, _ in moment.hand_offs[i + 1 :]}
        for other in after.servers.values():
            free = other.free_on(client.port) or (other.server in later and other.answers_on(client.port))
            if other.server != number and free and prefers(moment.state, other, chosen):
                yield (
                    f"{tell(client)} was sent to server {number} ({_load(chosen)}), while server {other.server}"
                    f" ({_load(other)}) was free on port {client.port}{_turn(other, chosen)}"
                )


def _load(status: ServerStatus) -> str:
    weight = f", weight {status.weight}" if status.weight != 1 else ""
    return counted(status.count.clients, "client") + weight


def _turn(other: ServerStatus, chosen: ServerStatus) -> str:
    equal = (other.count.clients + 1) * chosen.weight == (chosen.count.clients + 1) * other.weight
    return ", as little loaded, and had been chosen longer ago" if equal else ""


@_explains
def _hand_offs_go_to_free_servers(moment: Moment) -> Iterator[str]:
    for number, client in moment.hand_offs:
        status: ServerStatus = moment.stride.state.servers[number] if moment.stride else moment.state.servers[number]
        old: ServerStatus | None = moment.state.servers.get(number, None)
        reasons = list(_unfit(status, client))
        if old is not None and old.request is not None and not answers(moment.event, number, old.request):
            reasons.append(f"has not answered about {tell(old.request)}, which it was sent before")
        if reasons:
            yield f"{tell(client)} was sent to server {number}, which {listed(reasons)}"


def _unfit(status: ServerStatus, client: Client) -> Iterator[str]:
    """Why the client should not have been sent there."""
    if status.owed:
        yield f"owes an answer on port {listed(status.owed)}"
    elif not status.answers_on(client.port):
        yield f"has not answered on port {client.port}"
    if status.count.clients >= status.max_clients:
        yield f"serves {counted(status.count.clients, 'client')} of at most {status.max_clients}"
    if status.draining:
        yield "is draining"
    if status.resting:
        yield "is resting"
    if status.request != client:
        yield f"is booked as being sent {tell(status.request) if status.request else NOBODY}"


@_explains
def _a_request_comes_back_only_from_the_server(moment: Moment) -> Iterator[str]:
    for number, old in moment.state.servers.items():
        new = moment.outcome.servers.get(number, None)
        kept = new is not None and new.request == old.request
        if old.request is None or kept or answers(moment.event, number, old.request):
            continue
        yield (
            f"{tell(old.request)} was taken from server {number} on {tell(moment.event)}, which is not the server's"
            f" word: the server may have the client, or may yet read its hand-off; the client now"
            f" {_whereabouts(moment.outcome, old.request)}"
        )


def _whereabouts(state: DistributorState, client: Client) -> str:
    """Where the Distributor's table has the client."""
    if client in _waiters(state):
        return f"waits on port {client.port}"
    holding = [f"server {s.server}" for s in state.servers.values() if s.request == client]
    return f"is sent to {listed(holding)}" if holding else "is in no table"


@_explains
def _released_before_sent(moment: Moment) -> Iterator[str]:
    out: set[Client] = set()
    stored = {*_waiters(moment.state)}
    said = moment.effects
    for i, effect in enumerate(said):
        if isinstance(effect, distributor.Tell) and isinstance(effect.message, Store):
            stored.add(effect.message.client)
        elif isinstance(effect, distributor.Tell) and isinstance(effect.message, Release):
            out.add(effect.message.client)
        elif isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff):
            client = effect.message.client
            if client in stored - out:
                late = distributor.Tell(Release(client)) in said[i:]
                yield (
                    f"{tell(client)}, who has waited, is sent to server {effect.server}"
                    f" {'before it is' if late else 'and never'} released from the Monitor's store"
                )


@_explains
def _shut_down_before_released(moment: Moment) -> Iterator[str]:
    said = moment.effects
    for i, effect in enumerate(said):
        if isinstance(effect, distributor.ShutDown) and distributor.Tell(Release(effect.client)) in said[:i]:
            yield (
                f"{tell(effect.client)} is released before its connection is shut down: should the Distributor die"
                " between the two, the client would hang"
            )


@_explains
def _a_dialog_in_use_stays_open(moment: Moment) -> Iterator[str]:
    for effect in moment.effects:
        if isinstance(effect, distributor.CloseDialog) and effect.port != distributor.CONTROL:
            status: ServerStatus | None = moment.outcome.servers.get(effect.server, None)
            dialog = status.dialogs.get(effect.port, None) if status is not None else None
            if status is not None and dialog is not None:
                awaited = f", and awaits an answer about {tell(status.request)} on it" if status.request else ""
                yield (
                    f"the Distributor closes its end of the dialog with server {effect.server} on port {effect.port},"
                    f" which its table still has {dialog.phase.value}{awaited}"
                )
    if moment.stride is not None:
        for number, port in sorted(left_open(moment.state, moment.event, moment.stride)):
            which = f"the dialog with server {number} on port {port}" if port else f"server {number}'s control socket"
            yield f"the Distributor keeps its end of {which} open, which is of no more use"


@_explains
def _an_address_is_listened_on_once(moment: Moment) -> Iterator[str]:
    if isinstance(moment.event, distributor.BacklogEmpty):
        if distributor.CloseListeners(moment.event.port) not in moment.effects:
            yield f"the sockets of port {moment.event.port} are struck off, and stay open: clients connect to nobody"
        if distributor.Tell(DropListeners(moment.event.port)) not in moment.effects:
            yield f"the sockets of port {moment.event.port} are struck off, and the Monitor keeps its duplicates"
    asked = [(e.port, e.address) for e in moment.effects if isinstance(e, distributor.Listen)]
    begins = isinstance(moment.event, Begin)
    if moment.state.phase is Phase.INITIALISING and not begins:
        for _, address in asked:
            yield f"{address} is asked for before the initialisation is over; `Begin` will ask for it again"
        return
    known = {(port, address) for port, info in moment.state.ports.items() for address in info.listeners}
    twice = {each for each in asked if asked.count(each) > 1} if begins else known & {*asked}
    for _, address in sorted(twice):
        yield f"{address} is asked for, and {'twice' if begins else 'has been asked for already'}"


@_explains
def _accepts_only_below_the_limit(moment: Moment) -> Iterator[str]:
    for effect in moment.effects:
        if isinstance(effect, distributor.Accept):
            yield (
                f"an accept is issued on port {effect.port} while {counted(moment.outcome.waiting, 'client')} wait,"
                f" of at most {moment.outcome.waiting_limit}"
            )


@_explains
def _only_drained_servers_are_asked_to_end(moment: Moment) -> Iterator[str]:
    for effect in moment.effects:
        if isinstance(effect, monitor.Terminate):
            yield (
                f"server {effect.server} is asked to end on {tell(moment.event)}, which is neither its Distributor's"
                " word that it is drained nor the end of the grace"
            )
    asked = {(effect.class_id, effect.server) for effect in moment.effects if isinstance(effect, monitor.Terminate)}
    for _, number in sorted(stopping(moment.outcome) - stopping(moment.state) - asked):
        yield f"server {number} is taken to be stopping, and nobody has asked it to"


@_explains
def _processes_are_killed_only_for_a_reason(moment: Moment) -> Iterator[str]:
    if moment.stride is None:
        return
    for effect in killings_without_reason(moment.state, moment.event, moment.stride):
        whom = f"server {effect.server}" if isinstance(effect, monitor.Kill) else "the Distributor"
        yield f"the Monitor kills {whom} on {tell(moment.event)}, which is no reason to"


@_explains
def _deaths_are_counted(moment: Moment) -> Iterator[str]:
    if moment.stride is not None:
        yield from miscounted(moment.state, moment.event, moment.stride)


@_explains
def _what_may_fire_was_set(moment: Moment) -> Iterator[str]:
    if moment.stride is None:
        return
    for timer in never_set(moment.who, moment.state, moment.event, moment.stride):
        yield (
            f"after {tell(moment.event)} the {moment.who.capitalize()}'s timer {tell(timer)} may fire, and nobody has"
            " started it: it is waited for in vain"
        )


@_explains
def _a_full_server_is_spared(moment: Moment) -> Iterator[str]:
    number = moment.event.server
    old: ServerStatus = moment.state.servers[number]
    had = f"has {counted(old.count.clients, 'client')}"
    if old.full_at:
        had += f", and had {old.full_at} when it was last spared"
    hung = moment.stride is not None and taken_for_hung(moment.stride)
    yield f"server {number} {had}; it is {'taken for hung' if hung else 'spared, or what it has is not remembered'}"


@_explains
def _a_half_close_is_no_hang_up(moment: Moment) -> Iterator[str]:
    client = moment.event.client
    yield (
        f"{tell(client)} has closed its sending side only, with what it sent still to be read, and waits no longer: it"
        f" {_whereabouts(moment.outcome, client)}"
    )


@_explains
def _one_accept_at_a_time(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    closing = state.phase is Phase.CLOSING
    accepts = [effect for effect in moment.effects if isinstance(effect, distributor.Accept)]
    ports = [effect.port for effect in accepts]
    for effect in accepts:
        info = state.ports[effect.port]
        reasons = []
        if info.pausing:
            reasons.append("while it pauses after one that failed")
        if not (info.opened or closing):
            reasons.append("before any server has answered there")
        if effect.wait is closing:
            reasons.append("to wait for a client while closing" if closing else "without waiting for a client")
        if accept_goes_on(moment.state, moment.event, effect.port):
            reasons.append("while another is outstanding")
        if ports.count(effect.port) > 1:
            reasons.append("twice")
        if reasons:
            yield f"an accept is issued on port {effect.port} {listed(reasons)}"
    for port, info in state.ports.items():
        if info.accepting and port not in ports and not accept_goes_on(moment.state, moment.event, port):
            yield f"the table has an accept outstanding on port {port}, and none is issued: nobody will come"


@_explains
def _copies_are_closed_when_clients_are_let_go(moment: Moment) -> Iterator[str]:
    closings = (distributor.CloseCopy, distributor.ShutDown)
    closed = [effect.client for effect in moment.effects if isinstance(effect, closings)]
    gone = held(moment.state) - held(moment.outcome)
    for client in sorted({*closed} | gone):
        if client not in closed:
            yield f"{tell(client)} is let go, and the Distributor's copy of its connection stays open"
        elif client not in gone:
            yield f"the Distributor closes a copy of {tell(client)}'s connection, which it does not let go of here"
        elif closed.count(client) > 1:
            yield f"the Distributor closes its copy of {tell(client)}'s connection {closed.count(client)} times"


@_explains
def _an_answer_comes_before_the_client(moment: Moment) -> Iterator[str]:
    stride = moment.stride
    if stride is None:
        return
    does = _dealings_listed(dealings(moment.state, stride)) or "does nothing about it"
    due = _dealings_listed(due_dealings(moment.state, moment.event, stride)) or "nothing about a hand-off"
    if not (isinstance(moment.event, server.MessageRead) and isinstance(moment.event.message, HandOff)):
        yield f"on {tell(moment.event)} {_acting(moment)} {does}; due: {due}"
        return
    listener = moment.state.listeners.get(moment.event.port, None)
    came = "with its descriptor" if moment.event.intact else "without its descriptor"
    listens = "listens" if listener is not None and listener.listening else "does not listen"
    yield (
        f"{_acting(moment)}, whose program {listens} there, reads the hand-off of {tell(moment.event.message.client)},"
        f" which has come {came}, and {does}; due: {due}"
    )


def _dealings_listed(done: Iterable[tuple[type, Client]]) -> str:
    return ", then ".join(f"{_DEALING[kind]} {tell(client)}" for kind, client in done)


_DEALING: Mapping[type, str] = {
    Accepted: "accepts",
    Refused: "refuses",
    server.Deliver: "delivers",
    server.Discard: "discards",
}


@_explains
def _what_is_opened_is_kept(moment: Moment) -> Iterator[str]:
    event = moment.event
    if isinstance(event, distributor.Listening):
        kept = distributor.Tell(KeepListener(event.port, event.address))
        if kept not in moment.effects:
            yield f"{event.address} listens, and the Monitor is given no duplicate: it would die with the Distributor"
    if moment.stride is not None:
        for number, port in unkept_dialogs(moment.state, moment.stride):
            yield (
                f"server {number}'s program is told to listen on port {port} before the Monitor has been given a"
                " duplicate of the dialog: it would die with the Distributor"
            )
        for number, port in sorted(unanswered_binds(moment.state, moment.event, moment.stride)):
            yield f"server {number}'s bind of port {port} is decided, and its program is not told"


@_explains
def _what_is_no_longer_kept_is_dropped(moment: Moment) -> Iterator[str]:
    if isinstance(moment.event, monitor.Told) and isinstance(moment.event.message, DropListeners):
        port = moment.event.message.port
        if any(port == other for other, _ in moment.outcome.classes[moment.event.class_id].listeners):
            yield f"the Monitor is told to let the sockets of port {port} go, and still has the port"
    old, new = moment.state.classes[CLASS], moment.outcome.classes[CLASS]
    drops = [_dropped(effect) for effect in moment.effects]
    struck = [tell(client) for client in sorted({*old.store} - {*new.store})]
    struck += [f"server {number}" for number in sorted({*old.living} - {*new.living})]
    ports = {port for port, _ in old.listeners} - {port for port, _ in new.listeners}
    struck += [f"port {port}" for port in sorted(ports)]
    for what in struck:
        times = drops.count(what)
        if times == 0:
            yield f"the Monitor strikes {what} off, and leaves the duplicates open that it keeps for it"
        elif times > 1 and not what.startswith("port"):
            yield f"the Monitor strikes {what} off, and closes the duplicates that it keeps for it {times} times"
    for what in drops:
        if what and what not in struck and not what.startswith("port"):
            yield f"the Monitor closes the duplicates that it keeps for {what}, which it has not struck off"


def _dropped(effect: object) -> str:
    """For whom the effect closes what the Monitor keeps; empty where it does not."""
    match effect:
        case monitor.DropDuplicate() | monitor.ShutDownStored():
            return tell(effect.client)
        case monitor.DropServer():
            return f"server {effect.server}"
        case monitor.DropListener():
            return f"port {effect.port}"
        case _:
            return ""


@_explains
def _every_leave_is_acknowledged(moment: Moment) -> Iterator[str]:
    sent = [e for e in moment.effects if isinstance(e, distributor.SendControl) and isinstance(e.message, Acknowledge)]
    due = due_acknowledgements(moment.event, moment.stride) if moment.stride is not None else []
    yield f"on {tell(moment.event)} the Distributor sends {_told(sent)}, and should send {_told(due)}"


def _told(acknowledgements: list[distributor.SendControl]) -> str:
    if not acknowledgements:
        return "no acknowledgement"
    return listed(f"{tell(each.message)} to server {each.server}" for each in acknowledgements)


@_explains
def _an_acknowledgement_changes_nothing(moment: Moment) -> Iterator[str]:
    for group, message, read in _acknowledged(moment):
        if read.wrong:
            says = f", and then says {listed(tell(each) for each in read.effects)}" if read.effects else ""
            knows = "knows something else than before" if read.state != group.endpoint else "knows what it did before"
            yield f"server {group.server} has read {tell(message)}, and {knows}{says}"


def _acknowledged(moment: Moment) -> list[tuple[Group, Acknowledge, Stride]]:
    """The endpoints' steps at the acknowledgements that the step sends: see `System.acknowledged`."""
    if moment.stride is None:
        return []
    return list(System(moment.path.bounds, judge, steady=True).acknowledged(moment.before, moment.stride))


@_explains
def _no_surprising_rejection(moment: Moment) -> Iterator[str]:
    if moment.stride is not None and moment.stride.rejected is not None and moment.action is not None:
        who = moment.action.who if moment.who == "server" else f"the {moment.who.capitalize()}"
        yield (
            f"{who} declines {tell(moment.event)}, as {moment.stride.rejected.value}; no two things that may happen at"
            " once explain this"
        )


# ================================================================ of the Distributor's state


@_explains
def _index_is_true(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    for port, info in state.ports.items():
        rows = {status.server: Seat.of(status) for status in state.servers.values() if status.free_on(port)}
        index = {seat.server: seat for seat in info.free}
        for number in sorted(rows.keys() | index.keys()):
            if rows.get(number) != index.get(number):
                yield (
                    f"on port {port}, the index of free servers has server {number} {_seat(index.get(number))}, and by"
                    f" its row in the table it is {_seat(rows.get(number))}"
                )
        if len(info.free) != len(index):
            yield f"on port {port}, the index of free servers has a server twice: {listed(s.server for s in info.free)}"


def _seat(seat: Seat | None) -> str:
    return "not at all" if seat is None else f"free with load {seat.load}, weight {seat.weight}, rank {seat.rank}"


@_explains
def _summaries_are_true(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    rows = list(state.servers.values())
    compared = (
        ("servers that could be drained", [*state.drainable], [s.server for s in rows if s.drainable]),
        ("number of drained servers", state.drained, sum(s.drained for s in rows)),
        ("number of requests outstanding", state.outstanding, sum(s.request is not None for s in rows)),
        ("number of promised seats", state.promised, sum(s.promised for s in rows)),
    )
    for what, kept, true in compared:
        if kept != true:
            yield f"kept as {what}: {kept}; by the rows of the server table: {true}"


@_explains
def _waiting_total_is_true(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    waiters = clients_listed(_waiters(state))
    yield f"the number of those who wait is kept as {state.waiting}; the waiting lists have {waiters}"


@_explains
def _no_one_waits_while_a_seat_is_free(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    for port, info in state.ports.items():
        if info.waiting and info.free:
            free = (f"server {s.server} ({s.load - 1} of {state.servers[s.server].max_clients})" for s in info.free)
            waits = "waits" if len(info.waiting) == 1 else "wait"
            yield f"{clients_listed(info.waiting)} {waits} on port {port} while a seat is free at {listed(free)}"


@_explains
def _waiters_wait_on_their_own_port(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    for port, info in state.ports.items():
        for client in info.waiting:
            if client.port != port:
                yield f"{tell(client)}, who came to port {client.port}, is on the waiting list of port {port}"


@_explains
def _no_client_is_held_twice(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    places: dict[Client, list[str]] = {}
    for port, info in state.ports.items():
        for client in info.waiting:
            places.setdefault(client, []).append(f"waits on port {port}")
    for status in state.servers.values():
        if status.request is not None:
            places.setdefault(status.request, []).append(f"is on its way to server {status.server}")
    for client, found in places.items():
        if len(found) > 1:
            yield f"{tell(client)} {listed(found)} at once"


@_explains
def _arrivals_lie_in_the_past(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    held = [*_waiters(state), *(s.request for s in state.servers.values() if s.request is not None)]
    for client in held:
        if client.arrival >= state.next_arrival:
            yield f"{tell(client)} is held with arrival {client.arrival}, and the next will have {state.next_arrival}"


@_explains
def _requests_travel_on_ready_dialogs(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    for status in state.servers.values():
        if status.request is not None and status.request.port not in status.dialogs:
            yield (
                f"server {status.server} is to answer about {tell(status.request)} on port {status.request.port}, and"
                " the table has no such dialog"
            )


@_explains
def _rows_and_ports_agree(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    for number, status in state.servers.items():
        if number != status.server:
            yield f"the row of server {number} is about server {status.server}"
        if not (status.attached or status.dialogs):
            yield f"server {number} has neither a control channel nor a dialog left, and is still in the table"
        strange = [port for port in status.dialogs if port not in state.ports]
        if strange:
            yield f"server {number} has a dialog on port {listed(strange)}, which is not in the table of ports"
        gone = [port for port in status.owed if port not in status.dialogs]
        if gone:
            yield f"server {number} owes an answer on port {listed(gone)}, where it has no dialog"


@_explains
def _binders_await_the_listeners(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    for status in state.servers.values():
        for port, dialog in status.dialogs.items():
            info = state.ports.get(port, None)
            if dialog.phase is DialogPhase.BINDING and (info is None or info.listening or not info.listeners):
                listens = info is not None and info.listening
                yield (
                    f"server {status.server}'s bind to port {port} is unanswered, and the port"
                    f" {'is listened on' if listens else 'is not being opened'}: nothing will answer it"
                )


@_explains
def _accepts_only_where_it_listens(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    for port, info in state.ports.items():
        if info.accepting and not info.listeners:
            yield f"an accept is outstanding on port {port}, and no socket is there"
        elif info.accepting and state.phase not in (Phase.OPERATING, Phase.CLOSING):
            yield f"an accept is outstanding on port {port}, and the Distributor is {state.phase.value}"


@_explains
def _servers_are_wanted_only_by_waiters(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    yield (
        f"waiting: {clients_listed(_waiters(state))}; the dynamic servers that are coming up will have"
        f" {counted(state.promised, 'seat')}, and no further one is being asked for"
    )


@_explains
def _closed_means_over(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    if state.waiting:
        yield f"the Distributor is closed, and {clients_listed(_waiters(state))} still on the waiting list"
    for port, info in state.ports.items():
        if info.listeners:
            yield f"the Distributor is closed, and listens on {listed(info.listeners)} (port {port})"
    for status in state.servers.values():
        if status.request is not None:
            yield f"the Distributor is closed, and server {status.server} has not answered about {tell(status.request)}"
        if not status.draining:
            yield f"the Distributor is closed, and server {status.server} was never drained"


@_explains
def _ranks_are_past(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    ranks = [f"server {s.server} has rank {s.rank}" for s in state.servers.values()]
    yield f"{listed(ranks)}, and the next to be chosen will have rank {state.next_rank}"


@_explains
def _only_who_was_asked_is_full(moment: Moment) -> Iterator[str]:
    state: DistributorState = moment.outcome
    for status in state.servers.values():
        if status.full_at and status.request is None:
            yield f"no hand-off to server {status.server} is unanswered, and it is remembered as taking nobody"


# ================================================================ of a server's state


@_explains
def _clients_came_through_a_listener(moment: Moment) -> Iterator[str]:
    state: EndpointState = moment.outcome
    strange = [client for client in state.clients if client.port not in state.listeners]
    ports = listed(sorted({client.port for client in strange}))
    yield f"{_acting(moment)} serves {clients_listed(strange)} of port {ports}, which its program has not bound"


@_explains
def _an_answer_is_owed_only_while_deaf(moment: Moment) -> Iterator[str]:
    state: EndpointState = moment.outcome
    for port, listener in state.listeners.items():
        if listener.listening and listener.asked:
            yield (
                f"{_acting(moment)}'s program listens on port {port}, and Distributor {listener.asked} is still owed"
                " the answer that it does"
            )


@_explains
def _counts_are_issued_in_order(moment: Moment) -> Iterator[str]:
    state: EndpointState = moment.outcome
    numbers = listed(f"number {reply.message.count.sequence}" for reply in state.outbox)
    yield f"{_acting(moment)} is to send counts with {numbers}, and the last that it issued is number {state.sequence}"


@_explains
def _nothing_out_of_date_is_to_be_sent(moment: Moment) -> Iterator[str]:
    state: EndpointState = moment.outcome
    said = listed(f"{tell(reply.message)} on port {reply.port}" for reply in state.outbox)
    yield f"{_acting(moment)} is to send {said}, of which one makes the other out of date"


@_explains
def _who_is_accepted_is_counted(moment: Moment) -> Iterator[str]:
    state: EndpointState = moment.outcome
    for reply in state.outbox:
        if isinstance(reply.message, Accepted) and reply.message.client not in state.clients:
            yield f"{_acting(moment)} is to say that it has {tell(reply.message.client)}, whom it does not count"


def _acting(moment: Moment) -> str:
    return moment.action.who if moment.action is not None else "the server"


# ================================================================ of the Monitor's state


def _class(moment: Moment) -> ClassState:
    state: MonitorState = moment.outcome
    return state.classes[CLASS]


@_explains
def _living_is_true(moment: Moment) -> Iterator[str]:
    cls = _class(moment)
    filled = {place.server: place.place for place in cls.places.values() if place.alive}
    index = dict(cls.living.items())
    for number in sorted(filled.keys() | index.keys()):
        if filled.get(number) != index.get(number):
            yield (
                f"the index of the living has server {number} at place {index.get(number, NOTHING)}, and the table of"
                f" places has it at place {filled.get(number, NOTHING)}"
            )


@_explains
def _places_are_within_the_configuration(moment: Moment) -> Iterator[str]:
    cls = _class(moment)
    static = [place.place for place in cls.places.values() if not place.dynamic]
    dynamic = [place.place for place in cls.places.values() if place.dynamic]
    if len(static) != cls.config.static:
        yield f"there are {counted(len(static), 'static place')}, and {cls.config.static} are configured"
    if len(dynamic) + len(cls.vacant) != cls.config.dynamic:
        yield (
            f"of the dynamic places, {len(dynamic)} are filled and {len(cls.vacant)} vacant, and {cls.config.dynamic}"
            " are configured"
        )
    both = [place for place in dynamic if place in cls.vacant]
    if both:
        yield f"dynamic place {listed(both)} is filled, and counts as vacant"


@_explains
def _processes_are_counted(moment: Moment) -> Iterator[str]:
    state: MonitorState = moment.outcome
    for number, element in state.elements.items():
        here = [
            f"server {place.server}"
            for cls in state.classes.values()
            for place in cls.places.values()
            if place.alive and place.element == number
        ]
        least, most = len(here), len(here)
        for cls in state.classes.values():
            if cls.distributor.element == number and cls.distributor.alive:
                here.append(f"the Distributor ({cls.distributor.phase.value})")
                least += cls.distributor.phase is DistributorPhase.RUNNING
                most += 1
        if not least <= element.processes <= most:
            yield (
                f"processing element {number} is said to have {counted(element.processes, 'process', 'processes')},"
                f" and has {listed(here)}"
            )


@_explains
def _servers_are_new(moment: Moment) -> Iterator[str]:
    state: MonitorState = moment.outcome
    for place in _class(moment).places.values():
        if place.server >= state.next_server:
            yield f"place {place.place} has server {place.server}, and the next to start will be {state.next_server}"


@_explains
def _an_empty_place_keeps_nothing(moment: Moment) -> Iterator[str]:
    for place in _class(moment).places.values():
        if place.dialogs and not place.alive:
            yield f"place {place.place} is empty, and the dialog on port {listed(place.dialogs)} is kept for it"


@_explains
def _ended_means_over(moment: Moment) -> Iterator[str]:
    cls = _class(moment)
    if cls.store:
        yield f"the Monitor has ended, with {clients_listed(cls.store)} in its store"
    if cls.distributor.phase is DistributorPhase.RUNNING:
        yield "the Monitor has ended, and the Distributor runs"
    for place in cls.places.values():
        if place.phase is not PlacePhase.DOWN:
            yield f"the Monitor has ended, and server {place.server} is {place.phase.value}"
    if cls.living:
        yield f"the Monitor has ended, and counts {listed(f'server {number}' for number in cls.living)} as living"
