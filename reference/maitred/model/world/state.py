"""One state of everything: the machines, the messages on their way, the kernel, the clients, what may still happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from typing import Final, NamedTuple

from maitred.core import distributor, server
from maitred.core.distributor import DistributorState
from maitred.core.messages import (
    Accepted,
    BindReply,
    BindRequest,
    Client,
    Element,
    FromServer,
    HandOff,
    Port,
    Refused,
    Release,
    ServerId,
    Store,
    ToDistributor,
    ToMonitor,
    ToServer,
    Unresponsive,
)
from maitred.core.monitor import MonitorState
from maitred.model.world.bounds import Budget

ADDRESS: Final = "*:"
CLASS: Final = 0
"""The model has one server class: classes share nothing but the Monitor's processing elements."""


class Fate(Enum):
    """What has become of a client."""

    __hash__ = (
        object.__hash__
    )  # each member is one object; the hash of its name, which Enum gives, costs a tenth of all

    ABSENT = "has not come yet"
    BACKLOG = "in the kernel's backlog"
    IN = "accepted"
    LEFT = "left after being served"
    DROPPED = "dropped by the Distributor: hung up, or waited too long"
    STOPPED = "let go when the system stopped"
    LOST_ALONE = "lost: the Distributor alone held it when it died"
    LOST_SENT = "lost: sent and unanswered when the Distributor died, and its server did not take it"
    LOST_SERVED = "lost: its server died"
    LOST_BACKLOG = "lost: the Distributor died before the Monitor had a duplicate of the listening socket"
    LOST = "lost, and nothing allows it"


class Guest(NamedTuple):
    """A client's record; the client is known by its place in `World.guests`, which is also its cookie."""

    fate: Fate = Fate.ABSENT
    hung: int = 0
    """1: has closed its side; 2: has closed it with data unread, which is no hang-up."""
    taken: int = 0
    """How many times a program has been given it."""
    answered: bool = False
    """A server has said that it has taken it: the Distributor's copy is no more needed, or will not be."""
    bereft: bool = False
    """And the process that was to deliver it has died since."""
    unanswered: bool = False
    """Its hand-off was sent and unanswered when a Distributor died: no one has a copy for it if it fails."""
    at_distributor: bool = False
    """The Distributor's process has a copy of its connection."""
    at_monitor: bool = False
    """The Monitor's process has a copy of its connection."""
    void: bool = False
    """Some process has passed on, or closed, a copy of its connection that it did not have."""


class Program(Enum):
    """How far the unmodified program has come on a port."""

    NEW = "has not bound"
    BINDING = "is in bind"
    BOUND = "has bound"
    LISTENING = "listens"
    CLOSED = "has closed its listening socket"
    DECLINED = "was declined the port"


class Link(NamedTuple):
    """A dialog of a server, both ways, and the program's socket that it stands for."""

    port: Port
    program: Program = Program.NEW
    to_server: tuple[ToServer, ...] = ()
    to_distributor: tuple[FromServer, ...] = ()


class Group(NamedTuple):
    """A server: the processes that share its endpoint and hold its ends of the channels."""

    server: ServerId
    element: Element
    links: tuple[Link, ...]
    main: bool = True
    child: bool = False
    """A forked child that has outlived the main process."""
    condemned: bool = False
    """Is being killed: lives on until it is dead."""
    asked: bool = False
    """Was asked to end (SIGTERM)."""
    reported: bool = False
    """The Monitor knows that the main process is dead."""
    endpoint: server.EndpointState = server.EndpointState()
    held: tuple[Client, ...] = ()
    """The clients whose connections its processes hold: delivered to the program, and not closed."""
    gone: tuple[Client, ...] = ()
    """Clients that the endpoint counts although no process holds their connection."""
    offered: tuple[Client, ...] = ()
    """Those who were handed off to it, and of whom their Distributor has not read what has become."""
    requests: tuple[BindRequest, ...] = ()
    replies: tuple[BindReply, ...] = ()
    sending: bool = False
    """A process holds the lock, and sends what is in the outbox."""
    sent: server.Reply | None = None
    """What is in the socket, though the endpoint does not know that yet."""
    broken: server.Interrupted | None = None
    """A process has died in the midst of a step: what the next one to take the lock will find."""

    @property
    def alive(self) -> bool:
        """Some process of the group lives."""
        return self.main or self.child

    @property
    def unsaid(self) -> bool:
        """It has left unsaid what it should have said, and no process is about to say it."""
        return self.alive and not self.sending and (self.broken is not None or bool(self.endpoint.outbox))

    @property
    def served(self) -> Iterator[Client]:
        """The clients whose connections the program has been given, and has not closed."""
        answers = (reply.message for reply in self.endpoint.outbox)
        undelivered = {message.client for message in answers if isinstance(message, Accepted)}
        return (client for client in self.held if client not in undelivered)

    def link(self, port: Port) -> Link | None:
        """The dialog on the port."""
        return next((link for link in self.links if link.port == port), None)

    def without(self, client: Client) -> Group:
        """The server whose processes have closed the client's connection."""
        return self._replace(held=tuple(other for other in self.held if other.cookie != client.cookie))


