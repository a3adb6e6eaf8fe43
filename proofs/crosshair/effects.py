"""What the contracts ask of a step's effects, for each machine: what may be sent, when, and in which order.

Each *law* is asked of the state before, the event and the transition, on every path on which the step is taken.  A law
says what must be so whichever action was run; it does not repeat the action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, TypeVar

from maitred.core import distributor, monitor, server
from maitred.core.distributor import DialogPhase, DistributorState, ServerStatus
from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Adopt,
    Begin,
    BindReply,
    Client,
    Close,
    Closed,
    CreateServer,
    Disconnect,
    Drained,
    DropListeners,
    FromServer,
    HandOff,
    InitialMsg,
    KeepDialog,
    KeepListener,
    ListenFailed,
    NotReady,
    Refused,
    Release,
    RestartReply,
    Restore,
    ServerReady,
    Store,
    Unresponsive,
)
from maitred.core.monitor import DistributorPhase, MonitorState, PlacePhase
from maitred.core.server import Deliver, Discard, EndpointState, Reply
from maitred.core.transition import Transition

T = TypeVar("T")
Done: TypeAlias = Transition[Any, Any]  # Any: of whichever machine
Law: TypeAlias = Callable[[Any, Any, Done], bool]  # Any: as above


def _of(kind: type[T], found: Iterable[object]) -> list[T]:
    return [each for each in found if isinstance(each, kind)]


def _alike(some: list[T], others: list[T]) -> bool:
    """The same, in whatever order; neither has anything twice.  Nothing is hashed: it may be symbolic."""
    return len(some) == len(others) and all(each in others for each in some) and all(each in some for each in others)


# ================================================================ the Application Server's endpoint


def _issued(before: EndpointState, done: Done) -> list[Reply]:
    return [reply for reply in done.state.outbox if reply.message.count.sequence > before.sequence]


def a_client_is_delivered_once_its_answer_is_sent(before: EndpointState, event: object, done: Done) -> bool:
    """A client is delivered when its `Accepted` is in the socket, discarded when it is refused, and not otherwise."""
    wanted: list[object] = []
    if isinstance(event, server.Sent) and isinstance(event.reply.message, Accepted):
        wanted = [Deliver(event.reply.message.client)]
    elif isinstance(event, server.MessageRead) and isinstance(event.message, HandOff):
        refused = _of(Refused, [reply.message for reply in _issued(before, done)])
        wanted = [Discard(message.client) for message in refused]
    return [*done.effects] == wanted


def what_is_issued_is_numbered_and_counted(before: EndpointState, event: object, done: Done) -> bool:
    """Replies that are issued stand last, bear the next numbers, and the last of them says how many are served now."""
    new, after = _issued(before, done), done.state
    if not new:
        return bool(after.sequence == before.sequence) and len(after.clients) == len(before.clients)
    counts = [reply.message.count for reply in new]
    return bool(after.sequence == counts[-1].sequence and counts[-1].clients == len(after.clients))


def what_is_to_be_said_is_kept(before: EndpointState, event: object, done: Done) -> bool:
    """Nothing leaves the outbox but what is sent, what one who died was sending, and what a newer reply replaces."""
    kept, new = done.state.outbox, _issued(before, done)
    lost = [reply for reply in before.outbox if not any(reply is other for other in kept)]
    if isinstance(event, server.Sent):
        return len(lost) == 1 and bool(lost[0] == event.reply)
    if isinstance(event, server.Interrupted):
        taken = [reply for reply in lost if isinstance(reply.message, Accepted)]
        answered = [message.client for message in _of(Refused, [reply.message for reply in new])]
        return not _of(Accepted, [r.message for r in kept]) and [_client_of(reply) for reply in taken] == answered
    return all(any(_sort(reply) == _sort(other) and reply.port == other.port for other in new) for reply in lost)


def _client_of(reply: Reply) -> Client:
    assert isinstance(reply.message, Accepted)
    return reply.message.client


def _sort(reply: Reply) -> type[FromServer]:
    return RestartReply if isinstance(reply.message, NotReady) else type(reply.message)


def each_event_is_answered(before: EndpointState, event: object, done: Done) -> bool:
    """A hand-off is answered, and a question; who leaves, who listens and who closes says so; nothing else is said."""
    new = [(reply.port, reply.message) for reply in _issued(before, done)]
    after = done.state.listeners
    match event:
        case server.MessageRead(port=port, message=HandOff(client)):
            kind = Accepted if event.intact and before.listeners[port].listening else Refused
            answers = [(where, message.client) for where, message in new if isinstance(message, kind)]
            return len(new) == 1 and answers == [(port, client)]
        case server.MessageRead(port=port, message=InitialMsg(incarnation)):
            listens = before.listeners[port].listening
            wanted = RestartReply if listens else NotReady
            said = [(where, message.incarnation) for where, message in new if isinstance(message, wanted)]
            owed = 0 if listens else incarnation
            return len(new) == 1 and said == [(port, incarnation)] and after[port].asked == owed
        case server.Listened(port=port):
            asked = before.listeners[port].asked
            said = [(where, message.incarnation) for where, message in new if isinstance(message, RestartReply)]
            return after[port].listening and len(new) == len(said) and said == ([(port, asked)] if asked else [])
        case server.ListenerClosed(port=port):
            said = [(where, message.incarnation) for where, message in new if isinstance(message, NotReady)]
            return not after[port].listening and len(new) == 1 and said == [(port, 0)]
        case server.Disconnected(client=client):
            left = [(where, message.client) for where, message in new if isinstance(message, Disconnect)]
            return len(new) == 1 and left == [(client.port, client)]
        case server.Interrupted(port=port, reply=reply):
            if reply is None or isinstance(reply.message, Refused):
                said = [(where, message.incarnation) for where, message in new[-1:] if isinstance(message, NotReady)]
                return said == [(port, 0)] and not after[port].asked
            return True
        case server.Sent() | server.Bound() | server.Acknowledged():
            return not new
    return False


def who_is_served_is_whom_it_took(before: EndpointState, event: object, done: Done) -> bool:
    """A client is served from when it is accepted until it leaves, is forgotten or is taken back, and no other."""
    served, now = [*before.clients], [*done.state.clients]
    gone: list[Client] = []
    match event:
        case server.MessageRead(message=HandOff(client)):
            accepted = _of(Accepted, [reply.message for reply in _issued(before, done)])
            if accepted:
                return (
                    client in now
                    and all(each in now for each in served)
                    and all(each in served or each == client for each in now)
                )
        case server.MessageRead(message=InitialMsg(forget=forget)):
            gone = [*forget]
        case server.Disconnected(client=client):
            if client not in served:
                return False
            gone = [client]
        case server.Interrupted():
            gone = [message.client for message in _of(Accepted, [reply.message for reply in before.outbox])]
    return now == [client for client in served if client not in gone]


def listeners_are_let_be(before: EndpointState, event: object, done: Done) -> bool:
    """No event but those of its own port changes whether the program listens there and whether an answer is owed."""
    own = event.port if isinstance(event, _OF_A_PORT) else None
    now = done.state.listeners
    return all(port in now and (now[port] == was or port == own) for port, was in before.listeners.items())


_OF_A_PORT: Final = (server.Listened, server.ListenerClosed, server.MessageRead, server.Interrupted)


SERVER: Final[tuple[Law, ...]] = (
    a_client_is_delivered_once_its_answer_is_sent,
    what_is_issued_is_numbered_and_counted,
    what_is_to_be_said_is_kept,
    each_event_is_answered,
    who_is_served_is_whom_it_took,
    listeners_are_let_be,
)

# ================================================================ the Distributor


def _told(done: Done, kind: type[T]) -> list[T]:
    return _of(kind, [effect.message for effect in _of(distributor.SendMonitor, done.effects)])


def _waiting(state: DistributorState) -> list[Client]:
    return [client for info in state.ports.values() for client in info.waiting]


def who_stops_waiting_is_released(before: DistributorState, event: object, done: Done) -> bool:
    """Whoever waited and waits no more is released from the store, once, and nobody else is."""
    now = _waiting(done.state)
    left = [client for client in _waiting(before) if client not in now]
    return _alike([message.client for message in _told(done, Release)], left)


def who_starts_to_wait_is_stored(before: DistributorState, event: object, done: Done) -> bool:
    """Whoever starts to wait is stored, watched and timed; who was restored is stored already."""
    waited = _waiting(before)
    come = [client for client in _waiting(done.state) if client not in waited]
    timers = [effect.timer for effect in _of(distributor.SetTimer, done.effects)]
    stored = [] if isinstance(event, Restore) else come
    return (
        _alike([message.client for message in _told(done, Store)], stored)
        and _alike([effect.client for effect in _of(distributor.Watch, done.effects)], come)
        and _alike([timer.client for timer in _of(distributor.QueueTimeout, timers)], come)
    )


def who_waited_is_released_before_the_hand_off(before: DistributorState, event: object, done: Done) -> bool:
    """Rule 7: the release of a client who waited is sent before the client is."""
    waited, released = _waiting(before), list[Client]()
    for effect in done.effects:
        if isinstance(effect, distributor.SendMonitor) and isinstance(effect.message, Release):
            released.append(effect.message.client)
        elif isinstance(effect, distributor.Send) and isinstance(effect.message, HandOff):
            client = effect.message.client
            if client in waited and client not in released:
                return False
    return True


def what_is_handed_off_is_the_request(before: DistributorState, event: object, done: Done) -> bool:
    """A server is handed the client that becomes its request, on the client's port, with a timer, and nobody else."""
    sent = [effect for effect in _of(distributor.Send, done.effects) if isinstance(effect.message, HandOff)]
    timers = [effect.timer for effect in _of(distributor.SetTimer, done.effects)]
    asked_again = [event.server] if isinstance(event, distributor.StillServes) and not _told(done, Unresponsive) else []
    started = [timer.server for timer in _of(distributor.HandOffTimeout, timers)]
    if not _alike(started, [*(each.server for each in sent), *asked_again]):
        return False
    handed = [(each.server, each.port, each.message.client) for each in sent if isinstance(each.message, HandOff)]
    asked = [(row.server, row.request.port, row.request) for row in done.state.servers.values() if row.request]
    had = [(row.server, row.request.port, row.request) for row in before.servers.values() if row.request]
    return all(each in asked for each in handed) and _alike(handed, [each for each in asked if each not in had])


