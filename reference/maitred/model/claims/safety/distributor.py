"""What must hold of every step of the Distributor: who is sent where, and what is kept, closed and accepted."""

from __future__ import annotations

from collections.abc import Iterator

from maitred.core import distributor
from maitred.core.distributor import DialogPhase, DistributorState, Phase, ServerStatus
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Begin,
    BindReply,
    Client,
    Close,
    Disconnect,
    Drain,
    DropListeners,
    HandOff,
    KeepDialog,
    KeepListener,
    NotReady,
    Port,
    Refused,
    Release,
    ServerId,
    Store,
    Unresponsive,
)
from maitred.model.claims.property import always_of_steps, and_of_every_world
from maitred.model.claims.safety.worlds import waiters
from maitred.model.story.text import NOBODY, counted, describe, listed
from maitred.model.world import Stride, World


def _hand_offs(stride: Stride) -> list[tuple[ServerId, Client]]:
    """The clients that the step sends, in order, each with its server."""
    return [
        (effect.server, effect.message.client)
        for effect in stride.effects
        if isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff)
    ]


def _whereabouts(state: DistributorState, client: Client) -> str:
    """Where the Distributor's table has the client."""
    if client in waiters(state):
        return f"waits on port {client.port}"
    holding = [f"server {s.server}" for s in state.servers.values() if s.request == client]
    return f"is sent to {listed(holding)}" if holding else "is in no table"


# ================================================================ who is sent where


