"""What must sometimes happen: each shows that the situations which other properties speak of do occur."""

from __future__ import annotations

from maitred.core import distributor, monitor, server
from maitred.core.messages import (
    Accepted,
    Begin,
    CreateServer,
    CreationFailed,
    HandOff,
    InitialMsg,
    NotReady,
    Refused,
    RestartReply,
    Unresponsive,
)
from maitred.model.claims.property import sometimes
from maitred.model.claims.safety.worlds import quiet, waiters
from maitred.model.world import CLASS, Action, Bounds, Deed, DistributorCutOff, Fate, PortDeed, ServerStep, World


def _completed(action: Action, kind: type) -> bool:
    """A step of a machine, for an event of this class, that its process survived."""
    return isinstance(action.what, kind) and not isinstance(action, DistributorCutOff)


def _received(action: Action, kind: type) -> bool:
    """The Distributor read such a message of a server."""
    return isinstance(action.what, distributor.Received) and isinstance(action.what.message, kind)


def _enough_clients(bounds: Bounds) -> bool:
    return bounds.clients > bounds.servers * bounds.max_clients


@sometimes(lambda b: b.clients > 0)
def a_client_is_served_and_leaves(before: World, action: Action, after: World) -> bool:
    """A client is seated at a server, and leaves."""
    return isinstance(action.what, server.Disconnected)


@sometimes(_enough_clients)
def a_server_is_full_while_somebody_waits(before: World, action: Action, after: World) -> bool:
    """A server serves as many as it may, and somebody waits."""
    state = after.distributor
    if state is None or not state.waiting:
        return False
    return any(status.count.clients >= status.max_clients for status in state.servers.values())


@sometimes(_enough_clients)
def a_waiter_is_seated(before: World, action: Action, after: World) -> bool:
    """A client that has waited is handed to a server."""
    if before.distributor is None or after.distributor is None:
        return False
    if not before.distributor.waiting:
        return False
    waited = {client for info in before.distributor.ports.values() for client in info.waiting}
    return any(status.request in waited for status in after.distributor.servers.values())


@sometimes(lambda b: b.ports == 1 and b.clients > b.servers * b.max_clients + b.waiting_limit)
def the_backlog_holds_who_may_not_wait(before: World, action: Action, after: World) -> bool:
    """As many wait as may, and another client stays in the kernel's backlog."""
    state = after.distributor
    if state is None or state.waiting < state.waiting_limit:
        return False
    return any(after.kernel.backlog) and not any(info.accepting for info in state.ports.values())


@sometimes(lambda b: b.clients > 1 and b.servers > 1)
def the_less_loaded_server_is_chosen(before: World, action: Action, after: World) -> bool:
    """A client is sent past a server that is busier to one that is less so."""
    old, new = before.distributor, after.distributor
    if old is None or new is None or not isinstance(action.what, distributor.ConnectionRequest):
        return False
    loads = [s.count.clients for s in old.servers.values() if s.answers_on(action.what.port)]
    chosen = [s.count.clients for s in new.servers.values() if s.request and s.request.cookie == action.what.cookie]
    return bool(chosen) and max(loads) > chosen[0]


@sometimes(lambda b: b.descriptor_losses != 0 and b.servers > 1)
def a_refused_client_is_served_elsewhere(before: World, action: Action, after: World) -> bool:
    """A server refuses a hand-off, and the client is handed to another."""
    if not _received(action, Refused) or before.distributor is None or after.distributor is None:
        return False
    assert isinstance(action.what, distributor.Received)
    client = before.distributor.servers[action.what.server].request
    return client is not None and any(s.request == client for s in after.distributor.servers.values())


@sometimes(lambda b: b.server_crashes > 0 and b.clients > 0)
def a_client_outlives_the_server_it_was_sent_to(before: World, action: Action, after: World) -> bool:
    """A dialog ends with a hand-off unanswered, and the client goes on."""
    if not _completed(action, distributor.DialogEnded) or before.distributor is None or after.distributor is None:
        return False
    assert isinstance(action.what, distributor.DialogEnded)
    status = before.distributor.servers[action.what.server]
    return status.request is not None and status.request.port == action.what.port


@sometimes(lambda b: b.distributor_crashes > 0 and b.clients > 0)
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