def a_copy_is_closed_only_when_it_may_be(before: DistributorState, event: object, done: Done) -> bool:
    """A client's copy is closed when its server has taken it, and shut down when it has gone or waited too long."""
    closed = [effect.client for effect in _of(distributor.CloseCopy, done.effects)]
    dropped = [effect.client for effect in _of(distributor.ShutDown, done.effects)]
    taken: list[Client] = []
    gone: list[Client] = []
    match event:
        case distributor.Received(message=Accepted(client=client)):
            request = before.servers[event.server].request
            taken = [client] if request is not None and request == client else []
        case distributor.PeerClosed(client=client) | distributor.Fired(distributor.QueueTimeout(client)):
            gone = [client]
    return closed == taken and dropped == gone


def an_accept_is_issued_where_one_becomes_outstanding(before: DistributorState, event: object, done: Done) -> bool:
    """An accept is issued where none was outstanding, or the one that was has ended; while closing, it waits for
    nobody.
    """
    issued = _of(distributor.Accept, done.effects)
    ended = isinstance(event, distributor.ConnectionRequest | Close)
    for port, info in done.state.ports.items():
        here = [effect for effect in issued if effect.port == port]
        was = port in before.ports and before.ports[port].accepting
        if len(here) > 1 or (here and not info.accepting) or (here and was and not ended):
            return False
        if info.accepting and not was and not here:
            return False
    operating = done.state.phase is distributor.Phase.OPERATING
    return all(effect.port in done.state.ports and effect.wait == operating for effect in issued)


