"""The Application Server's endpoint: the second phase of the accept, beside the unmodified program.

Rules
-----
1.  A hand-off is taken when the program listens on its port and the descriptor has arrived whole.  The program gets the
    connection when its `Accepted` is in the socket, and not before.  Otherwise: `Refused`.
2.  Every answer carries the number of clients, absolute, with a rising sequence number.
3.  A client is counted until the last reference to its connection is gone, or the audit says that the kernel has
    forgotten it.
4.  `InitialMsg` is answered with `RestartReply` while the program listens; else with `NotReady`, and again with
    `RestartReply` once it listens.
5.  A listener that closes says `NotReady`.  What is read from its dialog afterwards is refused by rule 1.
6.  Of several replies that are still to be sent, one that the next makes out of date is dropped: counts are absolute.
7.  What a process was sending when it died is issued again, with a new count; but a client whom it had taken is
    refused, and where a hand-off or its refusal may be lost, the Distributor is made to ask again.

Theory of operation
-------------------
The program's listening socket is the dialog itself, so the program polls and accepts as ever (in the patent: the
customised ServerSocket class, whose accept waits on $RECEIVE).  One `EndpointState` belongs to all the threads and
processes of the server, which the shell keeps in shared memory.  Under one lock a process takes a message, makes the
step that it causes, and sends what is in the `outbox`; each reply that is in its socket is a step of its own (`Sent`).

So there are three instants: a hand-off is *read*, its answer is *sent*, the client is *delivered*.  A process may die
between any two of them while its siblings live on: then nobody has had the client, its Distributor still has a copy,
and whoever next takes the lock finds it (`Interrupted`).  The other order, to deliver first and send later, would give
a client to two servers: if the process dies in between, the dialog ends with the hand-off unanswered.

A dialog may be full, as when the Distributor hangs.  A hand-off or an InitialMsg is read only where there is room for
its answer; any other message stays in the outbox, and is sent after the next step.

Steps, written by ``python -m docs.step_tables``:

"+": the event may be taken in this phase; a phase: so it may lead there; a number: it may be rejected for that reason
of the row.  A message or a timer stands for the event that brings it.  The endpoint has no phases: a column is the
state of the event's port.

============== ========= ========= ========= ================================
event          not bound bound     listening may be rejected with
============== ========= ========= ========= ================================
Bound          bound     +         +
Listened       1         listening +         1 NOT_BOUND
ListenerClosed 1         +         bound     1 NOT_BOUND
InitialMsg     1         +         +         1 NOT_BOUND
HandOff        12        + 1       + 1       1 OTHER_PORT 2 NOT_BOUND
Disconnected   1         + 12      + 12      1 UNKNOWN_CLIENT 2 NOT_DELIVERED
Acknowledge    +         +         +
Sent           1         + 1       + 1       1 NOT_NEXT
Interrupted    12        + 2       + 2       1 NOT_BOUND 2 NOT_NEXT
============== ========= ========= ========= ================================

(End of the steps.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, assert_never

from maitred.core.messages import (
    Accepted,
    Acknowledge,
    Client,
    Count,
    Disconnect,
    FromServer,
    HandOff,
    Incarnation,
    InitialMsg,
    NotReady,
    Port,
    Refused,
    RestartReply,
    ToServer,
)
from maitred.core.transition import Reason, Rejected, Transition
from maitred.core.tree import Tree
from maitred.core.value import dataclass, replace

# ================================================================ state


@dataclass(frozen=True, slots=True)
class VirtualListener:
    """What stands for the program's listening socket on one port."""

    listening: bool = False
    asked: Incarnation = 0
    """Of the last InitialMsg that was read while the program did not listen; 0 where none is owed an answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be sent on the dialog of the port."""

    port: Port
    message: FromServer


@dataclass(frozen=True, slots=True)
class EndpointState:
    """All that a server knows of its clients."""

    listeners: Tree[Port, VirtualListener] = Tree()
    clients: Tree[Client, None] = Tree()
    sequence: int = 0
    """Of the last count issued."""
    outbox: tuple[Reply, ...] = ()
    """Issued, and not known to be in the socket, the oldest first."""


# ================================================================ events


@dataclass(frozen=True, slots=True)
class Bound:
    """The program has bound a port of the server class; the dialog stands in for its socket."""

    port: Port


@dataclass(frozen=True, slots=True)
class Listened:
    """The program has called listen."""

    port: Port


