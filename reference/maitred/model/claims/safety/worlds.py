"""What must hold in every world: whom the processes have, what the tables say of it, and who may be lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from maitred.core import distributor, monitor, server
from maitred.core.messages import Accepted, Adopt, Client, Drain, HandOff, Restore, Store
from maitred.core.monitor import NO_PLACE, Retirement
from maitred.model.claims.property import always
from maitred.model.story.text import clients_listed, counted, describe, holders, listed
from maitred.model.world import CLASS, Action, Fate, Group, Life, World, is_lost, released, weight_of

if TYPE_CHECKING:
    from maitred.model.search.explorer import Path


def unread(group: Group) -> list[Client]:
    """The clients whose hand-offs the server has yet to read."""
    return [m.client for link in group.links for m in link.to_server if isinstance(m, HandOff)]


def waiters(state: distributor.DistributorState) -> set[Client]:
    """The clients on the Distributor's waiting lists."""
    return {client for info in state.ports.values() for client in info.waiting}


def _truth(group: Group) -> int:
    """How many clients' connections the server's processes hold, or have yet to read."""
    return len(group.held) + len(unread(group))


def _busy(group: Group) -> str:
    """What a server does with whom."""
    waiting = unread(group)
    parts = [f"serves {clients_listed(group.held)}"] if group.held or not waiting else []
    return listed([*parts, f"has yet to read the hand-off of {clients_listed(waiting)}"] if waiting else parts)


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


# ================================================================ clients


@always("a_server_is_full_while_somebody_waits")
def never_above_the_maximum(world: World) -> Iterator[str]:
    """No server's processes ever hold the connections of more clients than its maximum."""
    most = world.monitor.classes[CLASS].config.max_clients
    for group in world.groups:
        if len(group.held) > most:
            yield f"server {group.server} serves {clients_listed(group.held)}, and may serve {most} at a time"


@always("a_server_is_full_while_somebody_waits", "a_count_arrives_out_of_order")
def never_stale_low(world: World) -> Iterator[str]:
    """A server that the Distributor may send a client to has, or has unread, at most as many as its table says."""
    state = world.distributor
    if state is None:
        return
    free = {seat.server for info in state.ports.values() for seat in info.free}
    for group in world.groups:
        if group.server in free and group.alive and _truth(group) > state.servers[group.server].count.clients:
            known = counted(state.servers[group.server].count.clients, "client")
            yield (
                f"the Distributor's table has server {group.server} free with {known}, but the server {_busy(group)}"
            )


def _acceptances(path: Path) -> Iterator[str]:
    for cookie, guest in enumerate(path.steps[-1].world.guests if path.steps else ()):
        if guest.taken > 1:
            takings = [
                f"by {step.action.who} in step {number}"
                for number, step in enumerate(path.steps, 1)
                if _takes(step.action, cookie)
            ]
            yield f"client {cookie} was accepted {listed(takings)}"


def _takes(action: Action, cookie: int) -> bool:
    """Whether a server accepts the client in this step."""
    match action.what:
        case server.MessageRead(message=HandOff(client=client), intact=True):
            return client.cookie == cookie
        case server.Sent(reply=server.Reply(message=Accepted(client=client))):
            return client.cookie == cookie
    return False


@always(
    "a_refused_client_is_served_elsewhere",
    "a_client_outlives_the_server_it_was_sent_to",
    "a_stored_client_is_restored_and_served",
    "a_forked_child_takes_a_hand_off",
    history=_acceptances,
)
def no_client_has_two_servers(world: World) -> Iterator[str]:
    """No client is ever accepted by a server twice, whether by two servers or by one."""
    for cookie, guest in enumerate(world.guests):
        if guest.taken > 1:
            yield f"client {cookie} has been accepted {guest.taken} times"


@always("a_client_is_served_and_leaves", "who_was_about_to_be_delivered_is_refused")
def who_is_served_was_answered_for(world: World) -> Iterator[str]:
    """No program is given a client before the `Accepted` that says so is in the socket."""
    for cookie, guest in enumerate(world.guests):
        if guest.taken and not guest.answered and guest.fate is Fate.IN:
            yield f"client {cookie} is served, and its Accepted has not been sent"


def _held_before(path: Path) -> Iterator[str]:
    """Who held, before the last step, the connections of clients that the step loses or that nobody passes on."""
    if not path.steps:
        return
    before = path.steps[-2].world if len(path.steps) > 1 else path.start
    for cookie, guest in enumerate(path.steps[-1].world.guests):
        if guest.fate is Fate.LOST or guest.void:
            held = listed(place.text for place in holders(before, cookie))
            yield f"before this step, client {cookie}'s connection was held by: {held}"