def the_end_is_reported_last_and_once(before: DistributorState, event: object, done: Done) -> bool:
    """`Closed` is the last that is said, when the phase becomes so; `Drained` is said of whoever becomes so."""
    ends = done.state.phase is distributor.Phase.CLOSED and before.phase is not distributor.Phase.CLOSED
    last = bool(done.effects) and done.effects[-1] == distributor.SendMonitor(Closed())
    if len(_told(done, Closed)) != int(ends) or (ends and not last):
        return False
    rows = [row for row in done.state.servers.values() if not _is_as_before(before, row)]
    gone = [row.server for row in rows if row.drained and not _was_drained(before, row)]
    return _alike([message.server for message in _told(done, Drained)], gone)


def _is_as_before(before: DistributorState, row: ServerStatus) -> bool:
    return before.servers.get(row.server, None) is row


def _was_drained(before: DistributorState, row: ServerStatus) -> bool:
    was = before.servers.get(row.server, None)
    return was is not None and was.drained


def a_dialog_is_kept_before_it_is_used(before: DistributorState, event: object, done: Done) -> bool:
    """A new dialog is stored with the Monitor, then its bind is answered, then it is asked who listens; all that once
    every address of the port is listened on.
    """
    effects = [*done.effects]
    for place, effect in enumerate(effects):
        if isinstance(effect, distributor.SendMonitor) and isinstance(effect.message, KeepDialog):
            who, port = effect.message.server, effect.message.port
            wanted = [
                distributor.SendControl(who, BindReply(port, 0)),
                distributor.Send(who, port, InitialMsg(before.incarnation)),
            ]
            if effects[place + 1 : place + 3] != wanted or not all(done.state.ports[port].listeners.values()):
                return False
    return True