@sometimes(lambda b: b.distributor_crashes > 0 and _enough_clients(b))
def a_stored_client_is_restored_and_served(before: World, action: Action, after: World) -> bool:
    """A client that waited when the Distributor died is handed to a server by the next."""
    if not isinstance(action.what, Begin) or before.distributor is None or after.distributor is None:
        return False
    restored = {client for info in before.distributor.ports.values() for client in info.waiting}
    return any(status.request in restored for status in after.distributor.servers.values())


@sometimes(lambda b: b.distributor_crashes > 0 and b.clients > 0)
def the_named_loss_happens(before: World, action: Action, after: World) -> bool:
    """A Distributor dies with a client that it alone holds: the one loss that its death may cause."""
    return any(guest.fate is Fate.LOST_ALONE for guest in after.guests)


@sometimes(lambda b: b.dynamic > 0 and b.creations != 0 and _enough_clients(b))
def a_dynamic_server_starts(before: World, action: Action, after: World) -> bool:
    """A dynamic server is started because somebody waits, and takes a client."""
    dynamic = {p.server for p in after.monitor.classes[CLASS].places.values() if p.dynamic}
    return any(group.server in dynamic and group.endpoint.clients for group in after.groups)


@sometimes(lambda b: b.dynamic > 0 and b.creations != 0 and b.deletions != 0 and _enough_clients(b))
def an_idle_dynamic_server_is_let_go(before: World, action: Action, after: World) -> bool:
    """A dynamic server that has become idle is drained, asked to end, and ends."""
    return action.what is Deed.ENDS


@sometimes(lambda b: b.retirements != 0 or b.replacements != 0)
def a_server_leaves_as_wished(before: World, action: Action, after: World) -> bool:
    """A server that the operator wants to leave is drained, and ends."""
    if not isinstance(action.what, monitor.ServerGone):
        return False
    cls = before.monitor.classes[CLASS]
    place = cls.places[cls.living[action.what.server]]
    return place.retirement is not monitor.Retirement.NONE and place.phase is monitor.PlacePhase.KILLING


@sometimes(lambda b: b.replacements != 0)
def a_server_is_replaced(before: World, action: Action, after: World) -> bool:
    """A server that runs another program is ready, and one that it replaces is to leave."""
    old, new = before.monitor.classes[CLASS], after.monitor.classes[CLASS]
    return old.replacement is not None and old.program != new.program


@sometimes(lambda b: (b.scalings != 0 and b.servers > 1) or b.replacements != 0)
def a_place_is_struck_off(before: World, action: Action, after: World) -> bool:
    """A place that is no longer wanted is empty, and is struck off."""
    return any(
        not place.stays and number not in after.monitor.classes[CLASS].places
        for number, place in before.monitor.classes[CLASS].places.items()
    )


@sometimes(lambda b: b.replacements != 0)
def a_replacement_is_called_off(before: World, action: Action, after: World) -> bool:
    """A successor dies, or is killed, before it is ready, and no server is replaced any more."""
    plan = before.monitor.classes[CLASS].replacement
    if plan is None or plan.surge == monitor.NO_PLACE or not isinstance(action.what, monitor.ServerGone):
        return False
    return after.monitor.classes[CLASS].replacement != plan


@sometimes(lambda b: b.dynamic > 0 and not 0 <= b.creations <= b.dynamic and _enough_clients(b))
def a_dynamic_server_is_declined(before: World, action: Action, after: World) -> bool:
    """One more dynamic server is asked for than the class may have, and is declined."""
    return isinstance(action.what, CreationFailed)


@sometimes(lambda b: b.reorders != 0 and b.clients > 0)
def a_count_arrives_out_of_order(before: World, action: Action, after: World) -> bool:
    """An older count arrives after a newer one, and is ignored."""
    if before.distributor is None or not isinstance(action.what, distributor.Received):
        return False
    known = before.distributor.servers[action.what.server].count
    return action.what.message.count.sequence < known.sequence


@sometimes(lambda b: b.interruptions > 0 and b.clients > 0)
def who_was_about_to_be_delivered_is_refused(before: World, action: Action, after: World) -> bool:
    """A process dies between a hand-off's reading and its answer, another of the server finds it, and the client goes
    back to the Distributor.
    """
    match action.what:
        case server.Interrupted(reply=server.Reply(message=Accepted(client=client))):
            state = after.distributor
            return state is not None and any(status.request == client for status in state.servers.values())
    return False