@always(
    "the_named_loss_happens",
    "an_unsent_client_is_placed_anew",
    "a_closed_listener_refuses",
    history=_held_before,
)
def no_client_is_lost(world: World) -> Iterator[str]:
    """A client ends only as it wishes, by the queue's timeout, by a stop, or at one of the instants that are named:
    with the Distributor that alone held it in the midst of a step (one for each death), unanswered at the Distributor's
    death and then not taken by its server, with the processes that held it, or in the backlog of a socket that was not
    kept yet.
    """
    for cookie, guest in enumerate(world.guests):
        if guest.fate is Fate.LOST:
            yield (
                f"client {cookie} has not left, but nobody holds its connection any more; this is none of the instants"
                " at which a client may be lost"
            )


@always("a_stored_client_is_restored_and_served", "a_waiter_is_seated", history=_held_before)
def nobody_passes_on_what_it_has_not(world: World) -> Iterator[str]:
    """No process passes on, delivers or closes a copy of a connection that it does not have."""
    for cookie, guest in enumerate(world.guests):
        if guest.void:
            yield f"a process passes on, delivers or closes a copy of client {cookie}'s connection, and has none"


@always("a_client_is_served_and_leaves", "an_audit_corrects_a_count")
def each_process_knows_whom_it_has(world: World) -> Iterator[str]:
    """Distributor, Monitor and each server have the connections of those whom they count, and of nobody else; but a
    server counts also those who were lost without its noticing, until an audit.
    """
    for who, booked, has in books(world):
        if booked != has:
            for cookie in range((booked | has).bit_length()):
                if has & ~booked & 1 << cookie:
                    yield f"{who} has the connection of client {cookie}, and does not count it"
                elif booked & ~has & 1 << cookie:
                    yield f"{who} counts client {cookie}, and has no copy of its connection"


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
        counts = group.endpoint.clients
        if group.alive and (group.held or len(counts)):
            found.append((f"server {group.server}", _bits(counts), _bits(group.held) | _bits(group.gone)))
    return found


def _bits(clients: Iterable[Client]) -> int:
    mask = 0
    for client in clients:
        mask |= 1 << client.cookie
    return mask


@always("a_server_with_a_request_outstanding_is_spared")
def at_most_one_request_outstanding(world: World) -> Iterator[str]:
    """No server has more than one hand-off unread, or unanswered, at any time."""
    state = world.distributor
    for group in world.groups:
        clients = unread(group)
        if not clients:
            continue
        if len(clients) > 1:
            yield f"server {group.server} has the hand-offs of {clients_listed(clients)} unread at once"
            continue
        status = state.servers.get(group.server, None) if state is not None else None
        if status is not None and not status.owed and status.request not in (None, clients[0]):
            yield (
                f"the hand-off of {clients_listed(clients)} is unread in the dialog of server {group.server}, while"
                f" the Distributor awaits its answer about {describe(status.request)}"
            )


# ================================================================ tables


@always("a_dynamic_server_starts", "the_less_loaded_server_is_chosen")
def rows_are_as_configured(world: World) -> Iterator[str]:
    """The Distributor's row of a server has the maximum of its class, the weight of the processing element where it
    runs, and whether it is dynamic: as the configuration has them, whatever the Monitor said.
    """
    if world.distributor is None:
        return
    cls = world.monitor.classes[CLASS]
    for group in world.groups:
        row = world.distributor.servers.get(group.server, None)
        if row is None:
            continue
        place = cls.living.get(group.server, None)
        compared = (
            ("maximum", row.max_clients, cls.config.max_clients),
            ("weight", row.weight, weight_of(group.element)),
            ("being dynamic", row.dynamic, row.dynamic if place is None else cls.places[place].dynamic),
        )
        for what, has, true in compared:
            if has != true:
                row_of = f"the Distributor's row of server {group.server}"
                yield f"{row_of} has {what} {has}, and the configuration has {true}"


@always("a_dynamic_server_is_declined", "a_dead_server_is_started_again")
def never_more_servers_than_configured(world: World) -> Iterator[str]:
    """No more servers live than static and dynamic ones are configured, and one that is to replace another; those that
    are leaving for good do not count.
    """
    cls = world.monitor.classes[CLASS]
    config, surge = cls.config, cls.replacement is not None and cls.replacement.surge != NO_PLACE
    leaving = {place.server for place in cls.places.values() if not place.stays}
    living = [f"server {group.server}" for group in world.groups if group.alive and group.server not in leaving]
    if len(living) > config.static + config.dynamic + surge:
        yield (
            f"{listed(living)} live at once, and the configuration has {config.static} static and"
            f" {config.dynamic} dynamic{' and one to replace another' if surge else ''}:"
            f" {config.static + config.dynamic + surge} in all"
        )


