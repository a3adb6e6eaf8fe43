"""The Application Server's endpoint: the second phase of the accept, beside the unmodified program.

Rules
-----
1.  A hand-off is taken when the program listens on its port and the descriptor has arrived whole; it is answered with
    `Accepted` before the program sees the connection, so before it can read a byte.  Otherwise: `Refused`.
2.  Every answer carries the number of clients, absolute, with a rising sequence number.
3.  A client is counted until the last reference to its connection is gone, or the audit says that the kernel has
    forgotten it.
4.  `InitialMsg` is answered with `RestartReply` while the program listens; else with `NotReady`, and again with
    `RestartReply` once it listens.
5.  A listener that closes says `NotReady`.  What is read from its dialog afterwards is refused by rule 1.

Theory of operation
-------------------
The program's listening socket is the dialog itself, so the program polls and accepts as ever (in the patent: the
customised ServerSocket class, whose accept waits on $RECEIVE).  One `EndpointState` belongs to all the threads and
processes of the server: the shell keeps it in shared memory and takes a message and the step that it causes under one
lock.  What is *sent* may overtake, hence rule 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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

# ================================================================ state


@dataclass(frozen=True, slots=True)
class VirtualListener:
    """What stands for the program's listening socket on one port."""

    listening: bool = False
    asked: Incarnation = 0
    """Of the last InitialMsg that was read while the program did not listen; 0 where none is owed an answer."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """All that a server knows of its clients."""

    listeners: Tree[Port, VirtualListener] = Tree()
    clients: Tree[Client, None] = Tree()
    sequence: int = 0
    """Of the last count issued."""


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
    """The Distributor's acknowledgement was read."""

    message: Acknowledge


Event: TypeAlias = Bound | Listened | ListenerClosed | MessageRead | Disconnected | Acknowledged

# ================================================================ effects


@dataclass(frozen=True, slots=True)
class Reply:
    """Send on the dialog of the port."""

    port: Port
    message: FromServer


@dataclass(frozen=True, slots=True)
class Deliver:
    """Let the program's accept return the client's connection."""

    client: Client


@dataclass(frozen=True, slots=True)
class Discard:
    """Close what has come of the client's connection; the Distributor has its own copy."""

    client: Client


Effect: TypeAlias = Reply | Deliver | Discard
Step: TypeAlias = Transition[EndpointState, Effect]

# ================================================================ guards


def guard(state: EndpointState, event: Event) -> Reason | None:
    """Why the event may not happen in the state, or None where it may."""
    match event:
        case Bound() | Acknowledged():
            return None
        case MessageRead(message=HandOff(client)) if client.port != event.port:
            return Reason.UNKNOWN_PORT
        case Listened() | MessageRead() | ListenerClosed():
            return None if event.port in state.listeners else Reason.UNKNOWN_PORT
        case Disconnected():
            return None if event.client in state.clients else Reason.UNKNOWN_CLIENT
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


def _listened(state: EndpointState, event: Listened) -> Step:
    listener = state.listeners[event.port]
    up = replace(state, listeners=state.listeners.set(event.port, VirtualListener(listening=True)))
    if not listener.asked:
        return Transition(up, ())
    new, count = _count(up)
    return Transition(new, (Reply(event.port, RestartReply(listener.asked, count)),))


def _listener_closed(state: EndpointState, event: ListenerClosed) -> Step:
    new, count = _count(replace(state, listeners=state.listeners.set(event.port, VirtualListener())))
    return Transition(new, (Reply(event.port, NotReady(0, count)),))


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
    new, count = _count(replace(state, clients=clients))
    if state.listeners[port].listening:
        return Transition(new, (Reply(port, RestartReply(message.incarnation, count)),))
    listeners = new.listeners.set(port, VirtualListener(asked=message.incarnation))
    reply = Reply(port, NotReady(message.incarnation, count))
    return Transition(replace(new, listeners=listeners), (reply,))


def _offered(state: EndpointState, port: Port, client: Client, intact: bool) -> Step:
    """Rule 1: accept_nw2, or not."""
    if intact and state.listeners[port].listening:
        new, count = _count(replace(state, clients=state.clients.set(client, None)))
        return Transition(new, (Reply(port, Accepted(client, count)), Deliver(client)))
    new, count = _count(state)
    return Transition(new, (Discard(client), Reply(port, Refused(client, count))))


def _disconnected(state: EndpointState, event: Disconnected) -> Step:
    new, count = _count(replace(state, clients=state.clients.remove(event.client)))
    return Transition(new, (Reply(event.client.port, Disconnect(event.client, count)),))


def _acknowledged(state: EndpointState, event: Acknowledged) -> Step:
    """The server "receives and discards" it."""
    return Transition(state, ())


def _count(state: EndpointState) -> tuple[EndpointState, Count]:
    """Rule 2."""
    new = replace(state, sequence=state.sequence + 1)
    return new, Count(len(new.clients), new.sequence)


_ACTIONS: dict[type[Any], Callable[[EndpointState, Any], Step]] = {  # Any: each action takes its own event
    Bound: _bound,
    Listened: _listened,
    ListenerClosed: _listener_closed,
    MessageRead: _message_read,
    Disconnected: _disconnected,
    Acknowledged: _acknowledged,
}