def addresses_are_let_be(before: DistributorState, event: object, done: Done) -> bool:
    """Where it listens changes only at the address that the event names; a port's last sockets are closed together."""
    own = (event.port, event.address) if isinstance(event, _OF_AN_ADDRESS) else None
    closed = [effect.port for effect in _of(distributor.CloseListeners, done.effects)]
    for port, info in before.ports.items():
        if port in closed:
            continue
        now = done.state.ports[port].listeners if port in done.state.ports else {}
        for address, up in info.listeners.items():
            if (port, address) != own and now.get(address, None) is not up:
                return False
    return True


_OF_AN_ADDRESS: Final = (distributor.Listening, distributor.ListeningFailed, distributor.BindRequested)


def an_audit_is_of_every_server(before: DistributorState, event: object, done: Done) -> bool:
    """When an audit is due, every server of the table is compared with the kernel, once; at no other time is any."""
    due = isinstance(event, distributor.Fired) and isinstance(event.timer, distributor.AuditDue)
    return _alike([effect.server for effect in _of(distributor.Audit, done.effects)], [*before.servers] if due else [])


def counts_are_acknowledged(before: DistributorState, event: object, done: Done) -> bool:
    """`NotReady` and `Disconnect` are acknowledged, with their number, on the control socket; nothing else is."""
    sent = [(effect.server, effect.message) for effect in _of(distributor.SendControl, done.effects)]
    found = [(who, message.sequence) for who, message in sent if isinstance(message, Acknowledge)]
    wanted: list[tuple[int, int]] = []
    if isinstance(event, distributor.Received) and isinstance(event.message, NotReady | Disconnect):
        wanted = [(event.server, event.message.count.sequence)]
    return found == wanted