@sometimes(lambda b: b.interruptions > 0 and b.clients > 0)
def an_answer_is_given_twice(before: World, action: Action, after: World) -> bool:
    """A process dies when its answer is in the socket, before anybody knows: the Distributor, which has heard it, is
    sent another, and does not heed that.
    """
    if not _received(action, Refused) or before.distributor is None:
        return False
    assert isinstance(action.what, distributor.Received)
    status = before.distributor.servers[action.what.server]
    return status.request is None and before.distributor.incarnation == 1


@sometimes(lambda b: b.interruptions > 0 and b.clients > 0)
def a_hand_off_is_lost_with_its_reader(before: World, action: Action, after: World) -> bool:
    """A process dies having read a hand-off and done nothing about it, and others of the server live on."""
    if not isinstance(action, PortDeed) or action.what is not Deed.LOSES_A_READER:
        return False
    group = before.group(action.server)
    link = group.link(action.port) if group is not None else None
    return link is not None and isinstance(link.to_server[0], HandOff)


@sometimes(lambda b: b.room > 0 and b.clients > b.room)
def a_full_dialog_defers_messages(before: World, action: Action, after: World) -> bool:
    """A server finds the dialog full, continues, and sends the message later."""
    return action.what is Deed.RESUMES


@sometimes(lambda b: b.server_crashes > 0 and b.forked_children > 0 and b.clients > 0)
def a_forked_child_takes_a_hand_off(before: World, action: Action, after: World) -> bool:
    """A forked child accepts a client after its parent's death."""
    match action:
        case ServerStep(what=server.MessageRead(message=HandOff(), intact=True)):
            group = before.group(action.server)
            return group is not None and not group.main
    return False


@sometimes(lambda b: b.element_failures > 0 and b.elements > 1)
def a_server_restarts_elsewhere(before: World, action: Action, after: World) -> bool:
    """A processing element fails, and a server that ran there is started on another."""
    fired = action.what.timer if isinstance(action.what, monitor.Fired) else None
    if not isinstance(fired, monitor.RestartServer):
        return False
    old = before.monitor.classes[CLASS].places[fired.place]
    new = after.monitor.classes[CLASS].places[fired.place]
    return new.alive and old.element != new.element


@sometimes(lambda b: b.element_failures > 0 and b.elements > 1)
def the_distributor_restarts_elsewhere(before: World, action: Action, after: World) -> bool:
    """The Distributor's processing element fails, and the Distributor is started on another."""
    old, new = before.monitor.classes[CLASS].distributor, after.monitor.classes[CLASS].distributor
    return new.incarnation > old.incarnation and old.element != new.element


@sometimes(lambda b: b.stops != 0)
def a_graceful_stop_completes(before: World, action: Action, after: World) -> bool:
    """After a stop was asked for, the Distributor closes by itself and the Monitor ends."""
    if after.monitor.phase is not monitor.Phase.ENDED or before.monitor.phase is not monitor.Phase.CLOSING:
        return False
    return after.monitor.failure is None


@sometimes(lambda b: b.stops != 0 and b.clients > 0)
def a_stop_takes_what_the_backlog_holds(before: World, action: Action, after: World) -> bool:
    """While closing, a client is taken from the backlog."""
    closing = before.distributor is not None and before.distributor.phase is distributor.Phase.CLOSING
    return closing and isinstance(action.what, distributor.ConnectionRequest)


@sometimes(lambda b: b.hang_ups != 0 and _enough_clients(b))
def a_waiter_hangs_up(before: World, action: Action, after: World) -> bool:
    """A waiting client closes its side and is dropped."""
    return isinstance(action.what, distributor.PeerClosed) and not action.what.unread


@sometimes(lambda b: b.hang_ups != 0 and _enough_clients(b))
def a_waiter_that_has_half_closed_is_seated(before: World, action: Action, after: World) -> bool:
    """A waiting client has closed its sending side, having sent data, and is handed to a server."""
    if before.distributor is None or after.distributor is None:
        return False
    requests = (status.request for status in after.distributor.servers.values() if status.request is not None)
    waiting = waiters(before.distributor)
    return any(client in waiting and after.guests[client.cookie].hung == 2 for client in requests)


