"""The Distributor: seats each client at the least busy server of one server class.

Rules
-----
1.  A client is handed to a server that is *free* on the client's port: it has answered there, owes no answer on
    another dialog, serves fewer than its maximum, has no request outstanding, is not draining and not resting.
2.  Of the free servers, the one that will be the least loaded once it has the client: the least
    ``(clients + 1) / weight``; among equals, the one that was chosen longest ago.  To join counts as being chosen, so
    no two are equal, and the servers' ids decide nothing.
3.  A server has at most one request outstanding.  The Distributor keeps its copy of the connection until the reply.
4.  A request comes back only on the server's own `Refused`, on the end of its dialog, or when the hand-off could not
    be sent at all.  Never on the Monitor's word, never on a timer: the server might have taken the client.
5.  Counts are the server's: absolute, and the highest sequence number wins.
6.  Who finds no free server waits in the order of arrival.  A request that came back keeps its arrival, so it goes to
    the head.  A free server takes the earliest of those that wait on any port it is free on.
7.  Who starts to wait is stored with the Monitor; who stops waiting is released *before* being handed to a server.
8.  At the bound of the waiting list the Distributor stops accepting; the rest wait in the kernel's backlog.
9.  While somebody waits, no server is free on that port: after every step, once the initialisation is over.

Theory of operation
-------------------
One `DistributorState` is the patent's ServerStatus and PortInfo tables (FIG. 6 steps 96 and 102).  Each `PortInfo` has
an index of the servers that are free on the port, ordered as rule 2 wants them, so that finding the best server is
finding the first; `_Work.update` keeps the index true whenever a `ServerStatus` changes.

A Distributor begins without servers.  Its Monitor sends it the living ones (`Adopt`) and the clients that waited when
the last Distributor died (`Restore`), then `Begin`.  To every dialog it sends `InitialMsg`; a dialog is usable when
the server's `RestartReply` echoes the incarnation (FIG. 9).  A first start and a restart differ only in what is
adopted.

`guard` says of each event why it may not happen in a state; `_ACTIONS` says what happens when it does.  `step` asks
the one and runs the other.

Steps, written by ``python -m docs.step_tables``:

"+": the event may be taken in this phase; a phase: so it may lead there; a number: it may be rejected for that reason
of the row.  A message or a timer stands for the event that brings it.

================= ============ ============== ============ ====== ====================================================
event             initialising operating      closing      closed may be rejected with
================= ============ ============== ============ ====== ====================================================
Adopt             + 1          + 1            + 1          2      1 DUPLICATE_SERVER 2 CLOSED
Restore           + 1          2              2            2      1 DUPLICATE_CLIENT 2 ALREADY_BEGUN
Begin             operating    1              1            1      1 ALREADY_BEGUN
CreationFailed    1            + 1            + 1          1      1 NOT_REQUESTED
Close             1            closing closed 2            2      1 NOT_BEGUN 2 ALREADY_CLOSING
Drain             + 1          + 1            + 1          + 1    1 UNKNOWN_SERVER
Allow             +            +              +            +
Listening         + 123        + 123          + 123        12     1 UNKNOWN_PORT 2 UNKNOWN_ADDRESS 3 ALREADY_LISTENING
ListeningFailed   + 123        + 123          + closed 123 12     1 UNKNOWN_PORT 2 UNKNOWN_ADDRESS 3 ALREADY_LISTENING
BindRequested     + 1          + 1            + 1          + 1    1 UNKNOWN_SERVER
ConnectionRequest 12           + 12           + 12         12     1 UNKNOWN_PORT 2 NOT_ACCEPTING
AcceptFailed      12           + 12           + 12         12     1 UNKNOWN_PORT 2 NOT_ACCEPTING
BacklogEmpty      12           123            + closed 12  12     1 UNKNOWN_PORT 2 NOT_ACCEPTING 3 NOT_CLOSING
PeerClosed        + 12         + 12           + closed 12  1      1 NOT_WAITING 2 NOT_HANG_UP
RestartReply      + 12         + 12           + closed 12  + 12   1 UNKNOWN_SERVER 2 UNKNOWN_DIALOG
Accepted          + 12         + 12           + closed 12  + 12   1 UNKNOWN_SERVER 2 UNKNOWN_DIALOG
Refused           + 12         + 12           + closed 12  + 12   1 UNKNOWN_SERVER 2 UNKNOWN_DIALOG
Disconnect        + 12         + 12           + closed 12  + 12   1 UNKNOWN_SERVER 2 UNKNOWN_DIALOG
NotReady          + 12         + 12           + closed 12  + 12   1 UNKNOWN_SERVER 2 UNKNOWN_DIALOG
DialogEnded       + 12         + 12           + closed 12  + 12   1 UNKNOWN_SERVER 2 UNKNOWN_DIALOG
ControlEnded      + 1          + 1            + closed 1   + 1    1 UNKNOWN_SERVER
Unsent            12           + 12           + 12         12     1 UNKNOWN_SERVER 2 NOT_THIS_REQUEST
Audited           + 12         + 12           + 12         + 12   1 UNKNOWN_SERVER 2 NO_DIALOG
StillServes       123          + 123          + 123        123    1 UNKNOWN_SERVER 2 NOT_OUTSTANDING 3 NOT_SERVING
Unfit             + 1          + 1            + 1          + 1    1 UNKNOWN_SERVER
QueueTimeout      + 1          + 1            + closed 1   1      1 NOT_WAITING
HandOffTimeout    12           + 12           + 12         12     1 UNKNOWN_SERVER 2 NOT_OUTSTANDING
RestOver          12           + 12           + 12         + 12   1 UNKNOWN_SERVER 2 NOT_RESTING
CreateDelay       1            + 1            + 1          + 1    1 TIMER_IS_STALE
DeleteDelay       + 12         + 12           + 12         12     1 UNKNOWN_SERVER 2 NOT_SPARE
AcceptRetry       1            + 1            + 1          1      1 TIMER_IS_STALE
AuditDue          1            +              +            +      1 NOT_BEGUN
================= ============ ============== ============ ====== ====================================================

(End of the steps.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from errno import ESHUTDOWN
from typing import Any, TypeAlias, assert_never

from maitred.core.messages import (
    BIND_YOURSELF,
    Accepted,
    Acknowledge,
    Address,
    Adopt,
    Allow,
    Begin,
    BindReply,
    Client,
    Close,
    Closed,
    Count,
    CreateServer,
    CreationFailed,
    Disconnect,
    Drain,
    Drained,
    DropListeners,
    FromServer,
    HandOff,
    Incarnation,
    InitialMsg,
    KeepDialog,
    KeepListener,
    ListenFailed,
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
    ToMonitor,
    ToServer,
    Unresponsive,
)
from maitred.core.numbering import closed_up
from maitred.core.transition import Reason, Rejected, Transition
from maitred.core.tree import Tree
from maitred.core.value import dataclass, replace

# ================================================================ state


class Phase(Enum):
    """Where the Distributor is in its life (FIG. 5)."""

    INITIALISING = "initialising"
    OPERATING = "operating"
    CLOSING = "closing"
    CLOSED = "closed"


class DialogPhase(Enum):
    """How far a dialog has come."""

    BINDING = "binding"
    """The server has called bind; the listening socket is not there yet."""
    OPENED = "opened"
    """InitialMsg is sent; the server does not listen, or has not answered yet."""
    READY = "ready"
    """The server has answered this Distributor: it takes hand-offs."""


@dataclass(frozen=True, slots=True)
class Dialog:
    """The state of one (server, port) channel (the patent's dialogId names it)."""

    phase: DialogPhase
    sequence: int = -1
    """Of the last RestartReply or NotReady applied: an older one, overtaken on its way, changes nothing."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One row of the server table (FIG. 6 step 96)."""

    server: ServerId
    max_clients: int
    weight: int
    dynamic: bool
    draining: bool
    """To be stopped, or unfit and about to be killed: is sent no more clients."""
    dialogs: Tree[Port, Dialog]
    owed: Tree[Port, None]
    """Dialogs in which a hand-off of an earlier Distributor may be unread: until they answer, the count may be low."""
    count: Count
    """The newest that the server has sent (numClients); sequence -1 until its first."""
    request: Client | None
    """The client whose hand-off is unanswered (sendOutstanding, reqBuf; its port is the tag)."""
    resting: bool
    """It refused a client a moment ago: spared until its rest is over, or until it sends something new."""
    rank: int
    """When it was last chosen, or joined, relative to the others: no two are equal."""
    attached: bool = True
    """Its control socket is open: some process of the server lives."""
    heard: bool = False
    """It has sent something to this Distributor."""
    known: bool = True
    """Its count is not older than this Distributor: it has answered its InitialMsg, or has been asked nothing yet."""
    full_at: int = 0
    """Its clients when its time to answer was last up and it went on serving them; 0 once it has answered."""

    @property
    def idle(self) -> bool:
        """Serves nobody and is about to serve nobody, for certain."""
        return self.count.clients == 0 and self.known and self.request is None and not self.owed

    @property
    def spare(self) -> bool:
        """A dynamic server that nobody needs: it has come up, and is idle."""
        return self.dynamic and self.heard and self.drainable

    @property
    def promised(self) -> int:
        """The seats of a dynamic server that is coming up."""
        coming = self.dynamic and self.attached and not self.draining and not self.heard
        return self.max_clients if coming else 0

    @property
    def drainable(self) -> bool:
        """Idle, and not draining yet."""
        return self.idle and not self.draining

    @property
    def drained(self) -> bool:
        """Draining, and idle: it may be stopped."""
        return self.idle and self.draining

    def answers_on(self, port: Port) -> bool:
        """It takes hand-offs on the port, and its count is exact."""
        dialog = self.dialogs.get(port, None)
        return dialog is not None and dialog.phase is DialogPhase.READY and not self.owed

    def free_on(self, port: Port) -> bool:
        """Rule 1."""
        return (
            self.answers_on(port)
            and self.count.clients < self.max_clients
            and self.request is None
            and not self.draining
            and not self.resting
        )


@dataclass(frozen=True, slots=True)
class Seat:
    """A free server as rule 2 compares it."""

    load: int
    """Its clients if it takes one more."""
    weight: int
    rank: int
    server: ServerId

    def __lt__(self, other: Seat) -> bool:
        """Rule 2, in integers: ``load / weight`` by cross-multiplication, then who was chosen longest ago."""
        mine, theirs = self.load * other.weight, other.load * self.weight
        return mine < theirs if mine != theirs else self.rank < other.rank

    @staticmethod
    def of(status: ServerStatus) -> Seat:
        """The seat that a free server offers."""
        return Seat(status.count.clients + 1, status.weight, status.rank, status.server)


@dataclass(frozen=True, slots=True)
class PortInfo:
    """One row of the port table (FIG. 6 step 102)."""

    port: Port
    listeners: Tree[Address, bool]
    """The addresses where the port is bound, and whether each is listening yet (their sockets are the fileNum)."""
    opened: bool = False
    """Some server has answered here since this Distributor began; before that, clients stay in the backlog."""
    accepting: bool = False
    """An accept is outstanding (accept_nw, FIG. 6 step 106)."""
    pausing: bool = False
    """The last accept failed, as no descriptor or memory was left; the next waits for a timer."""
    waiting: Tree[Client, None] = Tree()
    """The waiting list, in the order of arrival."""
    free: Tree[Seat, None] = Tree()
    """The servers that are free here, best first: an index, derived from the server table."""

    @property
    def listening(self) -> bool:
        """Every address of the port is bound and listened on."""
        return bool(self.listeners) and all(self.listeners.values())


class Creation(Enum):
    """Whether a dynamic server is being asked for."""

    NONE = "none"
    DELAYED = "delayed"
    REQUESTED = "requested"


@dataclass(frozen=False, slots=True)
class DistributorState:
    """All that a Distributor knows.  A step changes its own copy; nobody else changes one."""

    incarnation: Incarnation
    dynamic: int
    """How many dynamic servers the class may have; none are asked for where this is 0."""
    waiting_limit: int
    """When so many clients wait, over all ports, no accept is issued; at least 1.  A client that comes back, or that
    completes an accept which is outstanding on another port, may exceed it."""
    fixed: bool
    """The ports are configured.  Otherwise the first port that a server binds becomes the class's."""
    phase: Phase
    servers: Tree[ServerId, ServerStatus]
    ports: Tree[Port, PortInfo]
    waiting: int
    """How many wait, over all ports."""
    next_arrival: int
    next_rank: int
    creation: Creation
    drainable: Tree[ServerId, None] = Tree()
    """The servers that are idle and not draining: an index, derived from the server table, as are the next three."""
    drained: int = 0
    """How many servers are draining and idle."""
    outstanding: int = 0
    """How many servers have a request outstanding."""
    promised: int = 0
    """How many seats the dynamic servers have that are coming up."""


def initial(
    incarnation: Incarnation,
    dynamic: int,
    waiting_limit: int,
    listeners: tuple[tuple[Port, Address], ...],
    fixed: bool,
) -> DistributorState:
    """A Distributor that knows its configuration and nobody yet (FIG. 6 step 90).

    Args:
        incarnation: 1 for the first of its server class, one more at each restart.
        dynamic: how many dynamic servers the class may have, 0 or more.
        waiting_limit: how many clients may wait, at least 1.
        listeners: where to listen, as far as it is known.
        fixed: whether that is all; otherwise the first bind of a server decides.
    """
    ports: Tree[Port, PortInfo] = Tree()
    for port, address in listeners:
        info = ports.get(port, None) or PortInfo(port, Tree())
        ports = ports.set(port, replace(info, listeners=info.listeners.set(address, False)))
    return DistributorState(
        incarnation, dynamic, waiting_limit, fixed, Phase.INITIALISING, Tree(), ports, 0, 0, 0, Creation.NONE
    )


# ================================================================ timers


@dataclass(frozen=True, slots=True, order=True)
class QueueTimeout:
    """The client has waited for as long as it may."""

    client: Client


@dataclass(frozen=True, slots=True)
class HandOffTimeout:
    """The server has not answered its hand-off for too long."""

    server: ServerId


@dataclass(frozen=True, slots=True)
class RestOver:
    """A server that refused may be tried again."""

    server: ServerId


@dataclass(frozen=True, slots=True)
class CreateDelay:
    """Somebody has waited for as long as should pass before a dynamic server is started."""


@dataclass(frozen=True, slots=True)
class DeleteDelay:
    """A dynamic server has been idle for as long as it is kept."""

    server: ServerId


@dataclass(frozen=True, slots=True)
class AcceptRetry:
    """After an accept failed: try again."""

    port: Port


@dataclass(frozen=True, slots=True)
class AuditDue:
    """Compare the servers' clients with the kernel's."""


Timer: TypeAlias = QueueTimeout | HandOffTimeout | RestOver | CreateDelay | DeleteDelay | AcceptRetry | AuditDue

# ================================================================ events


@dataclass(frozen=True, slots=True)
class Listening:
    """The address is bound and listened on (FIG. 6 step 104)."""

    port: Port
    address: Address


@dataclass(frozen=True, slots=True)
class ListeningFailed:
    """The address could not be bound or listened on."""

    port: Port
    address: Address
    errno: int


@dataclass(frozen=True, slots=True)
class BindRequested:
    """A server's program has called bind; its dialog is at hand."""

    server: ServerId
    port: Port
    address: Address


@dataclass(frozen=True, slots=True)
class ConnectionRequest:
    """The outstanding accept has completed with a client (FIG. 8 step 158)."""

    port: Port
    cookie: int


@dataclass(frozen=True, slots=True)
class AcceptFailed:
    """The outstanding accept has failed: no descriptor or no memory for a connection."""

    port: Port


@dataclass(frozen=True, slots=True)
class BacklogEmpty:
    """The outstanding accept found no client.  Happens only while closing: otherwise the accept stays outstanding."""

    port: Port


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """A waiting client has closed its side, or has reset the connection."""

    client: Client
    reset: bool
    unread: bool
    """Whether there is data from the client which nobody has read."""


@dataclass(frozen=True, slots=True)
class Received:
    """A server's message arrived on a dialog (FIG. 8 steps 154 and 156)."""

    server: ServerId
    port: Port
    message: FromServer


@dataclass(frozen=True, slots=True)
class DialogEnded:
    """No process holds the server's end of the dialog any more, and all that it sent has been read."""

    server: ServerId
    port: Port


@dataclass(frozen=True, slots=True)
class ControlEnded:
    """No process holds the server's end of its control socket any more."""

    server: ServerId


@dataclass(frozen=True, slots=True)
class Unsent:
    """The kernel declined to send the hand-off: the server cannot have the client."""

    server: ServerId
    client: Client


@dataclass(frozen=True, slots=True)
class Audited:
    """The kernel no longer knows some connections that the server counts; or the server has not sent what it should."""

    server: ServerId
    gone: tuple[Client, ...]
    """None where a process of the server has died in the midst of a step: the others have to be asked, to find it."""


@dataclass(frozen=True, slots=True)
class StillServes:
    """The server has not answered its hand-off for too long, and yet has gone on serving the clients that it has."""

    server: ServerId


@dataclass(frozen=True, slots=True)
class Unfit:
    """The server is not to be kept: it has had a client for too long, or spoils what it shares."""

    server: ServerId


@dataclass(frozen=True, slots=True)
class Fired:
    """A timer's time has come (SIGNALTIMEOUT, FIG. 7 step 138)."""

    timer: Timer


Event: TypeAlias = (
    Adopt
    | Restore
    | Begin
    | CreationFailed
    | Close
    | Drain
    | Allow
    | Listening
    | ListeningFailed
    | BindRequested
    | ConnectionRequest
    | AcceptFailed
    | BacklogEmpty
    | PeerClosed
    | Received
    | DialogEnded
    | ControlEnded
    | Unsent
    | Audited
    | StillServes
    | Unfit
    | Fired
)

# ================================================================ effects


@dataclass(frozen=True, slots=True)
class Listen:
    """Bind the address and listen (FIG. 6 step 104); `Listening` or `ListeningFailed` follows."""

    port: Port
    address: Address


@dataclass(frozen=True, slots=True)
class Accept:
    """Issue an accept on the port (accept_nw); `ConnectionRequest` or `AcceptFailed` follows, in its time."""

    port: Port
    wait: bool
    """Whether to wait for a client; otherwise `BacklogEmpty` follows at once where there is none."""


@dataclass(frozen=True, slots=True)
class CloseListeners:
    """Close the port's listening sockets."""

    port: Port


@dataclass(frozen=True, slots=True)
class Send:
    """Send on a dialog; with a `HandOff` goes a duplicate of the client's connection."""

    server: ServerId
    port: Port
    message: ToServer


@dataclass(frozen=True, slots=True)
class SendControl:
    """Answer on a server's control socket."""

    server: ServerId
    message: BindReply | Acknowledge


@dataclass(frozen=True, slots=True)
class SendMonitor:
    """Send to the Monitor; with `Store`, `KeepDialog` and `KeepListener` goes a duplicate of the descriptor."""

    message: ToMonitor


@dataclass(frozen=True, slots=True)
class Watch:
    """The client waits: report when it closes or resets."""

    client: Client


@dataclass(frozen=True, slots=True)
class CloseCopy:
    """The server has the client: close this process's copy of the connection, leaving the connection open."""

    client: Client


@dataclass(frozen=True, slots=True)
class ShutDown:
    """The client is dropped: shut the connection down, then close this process's copy."""

    client: Client


@dataclass(frozen=True, slots=True)
class CloseDialog:
    """The dialog or control socket has ended: close this process's end."""

    server: ServerId
    port: Port
    """0 for the control socket."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Start the timer; one that already runs is restarted."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Audit:
    """Compare this server's count with the kernel; `Audited` follows if the kernel no longer knows connections that it
    counts, or if it has not sent something that it should have.
    """

    server: ServerId


Effect: TypeAlias = (
    Listen
    | Accept
    | CloseListeners
    | Send
    | SendControl
    | SendMonitor
    | Watch
    | CloseCopy
    | ShutDown
    | CloseDialog
    | SetTimer
    | Audit
)

Step: TypeAlias = Transition[DistributorState, Effect]
FORGET_LIMIT = 1_000
"""An audit names at most so many connections in one message; the next audit names the rest."""
CONTROL: Port = 0
"""Stands for the control socket where an effect names a dialog."""

# ================================================================ guards


def guard(state: DistributorState, event: Event) -> Reason | None:
    """Why the event may not happen in the state, or None where it may."""
    match event:
        case Adopt():
            if state.phase is Phase.CLOSED:
                return Reason.CLOSED
            return Reason.DUPLICATE_SERVER if event.server in state.servers else None
        case Restore():
            return _guard_restore(state, event.client)
        case Begin():
            return None if state.phase is Phase.INITIALISING else Reason.ALREADY_BEGUN
        case CreationFailed():
            return None if state.creation is Creation.REQUESTED else Reason.NOT_REQUESTED
        case Close():
            return _guard_close(state)
        case Listening() | ListeningFailed():
            return _guard_listening(state, event)
        case Allow():
            return None
        case BindRequested() | ControlEnded() | Unfit() | Drain():
            return None if event.server in state.servers else Reason.UNKNOWN_SERVER
        case ConnectionRequest() | AcceptFailed() | BacklogEmpty():
            return _guard_accept(state, event)
        case PeerClosed():
            if not _waits(state, event.client):
                return Reason.NOT_WAITING
            return None if event.reset or not event.unread else Reason.NOT_HANG_UP
        case Received() | DialogEnded():
            status = state.servers.get(event.server, None)
            if status is None:
                return Reason.UNKNOWN_SERVER
            return None if event.port in status.dialogs else Reason.UNKNOWN_DIALOG
        case Unsent():
            status = state.servers.get(event.server, None)
            if status is None:
                return Reason.UNKNOWN_SERVER
            return None if status.request == event.client else Reason.NOT_THIS_REQUEST
        case Audited():
            status = state.servers.get(event.server, None)
            if status is None:
                return Reason.UNKNOWN_SERVER
            return None if _open_port(status) is not None else Reason.NO_DIALOG
        case StillServes():
            status = state.servers.get(event.server, None)
            if status is None:
                return Reason.UNKNOWN_SERVER
            if not status.count.clients:
                return Reason.NOT_SERVING
            return None if status.request is not None else Reason.NOT_OUTSTANDING
        case Fired():
            return _guard_timer(state, event.timer)
        case _:
            assert_never(event)


def _guard_restore(state: DistributorState, client: Client) -> Reason | None:
    if state.phase is not Phase.INITIALISING:
        return Reason.ALREADY_BEGUN
    return Reason.DUPLICATE_CLIENT if _waits(state, client) else None


def _guard_close(state: DistributorState) -> Reason | None:
    if state.phase is Phase.INITIALISING:
        return Reason.NOT_BEGUN
    return None if state.phase is Phase.OPERATING else Reason.ALREADY_CLOSING


def _guard_listening(state: DistributorState, event: Listening | ListeningFailed) -> Reason | None:
    info = state.ports.get(event.port, None)
    if info is None:
        return Reason.UNKNOWN_PORT
    up = info.listeners.get(event.address, None)
    if up is None:
        return Reason.UNKNOWN_ADDRESS
    return Reason.ALREADY_LISTENING if up else None


def _guard_accept(state: DistributorState, event: ConnectionRequest | AcceptFailed | BacklogEmpty) -> Reason | None:
    """ConnectionRequest's check of the port (FIG. 8 step 160), and its like."""
    info = state.ports.get(event.port, None)
    if info is None:
        return Reason.UNKNOWN_PORT
    if not info.accepting:
        return Reason.NOT_ACCEPTING
    if isinstance(event, BacklogEmpty) and state.phase is not Phase.CLOSING:
        return Reason.NOT_CLOSING
    return None


def _guard_timer(state: DistributorState, timer: Timer) -> Reason | None:
    match timer:
        case QueueTimeout():
            return None if _waits(state, timer.client) else Reason.NOT_WAITING
        case CreateDelay():
            return None if state.creation is Creation.DELAYED else Reason.TIMER_IS_STALE
        case AcceptRetry():
            info = state.ports.get(timer.port, None)
            return None if info and info.pausing else Reason.TIMER_IS_STALE
        case AuditDue():
            return Reason.NOT_BEGUN if state.phase is Phase.INITIALISING else None
        case HandOffTimeout() | RestOver() | DeleteDelay():
            status = state.servers.get(timer.server, None)
            if status is None:
                return Reason.UNKNOWN_SERVER
            if isinstance(timer, HandOffTimeout):
                return None if status.request is not None else Reason.NOT_OUTSTANDING
            if isinstance(timer, RestOver):
                return None if status.resting else Reason.NOT_RESTING
            return None if status.spare else Reason.NOT_SPARE
        case _:
            assert_never(timer)


def enabled(state: DistributorState) -> Iterator[Fired]:
    """What may happen by the passing of time alone: every timer whose guard holds."""
    timers: list[Timer] = [CreateDelay(), AuditDue()]
    for port, info in state.ports.items():
        timers.append(AcceptRetry(port))
        timers.extend(QueueTimeout(client) for client in info.waiting)
    for server in state.servers:
        timers.extend((HandOffTimeout(server), RestOver(server), DeleteDelay(server)))
    return (Fired(timer) for timer in timers if _guard_timer(state, timer) is None)


def _waits(state: DistributorState, client: Client) -> bool:
    info = state.ports.get(client.port, None)
    return info is not None and client in info.waiting


def _open_port(status: ServerStatus) -> Port | None:
    """A dialog that carries an audit's InitialMsg: the first that is ready, else the first that is open."""
    for phase in (DialogPhase.READY, DialogPhase.OPENED):
        for port, dialog in status.dialogs.items():
            if dialog.phase is phase:
                return port
    return None


# ================================================================ the step


def step(state: DistributorState, event: Event) -> Step | Rejected:
    """Let the event happen: the new state and the effects to perform, in order, before the next event is read."""
    reason = guard(state, event)
    if reason is not None:
        return Rejected(reason)
    work = _Work(state)
    _ACTIONS[type(event)](work, event)
    work.settle()
    return Transition(work.state, tuple(work.effects))


class _Work:
    """A step in the making: the state so far and the effects so far."""

    def __init__(self, state: DistributorState) -> None:
        self.state = replace(state)
        self.effects: list[Effect] = []

    # ------------------------------------------------ the tables

    def update(self, new: ServerStatus | None, old: ServerStatus | None) -> None:
        """updateServerStatus: put a row in, change it or take it out, and keep the ports' indexes true (rule 1)."""
        if new is not None:
            self.state.servers = self.state.servers.set(new.server, new)
        else:
            assert old is not None, "a row is put in, changed or taken out"
            self.state.servers = self.state.servers.remove(old.server)
        self.summarise(new, old)
        ports = {*(old.dialogs if old else ()), *(new.dialogs if new else ())}
        for port in ports:
            before = Seat.of(old) if old and old.free_on(port) else None
            after = Seat.of(new) if new and new.free_on(port) else None
            info = self.state.ports[port]
            opened = info.opened or bool(new and new.answers_on(port))
            if before != after or opened != info.opened:
                free = info.free.remove(before) if before else info.free
                free = free.set(after, None) if after else free
                self.put(replace(info, free=free, opened=opened))
        if new and new.spare and not (old and old.spare):
            self.effects.append(SetTimer(DeleteDelay(new.server)))
        if new and new.drained and not (old and old.drained):
            self.report(Drained(new.server))

    def summarise(self, new: ServerStatus | None, old: ServerStatus | None) -> None:
        """Keep what `finish` asks of the whole table, so that it need not walk it."""
        self.state.outstanding += bool(new and new.request) - bool(old and old.request)
        self.state.drained += bool(new and new.drained) - bool(old and old.drained)
        self.state.promised += (new.promised if new else 0) - (old.promised if old else 0)
        if old and old.drainable and not (new and new.drainable):
            self.state.drainable = self.state.drainable.remove(old.server)
        if new and new.drainable and not (old and old.drainable):
            self.state.drainable = self.state.drainable.set(new.server, None)

    def put(self, info: PortInfo) -> None:
        self.state.ports = self.state.ports.set(info.port, info)

    def report(self, message: ToMonitor) -> None:
        self.effects.append(SendMonitor(message))

    # ------------------------------------------------ clients

    def place(self, client: Client) -> None:
        """Hand the client to the best server, or let it wait (FIG. 7 steps 124 to 130)."""
        if self.state.phase is not Phase.INITIALISING and self.state.ports[client.port].free:
            self.hand_off(client)
        else:
            self.report(Store(client))
            self.wait(client)

    def wait(self, client: Client) -> None:
        """Put the client on the waiting list (FIG. 8 step 166)."""
        info = self.state.ports[client.port]
        self.put(replace(info, waiting=info.waiting.set(client, None)))
        self.state.waiting = self.state.waiting + 1
        self.effects += [Watch(client), SetTimer(QueueTimeout(client))]

    def leave(self, client: Client) -> None:
        """Take the client off the waiting list and out of the store."""
        info = self.state.ports[client.port]
        self.put(replace(info, waiting=info.waiting.remove(client)))
        self.state.waiting = self.state.waiting - 1
        self.report(Release(client))

    def hand_off(self, client: Client) -> None:
        """findBestServer, then SERVERCLASS_DIALOG_SEND (FIG. 8 steps 162 and 172)."""
        best = self.state.ports[client.port].free.first()
        assert best is not None, "hand_off is called where a server is free"
        status = self.state.servers[best[0].server]
        rank = self.state.next_rank
        self.state.next_rank = rank + 1
        self.update(replace(status, request=client, rank=rank), status)
        self.effects += [
            Send(status.server, client.port, HandOff(client)),
            SetTimer(HandOffTimeout(status.server)),
        ]

    def take_back(self, status: ServerStatus, *, resting: bool) -> ServerStatus:
        """The outstanding request is certain not to be with the server: place its client again (rule 4)."""
        client = status.request
        assert client is not None, "take_back is called where a request is outstanding"
        new = replace(status, request=None, resting=resting, full_at=0)
        self.update(new, status)
        if resting:
            self.effects.append(SetTimer(RestOver(status.server)))
        self.place(client)
        return self.state.servers[status.server]

    # ------------------------------------------------ what follows from every step

    def settle(self) -> None:
        """Restore the rules that hold after each step: 9 (who waits is seated), 8 (accepting), closing."""
        if self.state.phase in (Phase.OPERATING, Phase.CLOSING):
            while (client := self.next_to_seat()) is not None:
                self.leave(client)
                self.hand_off(client)
            self.want_server()
            for info in self.state.ports.values():
                self.accept(info)
        if self.state.phase is Phase.CLOSING:
            self.finish()

    def next_to_seat(self) -> Client | None:
        """The earliest of those who wait on a port where a server is free (rule 6)."""
        heads = (info.waiting.first() for info in self.state.ports.values() if info.free)
        return min((head[0] for head in heads if head is not None), default=None)

    def want_server(self) -> None:
        """While more wait than will soon be seated, ask for dynamic servers, each after a delay (FIG. 8 step 162)."""
        wanted = self.state.waiting > self.state.promised and self.state.dynamic and self.state.phase is Phase.OPERATING
        if wanted and self.state.creation is Creation.NONE:
            self.state.creation = Creation.DELAYED
            self.effects.append(SetTimer(CreateDelay()))

    def accept(self, info: PortInfo) -> None:
        """Issue an accept where none is outstanding and a client would be welcome (rule 8)."""
        if (
            (info.opened or self.state.phase is Phase.CLOSING)
            and info.listening
            and not info.accepting
            and not info.pausing
            and self.state.waiting < self.state.waiting_limit
        ):
            self.put(replace(info, accepting=True))
            self.effects.append(Accept(info.port, wait=self.state.phase is Phase.OPERATING))

    def finish(self) -> None:
        """While closing: let idle servers go, and end when nothing is left to do."""
        if self.state.waiting or self.state.outstanding or any(info.listeners for info in self.state.ports.values()):
            return
        for status in _by_rank(self.state.servers[server] for server in self.state.drainable):
            self.drain(status)
        if self.state.drained == len(self.state.servers):
            self.state.phase = Phase.CLOSED
            self.report(Closed())

    def drain(self, status: ServerStatus) -> None:
        """Send the server no more clients; report it to the Monitor once it is idle."""
        self.update(replace(status, draining=True), status)


# ================================================================ initialisation and restart (FIGS. 6 and 9)


def _adopt(work: _Work, event: Adopt) -> None:
    dialogs: Tree[Port, Dialog] = Tree()
    for port in event.dialogs:
        dialogs = dialogs.set(port, Dialog(DialogPhase.OPENED))
        work.effects.append(Send(event.server, port, InitialMsg(work.state.incarnation)))
        if port not in work.state.ports:
            work.put(PortInfo(port, Tree()))
    status = ServerStatus(
        server=event.server,
        max_clients=event.max_clients,
        weight=event.weight,
        dynamic=event.dynamic,
        draining=event.draining,
        dialogs=dialogs,
        owed=Tree.of((port, None) for port in event.owed),
        count=Count(0, -1 if event.dialogs else 0),  # a server without dialogs has yet to issue its first count
        request=None,
        resting=False,
        rank=work.state.next_rank,
        known=not event.dialogs,
    )
    work.state.next_rank += 1
    work.update(status, None)
    if event.dynamic and work.state.creation is Creation.REQUESTED:
        work.state.creation = Creation.NONE


def _restore(work: _Work, event: Restore) -> None:
    work.state.next_arrival = max(work.state.next_arrival, event.client.arrival + 1)
    if event.client.port not in work.state.ports:  # its listening sockets were closed for a stop already
        work.put(PortInfo(event.client.port, Tree()))
    work.wait(event.client)


def _begin(work: _Work, event: Begin) -> None:
    work.state.phase = Phase.OPERATING
    for info in work.state.ports.values():
        work.effects += [Listen(info.port, address) for address, up in info.listeners.items() if not up]
    work.effects.append(SetTimer(AuditDue()))


def _listening(work: _Work, event: Listening) -> None:
    info = work.state.ports[event.port]
    info = replace(info, listeners=info.listeners.set(event.address, True))
    work.put(info)
    work.report(KeepListener(event.port, event.address))
    if info.listening:
        for status in _binders(work, event.port):
            _open_dialog(work, status, event.port)


def _listening_failed(work: _Work, event: ListeningFailed) -> None:
    info = work.state.ports[event.port]
    info = replace(info, listeners=info.listeners.remove(event.address))
    work.put(info)
    if work.state.fixed:
        work.report(ListenFailed(event.port, event.address, event.errno))
    _decline_binders(work, event.port, event.errno)
    used = info.waiting or any(event.port in status.dialogs for status in work.state.servers.values())
    if not work.state.fixed and not info.listeners and not used:
        work.state.ports = work.state.ports.remove(event.port)


def _binders(work: _Work, port: Port) -> list[ServerStatus]:
    """The servers whose bind awaits the port's listening sockets."""
    found = ((status, status.dialogs.get(port, None)) for status in _by_rank(work.state.servers.values()))
    return [status for status, dialog in found if dialog and dialog.phase is DialogPhase.BINDING]


def _by_rank(rows: Iterable[ServerStatus]) -> list[ServerStatus]:
    """The rows in an order that does not depend on how the servers are numbered."""
    return sorted(rows, key=lambda status: status.rank)


def _decline_binders(work: _Work, port: Port, errno: int) -> None:
    for status in _binders(work, port):
        new = replace(status, dialogs=status.dialogs.remove(port))
        work.update(new, status)
        _decline(work, status.server, port, errno)
        _forget_if_gone(work, new)


def _decline(work: _Work, server: ServerId, port: Port, errno: int) -> None:
    work.effects += [SendControl(server, BindReply(port, errno)), CloseDialog(server, port)]


def _bind_requested(work: _Work, event: BindRequested) -> None:
    status = work.state.servers[event.server]
    info = work.state.ports.get(event.port, None)
    known = status.dialogs.get(event.port, None)
    closed = info is not None and work.state.fixed and not info.listeners
    closed = closed or work.state.phase in (Phase.CLOSING, Phase.CLOSED)
    if known is None and closed:
        _decline(work, event.server, event.port, ESHUTDOWN)
        return
    if info is None and (work.state.fixed or work.state.ports):
        _decline(work, event.server, event.port, BIND_YOURSELF)
        return
    info = info or PortInfo(event.port, Tree())
    if not work.state.fixed and not closed and event.address not in info.listeners:
        info = replace(info, listeners=info.listeners.set(event.address, False))
        if work.state.phase is not Phase.INITIALISING:  # else Begin listens
            work.effects.append(Listen(event.port, event.address))
    work.put(info)
    if known is not None:
        # Asked again: what is open stays open, in whatever phase; what is binding is answered in its time.
        if known.phase is not DialogPhase.BINDING:
            work.effects.append(SendControl(event.server, BindReply(event.port, 0)))
    elif info.listening:
        _open_dialog(work, status, event.port)
    else:
        binding = Dialog(DialogPhase.BINDING)
        work.update(replace(status, dialogs=status.dialogs.set(event.port, binding)), status)


def _open_dialog(work: _Work, status: ServerStatus, port: Port) -> None:
    """SERVERCLASS_DIALOG_BEGIN with a server that runs (FIG. 6 step 98)."""
    opened = Dialog(DialogPhase.OPENED)
    work.update(replace(status, dialogs=status.dialogs.set(port, opened)), status)
    work.report(KeepDialog(status.server, port))
    work.effects += [
        SendControl(status.server, BindReply(port, 0)),
        Send(status.server, port, InitialMsg(work.state.incarnation)),
    ]


# ================================================================ operation (FIGS. 7 and 8)


def _connection_request(work: _Work, event: ConnectionRequest) -> None:
    client = Client(work.state.next_arrival, event.cookie, event.port)
    work.state.next_arrival = client.arrival + 1
    work.put(replace(work.state.ports[event.port], accepting=False))
    work.place(client)


def _accept_failed(work: _Work, event: AcceptFailed) -> None:
    work.put(replace(work.state.ports[event.port], accepting=False, pausing=True))
    work.effects.append(SetTimer(AcceptRetry(event.port)))


def _peer_closed(work: _Work, event: PeerClosed) -> None:
    work.effects.append(ShutDown(event.client))
    work.leave(event.client)


def _received(work: _Work, event: Received) -> None:
    """updateServerStatus, then what the message itself asks for (FIG. 8 steps 154 and 156)."""
    status = work.state.servers[event.server]
    message = event.message
    if message.count.sequence > status.count.sequence:  # rule 5
        new = replace(status, count=message.count, heard=True)
        work.update(new, status)
        status = new
    match message:
        case RestartReply():
            _answered(work, status, event.port, message, DialogPhase.READY)
        case NotReady():
            _answered(work, status, event.port, message, DialogPhase.OPENED)
            work.effects.append(SendControl(event.server, Acknowledge(message.count.sequence)))
        case Accepted():
            if status.request == message.client:
                work.update(replace(status, request=None, full_at=0), status)
                work.effects.append(CloseCopy(message.client))
        case Refused():
            if status.request == message.client:
                work.take_back(status, resting=True)
        case Disconnect():
            if status.resting:
                work.update(replace(status, resting=False), status)
            work.effects.append(SendControl(event.server, Acknowledge(message.count.sequence)))
        case _:
            assert_never(message)


def _answered(
    work: _Work, status: ServerStatus, port: Port, message: RestartReply | NotReady, phase: DialogPhase
) -> None:
    """The server reports whether it listens; if it echoes this incarnation, it has read all that was sent before."""
    dialog = status.dialogs[port]
    echoes = message.incarnation == work.state.incarnation
    new = replace(status, owed=status.owed.remove(port), known=True) if echoes else status
    ready = phase is DialogPhase.READY
    newer = message.count.sequence > dialog.sequence
    if newer and (echoes or not ready) and dialog.phase is not DialogPhase.BINDING:
        new = replace(new, dialogs=new.dialogs.set(port, Dialog(phase, message.count.sequence)))
        if ready and dialog.phase is not phase:
            work.report(ServerReady(status.server, port))
        elif echoes and not ready and not (status.request and status.request.port == port):
            # else the echo is of an InitialMsg before the hand-off, which may still be unread
            work.report(ServerNotReady(status.server, port))
        elif not message.incarnation:
            work.effects.append(Send(status.server, port, InitialMsg(work.state.incarnation)))
    work.update(new, status)


def _dialog_ended(work: _Work, event: DialogEnded) -> None:
    status = work.state.servers[event.server]
    new = replace(status, dialogs=status.dialogs.remove(event.port), owed=status.owed.remove(event.port))
    work.update(new, status)
    if new.request is not None and new.request.port == event.port:
        new = work.take_back(new, resting=False)
    work.effects.append(CloseDialog(event.server, event.port))
    _forget_if_gone(work, new)


def _control_ended(work: _Work, event: ControlEnded) -> None:
    status = work.state.servers[event.server]
    new = replace(status, attached=False)
    work.update(new, status)
    work.effects.append(CloseDialog(event.server, CONTROL))
    _forget_if_gone(work, new)


def _forget_if_gone(work: _Work, status: ServerStatus) -> None:
    """A server without control socket and dialogs has no process left."""
    if not status.attached and not status.dialogs:
        work.update(None, status)


def _unsent(work: _Work, event: Unsent) -> None:
    work.take_back(work.state.servers[event.server], resting=True)


def _audited(work: _Work, event: Audited) -> None:
    port = _open_port(work.state.servers[event.server])
    assert port is not None, "guarded"
    work.effects.append(Send(event.server, port, InitialMsg(work.state.incarnation, event.gone[:FORGET_LIMIT])))


def _still_serves(work: _Work, event: StillServes) -> None:
    """Spare a server that is full by its own measure: it takes nobody, until one of its clients has left.

    One that has room since then, and has not answered, hangs in what matters here.  Either way rule 4 keeps the client
    where it is.
    """
    status = work.state.servers[event.server]
    if status.count.clients < status.full_at:
        work.report(Unresponsive(event.server))
    else:
        work.update(replace(status, full_at=status.count.clients), status)
        work.effects.append(SetTimer(HandOffTimeout(event.server)))


def _unfit(work: _Work, event: Unfit) -> None:
    """Quarantine: it is sent nobody, even if the Monitor takes its time to kill it."""
    work.report(Unresponsive(event.server))
    work.drain(work.state.servers[event.server])


# ================================================================ dynamic servers, and the end


def _creation_failed(work: _Work, event: CreationFailed) -> None:
    work.state.creation = Creation.NONE


def _drain(work: _Work, event: Drain) -> None:
    work.drain(work.state.servers[event.server])


def _allow(work: _Work, event: Allow) -> None:
    work.state.dynamic = event.dynamic


def _close(work: _Work, event: Close) -> None:
    """Stop waiting for new clients; take those in the backlog (a graceful stop).

    A socket that is still being opened may be a duplicate of a dead Distributor's, with clients in its backlog: it is
    closed like the others, once it listens and nobody is left in it.
    """
    work.state.phase = Phase.CLOSING
    for info in work.state.ports.values():
        work.put(replace(info, accepting=False))


def _backlog_empty(work: _Work, event: BacklogEmpty) -> None:
    work.put(replace(work.state.ports[event.port], accepting=False))
    _close_listeners(work, event.port)


def _close_listeners(work: _Work, port: Port) -> None:
    work.put(replace(work.state.ports[port], listeners=Tree()))
    work.effects.append(CloseListeners(port))
    work.report(DropListeners(port))


# ================================================================ timers


def _fired(work: _Work, event: Fired) -> None:
    timer = event.timer
    match timer:
        case QueueTimeout():
            work.effects.append(ShutDown(timer.client))
            work.leave(timer.client)
        case HandOffTimeout():
            work.report(Unresponsive(timer.server))
        case RestOver():
            status = work.state.servers[timer.server]
            work.update(replace(status, resting=False), status)
        case CreateDelay():
            wanted = work.state.waiting > work.state.promised
            work.state.creation = Creation.REQUESTED if wanted else Creation.NONE
            if wanted:
                work.report(CreateServer())
        case DeleteDelay():
            work.drain(work.state.servers[timer.server])
        case AcceptRetry():
            work.put(replace(work.state.ports[timer.port], pausing=False))
        case AuditDue():
            work.effects += [Audit(status.server) for status in _by_rank(work.state.servers.values())]
            work.effects.append(SetTimer(AuditDue()))
        case _:
            assert_never(timer)


_ACTIONS: dict[type[Any], Callable[[_Work, Any], None]] = {  # Any: each action takes its own event type
    Adopt: _adopt,
    Restore: _restore,
    Begin: _begin,
    CreationFailed: _creation_failed,
    Close: _close,
    Drain: _drain,
    Allow: _allow,
    Listening: _listening,
    ListeningFailed: _listening_failed,
    BindRequested: _bind_requested,
    ConnectionRequest: _connection_request,
    AcceptFailed: _accept_failed,
    BacklogEmpty: _backlog_empty,
    PeerClosed: _peer_closed,
    Received: _received,
    DialogEnded: _dialog_ended,
    ControlEnded: _control_ended,
    Unsent: _unsent,
    Audited: _audited,
    StillServes: _still_serves,
    Unfit: _unfit,
    Fired: _fired,
}


def canonical(state: DistributorState) -> DistributorState:
    """The same state with ranks renumbered from 0 in their order, and the next rank with them.

    Rule 2 only compares ranks, and takes the next, so this state does what ``state`` does; without it, a state space in
    which servers are chosen for ever would be infinite.  The shell has no need of it.
    """
    rows = state.servers.values()
    ranks = {status.rank for status in rows}
    ranks.update(seat.rank for info in state.ports.values() for seat in info.free)
    new = closed_up(ranks, state.next_rank)
    if all(old == rank for old, rank in new.items()):
        return state
    ports = (
        replace(info, free=Tree.of((replace(seat, rank=new[seat.rank]), None) for seat in info.free))
        for info in state.ports.values()
    )
    return replace(
        state,
        servers=Tree.of((number, replace(status, rank=new[status.rank])) for number, status in state.servers.items()),
        ports=Tree.of((info.port, info) for info in ports),
        next_rank=new[state.next_rank],
    )