def what_begins_is_timed(before: DistributorState, event: object, done: Done) -> bool:
    """Who begins to rest or becomes spare is timed; so is the asking for a server, a pause of accepts, and the next
    audit.
    """
    after = done.state
    timers = [effect.timer for effect in _of(distributor.SetTimer, done.effects)]
    resting = [timer.server for timer in _of(distributor.RestOver, timers)]
    spare = [timer.server for timer in _of(distributor.DeleteDelay, timers)]
    for server_id, row in after.servers.items():
        was = before.servers.get(server_id, None)
        if row is was:
            continue
        if row.resting and not (was and was.resting) and server_id not in resting:
            return False
        if row.spare and not (was and was.spare) and server_id not in spare:
            return False
    delayed = after.creation is distributor.Creation.DELAYED and before.creation is not distributor.Creation.DELAYED
    failed = [event.port] if isinstance(event, distributor.AcceptFailed) else []
    again = isinstance(event, Begin) or (
        isinstance(event, distributor.Fired) and isinstance(event.timer, distributor.AuditDue)
    )
    return (
        len(_of(distributor.CreateDelay, timers)) == int(delayed)
        and [timer.port for timer in _of(distributor.AcceptRetry, timers)] == failed
        and len(_of(distributor.AuditDue, timers)) == int(again)
    )


def the_monitor_is_sent_what_it_must_know(before: DistributorState, event: object, done: Done) -> bool:
    """Which dialogs are new and which are ready, who is unresponsive, what is listened on and what is not any more,
    that a server is wanted: each when it becomes so, and only then.
    """
    opened: list[tuple[int, int]] = []
    ready: list[tuple[int, int]] = []
    for server_id, row in done.state.servers.items():
        was = before.servers.get(server_id, None)
        if row is was:
            continue
        for port, dialog in row.dialogs.items():
            old = was.dialogs.get(port, None) if was else None
            if dialog.phase is DialogPhase.READY and not (old and old.phase is DialogPhase.READY):
                ready.append((server_id, port))
            if dialog.phase is DialogPhase.OPENED and (old is None or old.phase is DialogPhase.BINDING):
                opened.append((server_id, port))
    requested = distributor.Creation.REQUESTED
    wanted = done.state.creation is requested and before.creation is not requested
    kept = [(event.port, event.address)] if isinstance(event, distributor.Listening) else []
    closed = [event.port] if isinstance(event, distributor.BacklogEmpty) else []
    failed = [event.port] if isinstance(event, distributor.ListeningFailed) and before.fixed else []
    late: list[int] = []
    if isinstance(event, distributor.Fired) and isinstance(event.timer, distributor.HandOffTimeout):
        late = [event.timer.server]
    if isinstance(event, distributor.StillServes):
        row = before.servers[event.server]
        late = [event.server] if row.count.clients < row.full_at else []
    if isinstance(event, distributor.Unfit):
        late = [event.server]
    dialogs = [] if isinstance(event, Adopt) else opened
    return (
        _alike([(message.server, message.port) for message in _told(done, KeepDialog)], dialogs)
        and _alike([(message.server, message.port) for message in _told(done, ServerReady)], ready)
        and len(_told(done, CreateServer)) == int(wanted)
        and [(message.port, message.address) for message in _told(done, KeepListener)] == kept
        and [message.port for message in _told(done, DropListeners)] == closed
        and [effect.port for effect in _of(distributor.CloseListeners, done.effects)] == closed
        and [message.port for message in _told(done, ListenFailed)] == failed
        and [message.server for message in _told(done, Unresponsive)] == late
    )


def what_has_ended_is_closed(before: DistributorState, event: object, done: Done) -> bool:
    """A dialog or a control socket is closed when it has ended, and a dialog of which the bind was declined."""
    closed = [(effect.server, effect.port) for effect in _of(distributor.CloseDialog, done.effects)]
    controls = [(effect.server, effect.message) for effect in _of(distributor.SendControl, done.effects)]
    wanted = [(who, each.port) for who, each in controls if isinstance(each, BindReply) and each.errno != 0]
    if isinstance(event, distributor.DialogEnded):
        wanted.append((event.server, event.port))
    if isinstance(event, distributor.ControlEnded):
        wanted.append((event.server, distributor.CONTROL))
    return _alike(closed, wanted)