class Life(Enum):
    """The Distributor's process."""

    UP = "up"
    CONDEMNED = "is being killed"
    DEAD = "dead; its channel is yet to be read to the end"
    ABSENT = "none"


class Kernel(NamedTuple):
    """The listening sockets, by port."""

    listening: tuple[bool, ...]
    backlog: tuple[tuple[int, ...], ...]
    """Who waits to be accepted, by cookie, first come first."""
    kept: tuple[bool, ...]
    """Of which sockets the Monitor's process has a duplicate."""
    accepted: tuple[int, ...] = ()
    """Who was accepted and has no server yet, by cookie, in the order in which the kernel gave them."""


class World(NamedTuple):
    """One state of everything."""

    monitor: MonitorState
    distributor: DistributorState | None
    life: Life
    groups: tuple[Group, ...]
    to_monitor: tuple[ToMonitor, ...]
    to_distributor: tuple[ToDistributor, ...]
    pending: tuple[distributor.Event, ...]
    """What the Distributor has brought upon itself and has not taken yet."""
    kernel: Kernel
    guests: tuple[Guest, ...]
    budget: Budget

    def group(self, number: ServerId) -> Group | None:
        """The server, while anything is left of it."""
        return next((group for group in self.groups if group.server == number), None)


def is_lost(world: World, number: ServerId) -> bool:
    """Whether the server lives, and has nothing of the hand-off that it is to answer: its reader has died."""
    group = world.group(number)
    status = world.distributor.servers.get(number, None) if world.distributor is not None else None
    if group is None or not group.alive or group.sending or status is None or status.request is None:
        return False
    client = status.request
    if distributor.Unsent(number, client) in world.pending:
        return False
    sent = (message for link in group.links for message in (*link.to_server, *link.to_distributor))
    mail = (*sent, *(reply.message for reply in group.endpoint.outbox))
    about = any(isinstance(m, (HandOff, Accepted, Refused)) and m.client == client for m in mail)
    return not about and client not in group.endpoint.clients


def is_reported(world: World, number: ServerId) -> bool:
    """Whether the server is being killed, or will be: to say again that it does not answer would go on for ever."""
    group = world.group(number)
    reported = any(isinstance(m, Unresponsive) and m.server == number for m in world.to_monitor)
    return reported or (group is not None and group.condemned)


def issued(group: Group) -> Iterator[server.Reply]:
    """The replies that the group's endpoint has issued and that are not known to be in their sockets, in every copy."""
    yield from group.endpoint.outbox
    if group.sent is not None:
        yield group.sent
    if group.broken is not None and group.broken.reply is not None:
        yield group.broken.reply


def map_issued(group: Group, change: Callable[[FromServer], FromServer]) -> Group:
    """The group with the messages of those replies changed."""

    def changed(reply: server.Reply) -> server.Reply:
        return server.Reply(reply.port, change(reply.message))

    if group.endpoint.outbox:
        outbox = tuple(map(changed, group.endpoint.outbox))
        group = group._replace(endpoint=replace(group.endpoint, outbox=outbox))
    if group.sent is not None:
        group = group._replace(sent=changed(group.sent))
    if group.broken is not None and group.broken.reply is not None:
        group = group._replace(broken=server.Interrupted(group.broken.port, changed(group.broken.reply)))
    return group


def released(messages: tuple[ToMonitor, ...]) -> set[Client]:
    """The clients whose `Release` is on its way to the Monitor, with no `Store` after it."""
    out: set[Client] = set()
    for message in messages:
        if isinstance(message, Release):
            out.add(message.client)
        elif isinstance(message, Store):
            out.discard(message.client)
    return out
