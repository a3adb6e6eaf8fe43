"""Every message of the protocol between the processes, and the values that messages carry.

Four kinds of channel, each first in, first out (``AF_UNIX SOCK_SEQPACKET`` pairs in the shell):

========================  =================================  ==========================================
channel                   one per                            carries
========================  =================================  ==========================================
dialog, towards server    (server, port)                     `InitialMsg`, `HandOff` and nothing else: it is
                                                             what the unmodified program polls as its listener
dialog, from server       (server, port)                     `RestartReply`, `Accepted`, `Refused`,
                                                             `Disconnect`, `NotReady`
control                   server                             `BindRequest`; back: `BindReply`, `Acknowledge`
channel of the Monitor    Distributor                        `ToMonitor`; back: `ToDistributor`
========================  =================================  ==========================================

A connection itself travels beside `HandOff`, `Store` and `Restore` as a descriptor (``SCM_RIGHTS``); in this
file it is known by its `Client`.
"""

from __future__ import annotations

from typing import TypeAlias

from maitred.core.value import dataclass

ServerId: TypeAlias = int
"""One incarnation of one Application Server; never used twice (the patent's serverId)."""
Port: TypeAlias = int
"""A TCP port number, 1 to 65535."""
Address: TypeAlias = str
"""Where a port is bound, as ``host:port``; IPv6 hosts in brackets."""
Element: TypeAlias = int
"""A processing element: its place in the configuration's list."""
Incarnation: TypeAlias = int
"""Which Distributor of its server class speaks: 1 for the first, one more at each restart."""


@dataclass(frozen=True, slots=True, order=True)
class Client:
    """A client's connection, from its acceptance to its end."""

    arrival: int
    """The place in the order of acceptance; what "first come" means.  Unique among those of one Distributor; the next
    goes on after those who wait."""
    cookie: int
    """The kernel's name of the connection (``SO_COOKIE``); unique while the machine is up."""
    port: Port
    """The port that the client connected to."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many clients a server serves, by its own count: absolute, so that a lost message does no harm."""

    clients: int
    """How many connections the server holds (the patent's numClients)."""
    sequence: int
    """Rises with every count that a server issues.  Threads may send out of order: the highest wins."""


# ---------------------------------------------------------------- dialog, towards the server


@dataclass(frozen=True, slots=True)
class InitialMsg:
    """The Distributor opens, or after its restart reopens, a dialog.  Source: FIG. 9, "InitialMsg"."""

    incarnation: Incarnation
    """Echoed by the reply, which so proves that everything sent before on this dialog has been read."""
    forget: tuple[Client, ...] = ()
    """Connections that the kernel no longer knows: the audit asks the server not to count them."""


@dataclass(frozen=True, slots=True)
class HandOff:
    """One client's connection, for the server's next ``accept``.  Source: FIG. 8 step 172."""

    client: Client


# ---------------------------------------------------------------- dialog, from the server


@dataclass(frozen=True, slots=True)
class RestartReply:
    """The server listens on the port and has read all up to the InitialMsg.  Source: FIG. 9, "RestartReply"."""

    incarnation: Incarnation
    count: Count


@dataclass(frozen=True, slots=True)
class Accepted:
    """The program's ``accept`` has the client: the second phase of the accept.  Source: "The Application Servers"."""

    client: Client
    count: Count


@dataclass(frozen=True, slots=True)
class Refused:
    """The server does not have the client: its descriptor was lost, or the listener is closed."""

    client: Client
    count: Count


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The last reference to the client's connection has closed.  Source: FIG. 7 step 134."""

    client: Client
    count: Count


@dataclass(frozen=True, slots=True)
class NotReady:
    """The program does not listen on the port; everything sent before has been read and refused."""

    incarnation: Incarnation
    """That of the InitialMsg which this answers, or 0 where the program has closed its listener unasked."""
    count: Count


ToServer: TypeAlias = InitialMsg | HandOff
FromServer: TypeAlias = RestartReply | Accepted | Refused | Disconnect | NotReady

# ---------------------------------------------------------------- control


@dataclass(frozen=True, slots=True)
class BindRequest:
    """The program has called ``bind``: may it be served from this port?  Carries the Distributor's end of a dialog."""

    port: Port
    address: Address


BIND_YOURSELF = -1
"""In a `BindReply`: the port is not one of this server class, let the program have it."""