DISTRIBUTOR: Final[tuple[Law, ...]] = (
    what_begins_is_timed,
    the_monitor_is_sent_what_it_must_know,
    what_has_ended_is_closed,
    who_stops_waiting_is_released,
    who_starts_to_wait_is_stored,
    who_waited_is_released_before_the_hand_off,
    what_is_handed_off_is_the_request,
    a_copy_is_closed_only_when_it_may_be,
    an_accept_is_issued_where_one_becomes_outstanding,
    the_end_is_reported_last_and_once,
    a_dialog_is_kept_before_it_is_used,
    addresses_are_let_be,
    an_audit_is_of_every_server,
    counts_are_acknowledged,
)

# ================================================================ the Monitor


def a_distributor_is_sent_all_before_it_begins(before: MonitorState, event: object, done: Done) -> bool:
    """A Distributor that is started is given every address that the class listens on, then sent each living server,
    each stored client, and `Begin`.
    """
    for place, effect in enumerate(done.effects):
        if isinstance(effect, monitor.StartDistributor):
            cls = before.classes[effect.class_id]
            if [*effect.listeners] != [*cls.listeners]:
                return False
            told = _of(monitor.SendDistributor, done.effects[place:])
            said = [each.message for each in told if each.class_id == effect.class_id]
            wanted: list[object] = [found.server for found in cls.places.values() if found.alive]
            wanted += [*cls.store, Begin()]
            if [_compared(message) for message in said[: len(wanted)]] != wanted:
                return False
            if before.phase is monitor.Phase.CLOSING and said[len(wanted) :] != [Close()]:
                return False
    return True


def _compared(message: object) -> object:
    match message:
        case Adopt():
            return message.server
        case Restore():
            return message.client
    return message


def a_server_is_adopted_as_it_is_configured(before: MonitorState, event: object, done: Done) -> bool:
    """An `Adopt` has the maximum of its own class, and weight, kind, phase and dialogs of the server's own place; it
    follows the start of its server.
    """
    started: list[int] = []
    for effect in done.effects:
        if isinstance(effect, monitor.StartServer):
            started.append(effect.server)
        message = effect.message if isinstance(effect, monitor.SendDistributor) else None
        if not isinstance(message, Adopt):
            continue
        if message.server >= before.next_server and message.server not in started:
            return False
        cls = done.state.classes[effect.class_id]
        place = cls.places[cls.living[message.server]]
        used = tuple(port for port, is_used in place.dialogs.items() if is_used)
        wanted = (cls.config.max_clients, done.state.elements[place.element].weight, place.dynamic)
        if (message.max_clients, message.weight, message.dynamic) != wanted:
            return False
        if message.draining != (not place.active or place.retirement is not monitor.Retirement.NONE):
            return False
        if (message.dialogs, message.owed) != (tuple(place.dialogs), used):
            return False
    return True


def only_a_running_distributor_is_sent_messages(before: MonitorState, event: object, done: Done) -> bool:
    """Nothing is sent to a Distributor that does not run, and none is killed that does not."""
    phases = [(class_id, cls.distributor.phase) for class_id, cls in before.classes.items()]
    runs = [class_id for class_id, phase in phases if phase is DistributorPhase.RUNNING]
    for effect in done.effects:
        if isinstance(effect, monitor.StartDistributor):
            runs.append(effect.class_id)
        elif isinstance(effect, monitor.SendDistributor | monitor.KillDistributor) and effect.class_id not in runs:
            return False
    return True


def servers_are_started_under_new_ids(before: MonitorState, event: object, done: Done) -> bool:
    """Each server that is started has the next id, is starting at its place from now on, and has a timer; it and each
    Distributor that is started run on a processing element of their class that is up.
    """
    started = _of(monitor.StartServer, done.effects)
    wanted = [before.next_server + i for i in range(len(started))]
    if [effect.server for effect in started] != wanted or done.state.next_server != before.next_server + len(started):
        return False
    timers = [effect.timer for effect in _of(monitor.SetTimer, done.effects)]
    warned = [timer.server for timer in _of(monitor.StartWarning, timers)]
    for effect in started:
        found = done.state.classes[effect.class_id].places[effect.place]
        if found.server != effect.server or found.element != effect.element or effect.server not in warned:
            return False
        if found.phase is not PlacePhase.STARTING or not _may_run(done.state, effect.class_id, effect.element):
            return False
    begun = _of(monitor.StartDistributor, done.effects)
    return all(_may_run(done.state, effect.class_id, effect.element) for effect in begun)