@dataclass(frozen=True, slots=True)
class ListenerClosed:
    """The last reference to the program's listening socket is gone."""

    port: Port


@dataclass(frozen=True, slots=True)
class MessageRead:
    """A message of the Distributor was taken from a dialog."""

    port: Port
    message: ToServer
    intact: bool = True
    """Of a hand-off: the descriptor came with it (not so where the process had none to spare: MSG_CTRUNC)."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The last reference to the client's connection is gone."""

    client: Client


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An acknowledgement of the Distributor was read."""

    message: Acknowledge


@dataclass(frozen=True, slots=True)
class Sent:
    """The reply is in the socket, and everything that was issued before it on that dialog."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A process of the server has died while it held the lock; another has found the traces."""

    port: Port
    reply: Reply | None
    """What it was sending, if it had come to that: in the socket or not, nobody knows.  None: it was reading, and the
    message is lost if it had been read."""


Event: TypeAlias = Bound | Listened | ListenerClosed | MessageRead | Disconnected | Acknowledged | Sent | Interrupted

# ================================================================ effects


@dataclass(frozen=True, slots=True)
class Deliver:
    """Let the program's accept return the client's connection."""

    client: Client


@dataclass(frozen=True, slots=True)
class Discard:
    """Close what has come of the client's connection; the Distributor has its own copy."""

    client: Client


Effect: TypeAlias = Deliver | Discard
Step: TypeAlias = Transition[EndpointState, Effect]

# ================================================================ guards


def guard(state: EndpointState, event: Event) -> Reason | None:
    """Why the event may not happen in the state, or None where it may."""
    match event:
        case Bound() | Acknowledged():
            return None
        case MessageRead(message=HandOff(client)) if client.port != event.port:
            return Reason.OTHER_PORT
        case Listened() | MessageRead() | ListenerClosed():
            return None if event.port in state.listeners else Reason.NOT_BOUND
        case Disconnected():
            if any(_answers(reply, event.client) for reply in state.outbox):
                return Reason.NOT_DELIVERED
            return None if event.client in state.clients else Reason.UNKNOWN_CLIENT
        case Sent():
            return None if event.reply == _next_on(state, event.reply.port) else Reason.NOT_NEXT
        case Interrupted(reply=None):
            return None if event.port in state.listeners else Reason.NOT_BOUND
        case Interrupted():
            return None if event.reply == _next_on(state, event.port) else Reason.NOT_NEXT
        case _:
            assert_never(event)


# ================================================================ the step


def step(state: EndpointState, event: Event) -> Step | Rejected:
    """Let the event happen: the new state and the effects to perform, in order."""
    reason = guard(state, event)
    if reason is not None:
        return Rejected(reason)
    return _ACTIONS[type(event)](state, event)


def _bound(state: EndpointState, event: Bound) -> Step:
    known = state.listeners.get(event.port, None) or VirtualListener()
    return Transition(replace(state, listeners=state.listeners.set(event.port, known)), ())


def _next_on(state: EndpointState, port: Port) -> Reply | None:
    """The oldest reply on the port that is not known to be in the socket."""
    return next((reply for reply in state.outbox if reply.port == port), None)


def _answers(reply: Reply, client: Client) -> bool:
    """The reply is the `Accepted` of this client."""
    return isinstance(reply.message, Accepted) and reply.message.client == client


def _listened(state: EndpointState, event: Listened) -> Step:
    listener = state.listeners[event.port]
    up = replace(state, listeners=state.listeners.set(event.port, VirtualListener(listening=True)))
    if not listener.asked:
        return Transition(up, ())
    return Transition(_issue(up, event.port, lambda count: RestartReply(listener.asked, count)), ())


def _listener_closed(state: EndpointState, event: ListenerClosed) -> Step:
    closed = replace(state, listeners=state.listeners.set(event.port, VirtualListener()))
    return Transition(_issue(closed, event.port, lambda count: NotReady(0, count)), ())


def _message_read(state: EndpointState, event: MessageRead) -> Step:
    match event.message:
        case InitialMsg():
            return _asked(state, event.port, event.message)
        case HandOff():
            return _offered(state, event.port, event.message.client, event.intact)
        case _:
            assert_never(event.message)


def _asked(state: EndpointState, port: Port, message: InitialMsg) -> Step:
    """Rule 4; and rule 3, where the audit has found connections gone."""
    clients = state.clients
    for client in message.forget:
        clients = clients.remove(client)
    new = replace(state, clients=clients)
    if state.listeners[port].listening:
        return Transition(_issue(new, port, lambda count: RestartReply(message.incarnation, count)), ())
    listeners = new.listeners.set(port, VirtualListener(asked=message.incarnation))
    new = replace(new, listeners=listeners)
    return Transition(_issue(new, port, lambda count: NotReady(message.incarnation, count)), ())