@sometimes(lambda b: b.queue_timeouts != 0 and _enough_clients(b))
def a_waiter_is_timed_out(before: World, action: Action, after: World) -> bool:
    """A client has waited too long and is dropped."""
    return isinstance(action.what, distributor.Fired) and isinstance(action.what.timer, distributor.QueueTimeout)


@sometimes(lambda b: b.hand_off_timeouts != 0 and b.clients > 0)
def an_unresponsive_server_is_killed(before: World, action: Action, after: World) -> bool:
    """A server leaves a hand-off unanswered, and is killed for it."""
    if not isinstance(action.what, monitor.Reported) or not isinstance(action.what.message, Unresponsive):
        return False
    if before.distributor is None:
        return False
    status = before.distributor.servers.get(action.what.message.server, None)
    return status is not None and status.request is not None


@sometimes(lambda b: b.hand_off_timeouts != 0 and b.max_clients > 1 and b.clients > 1)
def a_server_that_takes_nobody_serves_on(before: World, action: Action, after: World) -> bool:
    """A server leaves a hand-off unanswered, serves the clients that it has, and is spared."""
    return isinstance(action.what, distributor.StillServes) and after.to_monitor == before.to_monitor


@sometimes(lambda b: b.hand_off_timeouts != 0 and b.clients > 0)
def an_unfit_server_is_killed(before: World, action: Action, after: World) -> bool:
    """A server is not to be kept, and this is reported to the Monitor."""
    return isinstance(action.what, distributor.Unfit) and any(isinstance(m, Unresponsive) for m in after.to_monitor)


@sometimes(lambda b: b.listener_closes != 0 and b.clients > 0)
def a_closed_listener_refuses(before: World, action: Action, after: World) -> bool:
    """A program closes its listening socket with a hand-off unread, and the client is placed again."""
    if not _received(action, Refused) or not _completed(action, distributor.Received):
        return False
    return before.budget.descriptor_losses == after.budget.descriptor_losses and before.distributor is not None


@sometimes(lambda b: b.listener_closes != 0)
def a_server_listens_again(before: World, action: Action, after: World) -> bool:
    """A program that had closed its listening socket listens again, and is ready again."""
    if not _received(action, RestartReply) or before.distributor is None or after.distributor is None:
        return False
    assert isinstance(action.what, distributor.Received)
    dialog = before.distributor.servers[action.what.server].dialogs[action.what.port]
    return dialog.sequence >= 0 and dialog.phase is distributor.DialogPhase.OPENED


@sometimes(lambda b: b.audits != 0 and b.leaks != 0 and b.clients > 0)
def an_audit_corrects_a_count(before: World, action: Action, after: World) -> bool:
    """A server that counts a connection which is gone is asked to forget it, and counts one less."""
    match action:
        case ServerStep(what=server.MessageRead(message=InitialMsg(forget=forget))):
            old, new = before.group(action.server), after.group(action.server)
            known, left = (len(group.endpoint.clients) if group is not None else 0 for group in (old, new))
            return bool(forget) and left < known
    return False


@sometimes(lambda b: b.accept_failures != 0)
def an_accept_fails_and_is_tried_again(before: World, action: Action, after: World) -> bool:
    """An accept fails as no descriptor is free, and is issued again after a while."""
    return isinstance(action.what, distributor.Fired) and isinstance(action.what.timer, distributor.AcceptRetry)


@sometimes(lambda b: b.unsent != 0 and b.clients > 0)
def an_unsent_client_is_placed_anew(before: World, action: Action, after: World) -> bool:
    """The kernel declines to send a hand-off, and the client is placed again."""
    return _completed(action, distributor.Unsent) and after.distributor is not before.distributor


@sometimes(lambda b: b.listen_failures != 0)
def an_address_cannot_be_listened_on(before: World, action: Action, after: World) -> bool:
    """An address cannot be listened on, and this is reported or the program's bind fails."""
    return isinstance(action.what, distributor.ListeningFailed)


@sometimes(lambda b: not b.fixed)
def the_first_bind_decides_the_port(before: World, action: Action, after: World) -> bool:
    """Without a configured port, the first that a program binds becomes the server class's."""
    if before.distributor is None or not isinstance(action.what, distributor.BindRequested):
        return False
    return not before.distributor.ports


