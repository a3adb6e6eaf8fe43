"""A successor in the making: the components of a world, changed one by one by what a step does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from errno import EADDRINUSE
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from maitred.core import distributor, monitor, server
from maitred.core.distributor import DistributorState
from maitred.core.messages import (
    Accepted,
    Adopt,
    BindReply,
    BindRequest,
    Client,
    HandOff,
    InitialMsg,
    KeepListener,
    Refused,
    Restore,
    ServerId,
    Store,
    ToDistributor,
    ToMonitor,
)
from maitred.core.monitor import MonitorState
from maitred.core.tree import Tree
from maitred.model.world.bounds import Budget
from maitred.model.world.machines import Machines, Stride
from maitred.model.world.state import ADDRESS, CLASS, Fate, Group, Guest, Kernel, Life, Link, Program, World

DistributorEvent: TypeAlias = distributor.Event
MonitorEvent: TypeAlias = monitor.Event
DistributorEffect: TypeAlias = distributor.Effect
Send: TypeAlias = distributor.Send
StartDistributor: TypeAlias = monitor.StartDistributor
_PARTS: Final = attrgetter(*World._fields)


class Changes(NamedTuple):
    """What a step changes: the same in many worlds."""

    parts: tuple[tuple[str, Any], ...]  # Any: components of every type
    """By the name of the component."""
    groups: tuple[Group, ...]
    """The servers that change, or are new."""
    channel: str
    """The name of the channel to which messages are only added."""
    sent: tuple[Any, ...]  # Any: messages of either direction
    """These messages."""
    excuses: dict[int, Fate]


class Draft:
    """A successor in the making: the components of a world, to be changed one by one."""

    __slots__ = ("before", "excuses", "machines", *World._fields)

    excuses: dict[int, Fate]
    """The losses that this step may bring about, by the cookie of the client."""

    monitor: MonitorState
    distributor: DistributorState | None
    life: Life
    groups: tuple[Group, ...]
    to_monitor: tuple[ToMonitor, ...]
    to_distributor: tuple[ToDistributor, ...]
    pending: tuple[DistributorEvent, ...]
    kernel: Kernel
    guests: tuple[Guest, ...]
    budget: Budget

    def __init__(self, machines: Machines, world: World) -> None:
        self.machines = machines
        self.before = world
        self.excuses = {}
        (
            self.monitor,
            self.distributor,
            self.life,
            self.groups,
            self.to_monitor,
            self.to_distributor,
            self.pending,
            self.kernel,
            self.guests,
            self.budget,
        ) = world

    def copy(self) -> Draft:
        """A second draft that begins as this one is now."""
        other = Draft(self.machines, self.world())
        other.before = self.before
        return other

    def world(self) -> World:
        """As it is so far."""
        return World._make(_PARTS(self))

    def done(self) -> World:
        """The finished world: what is left of the dead is dropped, and who is lost is counted as lost."""
        self._bury()
        self._compact()
        for cookie in self._missing():
            self.guest(cookie, fate=self._loss(cookie))
        world = self.machines.seal(_PARTS(self), self.before)
        if self.machines.bounds.returns:
            world = self.machines.welcomed(world)
        return world if self.machines.steady else self.machines.canonical(world)

    def changes(self, channel: str) -> Changes:
        """What has changed, for `apply` in every world that is the same in what the step depends on.

        Args:
            channel: to which messages are only added.
        """
        parts = []
        for name, part, old in zip(World._fields, _PARTS(self), self.before, strict=True):
            if part is not old and name not in ("groups", channel):
                parts.append((name, self.machines.interned(part)))
        groups = tuple(group for group in self.groups if group is not self.before.group(group.server))
        sent = getattr(self, channel)[len(getattr(self.before, channel)) :]
        return Changes(tuple(parts), groups, channel, sent, self.excuses)

    def apply(self, changes: Changes) -> Draft:
        """Take the step that has changed this in another world."""
        for name, part in changes.parts:
            setattr(self, name, part)
        for group in changes.groups:
            if self.group(group.server) is None:
                self.groups = (*self.groups, group)
            else:
                self.put(group)
        if changes.sent:
            setattr(self, changes.channel, (*getattr(self, changes.channel), *changes.sent))
        self.excuses = changes.excuses
        return self

    # ------------------------------------------------ small changes

    def spend(self, name: str) -> None:
        self.budget = self.budget.less(name)

    def guest(self, cookie: int, **changes: Any) -> None:  # Any: fields of Guest
        guest = self.guests[cookie]._replace(**changes)
        if guest.fate not in (Fate.BACKLOG, Fate.IN) and (guest.hung or guest.unanswered or guest.bereft):
            guest = guest._replace(hung=0, unanswered=False, bereft=False)
        self.guests = (*self.guests[:cookie], guest, *self.guests[cookie + 1 :])
        if cookie in self.kernel.accepted and (guest.fate is not Fate.IN or guest.taken or guest.unanswered):
            left = tuple(other for other in self.kernel.accepted if other != cookie)
            self.kernel = self.kernel._replace(accepted=left)

    def queue(self, i: int, backlog: tuple[int, ...]) -> None:
        old = self.kernel.backlog
        self.kernel = self.kernel._replace(backlog=(*old[:i], backlog, *old[i + 1 :]))

    def listen(self, i: int, listening: bool) -> None:
        old = self.kernel.listening
        self.kernel = self.kernel._replace(listening=(*old[:i], listening, *old[i + 1 :]))

    def group(self, number: ServerId) -> Group | None:
        return next((group for group in self.groups if group.server == number), None)

    def put(self, group: Group) -> None:
        group = self.machines.interned(group)
        self.groups = tuple(group if g.server == group.server else g for g in self.groups)

    def change(self, number: ServerId, **changes: Any) -> None:  # Any: fields of Group
        group = self.group(number)
        if group is not None:
            self.put(group._replace(**changes))

    def put_link(self, group: Group, link: Link) -> Group:
        group = group._replace(links=tuple(link if old.port == link.port else old for old in group.links))
        self.put(group)
        return group

    # ------------------------------------------------ the Monitor's effects

    def monitor_step(self, event: MonitorEvent, stride: Stride) -> None:
        self.monitor = stride.state
        if stride.rejected is None and isinstance(event, monitor.Reported):
            if isinstance(event.message, Store):
                self.guest(event.message.client.cookie, at_monitor=True)
            elif isinstance(event.message, KeepListener):
                self.keep(event.message.port - 1, True)
        for effect in stride.effects:
            match effect:
                case monitor.StartServer():
                    links = tuple(Link(port) for port in self.machines.ports)
                    new = Group(effect.server, effect.element, links, endpoint=self.machines.endpoint)
                    self.groups = (*self.groups, self.machines.interned(new))
                case monitor.StartDistributor():
                    self._start_distributor(effect)
                case monitor.SendDistributor():
                    if isinstance(effect.message, Restore) and not self.guests[effect.message.client.cookie].at_monitor:
                        self.guest(effect.message.client.cookie, void=True)
                    if self.life in (Life.UP, Life.CONDEMNED):
                        self.to_distributor = (*self.to_distributor, effect.message)
                case monitor.Terminate():
                    self.change(effect.server, asked=True)
                case monitor.Kill():
                    self.change(effect.server, condemned=True)
                case monitor.KillDistributor():
                    if self.life is Life.UP:
                        self.life = Life.CONDEMNED
                case monitor.DropDuplicate():
                    self.closes(effect.client, "at_monitor")
                case monitor.ShutDownStored():
                    self.closes(effect.client, "at_monitor")
                    if self.guests[effect.client.cookie].fate is Fate.IN:
                        self.guest(effect.client.cookie, fate=Fate.STOPPED)
                case monitor.DropListener():
                    self.keep(effect.port - 1, False)
                case monitor.Exit():
                    self._turn_away(range(len(self.machines.ports)), Fate.STOPPED)
                case _:
                    pass  # timers and reports change nothing here; of kept dialogs nothing is modelled

    def _start_distributor(self, effect: StartDistributor) -> None:
        b = self.machines.bounds
        state = distributor.initial(effect.incarnation, effect.dynamic, b.waiting_limit, effect.listeners, b.fixed)
        if self.machines.first and effect.incarnation == 1:
            state = replace(state, next_arrival=self.machines.first, next_rank=self.machines.first)
        self.distributor = self.machines.interned(state)
        self.life = Life.UP

    # ------------------------------------------------ the Distributor's effects

    def take(self, source: Any, late: bool) -> None:  # Any: see below
        """Take the event from where it is.

        ``pending``, ``monitor`` (``("adopt", i)`` for what is i-th in that channel), a (server, port) whose dialog or,
        with port 0, control channel it is, the place of a port whose backlog gives a client, or None of what is in no
        channel.
        """
        if source == "pending":
            self.pending = self.pending[1:]
        elif source == "monitor":
            if isinstance(self.to_distributor[0], Restore):
                self.guest(self.to_distributor[0].client.cookie, at_distributor=True)
            self.to_distributor = self.to_distributor[1:]
        elif isinstance(source, int):
            cookie, *rest = self.kernel.backlog[source]
            self.queue(source, tuple(rest))
            self.guest(cookie, fate=Fate.IN, at_distributor=True)
            self.kernel = self.kernel._replace(accepted=(*self.kernel.accepted, cookie))
        elif source is not None and source[0] == "adopt":
            self.to_distributor = self.to_distributor[: source[1]] + self.to_distributor[source[1] + 1 :]
        elif source is not None:
            number, port = source
            group = self.group(number)
            assert group is not None, "its channel has a message"
            link = group.link(port)
            if link is None:
                self.put(group._replace(requests=group.requests[1:]))
            else:
                messages = link.to_distributor
                rest_ = (messages[0], *messages[2:]) if late else messages[1:]
                self.put_link(group, link._replace(to_distributor=rest_))

    def hand_off_settled(self, event: DistributorEvent) -> None:
        """The Distributor has read what became of a hand-off: its answer, its dialog's end, or that it is unsent."""
        if isinstance(event, distributor.Received):
            if isinstance(event.message, (Accepted, Refused)):
                cookie = event.message.client.cookie
                self._settled(event.server, lambda client: client.cookie == cookie)
        elif isinstance(event, distributor.Unsent):
            cookie = event.client.cookie
            self._settled(event.server, lambda client: client.cookie == cookie)
        elif isinstance(event, distributor.DialogEnded):
            port = event.port
            self._settled(event.server, lambda client: client.port == port)

    def _settled(self, number: ServerId, which: Callable[[Client], bool]) -> None:
        group = self.group(number)
        if group is not None and group.offered:
            self.put(group._replace(offered=tuple(client for client in group.offered if not which(client))))

    def closes(self, client: Client, whose: str) -> None:
        """A process closes its copy of the client's connection: ``at_distributor`` or ``at_monitor``."""
        had: bool = getattr(self.guests[client.cookie], whose)
        self.guest(client.cookie, **{whose: False} if had else {"void": True})

    def keep(self, i: int, kept: bool) -> None:
        old = self.kernel.kept
        self.kernel = self.kernel._replace(kept=(*old[:i], kept, *old[i + 1 :]))

    def distributor_step(self, stride: Stride, declined: int | None) -> None:
        self.distributor = stride.state
        for i, effect in enumerate(stride.effects):
            self.perform(effect, declined=i == declined)

    def perform(self, effect: DistributorEffect, declined: bool = False) -> None:
        match effect:
            case distributor.Send():
                self._send(effect, declined)
            case distributor.SendMonitor():
                if isinstance(effect.message, Store) and not self.guests[effect.message.client.cookie].at_distributor:
                    self.guest(effect.message.client.cookie, void=True)
                self.to_monitor = (*self.to_monitor, effect.message)
            case distributor.CloseCopy():
                self.closes(effect.client, "at_distributor")
            case distributor.SendControl():
                group = self.group(effect.server)
                if isinstance(effect.message, BindReply) and group is not None and group.main:
                    self.put(group._replace(replies=(*group.replies, effect.message)))
            case distributor.ShutDown():
                self.closes(effect.client, "at_distributor")
                if self.guests[effect.client.cookie].fate is Fate.IN:
                    self.guest(effect.client.cookie, fate=Fate.DROPPED)
            case distributor.Listen():
                if declined:
                    event: DistributorEvent = distributor.ListeningFailed(effect.port, effect.address, EADDRINUSE)
                else:
                    event = distributor.Listening(effect.port, effect.address)
                    self.listen(effect.port - 1, True)
                self.pending = (*self.pending, event)
            case distributor.CloseListeners():
                self._turn_away((effect.port - 1,), Fate.LOST)
            case distributor.Audit():
                group = self.group(effect.server)
                if group is not None and (group.gone or group.unsaid):
                    self.pending = (*self.pending, distributor.Audited(effect.server, group.gone))
            case _:
                pass  # timers may fire whenever they are enabled; watching and accepting are derived

    def _send(self, effect: Send, declined: bool) -> None:
        group = self.group(effect.server)
        link = group.link(effect.port) if group else None
        if isinstance(effect.message, HandOff):
            client = effect.message.client
            if not self.guests[client.cookie].at_distributor:
                self.guest(client.cookie, void=True)
            if group is not None:
                group = group._replace(offered=(*group.offered, client))
                self.put(group)
        if group is not None and link is not None and group.alive and not declined:
            self.put_link(group, link._replace(to_server=(*link.to_server, effect.message)))
        elif isinstance(effect.message, HandOff):
            self.pending = (*self.pending, distributor.Unsent(effect.server, effect.message.client))

    def _turn_away(self, ports: Any, fate: Fate) -> None:  # Any: an iterable of places of ports
        """The listening sockets close; who is in their backlogs is reset."""
        for i in ports:
            for cookie in self.kernel.backlog[i]:
                self.guest(cookie, fate=fate)
            self.queue(i, ())
            self.listen(i, False)

    # ------------------------------------------------ the Distributor's death

    def distributor_crashes(self) -> None:
        if self.life is Life.UP:
            self.spend("distributor_crashes")

    def distributor_dies(self, *, midst: bool = False) -> None:
        """What it alone held is gone; what the Monitor keeps a duplicate of stays.

        Args:
            midst: it dies in the midst of a step: only then may it alone hold somebody (OWN-3.6g).
        """
        self.distributor = None
        self.life = Life.DEAD
        self.to_distributor = self.pending = ()
        for group in self.groups:
            for client in group.offered:
                guest = self.guests[client.cookie]
                if guest.fate is Fate.IN and not guest.taken and not guest.answered:
                    self.guest(client.cookie, unanswered=True)
            if group.offered:
                self.put(group._replace(offered=()))
        for cookie, guest in enumerate(self.guests):
            if guest.at_distributor:
                self.guest(cookie, at_distributor=False)
                if guest.unanswered:
                    self.excuses[cookie] = Fate.LOST_SENT
                elif midst:
                    self.excuses[cookie] = Fate.LOST_ALONE
        kept = {message.port - 1 for message in self.to_monitor if isinstance(message, KeepListener)}
        lost = [i for i, duplicate in enumerate(self.kernel.kept) if not duplicate and i not in kept]
        self._turn_away(lost, Fate.LOST_BACKLOG)

    # ------------------------------------------------ who is lost, and why

    def _missing(self) -> list[int]:
        doubtful = [i for i, guest in enumerate(self.guests) if guest.fate is Fate.IN and not guest.at_distributor]
        held = self.machines.holders(self.world()) if doubtful else 0
        return [cookie for cookie in doubtful if not held >> cookie & 1]

    def _loss(self, cookie: int) -> Fate:
        """OWN-3.6: the losses that are allowed, each only at its own instant, and one alone at each death."""
        if self.guests[cookie].bereft:
            return Fate.LOST_SERVED
        excuse = self.excuses.get(cookie, Fate.LOST)
        if excuse is Fate.LOST_ALONE:
            self.excuses = {who: why for who, why in self.excuses.items() if why is not Fate.LOST_ALONE}
        return excuse

    # ------------------------------------------------ a server's steps

    def binds(self, group: Group, link: Link) -> None:
        request = BindRequest(link.port, f"{ADDRESS}{link.port}")
        group = self.put_link(group, link._replace(program=Program.BINDING))
        self.put(group._replace(requests=(*group.requests, request)))

    def reply_read(self, group: Group, reply: BindReply) -> tuple[str, ...]:
        """The shell reads the answer to the program's bind; the names of the properties that the step breaks."""
        group = group._replace(replies=group.replies[1:])
        link = group.link(reply.port)
        self.put(group)
        if link is None or link.program is not Program.BINDING:
            return ()  # the answer to a request that was repeated
        if reply.errno:
            self.put_link(group, link._replace(program=Program.DECLINED))
            return ()
        event = server.Bound(reply.port)
        stride = self.machines.stride("server", group.endpoint, event)
        self.endpoint_step(self.put_link(group, link._replace(program=Program.BOUND)), event, stride)
        return stride.wrong

    def endpoint_step(self, group: Group, event: server.Event, stride: Stride) -> tuple[str, ...]:
        """The step, and the sending of its replies unless that is steps of its own; what properties are broken."""
        group = group._replace(endpoint=stride.state)
        match event:
            case server.Listened() | server.ListenerClosed() | server.MessageRead():
                link = group.link(event.port)
                assert link is not None, "the event came from it"
                if isinstance(event, server.MessageRead):
                    link = link._replace(to_server=link.to_server[1:])
                elif isinstance(event, server.Listened):
                    link = link._replace(program=Program.LISTENING)
                else:
                    link = link._replace(program=Program.CLOSED)
                group = self.put_link(group, link)
            case server.Disconnected():
                self.guest(event.client.cookie, fate=Fate.LEFT)
                group = group.without(event.client)
            case server.Sent():
                group = group._replace(sent=None)
            case server.Interrupted():
                group = group._replace(broken=None)
            case _:
                pass
        if isinstance(event, server.MessageRead) and isinstance(event.message, HandOff) and event.intact:
            group = group._replace(held=tuple(sorted((*group.held, event.message.client))))
        elif isinstance(event, server.MessageRead) and isinstance(event.message, InitialMsg):
            named = event.message.forget  # it has no excuse any more to count these
            group = group._replace(gone=tuple(client for client in group.gone if client not in named))
        group = self._effects_of(group, stride)
        wrong = stride.wrong
        if self.machines.splits:
            group = group._replace(sending=bool(group.endpoint.outbox))
        else:
            while (reply := self.machines.next_to_send(group)) is not None:
                group = self.sends(group, reply)
                sent = self.machines.stride("server", group.endpoint, server.Sent(reply))
                group = self._effects_of(group._replace(endpoint=sent.state, sending=False, sent=None), sent)
                wrong += sent.wrong
        self.put(group)
        return wrong

    def _effects_of(self, group: Group, stride: Stride) -> Group:
        """The program is given the connection, or what has come of it is closed."""
        for effect in stride.effects:
            cookie = effect.client.cookie
            if isinstance(effect, server.Deliver):
                self.guest(cookie, taken=self.guests[cookie].taken + 1)
                if effect.client not in group.held:
                    self.guest(cookie, void=True)
            else:
                group = group.without(effect.client)
                self._excuse_if_unanswered(cookie)
        return group._replace(gone=tuple(client for client in group.gone if client in group.endpoint.clients))

    def sends(self, group: Group, reply: server.Reply) -> Group:
        """The reply is put into its dialog; the endpoint has yet to note it."""
        link = group.link(reply.port)
        assert link is not None, "there is a dialog on which to send"
        group = group._replace(sending=True, sent=reply)
        if isinstance(reply.message, Accepted):
            self.guest(reply.message.client.cookie, answered=True)
        return self.put_link(group, link._replace(to_distributor=(*link.to_distributor, reply.message)))

    def sender_dies(self, group: Group, reply: server.Reply) -> None:
        """The process that holds the lock dies, with the connections that it was about to deliver."""
        answers = (other.message for other in group.endpoint.outbox)
        undelivered = [message.client for message in answers if isinstance(message, Accepted)]
        group = self._close(group, undelivered)
        broken = server.Interrupted(reply.port, reply)
        self.put(group._replace(gone=(*group.gone, *undelivered), sending=False, sent=None, broken=broken))

    def reader_dies(self, group: Group, link: Link) -> None:
        """A process dies that has read a message, and has done nothing about it."""
        message = link.to_server[0]
        if isinstance(message, HandOff):
            self._excuse_if_unanswered(message.client.cookie)
        group = self.put_link(group, link._replace(to_server=link.to_server[1:]))
        self.put(group._replace(broken=server.Interrupted(link.port, None)))

    def _excuse_if_unanswered(self, cookie: int) -> None:
        """OWN-3.6h: its Distributor died before it read an answer, and its server does not take it."""
        if self.guests[cookie].unanswered:
            self.excuses[cookie] = Fate.LOST_SENT

    def _close(self, group: Group, clients: Iterable[Client]) -> Group:
        """The processes that hold these connections die: who was served ends with them."""
        for client in clients:
            guest = self.guests[client.cookie]
            if client in group.held and guest.fate is Fate.IN:
                if guest.taken:
                    self.guest(client.cookie, fate=Fate.LOST_SERVED)
                elif guest.answered:
                    self.guest(client.cookie, bereft=True)
                self._excuse_if_unanswered(client.cookie)
            group = group.without(client)
        return group

    def server_dies(self, group: Group, *, child: bool) -> None:
        """The main process dies, and all its children, or all but one that holds none of the connections."""
        group = self._close(group, group.held)
        if child:
            in_flight = self.machines.in_flight(group)
            broken = server.Interrupted(in_flight.port, in_flight) if in_flight is not None else group.broken
            gone = tuple(group.endpoint.clients)
            left = group._replace(main=False, child=True, gone=gone, replies=(), sending=False, sent=None)
            self.put(left._replace(broken=broken))
            return
        for link in group.links:
            for message in link.to_server:
                if isinstance(message, HandOff):
                    self._excuse_if_unanswered(message.client.cookie)
        links = tuple(Link(link.port, Program.NEW, (), link.to_distributor) for link in group.links)
        self.put(
            Group(
                group.server,
                group.element,
                links,
                main=False,
                condemned=group.condemned,
                reported=group.reported,
                offered=group.offered,
                requests=group.requests,
            )
        )

    # ------------------------------------------------ canonical form

    def _bury(self) -> None:
        """Forget the dead servers of which neither the Monitor nor the Distributor knows any more."""
        for group in self.groups:
            if not group.alive:
                break
        else:
            return
        living = self.monitor.classes[CLASS].living
        coming = {message.server for message in self.to_distributor if isinstance(message, Adopt)}
        table = self.distributor.servers if self.distributor is not None else Tree()
        self.groups = tuple(
            g for g in self.groups if g.alive or g.server in living or g.server in coming or g.server in table
        )

    def _compact(self) -> None:
        """Renumber the sequence numbers of each server's counts, and its own counter with them."""
        if self.groups is not self.before.groups or self.distributor is not self.before.distributor:
            self.groups, self.distributor = self.machines.compacted(self.groups, self.distributor)