@dataclass(frozen=True, slots=True)
class BindReply:
    """The answer to a `BindRequest`."""

    port: Port
    errno: int
    """0: listen through the dialog.  `BIND_YOURSELF`: not a port of the server class.  Else why it failed."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The Distributor has read a `Disconnect` or a `NotReady`; the server discards this."""

    sequence: int


ControlToServer: TypeAlias = BindReply | Acknowledge
ControlFromServer: TypeAlias = BindRequest

# ---------------------------------------------------------------- Monitor to Distributor


@dataclass(frozen=True, slots=True)
class Adopt:
    """A server to count in: just started, or living since before the Distributor's restart."""

    server: ServerId
    max_clients: int
    weight: int
    """Of its processing element: a server of weight 2 takes two clients where one of weight 1 takes one."""
    dynamic: bool
    draining: bool
    dialogs: tuple[Port, ...]
    """The dialogs that the Monitor keeps for it (none of a new server)."""
    owed: tuple[Port, ...]
    """Those of them that an earlier Distributor may have used: all must answer before the count is exact."""


@dataclass(frozen=True, slots=True)
class Restore:
    """A client that was waiting when the last Distributor died."""

    client: Client


@dataclass(frozen=True, slots=True)
class Begin:
    """Every `Adopt` and `Restore` has been sent: listen, and seat clients."""


@dataclass(frozen=True, slots=True)
class CreationFailed:
    """SERVERCLASS_DIALOG_BEGIN failed: no dynamic server can be started now (FIG. 8 step 164)."""


@dataclass(frozen=True, slots=True)
class Close:
    """End the operation phase: take what the backlog holds, stop listening, seat who waits (FIG. 7 step 140)."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Send this server no more clients, and report it once it serves none: its place is given up or filled again."""

    server: ServerId


@dataclass(frozen=True, slots=True)
class Allow:
    """The class may have so many dynamic servers from now on."""

    dynamic: int


ToDistributor: TypeAlias = Adopt | Restore | Begin | CreationFailed | Close | Drain | Allow

# ---------------------------------------------------------------- Distributor to Monitor


@dataclass(frozen=True, slots=True)
class Store:
    """Keep this waiting client (a duplicate of its connection), should I die."""

    client: Client


@dataclass(frozen=True, slots=True)
class Release:
    """The client waits no longer: drop the duplicate.  Sent before the client is."""

    client: Client


@dataclass(frozen=True, slots=True)
class KeepDialog:
    """Keep a duplicate of my end of this dialog, should I die."""

    server: ServerId
    port: Port


@dataclass(frozen=True, slots=True)
class KeepListener:
    """Keep a duplicate of this listening socket, should I die."""

    port: Port
    address: Address


@dataclass(frozen=True, slots=True)
class DropListeners:
    """The port is closed for good: drop the duplicates of its listening sockets."""

    port: Port


@dataclass(frozen=True, slots=True)
class ListenFailed:
    """A configured address cannot be listened on."""

    port: Port
    address: Address
    errno: int


@dataclass(frozen=True, slots=True)
class CreateServer:
    """SERVERCLASS_DIALOG_BEGIN: no server qualifies, start a dynamic one (FIG. 8 step 162)."""


@dataclass(frozen=True, slots=True)
class ServerReady:
    """The server answered on this port: from now on it may be handed clients there."""

    server: ServerId
    port: Port


@dataclass(frozen=True, slots=True)
class ServerNotReady:
    """The server closed its listener on this port, and nothing it was sent there is unread."""

    server: ServerId
    port: Port


@dataclass(frozen=True, slots=True)
class Drained:
    """The server is sent no more clients, has answered its last request and serves none: it may be stopped."""

    server: ServerId


@dataclass(frozen=True, slots=True)
class Unresponsive:
    """The server has not answered a hand-off for too long."""

    server: ServerId


@dataclass(frozen=True, slots=True)
class Closed:
    """The operation phase is over: nothing listens, nobody waits, every server has been drained."""


ToMonitor: TypeAlias = (
    Store
    | Release
    | KeepDialog
    | KeepListener
    | DropListeners
    | ListenFailed
    | CreateServer
    | ServerReady
    | ServerNotReady
    | Drained
    | Unresponsive
    | Closed
)
