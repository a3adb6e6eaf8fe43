"""The Distributor's process: the pure Distributor driven by real sockets.

It makes no protocol decision.  A descriptor that is ready makes an event; `maitred.core.distributor.step` decides what
follows; all effects are performed in their order before anything else is read.  Two rules:

- *Copies.*  The connections that this process holds are known by their cookie.  Their ``O_NONBLOCK`` is never touched:
  it belongs to the connection, so to the server's program.  Calls that must not block pass ``MSG_DONTWAIT``.
- *The Monitor comes first.*  What is sent to it must have been sent before the next effect happens (a client is
  released before it is handed out), so a send to a Monitor that is slow is waited for.  Hence the Monitor never
  waits for a Distributor.  Nothing is sent to a Monitor that has died: serving goes on.

What has its own module: the listening sockets and their reserve of descriptors (`listeners`), the dialogs of servers
(`dialogs`), their requests to bind (`binding`), the audit (`audit`), the answers to the Monitor's questions for the
status (`distributor_status`).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from maitred.core import distributor as core
from maitred.core import messages
from maitred.core.messages import Address, Client, Incarnation, Port, ServerId
from maitred.core.timing import Durations, duration
from maitred.core.transition import Reason, Rejected
from maitred.shell.audit import Audit
from maitred.shell.binding import Binding
from maitred.shell.dialogs import Dialogs
from maitred.shell.distributor_status import LOG, StatusSocket, status_of
from maitred.shell.driver import Driver
from maitred.shell.io import channel, kernel, report
from maitred.shell.io.loop import READ, Loop
from maitred.shell.io.process_name import name_process
from maitred.shell.listeners import Listeners
from maitred.shell.observe.trace import Trace
from maitred.shell.warnings_at_intervals import WarningsAtIntervals

HANG_UP: Final = select.EPOLLRDHUP | select.EPOLLET
"""What is watched for on a client that waits: each news once."""

PACKETS_A_TURN: Final = 16
"""Most packets of the Monitor per turn."""
LONGEST_REST: Final = 5.0
"""Seconds for which a server that refuses again and again rests, at most; the first rest is as configured."""


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
    log: int | None = None
    """The file of the log; None: stderr."""
    registries: bool = True
    """Whether its servers keep registries; those of an executable do not."""


class Distributor:
    """One Distributor at work."""

    def __init__(self, spec: DistributorSpec) -> None:
        self.spec = spec
        self.loop = Loop()
        effects: dict[type[core.Effect], Callable[[Any], None]] = {}  # filled below, by what lets events happen
        self.machine = Driver(
            core.step,
            core.initial(spec.incarnation, spec.dynamic, spec.waiting_limit, spec.listeners, spec.fixed),
            effects,
            _open_trace(spec),
            stepped=self._mention,
            declined=self._declined,
            performed=lambda: self._audit.run(),
        )
        handle = self.handle = self.machine.handle
        """Takes an event, and performs its effects."""
        self._copies: dict[int, channel.Socket] = {}
        self._since: dict[int, float] = {}
        self._taken = self._refused = self._timed_out = 0
        """How many hand-offs servers have taken and refused, and how many clients have waited in vain."""
        warnings = self._warnings = WarningsAtIntervals(spec.name)
        dialogs = self._dialogs = Dialogs(
            spec.name, spec.incarnation, self.loop, self.machine, registries=spec.registries
        )
        self._binding = Binding(spec.name, fixed=spec.fixed, machine=self.machine, dialogs=dialogs, warnings=warnings)
        self._audit = Audit(spec.name, spec.durations, self.loop, self.machine, dialogs)
        self._listeners = Listeners(
            spec.kept, fixed=spec.fixed, loop=self.loop, handle=handle, copies=self._copies, warnings=warnings
        )
        self._monitor: channel.Socket | None = channel.attach(spec.channel)
        self._status = StatusSocket(spec.status, self.loop, self._status_document, self._open_again)
        self.loop.watch(spec.channel, READ, self._on_monitor)
        self._status.watch()
        effects.update(self._effects())

    def run(self) -> None:
        """Serve until the class is closed."""
        with self.loop.interrupt_waits():
            while self.machine.state.phase is not core.Phase.CLOSED:
                self.loop.turn()

    # ================================================================ effects, by their types

    def _effects(self) -> dict[type[core.Effect], Callable[[Any], None]]:  # Any: each takes its own effect
        return {
            core.Listen: self._listeners.listen,
            core.Accept: self._listeners.accept,
            core.CloseListeners: self._listeners.close,
            core.Send: self._send,
            core.SendControl: self._binding.send_control,
            core.SendMonitor: self._tell,
            core.Watch: self._watch,
            core.CloseCopy: self._close_copy,
            core.ShutDown: self._shut_down,
            core.CloseDialog: self._dialogs.close,
            core.SetTimer: self._set_timer,
            core.Audit: self._audit.note,
        }

    # ================================================================ events

    def _mention(self, event: core.Event, before: core.DistributorState) -> None:
        """Log what clients suffer from, where nobody else does."""
        match event:
            case core.Received():
                self._count_refusals(event)
            case core.ConnectionRequest():
                pass
            case core.Fired(core.QueueTimeout()):
                self._timed_out += 1
                patience = self.spec.durations.queue_timeout
                self._warnings.warn(f"clients are closed that have waited {patience:g} s for a seat")
            case core.Fired(core.HandOffTimeout(server=server)):
                patience = self.spec.durations.hand_off_timeout
                report.warning(f"server {server} of {self.spec.name} has not taken a client for {patience:g} s")
            case core.StillServes(server=server):
                self._warn_full(self.machine.state.servers[server])
            case _:
                pass
        if self.machine.state.waiting >= self.spec.waiting_limit:
            self._warnings.warn("as many clients wait as may: further ones stay in the backlog (waiting_limit)")

    def _count_refusals(self, event: core.Received) -> None:
        kind = type(event.message)
        if kind is messages.Accepted:
            self._taken += 1
            self._dialogs.servers[event.server].refusals = 0
        elif kind is messages.Refused:
            self._refused += 1
            self._dialogs.servers[event.server].refusals += 1
            text = f"server {event.server} refuses clients: it is out of descriptors, or listens no more"
            self._warnings.warn(text, about="refused")

    def _warn_full(self, status: core.ServerStatus) -> None:
        patience, clients = self.spec.durations.hand_off_timeout, status.count.clients
        self._warnings.warn(
            f"server {status.server} has taken no client for {patience:g} s, and goes on serving {clients}: it seems to"
            f" take no more at a time; set max_clients to {clients} (it is {status.max_clients})",
            about=f"full {status.server}",
        )

    def _declined(self, event: core.Event, rejected: Rejected) -> None:
        """Close what came with an event that the machine does not take."""
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
                self._dialogs.drop_dialog(event.server, event.port)
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
            self._on_packet(packet)

    def _on_packet(self, packet: channel.Packet) -> None:
        message, fds = packet.message, list(packet.fds)
        match message:
            case messages.Adopt():
                wanted = 2 + len(message.dialogs)
                if len(fds) != wanted:  # without them the server cannot be reached: the next incarnation will have them
                    raise SystemExit(f"maitred: out of descriptors: {len(fds)} of {wanted} of a server have come")
                self._dialogs.hold_server(message, fds, self._binding.on_control)
                self.handle(message)
            case messages.Restore():
                if packet.truncated:  # the Monitor has its connection still, and the next incarnation will
                    raise SystemExit("maitred: out of descriptors: a client that waits has come without its connection")
                for fd in fds:
                    self._copies[message.client.cookie] = channel.connection(fd)
                self.handle(message)
                if not fds:  # its connection has been lost on the way: what cannot be served must not wait
                    self.handle(core.PeerClosed(message.client, reset=True, unread=False))
            case messages.Begin() | messages.CreationFailed() | messages.Close() | messages.Drain() | messages.Allow():
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

    # ---------------------------------------------------------------- from clients

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

    def _send(self, effect: core.Send) -> None:
        match effect.message:
            case messages.HandOff():
                self._send_hand_off(effect.server, effect.port, effect.message)
            case messages.InitialMsg():
                self._dialogs.send_initial(effect.server, effect.port, effect.message)

    def _send_hand_off(self, server: ServerId, port: Port, message: messages.HandOff) -> None:
        """Send, or report `Unsent`.  Where nobody holds the server's end any more, the end of the dialog follows."""
        held = self._dialogs.servers[server]
        connection, dialog = self._copies[message.client.cookie], held.dialogs.get(port)
        held.conduct.handed(message.client)
        try:
            if dialog is None:
                raise BlockingIOError(errno.EAGAIN, "the dialog has been closed here")
            channel.send(dialog, message, (connection.fileno(),))
        except OSError as error:
            if error.errno in channel.CROWDED:
                self._warn_crowded(error)
                self.handle(core.Unsent(server, message.client))

    def _tell(self, effect: core.SendMonitor) -> None:
        message = effect.message
        fds: tuple[int, ...] = ()
        match message:
            case messages.Store():
                fds = self._fds_of(message.client)
            case messages.Release():
                self._stop_watching(message.client)
            case messages.KeepDialog():
                fds = (self._dialogs.servers[message.server].dialogs[message.port].fileno(),)
            case messages.KeepListener():
                fds = self._listeners.fds(message.port, message.address)
            case _:
                pass
        self._send_to_monitor(message, fds)

    def _fds_of(self, client: Client) -> tuple[int, ...]:
        copy = self._copies.get(client.cookie)
        return () if copy is None else (copy.fileno(),)

    def _send_to_monitor(self, message: messages.ToMonitor, fds: tuple[int, ...]) -> None:
        """Send; while the Monitor is slow, wait: nothing else may happen before the Monitor has the message."""
        began = time.monotonic()
        while self._monitor is not None:
            try:
                channel.send(self._monitor, message, fds)
            except OSError as error:
                if error.errno not in channel.CROWDED:
                    self._monitor_lost()
                    return
                self._warn_crowded(error)
                if error.errno == errno.EAGAIN and time.monotonic() - began > 5.0:
                    self._warnings.warn("the Monitor does not read its messages; waiting for it")
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
            self._audit.hurry()

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
        self._listeners.tight = False
        self._since.pop(cookie, None)
        self.loop.forget(connection.fileno())
        if shut:
            _shut_down(connection)
        channel.unlinger(connection)  # its server may have gone already, and its client read nothing
        connection.close()

    def _set_timer(self, effect: core.SetTimer) -> None:
        timer = effect.timer
        seconds = duration(self.spec.durations, timer)
        match timer:
            case core.HandOffTimeout():
                key = ("hand-off", timer.server)  # for each client: its hash is quicker than the timer's
                self.loop.set_timer(key, seconds, partial(self._overdue, timer))
            case core.AuditDue() if self.machine.state.waiting:
                self._audit.hurry(restart=True)
            case core.RestOver() if (held := self._dialogs.servers.get(timer.server)) is not None:
                longer = min(seconds * 1.5 ** min(held.refusals, 64), LONGEST_REST)
                self.loop.set_timer(timer, max(seconds, longer), partial(self.handle, core.Fired(timer)))
            case _:
                self.loop.set_timer(timer, seconds, partial(self.handle, core.Fired(timer)))

    def _overdue(self, timer: core.HandOffTimeout) -> None:
        """The time to answer is up: report whether the server has done anything for its clients meanwhile."""
        serves = core.StillServes(timer.server)
        allowed = core.guard(self.machine.state, serves) is None
        self.handle(serves if allowed and self._audit.is_serving(timer.server) else core.Fired(timer))

    # ================================================================ status and log

    def _status_document(self) -> dict[str, object]:
        offences = {server: held.conduct.offence for server, held in self._dialogs.servers.items()}
        totals = {"taken": self._taken, "refused": self._refused, "timed_out": self._timed_out}
        return status_of(self.machine.state, self._since, offences, totals)

    def _open_again(self, file: bytes, fd: int) -> None:
        """Write to this file from now on: the log, or the trace."""
        if file == LOG:
            report.log_to(fd)
            return
        if self.spec.trace is not None:
            os.dup2(fd, self.spec.trace, inheritable=False)
        os.close(fd)

    def _warn_crowded(self, error: OSError) -> None:
        """It is the kernel that has no room, not the receiver."""
        if error.errno != errno.EAGAIN:
            why = errno.errorcode.get(error.errno or 0, "")
            self._warnings.warn(f"the kernel lets no descriptor be passed on ({why}): tried again until it does")


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


def _shut_down(connection: channel.Socket) -> None:
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
    if spec.log is not None:
        report.log_to(spec.log)
    kernel.leave_terminal()
    name_process(f"distr:{spec.name}")
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
        except Exception:  # multiprocessing would print it too, and wait until it is read
            report.unforeseen(f"the Distributor of {spec.name}")
            sys.exit(1)
