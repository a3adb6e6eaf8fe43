"""The Distributor's process: the pure Distributor driven by real sockets.

It makes no protocol decision.  A descriptor becomes ready, that makes an event, `maitred.core.distributor.step` says
what follows, and the effects are performed in their order, all of them, before anything else is read.  Three habits
deserve a word:

- *Copies.*  The connections that this process holds are known by their cookie.  Their ``O_NONBLOCK`` is never touched:
  it belongs to the connection, so to the server's program.  Calls that must not block say so themselves.
- *The Monitor comes first.*  What is told to it must have been told before the next effect happens (a client is
  released before it is handed out), so a send to a Monitor that is slow is waited for.  Hence the Monitor never
  waits for a Distributor.  A Monitor that has died is told nothing: serving goes on.
- *Garbage.*  Bytes on a dialog that are no message are reported and skipped.  They are not its end: whoever wrote
  them may have taken the client, and must not see it given to another.  Lies fare likewise (`maitred.shell.conduct`).
  A server that goes on with it is reported as one that does not respond: the Monitor kills it, and its dialogs end.
- *One server harms its own place only.*  It is heard so often only, between the turns of the others and of the
  listeners.  Its descriptors are looked at before they are used, and closed without waiting.
"""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, TypeVar, get_args

from maitred.core import distributor as core
from maitred.core import messages, wire
from maitred.core.messages import Address, Client, Incarnation, Port, ServerId
from maitred.core.timing import Durations, duration
from maitred.core.transition import Reason, Rejected
from maitred.shell.conduct import PATIENCE, Conduct
from maitred.shell.driver import Driver
from maitred.shell.io import channel, report, sock_diag
from maitred.shell.io.listening import MAX_PORT, open_listeners, says_where
from maitred.shell.io.loop import Loop
from maitred.shell.io.registry import Damaged, Reader
from maitred.shell.observe.trace import Trace

T = TypeVar("T")

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
HANG_UP: Final = select.EPOLLRDHUP | select.EPOLLET
"""What is watched for on a client that waits: each news once."""

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

PACKETS_A_TURN: Final = 16
"""So many packets of the Monitor are read before the others have their turn."""
HEAR_AGAIN: Final = 0.05
"""Seconds for which a server that has said too much is not read."""
ADDRESSES: Final = 2
"""So many addresses a class without configured ports has behind it: the first that is bound, and one more, as for the
other family.  Further ones are left to the program."""
FOREIGN_PORTS: Final = 8
"""So many ports that are not behind this Distributor are named in the log."""
LONGEST_REST: Final = 5.0
"""Seconds for which a server is spared, at most, that refuses again and again; the first rest is as configured."""
RESERVE: Final = 64
"""So many descriptors are kept from clients, for dialogs and what the Monitor sends."""
AUDIT_AGAIN: Final = 0.25
"""Seconds between audits while somebody waits, at least,"""
AUDIT_SHARE: Final = 20
"""and so many times as long as an audit takes."""
SAY_AGAIN: Final = 30.0
"""Seconds before a lasting trouble is said again."""


@dataclass(frozen=True, slots=True)
class DistributorSpec:
    """What a Distributor's process is started with; descriptors are numbers that it inherits."""

    class_id: int
    name: str
    """Of the server class."""
    incarnation: Incarnation
    dynamic: int
    waiting_limit: int
    listeners: tuple[tuple[Port, Address], ...]
    fixed: bool
    durations: Durations
    cpus: tuple[int, ...]
    """Of its processing element."""
    channel: int
    """To the Monitor."""
    status: int
    """A stream on which the Monitor asks for the status with a line and is answered with a line of JSON."""
    trace: int | None
    kept: tuple[tuple[Port, Address, tuple[int, ...]], ...]
    """The listening sockets of the last Distributor."""


@dataclass(slots=True)
class _Server:
    """The descriptors of one server."""

    control: channel.Socket
    registry: Reader
    conduct: Conduct
    dialogs: dict[Port, channel.Socket] = field(default_factory=dict)
    unsent: dict[Port, messages.InitialMsg] = field(default_factory=dict)
    """Could not be sent at once: the dialog was full.  One says all that several would."""
    refusals: int = 0
    """How many clients it has refused since it took one."""
    paused: bool = False
    """It has said too much: it is not read for a moment."""
    condemned: bool = False
    """The Monitor has been asked to replace it."""

    def flags(self, port: Port) -> int:
        """What its dialog is watched for, beside its end (EPOLLHUP)."""
        return (0 if self.paused else READ) | (WRITE if port in self.unsent else 0)