def _may_run(state: MonitorState, class_id: int, element: int) -> bool:
    """The processing element is up, and is one of the class's."""
    return state.elements[element].up and element in state.classes[class_id].config.elements


def what_it_is_sent_to_keep_is_kept(before: MonitorState, event: object, done: Done) -> bool:
    """A client to be stored, a dialog and a listening socket to be kept are kept, whatever the Monitor is about."""
    if not isinstance(event, monitor.Reported):
        return True
    cls = done.state.classes[event.class_id]
    match event.message:
        case Store(client=client):
            return client in cls.store
        case KeepListener(port=port, address=address):
            return cls.listeners[port, address] is True
        case KeepDialog(server=server_id, port=port):
            return port in cls.places[cls.living[server_id]].dialogs
    return True


def an_event_of_one_class_leaves_the_others(before: MonitorState, event: object, done: Done) -> bool:
    """What happens in one class changes no other class, and has no effect there, unless all of them end."""
    own = _class_of(event)
    if own is None or done.state.phase is not before.phase:
        return True
    kept = [done.state.classes[class_id] is cls for class_id, cls in before.classes.items() if class_id != own]
    return all(kept) and all(_class_of(effect) == own for effect in done.effects)


def _class_of(found: object) -> int | None:
    """The class of an event or of an effect; None where it is of no class, or of all."""
    if isinstance(found, monitor.Fired | monitor.SetTimer):
        found = found.timer
    return getattr(found, "class_id", None)


def what_concerns_all_reaches_every_class(before: MonitorState, event: object, done: Done) -> bool:
    """The start, a stop and the end reach every class; so does a processing element's failure or return."""
    due = [effect.timer for effect in _of(monitor.SetTimer, done.effects)]
    again = [(timer.class_id, timer.place) for timer in _of(monitor.RestartServer, due)]
    for class_id, cls in done.state.classes.items():
        own = [effect for effect in done.effects if _class_of(effect) == class_id]
        runs = cls.distributor.phase is DistributorPhase.RUNNING
        phases = [place.phase for place in cls.places.values()]
        nowhere = bool(_of(monitor.Report, own))  # no processing element is up
        here = [place for place in cls.places.values() if place.element == getattr(event, "element", None)]
        match event:
            case monitor.Started():
                reached = nowhere or (runs and PlacePhase.DOWN not in phases)
            case monitor.ElementFailed(element=element):
                moved = runs and cls.distributor.element == element
                gone = all(place.phase in (PlacePhase.DOWN, PlacePhase.KILLING) for place in here)
                reached = gone and (not moved or bool(_of(monitor.KillDistributor, own)))
            case monitor.ElementRestored():
                wanted = [place for place in cls.places.values() if place.retirement is monitor.Retirement.NONE]
                down = [place.place for place in wanted if place.phase is PlacePhase.DOWN]
                asked = any(timer.class_id == class_id for timer in _of(monitor.RestartDistributor, due))
                waits = cls.distributor.phase is DistributorPhase.DOWN
                reached = asked == waits and all((class_id, place) in again for place in down)
            case _:
                reached = True
        if done.state.phase is not before.phase:
            match done.state.phase:
                case monitor.Phase.CLOSING:
                    reached = not runs or monitor.SendDistributor(class_id, Close()) in own
                case monitor.Phase.ENDING:
                    started = PlacePhase.STARTING in phases or PlacePhase.READY in phases
                    reached = not started and (not runs or bool(_of(monitor.KillDistributor, own)))
                case monitor.Phase.ENDED:
                    reached = not runs and not cls.living
        if not reached:
            return False
    return True