@always_of_steps("distributor", witnesses=("the_earlier_of_two_waiters_goes_first",))
def first_come_first_served(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """Clients wait in the order in which they were accepted; no hand-off overtakes an earlier client of its port, and a
    free server takes the earliest across its ports.
    """
    sends = _hand_offs(stride)
    for i, (number, client) in enumerate(sends):
        served = {other for _, other in sends[:i]}
        for port, info in stride.state.ports.items():
            if port != client.port and not stride.state.servers[number].answers_on(port):
                continue
            later = {other for _, other in sends[i + 1 :] if other.port == port}
            for other in sorted({*info.waiting} | later - served):
                if other < client:
                    does = "is sent after it" if other in later else f"waits on port {port}"
                    yield (
                        f"server {number} was sent {describe(client)} while {describe(other)}, who came earlier, {does}"
                    )


@and_of_every_world("first_come_first_served")
def _arrivals_are_in_order(world: World) -> Iterator[str]:
    """The arrivals by which the Distributor orders clients say of each that it came when the kernel says."""
    state = world.distributor
    if state is None:
        return
    held = [*waiters(state), *(row.request for row in state.servers.values() if row.request is not None)]
    accepted = world.kernel.accepted
    line = [client.cookie for client in sorted(held) if client.cookie in accepted]
    came = sorted(line, key=accepted.index)
    if line != came:
        ours, true = (" before ".join(f"client {cookie}" for cookie in order) for order in (line, came))
        yield f"by their arrivals, the Distributor has {ours}, and it accepted {true}"


@always_of_steps("distributor", witnesses=("the_less_loaded_server_is_chosen", "a_tie_goes_to_the_longest_unchosen"))
def the_chosen_server_was_least_loaded(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """Of the servers that were free, the chosen one was least loaded for its weight; among equals, longest unchosen.

    That the rows, of which this is asked, have the weights of the configuration is `rows_are_as_configured`.
    """
    sends = _hand_offs(stride)
    after: DistributorState = stride.state
    for i, (number, client) in enumerate(sends):
        chosen = after.servers[number]
        later = {other for other, _ in sends[i + 1 :]}
        for other in after.servers.values():
            free = other.free_on(client.port) or (other.server in later and other.answers_on(client.port))
            if other.server != number and free and _prefers(before, other, chosen):
                tie = ", as little loaded, and had been chosen longer ago" if _tied(other, chosen) else ""
                yield (
                    f"{describe(client)} was sent to server {number} ({_load(chosen)}), while server {other.server}"
                    f" ({_load(other)}) was free on port {client.port}{tie}"
                )


def _prefers(before: DistributorState, other: ServerStatus, chosen: ServerStatus) -> bool:
    """Whether the other server should have been chosen."""
    if _tied(other, chosen):
        return before.servers[other.server].rank < before.servers[chosen.server].rank
    return (other.count.clients + 1) * chosen.weight < (chosen.count.clients + 1) * other.weight


def _tied(other: ServerStatus, chosen: ServerStatus) -> bool:
    return (other.count.clients + 1) * chosen.weight == (chosen.count.clients + 1) * other.weight


def _load(status: ServerStatus) -> str:
    weight = f", weight {status.weight}" if status.weight != 1 else ""
    return counted(status.count.clients, "client") + weight


@always_of_steps("distributor", witnesses=("a_server_is_full_while_somebody_waits",))
def hand_offs_go_to_free_servers(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """A client is sent only to a server that listens, is below its maximum, and is neither draining nor resting."""
    for number, client in _hand_offs(stride):
        reasons = list(_unfit(stride.state.servers[number], client))
        old = before.servers.get(number, None)
        if old is not None and old.request is not None and not _answers(event, number, old.request):
            reasons.append(f"has not answered about {describe(old.request)}, which it was sent before")
        if reasons:
            yield f"{describe(client)} was sent to server {number}, which {listed(reasons)}"


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
        yield f"is in the table as being sent {describe(status.request) if status.request else NOBODY}"


def _answers(event: object, number: ServerId, request: Client) -> bool:
    """Whether the event ends the server's outstanding request: its answer about that client, the end of the dialog on
    which the hand-off was sent, or the report that it could not be sent.
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


@always_of_steps(
    "distributor",
    witnesses=(
        "an_unresponsive_server_is_killed",
        "an_unfit_server_is_killed",
        "a_refused_client_is_served_elsewhere",
    ),
)
def a_request_comes_back_only_from_the_server(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """A client that was sent to a server is placed again only when the server refused it, the dialog on which it was
    sent ended, or the kernel declined to send it.
    """
    after: DistributorState = stride.state
    for number, old in before.servers.items():
        if old.request is None:
            continue
        new = after.servers.get(number, None)
        if (new is None or new.request != old.request) and not _answers(event, number, old.request):
            yield (
                f"{describe(old.request)} was taken from server {number} on {describe(event)}, which does not answer"
                " the hand-off: the server may have the client, or may yet read its hand-off; the client now"
                f" {_whereabouts(after, old.request)}"
            )


@always_of_steps(
    "distributor",
    witnesses=("a_server_that_takes_nobody_serves_on",),
)
def a_full_server_is_spared(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """A server that leaves a hand-off unanswered and serves its clients is taken for hung only once it has had room
    since; and how many it had is remembered.
    """
    if not isinstance(event, distributor.StillServes) or stride.rejected is not None:
        return
    number = event.server
    old, new = before.servers[number], stride.state.servers[number]
    has = counted(old.count.clients, "client")
    had = f"had {old.full_at} when it was last spared" if old.full_at else "was not spared before"
    room, hung = old.count.clients < old.full_at, unresponsive(stride)
    if hung != ([number] if room else []):
        yield f"server {number} has {has}, and {had}; {'it' if hung else 'nobody'} is reported as unresponsive"
    elif not room and new.full_at != old.count.clients:
        yield f"server {number} has {has}, is spared, and is remembered as having {new.full_at}"


@always_of_steps("distributor", witnesses=("an_unfit_server_is_killed",))
def the_unfit_are_sent_nobody(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """An unfit server is marked as draining in the step that reports it, and one that is to leave in that which reads
    so; and no server loses that mark.

    That a draining server is sent nobody is `hand_offs_go_to_free_servers`.
    """
    marked = {number for number, row in before.servers.items() if row.draining}
    if isinstance(event, (distributor.Unfit, Drain)) and stride.rejected is None:
        marked.add(event.server)
    for number, row in stride.state.servers.items():
        if number in marked and not row.draining:
            yield f"server {number} may be sent clients after {describe(event)}"


def unresponsive(stride: Stride) -> list[ServerId]:
    """The servers that the Distributor's step reports as unresponsive."""
    messages = [effect.message for effect in stride.effects if isinstance(effect, distributor.SendMonitor)]
    return [message.server for message in messages if isinstance(message, Unresponsive)]


# ================================================================ clients that wait, or are let go


@always_of_steps("distributor", witnesses=("a_waiter_is_seated",))
def released_before_sent(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """Who has waited is released from the store before being handed to a server."""
    stored = waiters(before)
    for i, effect in enumerate(stride.effects):
        if isinstance(effect, distributor.SendMonitor) and isinstance(effect.message, Store):
            stored.add(effect.message.client)
        elif isinstance(effect, distributor.SendMonitor) and isinstance(effect.message, Release):
            stored.discard(effect.message.client)
        elif isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff):
            client = effect.message.client
            if client in stored:
                late = distributor.SendMonitor(Release(client)) in stride.effects[i:]
                yield (
                    f"{describe(client)}, who has waited, is sent to server {effect.server}"
                    f" {'before it is' if late else 'and never'} released from the Monitor's store"
                )


@always_of_steps(
    "distributor",
    witnesses=("a_waiter_hangs_up", "a_waiter_is_timed_out"),
    occasion=lambda b: b.hang_ups != 0 or b.queue_timeouts != 0,
)
def shut_down_before_released(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """A waiter that is dropped is shut down before it is released, as other copies of its connection exist."""
    for i, effect in enumerate(stride.effects):
        if (
            isinstance(effect, distributor.ShutDown)
            and distributor.SendMonitor(Release(effect.client)) in stride.effects[:i]
        ):
            yield (
                f"{describe(effect.client)} is released before its connection is shut down: should the Distributor die"
                " between the two, the client would hang"
            )


@always_of_steps(
    "distributor",
    witnesses=("a_waiter_that_has_half_closed_is_seated",),
    occasion=lambda b: b.hang_ups != 0,
)
def a_half_close_is_no_hang_up(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """A waiting client that has closed its sending side, with data of it unread, goes on waiting."""
    if not isinstance(event, distributor.PeerClosed) or event.reset or not event.unread:
        return
    if event.client in waiters(before) and event.client not in waiters(stride.state):
        yield (
            f"{describe(event.client)} has closed its sending side only, with what it sent still to be read, and waits"
            f" no longer: it {_whereabouts(stride.state, event.client)}"
        )


@always_of_steps("distributor", witnesses=("a_client_is_served_and_leaves", "a_waiter_is_timed_out"))
def copies_are_closed_when_clients_are_let_go(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """The Distributor closes its copy of a connection once, in the step in which it lets go of the client."""
    closings = (distributor.CloseCopy, distributor.ShutDown)
    closed = [effect.client for effect in stride.effects if isinstance(effect, closings)]
    gone = _clients(before) - _clients(stride.state)
    for client in sorted({*closed} | gone):
        if client not in closed:
            yield f"{describe(client)} is let go, and the Distributor's copy of its connection stays open"
        elif client not in gone:
            yield f"the Distributor closes a copy of {describe(client)}'s connection, which it does not let go of here"
        elif closed.count(client) > 1:
            yield f"the Distributor closes its copy of {describe(client)}'s connection {closed.count(client)} times"


def _clients(state: DistributorState) -> set[Client]:
    """The clients of whose connections the Distributor has a copy: those who wait, and those on their way."""
    return waiters(state) | {status.request for status in state.servers.values() if status.request is not None}


# ================================================================ dialogs, binds and acknowledgements


@always_of_steps("distributor", witnesses=("a_bind_is_asked_for_twice",))
def a_dialog_in_use_stays_open(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """The Distributor closes its end of a dialog only when it has struck the dialog off its table, and does so then, or
    when it declines the bind; and its end of a control socket when that has ended.
    """
    for effect in stride.effects:
        if isinstance(effect, distributor.CloseDialog) and effect.port != distributor.CONTROL:
            status: ServerStatus | None = stride.state.servers.get(effect.server, None)
            dialog = status.dialogs.get(effect.port, None) if status is not None else None
            if status is not None and dialog is not None:
                awaited = f", and awaits an answer about {describe(status.request)} on it" if status.request else ""
                yield (
                    f"the Distributor closes its end of the dialog with server {effect.server} on port {effect.port},"
                    f" which its table still has {dialog.phase.value}{awaited}"
                )
    for number, port in sorted(_left_open(before, event, stride)):
        which = f"the dialog with server {number} on port {port}" if port else f"server {number}'s control socket"
        yield f"the Distributor keeps its end of {which} open, which is of no more use"


def _left_open(before: DistributorState, event: object, stride: Stride) -> set[tuple[ServerId, Port]]:
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


@always_of_steps("distributor", witnesses=("a_second_server_shares_the_socket", "a_bind_is_asked_for_twice"))
def what_is_opened_is_kept(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """A listening socket is kept with the Monitor as soon as it listens, and a dialog before its bind succeeds; and a
    bind is answered in the step that decides it.
    """
    if stride.rejected is not None:
        return
    if isinstance(event, distributor.Listening):
        kept = distributor.SendMonitor(KeepListener(event.port, event.address))
        if kept not in stride.effects:
            yield f"{event.address} listens, and the Monitor is given no duplicate: it would die with the Distributor"
    for number, port in _unkept_dialogs(before, stride):
        yield (
            f"the bind of port {port} is answered to server {number}'s program before the Monitor has been given a"
            " duplicate of the dialog: it would die with the Distributor"
        )
    for number, port in sorted(_unanswered_binds(before, event, stride)):
        yield f"server {number}'s bind of port {port} is decided, and not answered"


def _unanswered_binds(before: DistributorState, event: object, stride: Stride) -> set[tuple[ServerId, Port]]:
    """The binds that the step decides, by opening the dialog or because its port has failed, and does not answer."""
    if not isinstance(event, (distributor.BindRequested, distributor.Listening, distributor.ListeningFailed)):
        return set()
    awaited = _binding(before)
    awaited |= {(event.server, event.port)} if isinstance(event, distributor.BindRequested) else set()
    awaited -= _binding(stride.state)
    for effect in stride.effects:
        if isinstance(effect, distributor.SendControl) and isinstance(effect.message, BindReply):
            awaited.discard((effect.server, effect.message.port))
    return awaited


def _binding(state: DistributorState) -> set[tuple[ServerId, Port]]:
    return {
        (server, port)
        for server, row in state.servers.items()
        for port, dialog in row.dialogs.items()
        if dialog.phase is DialogPhase.BINDING
    }


def _unkept_dialogs(before: DistributorState, stride: Stride) -> Iterator[tuple[ServerId, Port]]:
    """The dialogs whose binds succeed before the Monitor has been given a duplicate."""
    for i, effect in enumerate(stride.effects):
        if not isinstance(effect, distributor.SendControl) or not isinstance(effect.message, BindReply):
            continue
        number, port = effect.server, effect.message.port
        status = before.servers.get(number, None)
        dialog = status.dialogs.get(port, None) if status is not None else None
        fresh = dialog is None or dialog.phase is DialogPhase.BINDING
        kept = distributor.SendMonitor(KeepDialog(number, port)) in stride.effects[:i]
        if effect.message.errno == 0 and fresh and not kept:
            yield number, port


@always_of_steps("distributor", witnesses=("a_client_is_served_and_leaves", "a_program_that_is_deaf_is_not_ready"))
def every_leave_is_acknowledged(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """The Distributor acknowledges each `Disconnect` and each `NotReady`, by its sequence number, and nothing else."""
    sent = [e for e in stride.effects if isinstance(e, distributor.SendControl) and isinstance(e.message, Acknowledge)]
    due = []
    match event:
        case distributor.Received(server=number, message=(Disconnect() | NotReady()) as message):
            if stride.rejected is None:
                due = [distributor.SendControl(number, Acknowledge(message.count.sequence))]
    if sent != due:
        yield f"on {describe(event)} the Distributor sends {_shown(sent)}, and should send {_shown(due)}"


def _shown(acknowledgements: list[distributor.SendControl]) -> str:
    if not acknowledgements:
        return "no acknowledgement"
    return listed(f"{describe(each.message)} to server {each.server}" for each in acknowledgements)


# ================================================================ listening and accepting


@always_of_steps("distributor", witnesses=("a_second_server_shares_the_socket", "the_first_bind_decides_the_port"))
def an_address_is_listened_on_once(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """The Distributor does not ask for a socket that it listens on, or has asked for already; and those of a port that
    it strikes off it closes, and has the Monitor close them.
    """
    if isinstance(event, distributor.BacklogEmpty) and stride.rejected is None:
        if distributor.CloseListeners(event.port) not in stride.effects:
            yield f"the sockets of port {event.port} are struck off, and stay open: clients connect to nobody"
        if distributor.SendMonitor(DropListeners(event.port)) not in stride.effects:
            yield f"the sockets of port {event.port} are struck off, and the Monitor keeps its duplicates"
    begins = isinstance(event, Begin)
    early = before.phase is Phase.INITIALISING and not begins
    asked = {(port, address) for port, info in before.ports.items() for address in info.listeners if not begins}
    for effect in stride.effects:
        if isinstance(effect, distributor.Listen):
            if early:
                yield f"{effect.address} is asked for before the initialisation is over; `Begin` will ask for it again"
            elif (effect.port, effect.address) in asked:
                yield f"{effect.address} is asked for, and has been asked for already"
            asked.add((effect.port, effect.address))


@always_of_steps("distributor", witnesses=("the_backlog_holds_who_may_not_wait", "an_accept_fails_and_is_tried_again"))
def accepts_only_below_the_limit(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """No accept is issued once as many clients wait as may."""
    after: DistributorState = stride.state
    for effect in stride.effects:
        if isinstance(effect, distributor.Accept) and after.waiting >= after.waiting_limit:
            wait = "waits" if after.waiting == 1 else "wait"
            yield (
                f"an accept is issued on port {effect.port} while {counted(after.waiting, 'client')} {wait}, of at most"
                f" {after.waiting_limit}"
            )


@always_of_steps("distributor", witnesses=("an_accept_fails_and_is_tried_again", "a_stop_takes_what_the_backlog_holds"))
def one_accept_at_a_time(before: DistributorState, event: object, stride: Stride) -> Iterator[str]:
    """An accept is issued where one is to be outstanding that is not yet, and not during a pause; in operation only
    on a port where some server has answered, and while closing without waiting for a client.
    """
    if stride.rejected is not None:
        return
    accepts = [effect for effect in stride.effects if isinstance(effect, distributor.Accept)]
    ports = [effect.port for effect in accepts]
    closing = stride.state.phase is Phase.CLOSING
    for effect in accepts:
        info = stride.state.ports[effect.port]
        reasons = []
        if info.pausing:
            reasons.append("while it pauses after one that failed")
        if not (info.opened or closing):
            reasons.append("before any server has answered there")
        if effect.wait is closing:
            reasons.append("to wait for a client while closing" if closing else "without waiting for a client")
        if not info.accepting:
            reasons.append("that the table does not have outstanding")
        elif _accept_goes_on(before, event, effect.port):
            reasons.append("while another is outstanding")
        if ports.count(effect.port) > 1:
            reasons.append("twice")
        if reasons:
            yield f"an accept is issued on port {effect.port} {listed(reasons)}"
    for port, info in stride.state.ports.items():
        if info.accepting and port not in ports and not _accept_goes_on(before, event, port):
            yield f"the table has an accept outstanding on port {port}, and none is issued: nobody will come"


def _accept_goes_on(before: DistributorState, event: object, port: Port) -> bool:
    """Whether an accept is outstanding there that the event neither completes nor, being `Close`, ends."""
    info = before.ports.get(port, None)
    if info is None or not info.accepting or isinstance(event, Close):
        return False
    completions = (distributor.ConnectionRequest, distributor.AcceptFailed, distributor.BacklogEmpty)
    return not (isinstance(event, completions) and event.port == port)