@dataclass(slots=True)
class _Listeners:
    """The listening sockets of one port."""

    sockets: dict[Address, list[socket.socket]] = field(default_factory=dict)
    armed: bool = False
    """An accept is outstanding."""
    muted: bool = False
    """A client came when none was: the sockets are not watched until one is."""

    def all(self) -> list[socket.socket]:
        return list(chain.from_iterable(self.sockets.values()))


class Distributor:
    """One Distributor at work."""

    def __init__(self, spec: DistributorSpec) -> None:
        self.spec = spec
        self.loop = Loop()
        self.machine = Driver(
            core.step,
            core.initial(spec.incarnation, spec.dynamic, spec.waiting_limit, spec.listeners, spec.fixed),
            self._effects(),
            _open_trace(spec),
            stepped=self._mention,
            declined=self._declined,
            performed=self._audit,
        )
        self.handle = self.machine.handle
        """Lets an event happen, with all that follows from it."""
        self._copies: dict[int, socket.socket] = {}
        self._since: dict[int, float] = {}
        self._servers: dict[ServerId, _Server] = {}
        self._ports: dict[Port, _Listeners] = {}
        self._kept = {(port, address): fds for port, address, fds in spec.kept}
        self._audits: list[ServerId] = []
        self._audited, self._audit_cost = -math.inf, 0.0
        self._had: dict[ServerId, dict[int, float]] = {}
        """Since when each server has had its clients, where there is a limit."""
        self._connections = sock_diag.Connections()
        self._limit = _open_files_limit()
        self._tight = False
        self._said: dict[str, float] = {}
        self._foreign_ports: set[Port] = set()
        self._monitor: channel.Socket | None = channel.attach(spec.channel)
        self._status = socket.socket(fileno=spec.status)
        self._status.setblocking(False)
        self._questions, self._answers = b"", bytearray()
        self.loop.watch(spec.channel, READ, self._on_monitor)
        self.loop.watch(spec.status, READ, self._on_status)

    def run(self) -> None:
        """Serve until the class is closed."""
        self.loop.interrupt_waits()
        while self.machine.state.phase is not core.Phase.CLOSED:
            self.loop.turn()

    # ================================================================ events

    def _mention(self, event: core.Event, before: core.DistributorState) -> None:
        """Tell the log of what clients suffer from, where nobody else does."""
        match event:
            case core.Fired(core.QueueTimeout()):
                patience = self.spec.durations.queue_timeout
                self._warn_at_intervals(f"clients are closed that have waited {patience:g} s for a seat")
            case core.Received(server=server, message=messages.Accepted()):
                self._servers[server].refusals = 0
            case core.Received(server=server, message=messages.Refused()):
                self._servers[server].refusals += 1
                text = f"server {server} refuses clients: it is out of descriptors, or listens no more"
                self._warn_at_intervals(text, about="refused")
            case core.Fired(core.HandOffTimeout(server=server)):
                patience = self.spec.durations.hand_off_timeout
                report.warning(f"server {server} of {self.spec.name} has not taken a client for {patience:g} s")
            case core.StillServes(server=server):
                self._say_full(self.machine.state.servers[server])
            case _:
                pass
        if self.machine.state.waiting >= self.spec.waiting_limit:
            self._warn_at_intervals("as many clients wait as may: further ones stay in the backlog (waiting_limit)")

    def _say_full(self, status: core.ServerStatus) -> None:
        patience, clients = self.spec.durations.hand_off_timeout, status.count.clients
        self._warn_at_intervals(
            f"server {status.server} has taken no client for {patience:g} s, and goes on serving {clients}: it seems to"
            f" take no more at a time; set max_clients to {clients} (it is {status.max_clients})",
            about=f"full {status.server}",
        )

    def _declined(self, event: core.Event, rejected: Rejected) -> None:
        """Let go of what came with an event that the machine does not take."""
        reason = rejected.reason
        if reason is not Reason.NOT_HANG_UP and not isinstance(event, core.Fired):
            report.debug(f"distributor of {self.spec.name}: {event}: {reason.value}")
        match event:
            case core.ConnectionRequest():
                self._drop_copy(event.cookie, shut=True)
            case messages.Restore():
                if reason is not Reason.DUPLICATE_CLIENT:
                    self._drop_copy(event.client.cookie, shut=True)
            case core.BindRequested():
                self._drop_dialog(event.server, event.port)
            case _:
                pass

    # ---------------------------------------------------------------- from the Monitor

    def _on_monitor(self, flags: int) -> None:
        for _ in range(PACKETS_A_TURN):
            if self._monitor is None:
                return
            try:
                packet = channel.receive(self._monitor)
            except BlockingIOError:
                return
            if packet is None:
                self._monitor_lost()
                return
            self._heard(packet)

    def _heard(self, packet: channel.Packet) -> None:
        message, fds = packet.message, list(packet.fds)
        match message:
            case messages.Adopt():
                wanted = 2 + len(message.dialogs)
                if len(fds) != wanted:  # without them the server cannot be reached: the next incarnation will have them
                    raise SystemExit(f"maitred: out of descriptors: {len(fds)} of {wanted} of a server have come")
                self._hold_server(message, fds)
                self.handle(message)
            case messages.Restore():
                if packet.truncated:  # the Monitor has its connection still, and the next incarnation will
                    raise SystemExit("maitred: out of descriptors: a client that waits has come without its connection")
                for fd in fds:
                    self._copies[message.client.cookie] = socket.socket(fileno=fd)
                self.handle(message)
                if not fds:  # its connection has been lost on the way: what cannot be served must not wait
                    self.handle(core.PeerClosed(message.client, reset=True, unread=False))
            case messages.Begin() | messages.CreationFailed() | messages.Close():
                channel.drop(fds)
                self.handle(message)
            case _:
                channel.drop(fds)
                report.warning(f"distributor of {self.spec.name}: {type(message).__name__} is nothing a Monitor says")

    def _monitor_lost(self) -> None:
        if self._monitor is not None:
            report.error(f"distributor of {self.spec.name}: the Monitor is gone; serving goes on unsupervised")
            self.loop.forget(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None

    def _hold_server(self, message: messages.Adopt, fds: list[int]) -> None:
        registry = Reader(fds[1], message.max_clients)
        server = _Server(channel.attach(fds[0]), registry, Conduct(message.max_clients))
        self._servers[message.server] = server
        self.loop.watch(fds[0], READ, partial(self._on_control, message.server))
        for port, fd in zip(message.dialogs, fds[2:], strict=True):
            self._hold_dialog(message.server, port, channel.attach(fd))

    # ---------------------------------------------------------------- from servers

    def _hold_dialog(self, server: ServerId, port: Port, dialog: channel.Socket) -> None:
        held = self._servers[server]
        self.loop.watch(dialog.fileno(), held.flags(port), partial(self._on_dialog, server, port))
        held.dialogs[port] = dialog

    def _may_speak(self, server: ServerId, flags: int) -> bool:
        """Whether to read on what it says, now; what it has left behind where it has ended is read in any case."""
        held = self._servers.get(server)
        if held is None:
            return False
        if held.conduct.may_speak(self.loop.turns) or flags & select.EPOLLHUP:
            return True
        if held.conduct.spent and not held.paused:
            self._pause(held, True)
            self.loop.set_timer(("hear", server), HEAR_AGAIN, partial(self._pause, held, False))
        return False

    def _pause(self, held: _Server, paused: bool) -> None:
        held.paused = paused
        for port, end in ((core.CONTROL, held.control), *held.dialogs.items()):
            if end.fileno() >= 0:
                self.loop.change(end.fileno(), held.flags(port))

    def _on_dialog(self, server: ServerId, port: Port, flags: int) -> None:
        if flags & WRITE:
            self._send_unsent(server, port)
        while self._may_speak(server, flags):
            held = self._servers[server]
            dialog = held.dialogs.get(port)
            if dialog is None:
                return
            try:
                packet = channel.receive(dialog, bare=True)
            except BlockingIOError:
                return
            except (wire.WireError, OSError) as error:
                self._offends(server, held, f"no message on the dialog of port {port}: {error}")
                continue
            if packet is None:
                self.handle(core.DialogEnded(server, port))
                self._drop_dialog(server, port)
                return
            self._said_on_dialog(server, held, port, packet.message)

    def _said_on_dialog(self, server: ServerId, held: _Server, port: Port, message: wire.Message) -> None:
        if not isinstance(message, get_args(messages.FromServer)):
            self._offends(server, held, f"no message on the dialog of port {port}: {type(message).__name__}")
            return
        status = self.machine.state.servers.get(server, None)
        objection = status and held.conduct.objection(status, self.spec.incarnation, port, message)
        if objection:
            self._offends(server, held, f"{type(message).__name__} on port {port}: {objection}")
        else:
            self.handle(core.Received(server, port, message))

    def _on_control(self, server: ServerId, flags: int) -> None:
        while self._may_speak(server, flags):
            held = self._servers[server]
            if held.control.fileno() < 0:
                return
            try:
                packet = channel.receive(held.control)
            except BlockingIOError:
                return
            except (wire.WireError, OSError) as error:
                self._offends(server, held, f"no message on the control socket: {error}")
                continue
            if packet is None:
                self.handle(core.ControlEnded(server))
                self._drop_control(server)
                return
            if isinstance(packet.message, messages.BindRequest):
                self._bind_requested(server, held, packet.message, list(packet.fds))
            else:
                channel.drop(packet.fds)
                what = f"no message on the control socket: {type(packet.message).__name__}"
                self._offends(server, held, what)

    def _bind_requested(self, server: ServerId, held: _Server, message: messages.BindRequest, fds: list[int]) -> None:
        """Let the machine decide on a bind that asks for something."""
        if not fds:
            return  # lost for want of descriptors; the server asks again
        dialog, unused = fds[0], fds
        port, address = message.port, message.address
        number = None
        if not 0 < port <= MAX_PORT:  # such a dialog could pass for the control socket
            self._offends(server, held, f"no message on the control socket: BindRequest of port {port}")
        elif not channel.is_end(dialog) or self._holds_other_end(dialog):
            self._offends(server, held, f"what came with BindRequest of port {port} is not its end of a new dialog")
        elif not (self.spec.fixed or says_where(address, port)):
            self._offends(server, held, f"BindRequest of port {port} at {address[:100]!r}, no numeric address of it")
            number = errno.EINVAL
        elif self._is_one_too_many(port, address):
            self._say_one_too_many(port)
            number = messages.BIND_YOURSELF
        else:
            if port not in held.dialogs:  # else asked again: the dialog has come already
                self._hold_dialog(server, port, channel.attach(dialog))
                unused = fds[1:]
            self.handle(core.BindRequested(server, port, address))
        channel.drop(unused)
        if number is not None:
            self._reply(held, messages.BindReply(port, number))

    def _holds_other_end(self, fd: int) -> bool:
        """Whether it is a server's end of what this process has an end of: it would never be seen to end."""
        ends = [end.fileno() for held in self._servers.values() for end in (held.control, *held.dialogs.values())]
        try:
            return sock_diag.peer_of(os.fstat(fd).st_ino) in {os.fstat(end).st_ino for end in ends if end >= 0}
        except OSError as error:
            report.debug(f"distributor of {self.spec.name}: nothing is known of a dialog: {error}")
            return False

    def _is_one_too_many(self, port: Port, address: Address) -> bool:
        """A server decides where its class is reached, where nobody else has: not on every address that there is."""
        info = self.machine.state.ports.get(port, None)
        return (
            not self.spec.fixed
            and info is not None
            and address not in info.listeners
            and len(info.listeners) >= ADDRESSES
        )

    def _offends(self, server: ServerId, held: _Server, what: str) -> None:
        """It has said what no server may: say so once; and where it goes on, have it killed."""
        conduct = held.conduct
        conduct.offences += 1
        conduct.offence = conduct.offence or what
        text = f"server {server} of {self.spec.name} breaks the protocol: {what}"
        (report.warning if conduct.offences == 1 else report.debug)(text)
        if conduct.offences == PATIENCE:
            self._condemn(server, held, "breaks the protocol again and again")

    # ---------------------------------------------------------------- from clients

    def _on_listener(self, port: Port, listener: socket.socket, flags: int) -> None:
        listeners = self._ports[port]
        if not listeners.armed:
            listeners.muted = True
            for each in listeners.all():
                self.loop.change(each.fileno(), 0)
            return
        event = self._accept_from(port, listener)
        if event is not None:
            listeners.armed = False
            self.handle(event)

    def _accept_from(self, port: Port, listener: socket.socket) -> core.ConnectionRequest | core.AcceptFailed | None:
        """What the outstanding accept comes to at this listening socket; None: nothing yet."""
        if self._tight:
            return self._exhausted(port)
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in EXHAUSTED:
                return self._exhausted(port)
            return None  # that client has gone again; the next readiness tells of others
        self._tight = connection.fileno() >= self._limit - min(RESERVE, self._limit // 4)
        cookie = sock_diag.cookie_of(connection)
        self._copies[cookie] = connection
        return core.ConnectionRequest(port, cookie)

    def _exhausted(self, port: Port) -> core.AcceptFailed:
        self._warn_at_intervals("out of descriptors: further clients wait in the backlog (raise RLIMIT_NOFILE)")
        self._tight = self._tight and bool(self._copies)
        return core.AcceptFailed(port)

    def _on_waiting(self, client: Client, flags: int) -> None:
        connection = self._copies[client.cookie]
        reset = bool(flags & (select.EPOLLERR | select.EPOLLHUP))
        try:
            unread = bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            unread = False
        except OSError:
            reset, unread = True, False
        self.handle(core.PeerClosed(client, reset, unread))

    # ================================================================ effects

    def _listen(self, effect: core.Listen) -> None:
        key = (effect.port, effect.address)
        kept = self._kept.pop(key, ())
        try:
            opened = [socket.socket(fileno=fd) for fd in kept]
            sockets = opened or open_listeners(effect.address, apart=self.spec.fixed)
        except OSError as error:
            self.handle(core.ListeningFailed(*key, error.errno or errno.EINVAL))
            return
        listeners = self._ports.setdefault(effect.port, _Listeners())
        listeners.sockets[effect.address] = sockets
        for listener in sockets:
            listener.setblocking(False)
            watch = partial(self._on_listener, effect.port, listener)
            self.loop.watch(listener.fileno(), 0 if listeners.muted else READ, watch, last=True)
        self.handle(core.Listening(*key))

    def _accept(self, effect: core.Accept) -> None:
        listeners = self._ports[effect.port]
        listeners.armed = True
        if listeners.muted:
            listeners.muted = False
            for listener in listeners.all():
                self.loop.change(listener.fileno(), READ)
        if effect.wait:
            return
        found = (self._accept_from(effect.port, listener) for listener in listeners.all())
        event = next((event for event in found if event is not None), None)
        listeners.armed = False
        self.handle(event or core.BacklogEmpty(effect.port))

    def _close_listeners(self, effect: core.CloseListeners) -> None:
        for listener in self._ports.pop(effect.port, _Listeners()).all():
            self.loop.forget(listener.fileno())
            listener.close()

    def _send(self, effect: core.Send) -> None:
        match effect.message:
            case messages.HandOff():
                self._send_hand_off(effect.server, effect.port, effect.message)
            case messages.InitialMsg():
                self._servers[effect.server].unsent[effect.port] = effect.message
                self._send_unsent(effect.server, effect.port)

    def _send_hand_off(self, server: ServerId, port: Port, message: messages.HandOff) -> None:
        """Send, or say that it was declined.  Where the server's end is held no more, the end of the dialog follows."""
        held = self._servers[server]
        connection, dialog = self._copies[message.client.cookie], held.dialogs.get(port)
        held.conduct.handed(message.client)
        try:
            if dialog is None:
                raise BlockingIOError(errno.EAGAIN, "the dialog has been closed here")
            channel.send(dialog, message, (connection.fileno(),))
        except OSError as error:
            if error.errno in channel.CROWDED:
                self._say_crowded(error)
                self.handle(core.Unsent(server, message.client))

    def _send_unsent(self, server: ServerId, port: Port) -> None:
        """Open the dialog, as soon as it has room."""
        held = self._servers.get(server)
        message = held.unsent.get(port) if held else None
        if held is None or message is None or port not in held.dialogs:
            return
        dialog = held.dialogs[port]
        try:
            channel.send(dialog, message)
        except OSError as error:
            if error.errno in channel.CROWDED:
                self.loop.change(dialog.fileno(), held.flags(port))
                return
        del held.unsent[port]
        self.loop.change(dialog.fileno(), held.flags(port))

    def _send_control(self, effect: core.SendControl) -> None:
        """A reply that finds no room is asked for again by the server; an acknowledgement is only a courtesy."""
        held = self._servers.get(effect.server)
        if held is None:
            return
        if isinstance(effect.message, messages.BindReply) and effect.message.errno == messages.BIND_YOURSELF:
            self._say_foreign(effect.message.port)
        self._reply(held, effect.message)

    def _say_one_too_many(self, port: Port) -> None:
        self._warn_at_intervals(
            f"the program binds more than {ADDRESSES} addresses of port {port}: clients find that server at the others,"
            " not here (only what -b names is bound without such a limit)"
        )

    def _reply(self, held: _Server, message: messages.ControlToServer) -> None:
        try:
            channel.send(held.control, message)
        except OSError as error:
            report.debug(f"{message} not sent: {error}")

    def _say_foreign(self, port: Port) -> None:
        """Name a port that the program binds for itself; not so many that a server could fill a disk with them."""
        if port not in self._foreign_ports and len(self._foreign_ports) >= FOREIGN_PORTS:
            text = "the program binds further ports that are not behind this Distributor"
            self._warn_at_intervals(text)
            return
        self._foreign_ports.add(port)
        ports = ", ".join(map(str, self.machine.state.ports))
        self._warn_at_intervals(
            f"the program binds port {port}, which is not behind this Distributor (port {ports} is):"
            " clients find that server there, not here"
        )

    def _tell(self, effect: core.Tell) -> None:
        message = effect.message
        fds: tuple[int, ...] = ()
        match message:
            case messages.Store():
                fds = self._fds_of(message.client)
            case messages.Release():
                self._stop_watching(message.client)
            case messages.KeepDialog():
                fds = (self._servers[message.server].dialogs[message.port].fileno(),)
            case messages.KeepListener():
                sockets = self._ports[message.port].sockets[message.address]
                fds = tuple(listener.fileno() for listener in sockets)
            case _:
                pass
        self._tell_now(message, fds)

    def _fds_of(self, client: Client) -> tuple[int, ...]:
        copy = self._copies.get(client.cookie)
        return () if copy is None else (copy.fileno(),)

    def _tell_now(self, message: messages.ToMonitor, fds: tuple[int, ...]) -> None:
        """Send; while the Monitor is slow, wait: nothing else may happen before it has been told."""
        began = time.monotonic()
        while self._monitor is not None:
            try:
                channel.send(self._monitor, message, fds)
            except OSError as error:
                if error.errno not in channel.CROWDED:
                    self._monitor_lost()
                    return
                self._say_crowded(error)
                if error.errno == errno.EAGAIN and time.monotonic() - began > 5.0:
                    self._warn_at_intervals("the Monitor does not read what it is told; waiting for it")
                _wait_for_room(self._monitor, crowded=error.errno != errno.EAGAIN)
            else:
                return

    def _watch(self, effect: core.Watch) -> None:
        client = effect.client
        connection = self._copies.get(client.cookie)
        if connection is not None and not self.loop.watches(connection.fileno()):
            self.loop.watch(connection.fileno(), HANG_UP, partial(self._on_waiting, client))
            self._since.setdefault(client.cookie, time.time())
        if self.machine.state.phase is not core.Phase.INITIALISING:
            self._hurry()

    def _stop_watching(self, client: Client) -> None:
        self.loop.cancel_timer(core.QueueTimeout(client))
        self._since.pop(client.cookie, None)
        connection = self._copies.get(client.cookie)
        if connection is not None:
            self.loop.forget(connection.fileno())

    def _close_copy(self, effect: core.CloseCopy) -> None:
        self._drop_copy(effect.client.cookie, shut=False)

    def _shut_down(self, effect: core.ShutDown) -> None:
        self._drop_copy(effect.client.cookie, shut=True)

    def _drop_copy(self, cookie: int, *, shut: bool) -> None:
        connection = self._copies.pop(cookie, None)
        if connection is None:
            return
        self._tight = False
        self._since.pop(cookie, None)
        self.loop.forget(connection.fileno())
        if shut:
            _shut_down(connection)
        channel.unlinger(connection)  # its server may have gone already, and its client read nothing
        connection.close()

    def _close_dialog(self, effect: core.CloseDialog) -> None:
        if effect.port == core.CONTROL:
            self._drop_control(effect.server)
        else:
            self._drop_dialog(effect.server, effect.port)

    def _drop_dialog(self, server: ServerId, port: Port) -> None:
        held = self._servers.get(server)
        dialog = held.dialogs.pop(port, None) if held else None
        if held is None or dialog is None:
            return
        held.unsent.pop(port, None)
        self.loop.forget(dialog.fileno())
        dialog.close()
        self._forget_if_gone(server, held)

    def _drop_control(self, server: ServerId) -> None:
        held = self._servers.get(server)
        if held is None or held.control.fileno() < 0:
            return
        self.loop.forget(held.control.fileno())
        held.control.close()
        self._forget_if_gone(server, held)

    def _forget_if_gone(self, server: ServerId, held: _Server) -> None:
        if held.control.fileno() < 0 and not held.dialogs:
            held.registry.close()
            del self._servers[server]
            self.loop.cancel_timer(("hear", server))

    def _set_timer(self, effect: core.SetTimer) -> None:
        timer = effect.timer
        seconds = duration(self.spec.durations, timer)
        match timer:
            case core.HandOffTimeout():
                self.loop.set_timer(timer, seconds, partial(self._overdue, timer))
            case core.AuditDue() if self.machine.state.waiting:
                self._audited = time.monotonic()  # now, be it that there is no server to audit
                self._hurry()
            case core.RestOver() if (held := self._servers.get(timer.server)) is not None:
                longer = min(seconds * 1.5 ** min(held.refusals, 64), LONGEST_REST)
                self.loop.set_timer(timer, max(seconds, longer), partial(self.handle, core.Fired(timer)))
            case _:
                self.loop.set_timer(timer, seconds, partial(self.handle, core.Fired(timer)))

    def _overdue(self, timer: core.HandOffTimeout) -> None:
        """The time to answer is up: say whether the server has done anything for its clients meanwhile."""
        serves = core.StillServes(timer.server)
        allowed = core.guard(self.machine.state, serves) is None
        self.handle(serves if allowed and self._is_serving(timer.server) else core.Fired(timer))

    def _is_serving(self, server: ServerId) -> bool:
        clients = self._clients_of(server, self._servers[server])
        try:
            connections = [(client.cookie, client.port) for client in clients]
            return self._connections.in_use(connections, self.spec.durations.hand_off_timeout)
        except OSError as error:
            report.debug(f"distributor of {self.spec.name}: whether server {server} serves is not known: {error}")
            return False

    def _hurry(self) -> None:
        """Somebody waits, perhaps for a seat that is free and not known to be: audit soon, and not all the time."""
        pause = max(AUDIT_AGAIN, AUDIT_SHARE * self._audit_cost)
        due = core.AuditDue()
        left = min(self._audited + pause - time.monotonic(), duration(self.spec.durations, due))
        self.loop.set_timer(due, max(0.0, left), partial(self.handle, core.Fired(due)))

    def _note_audit(self, effect: core.Audit) -> None:
        self._audits.append(effect.server)

    def _audit(self) -> None:
        """Ask the kernel, after the servers: what a server counts now and the kernel does not know then is gone.

        And look whether a server has left something unsaid: another of its processes has to be woken to say it.
        """
        if not self._audits:
            return
        self._audited = time.monotonic()
        servers = [(server, held) for server in self._audits if (held := self._servers.get(server)) is not None]
        self._audits.clear()
        unsaid = {server for server, held in servers if self._look(server, held, _leaves_unsaid, False)}
        counted = {server: self._clients_of(server, held) for server, held in servers}
        gone = self._gone(servers, [client for clients in counted.values() for client in clients])
        for server, clients in counted.items():
            named = tuple(client for client in clients if client.cookie in gone)
            if named or server in unsaid:
                self.handle(core.Audited(server, named))
        self._audit_cost = time.monotonic() - self._audited
        limit = self.spec.durations.request_timeout
        if limit:
            self._had = {server: self._since_when(server, clients) for server, clients in counted.items()}
            late = [server for server, had in self._had.items() if had and min(had.values()) < self._audited - limit]
            for server in late:
                self._condemn(server, self._servers[server], f"has had a client for more than {limit:g} s")

    def _since_when(self, server: ServerId, clients: Sequence[Client]) -> dict[int, float]:
        """Since when the server has had each client, as far as has been seen."""
        before = self._had.get(server, {})
        return {client.cookie: before.get(client.cookie, self._audited) for client in clients}

    def _clients_of(self, server: ServerId, held: _Server) -> tuple[Client, ...]:
        """The clients that the server counts."""
        return self._look(server, held, Reader.clients, ())

    def _look(self, server: ServerId, held: _Server, read: Callable[[Reader], T], otherwise: T) -> T:
        """What the server's registry says.

        One whose registry makes no sense is to be replaced: it could not be audited ever again.
        """
        try:
            return read(held.registry)
        except Damaged as damage:
            self._condemn(server, held, f"has a registry that makes no sense: {damage}")
            return otherwise

    def _condemn(self, server: ServerId, held: _Server, why: str) -> None:
        """Say once that the server is not to be kept."""
        if not held.condemned:
            held.condemned = True
            report.warning(f"server {server} of {self.spec.name} {why}")
            self.handle(core.Unfit(server))

    def _gone(self, servers: list[tuple[ServerId, _Server]], clients: list[Client]) -> Collection[int]:
        """The cookies of those clients whose connections the kernel no longer knows."""

        def recount() -> set[tuple[int, int]]:
            counted = [client for server, held in servers for client in self._clients_of(server, held)]
            return {(client.cookie, client.port) for client in counted}

        if not clients:
            return ()
        try:
            return self._connections.gone({(client.cookie, client.port) for client in clients}, recount)
        except OSError as error:
            report.debug(f"distributor of {self.spec.name}: no audit: {error}")
            return ()

    def _effects(self) -> dict[type[core.Effect], Callable[[Any], None]]:  # Any: each takes its own effect
        return {
            core.Listen: self._listen,
            core.Accept: self._accept,
            core.CloseListeners: self._close_listeners,
            core.Send: self._send,
            core.SendControl: self._send_control,
            core.Tell: self._tell,
            core.Watch: self._watch,
            core.CloseCopy: self._close_copy,
            core.ShutDown: self._shut_down,
            core.CloseDialog: self._close_dialog,
            core.SetTimer: self._set_timer,
            core.Audit: self._note_audit,
        }

    # ================================================================ status and log

    def _on_status(self, flags: int) -> None:
        """Answer each line that the Monitor sends with a line."""
        try:
            asked = self._status.recv(4096) if flags & ~WRITE else None
        except BlockingIOError:
            asked = None
        except OSError:
            asked = b""
        if asked == b"":
            self.loop.forget(self._status.fileno())
            self._status.close()
            return
        self._questions += asked or b""
        lines = self._questions.count(b"\n")
        self._questions = self._questions.rpartition(b"\n")[2]
        for _ in range(lines):
            self._answers += self._status_line()
        self._write_answers()

    def _status_line(self) -> bytes:
        offences = {server: held.conduct.offence for server, held in self._servers.items()}
        return json.dumps(status_of(self.machine.state, self._since, offences)).encode() + b"\n"

    def _write_answers(self) -> None:
        try:
            del self._answers[: self._status.send(self._answers)]
        except BlockingIOError:
            pass
        except OSError:
            self._answers.clear()
        self.loop.change(self._status.fileno(), READ | WRITE if self._answers else READ)

    def _say_crowded(self, error: OSError) -> None:
        """It is the kernel that has no room, not the receiver."""
        if error.errno != errno.EAGAIN:
            why = errno.errorcode.get(error.errno or 0, "")
            self._warn_at_intervals(f"the kernel lets no descriptor be passed on ({why}): tried again until it does")

    def _warn_at_intervals(self, text: str, about: str = "") -> None:
        now, about = time.monotonic(), about or text
        if now - self._said.get(about, -SAY_AGAIN) >= SAY_AGAIN:
            self._said[about] = now
            report.warning(f"distributor of {self.spec.name}: {text}")


def status_of(
    state: core.DistributorState, since: dict[int, float], offences: Mapping[ServerId, str] = MappingProxyType({})
) -> dict[str, object]:
    """The Distributor's part of the status: its tables, as JSON.

    Args:
        state: of the Distributor.
        since: when each waiting client began to wait, in seconds since 1970, by cookie.
        offences: how servers have broken the protocol.
    """
    ports = [
        {
            "port": info.port,
            "address": address,
            "listening": up,
            "accepting": info.accepting,
            "waiting": len(info.waiting),
        }
        for info in state.ports.values()
        for address, up in info.listeners.items()
    ]
    waiting = sorted(client for info in state.ports.values() for client in info.waiting)
    return {
        "phase": state.phase.value,
        "incarnation": state.incarnation,
        "waiting": state.waiting,
        "ports": ports,
        "waiting_list": [
            {"port": client.port, "arrival": client.arrival, "since": since.get(client.cookie)} for client in waiting
        ],
        "servers": {str(server): _row(status, offences.get(server, "")) for server, status in state.servers.items()},
    }


def _row(status: core.ServerStatus, offence: str) -> dict[str, object]:
    """One row of the server table."""
    return {
        "clients": status.count.clients,
        "outstanding": status.request.arrival if status.request else None,
        "offence": offence or None,
        "draining": status.draining,
        "resting": status.resting,
        "ready": not status.owed and any(d.phase is core.DialogPhase.READY for d in status.dialogs.values()),
        "dialogs": [
            {"port": port, "phase": dialog.phase.value, "owed": port in status.owed}
            for port, dialog in status.dialogs.items()
        ],
    }


# ==================================================================== small helpers


def _open_trace(spec: DistributorSpec) -> Trace | None:
    if spec.trace is None:
        return None
    trace = Trace(spec.trace, f"distributor {spec.class_id} {spec.incarnation}")
    trace.start(
        incarnation=spec.incarnation,
        dynamic=spec.dynamic,
        waiting_limit=spec.waiting_limit,
        listeners=spec.listeners,
        fixed=spec.fixed,
    )
    return trace


def _leaves_unsaid(registry: Reader) -> bool:
    return registry.left_unsaid


def _open_files_limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client was quicker


def _wait_for_room(monitor: channel.Socket, *, crowded: bool) -> None:
    """Wait until the socket may take a packet; where it is not the socket that is full, for a moment."""
    if crowded:
        time.sleep(0.01)
        return
    poll = select.poll()
    poll.register(monitor, select.POLLOUT)
    poll.poll(1000)


def run(spec: DistributorSpec, handed: object) -> None:
    """The process: what `maitred.shell.supervise.launch` has multiprocessing start.

    Args:
        spec: what to do.
        handed: the descriptors named in ``spec``; it is enough that they have come along.
    """
    del handed
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.sched_setaffinity(0, spec.cpus)
    except OSError as error:
        report.warning(f"the Distributor of {spec.name} cannot be bound to its CPUs: {error.strerror}")
    with report.in_background():
        try:
            distributor = Distributor(spec)
        except OSError as error:  # no descriptor for the queue of events (FIG. 6 step 94)
            report.error(f"the Distributor of {spec.name} cannot start: {error.strerror}")
            sys.exit(1)
        try:
            distributor.run()
        except Exception:  # multiprocessing would say it too, and wait until it is read
            report.unforeseen(f"the Distributor of {spec.name}")
            sys.exit(1)