@always("a_server_leaves_as_wished", occasion=lambda b: b.retirements != 0 or b.replacements != 0)
def who_is_to_leave_is_sent_nobody(world: World) -> Iterator[str]:
    """A server that the operator wants to leave is draining at its Distributor, or that is on its way there, unless it
    is ending already.
    """
    if world.distributor is None or world.life not in (Life.UP, Life.CONDEMNED):
        return
    coming = {message.server for message in world.to_distributor if isinstance(message, (Adopt, Drain))}
    for place in world.monitor.classes[CLASS].places.values():
        row = world.distributor.servers.get(place.server, None)
        leaves = place.retirement is not Retirement.NONE and place.active
        if leaves and row is not None and not row.draining and place.server not in coming:
            yield f"server {place.server} is to leave, and its Distributor has not been sent this"


@always("a_client_is_served_and_leaves", "an_audit_corrects_a_count")
def the_count_is_exact_when_dialogs_are_quiet(world: World) -> Iterator[str]:
    """When nothing is on its way between them, the Distributor's count of a server's clients is the server's own."""
    for group, status in quiet(world):
        if status.count.clients != len(group.endpoint.clients):
            yield _inexact(group, status)


def _inexact(group: Group, status: distributor.ServerStatus) -> str:
    return (
        f"nothing is on its way between the Distributor and server {group.server}; the Distributor's table gives it"
        f" {counted(status.count.clients, 'client')}, and it serves {clients_listed(group.endpoint.clients)}"
    )


@always(
    "the_table_becomes_exact_after_a_death_with_a_request_outstanding",
    "a_server_listens_again",
    occasion=lambda b: b.distributor_crashes + b.element_failures != 0,
)
def the_table_is_exact_again_after_a_restart(world: World) -> Iterator[str]:
    """Once every dialog has answered the new Distributor, its table says of each server what is true of it.  (But a
    hand-off whose reader has died stays outstanding until it times out.)
    """
    if world.distributor is None or world.distributor.incarnation < 2 or world.pending:
        return
    for group, status in quiet(world):
        if status.count.clients != len(group.endpoint.clients):
            yield _inexact(group, status)
        if status.request is not None and not is_lost(world, group.server):
            yield (
                f"the Distributor awaits an answer about {describe(status.request)} from server {group.server}, which"
                " has no hand-off of it to read"
            )
        for port, dialog in status.dialogs.items():
            listener = group.endpoint.listeners.get(port, None)
            listens = listener is not None and listener.listening
            if (dialog.phase is distributor.DialogPhase.READY) is not listens:
                yield (
                    f"the Distributor's table has the dialog with server {group.server} on port {port}"
                    f" {dialog.phase.value}, and the program {'listens' if listens else 'does not listen'} there"
                )


@always("a_waiter_is_seated", "a_stored_client_is_restored_and_served")
def store_has_exactly_those_who_wait(world: World) -> Iterator[str]:
    """When nothing is on its way between Monitor and Distributor, the store holds those who wait and no others."""
    state = world.distributor
    if state is None or world.to_monitor or any(isinstance(m, Restore) for m in world.to_distributor):
        return
    store = world.monitor.classes[CLASS].store
    waiting = [client for info in state.ports.values() for client in info.waiting]
    for client in waiting:
        if client not in store:
            yield f"{describe(client)} is on the waiting list and not in the Monitor's store: no successor would know"
    for client in store:
        if client not in waiting:
            yield f"{describe(client)} is in the Monitor's store and not on the waiting list: it would be served again"


@always("a_stored_client_is_restored_and_served")
def no_client_with_a_server_is_restored(world: World) -> Iterator[str]:
    """A client that a server has, or may yet read, is not restored to the next Distributor."""
    if not any(group.held or any(link.to_server for link in group.links) for group in world.groups):
        return
    store = {*world.monitor.classes[CLASS].store}
    store |= {m.client for m in world.to_monitor if isinstance(m, Store)}
    store -= released(world.to_monitor)
    if not store:
        return
    for group in world.groups:
        for client in (*group.held, *unread(group)):
            if client in store:
                has = "serves" if client in group.held else "has yet to read the hand-off of"
                yield (
                    f"server {group.server} {has} {describe(client)}, which is still in the Monitor's store, and"
                    " nothing on its way to the Monitor releases it: were the Distributor to die now, its successor"
                    " would give the client to a server again"
                )


@always(
    "an_idle_dynamic_server_is_let_go",
    "a_graceful_stop_completes",
    occasion=lambda b: b.stops != 0 or b.retirements != 0 or (b.dynamic > 0 and b.deletions != 0),
)
def no_one_is_cut_off_by_draining(world: World) -> Iterator[str]:
    """Before the grace has ended, a server that is asked to end serves nobody and has no hand-off unread; one that
    was to leave within a grace of its own may.
    """
    if world.monitor.phase not in (monitor.Phase.RUNNING, monitor.Phase.CLOSING):
        return
    hurried = {place.server for place in world.monitor.classes[CLASS].places.values() if place.limited}
    for group in world.groups:
        if group.asked and group.alive and group.server not in hurried and _truth(group):
            yield (
                f"server {group.server} was asked to end, and {_busy(group)}; the Monitor is"
                f" {world.monitor.phase.value}, so the grace has not ended"
            )