@sometimes(lambda b: b.server_crashes > 0)
def a_dead_server_is_started_again(before: World, action: Action, after: World) -> bool:
    """A static server dies, and its place is filled again."""
    return isinstance(action.what, monitor.Fired) and isinstance(action.what.timer, monitor.RestartServer)


@sometimes(lambda b: b.dynamic > 0 and b.creations != 0)
def the_monitor_is_asked_for_a_server(before: World, action: Action, after: World) -> bool:
    """The Distributor asks the Monitor for a dynamic server."""
    return isinstance(action.what, monitor.Reported) and isinstance(action.what.message, CreateServer)


@sometimes(lambda b: not b.warm)
def a_program_that_is_deaf_is_not_ready(before: World, action: Action, after: World) -> bool:
    """A program that does not listen yet answers so, and is not handed anybody."""
    return _received(action, NotReady)


@sometimes(lambda b: b.clients > 1)
def a_server_with_a_request_outstanding_is_spared(before: World, action: Action, after: World) -> bool:
    """A client comes while a server with room has yet to answer for another, and is not sent to it."""
    if not _completed(action, distributor.ConnectionRequest) or before.distributor is None or after.distributor is None:
        return False
    rows = after.distributor.servers
    return any(
        status.request is not None and rows[number].request == status.request and status.count.clients == 0
        for number, status in before.distributor.servers.items()
    )


@sometimes(lambda b: b.clients > b.servers * b.max_clients + 1 and b.waiting_limit > 1)
def the_earlier_of_two_waiters_goes_first(before: World, action: Action, after: World) -> bool:
    """Two clients wait, and the one that came first is seated first."""
    old, new = before.distributor, after.distributor
    if old is None or new is None or old.waiting < 2 or new.waiting != 1 or isinstance(action, DistributorCutOff):
        return False
    first = min(client for info in old.ports.values() for client in info.waiting)
    return any(status.request == first for status in new.servers.values())


@sometimes(lambda b: b.clients > 1 and b.servers > 1 and (b.elements == 1 or b.max_clients > 1))
def a_tie_goes_to_the_longest_unchosen(before: World, action: Action, after: World) -> bool:
    """Two servers are equally loaded, and a client is sent to the one whose turn it is."""
    if not _completed(action, distributor.ConnectionRequest) or before.distributor is None:
        return False
    assert isinstance(action.what, distributor.ConnectionRequest)
    free = [*before.distributor.ports[action.what.port].free]
    return len(free) > 1 and free[0].load * free[1].weight == free[1].load * free[0].weight


@sometimes(lambda b: b.repeated_binds != 0)
def a_bind_is_asked_for_twice(before: World, action: Action, after: World) -> bool:
    """A server asks again for a port whose dialog it has, or is about to have."""
    if not isinstance(action.what, distributor.BindRequested) or before.distributor is None:
        return False
    return action.what.port in before.distributor.servers[action.what.server].dialogs


@sometimes(lambda b: b.servers > 1 and not b.warm)
def a_second_server_shares_the_socket(before: World, action: Action, after: World) -> bool:
    """A server binds a port that is bound for another already."""
    if not isinstance(action.what, distributor.BindRequested) or before.distributor is None:
        return False
    port = action.what.port
    return any(port in s.dialogs for n, s in before.distributor.servers.items() if n != action.what.server)


@sometimes(lambda b: b.ports > 1 and b.clients > b.servers * b.max_clients + 1 and b.waiting_limit > 1)
def somebody_waits_on_each_of_two_ports(before: World, action: Action, after: World) -> bool:
    """Clients of two ports wait at the same time."""
    state = after.distributor
    return state is not None and sum(len(info.waiting) > 0 for info in state.ports.values()) > 1


@sometimes(lambda b: b.server_crashes > 0 and not b.warm)
def the_monitor_reads_about_a_server_that_is_gone(before: World, action: Action, after: World) -> bool:
    """The Monitor reads a message about a server whose end it has already seen."""
    if not isinstance(action.what, monitor.Reported):
        return False
    number = getattr(action.what.message, "server", None)
    return number is not None and number not in before.monitor.classes[CLASS].living