def whoever_is_to_end_is_asked_once(before: MonitorState, event: object, done: Done) -> bool:
    """A server is killed when it becomes one that is being killed, and asked to end when it becomes one that stops."""
    kills = [(effect.class_id, effect.server) for effect in _of(monitor.Kill, done.effects)]
    asks = [(effect.class_id, effect.server) for effect in _of(monitor.Terminate, done.effects)]
    killed, asked = (_become(phase, before, done.state) for phase in (PlacePhase.KILLING, PlacePhase.STOPPING))
    return kills == killed and asks == asked


def _become(phase: PlacePhase, before: MonitorState, after: MonitorState) -> list[tuple[int, int]]:
    return [
        (class_id, now.server)
        for class_id, cls in after.classes.items()
        for place, now in cls.places.items()
        if now.phase is phase and _phase_of(before.classes[class_id], place) is not phase
    ]


def _phase_of(cls: monitor.ClassState, place: int) -> PlacePhase:
    """A place that is not there yet has no process."""
    known = cls.places.get(place, None)
    return known.phase if known is not None else PlacePhase.DOWN


def who_leaves_the_store_is_let_go(before: MonitorState, event: object, done: Done) -> bool:
    """A duplicate is closed when its client is released, and shut down with the end, and never while it is stored."""
    gone = [
        (effect.class_id, effect.client)
        for effect in done.effects
        if isinstance(effect, monitor.DropDuplicate | monitor.ShutDownStored)
    ]
    left = [
        (class_id, client)
        for class_id, cls in before.classes.items()
        for client in cls.store
        if client not in done.state.classes[class_id].store
    ]
    return _alike(gone, left)


def the_exit_is_last(before: MonitorState, event: object, done: Done) -> bool:
    """The Monitor exits when its phase becomes so, and does nothing more."""
    ends = done.state.phase is monitor.Phase.ENDED and before.phase is not monitor.Phase.ENDED
    exits = [place for place, effect in enumerate(done.effects) if isinstance(effect, monitor.Exit)]
    return exits == ([len(done.effects) - 1] if ends else [])


def what_is_due_is_timed(before: MonitorState, event: object, done: Done) -> bool:
    """Who is asked to end is timed; so is a Distributor that starts or is to be started again, a server that becomes
    ready, the rest of dynamic servers, and the grace of a stop.
    """
    timers = [effect.timer for effect in _of(monitor.SetTimer, done.effects)]
    kills = [(timer.class_id, timer.server) for timer in _of(monitor.KillDelay, timers)]
    starts = _of(monitor.StartDistributor, done.effects)
    lives = [(timer.class_id, timer.incarnation) for timer in _of(monitor.DistributorStable, timers)]
    rests = [timer.class_id for timer in _of(monitor.DynamicRest, timers)]
    resting = [
        class_id
        for class_id, cls in done.state.classes.items()
        if cls.dynamic_resting and not before.classes[class_id].dynamic_resting
    ]
    stable = [(timer.class_id, timer.server) for timer in _of(monitor.ServerStable, timers)]
    grace = done.state.phase is monitor.Phase.CLOSING and before.phase is not monitor.Phase.CLOSING
    return (
        kills == [(effect.class_id, effect.server) for effect in _of(monitor.Terminate, done.effects)]
        and lives == [(effect.class_id, effect.incarnation) for effect in starts]
        and all(class_id in rests for class_id in resting)
        and stable == _become(PlacePhase.READY, before, done.state)
        and len(_of(monitor.GraceOver, timers)) == int(grace)
    )


MONITOR: Final[tuple[Law, ...]] = (
    what_is_due_is_timed,
    a_distributor_is_sent_all_before_it_begins,
    a_server_is_adopted_as_it_is_configured,
    only_a_running_distributor_is_sent_messages,
    servers_are_started_under_new_ids,
    what_it_is_sent_to_keep_is_kept,
    an_event_of_one_class_leaves_the_others,
    what_concerns_all_reaches_every_class,
    whoever_is_to_end_is_asked_once,
    who_leaves_the_store_is_let_go,
    the_exit_is_last,
)