def _offered(state: EndpointState, port: Port, client: Client, intact: bool) -> Step:
    """Rule 1: accept_nw2, or not."""
    if intact and state.listeners[port].listening:
        taken = _serving(state, state.clients.set(client, None))
        return Transition(_issue(taken, port, lambda count: Accepted(client, count)), ())
    return Transition(_issue(state, port, lambda count: Refused(client, count)), (Discard(client),))


def _disconnected(state: EndpointState, event: Disconnected) -> Step:
    client = event.client
    left = _serving(state, state.clients.remove(client))
    return Transition(_issue(left, client.port, lambda count: Disconnect(client, count)), ())


def _acknowledged(state: EndpointState, event: Acknowledged) -> Step:
    """The server "receives and discards" it."""
    return Transition(state, ())


def _sent(state: EndpointState, event: Sent) -> Step:
    """Rule 1: the program may have the client now."""
    message = event.reply.message
    delivered = (Deliver(message.client),) if isinstance(message, Accepted) else ()
    return Transition(_without(state, event.reply), delivered)


def _interrupted(state: EndpointState, event: Interrupted) -> Step:
    """Rule 7.  A hand-off's answer is never deferred, so whoever is not delivered was with the process that died."""
    for reply in state.outbox:
        if isinstance(reply.message, Accepted):
            state = _taken_back(state, reply, reply.message.client)
    if event.reply is None or isinstance(event.reply.message, Refused):
        return Transition(_wants_to_be_asked(state, event), ())
    if isinstance(event.reply.message, Accepted):
        return Transition(state, ())
    message = event.reply.message
    return Transition(_issue(_without(state, event.reply), event.port, lambda count: replace(message, count=count)), ())


def _taken_back(state: EndpointState, reply: Reply, client: Client) -> EndpointState:
    """Its connection has died with the process that had it."""
    left = replace(_without(state, reply), clients=state.clients.remove(client))
    return _issue(left, reply.port, lambda count: Refused(client, count))


def _wants_to_be_asked(state: EndpointState, event: Interrupted) -> EndpointState:
    """It is not known what was read, which may be an InitialMsg; nor whether a Refused was sent: a second one might be
    read as the answer to a later hand-off.
    """
    left = state if event.reply is None else _without(state, event.reply)
    unasked = VirtualListener(listening=left.listeners[event.port].listening)
    left = replace(left, listeners=left.listeners.set(event.port, unasked))
    return _issue(left, event.port, lambda count: NotReady(0, count))


def _without(state: EndpointState, sent: Reply) -> EndpointState:
    outbox = tuple([reply for reply in state.outbox if reply != sent])
    return EndpointState(state.listeners, state.clients, state.sequence, outbox)


def _serving(state: EndpointState, clients: Tree[Client, None]) -> EndpointState:
    """Made field by field here and beside: `replace` takes four times as long, and this is done for each client."""
    return EndpointState(state.listeners, clients, state.sequence, state.outbox)


def _issue(state: EndpointState, port: Port, make: Callable[[Count], FromServer]) -> EndpointState:
    """Put a reply into the outbox, with the next count (rule 2), in the place of what it makes out of date (rule 6)."""
    sequence = state.sequence + 1
    new = Reply(port, make(Count(len(state.clients), sequence)))
    kept = [reply for reply in state.outbox if not _is_outdated(reply, new)]
    return EndpointState(state.listeners, state.clients, sequence, (*kept, new))


def _is_outdated(old: Reply, new: Reply) -> bool:
    """Rule 6: both say the same kind of thing, of the same dialog."""
    kinds: tuple[tuple[type[FromServer], ...], ...] = ((Disconnect,), (RestartReply, NotReady))
    same = any(isinstance(old.message, kind) and isinstance(new.message, kind) for kind in kinds)
    return same and old.port == new.port


_ACTIONS: dict[type[Any], Callable[[EndpointState, Any], Step]] = {  # Any: each action takes its own event
    Bound: _bound,
    Listened: _listened,
    ListenerClosed: _listener_closed,
    MessageRead: _message_read,
    Disconnected: _disconnected,
    Acknowledged: _acknowledged,
    Sent: _sent,
    Interrupted: _interrupted,
}
