"""The servers of one Distributor: the descriptors of each, and what is read from and written to its dialogs.

One server harms its own place only.  A dialog that is ready is read once in a turn: a look that finds it empty would be
a system call more for each message.  And of each server only so many packets are read in a second.
Its descriptors are looked at before they are used, and closed without waiting.  On a dialog none are expected: the
kernel closes the first that come, which takes a moment where they linger (`maitred.shell.io.loop`); further ones are
taken, and dropped.

Bytes on a dialog that are no message are reported and skipped.  They are not its end: the server that wrote them may
have taken the client, which must not be given to another.  Messages that break the protocol are skipped, too
(`maitred.shell.conduct`).  A server that goes on so is reported as one that does not respond: the Monitor kills it, and
its dialogs end.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias, get_args

from maitred.core import distributor as core
from maitred.core import messages, wire
from maitred.core.messages import Client, Incarnation, Port, ServerId
from maitred.shell.conduct import PATIENCE, Conduct
from maitred.shell.driver import Driver
from maitred.shell.io import channel, report
from maitred.shell.io.loop import READ, WRITE, Loop
from maitred.shell.io.registry import Reader

Machine: TypeAlias = Driver[core.DistributorState, core.Event, core.Effect]

_FROM_SERVER: Final = get_args(messages.FromServer)
READ_AGAIN: Final = 0.05
"""Seconds for which a server that has sent too much is not read."""


@dataclass(slots=True)
class Server:
    """The descriptors of one server."""

    control: channel.Socket
    registry: Reader
    conduct: Conduct
    served: dict[Client, None] | None
    """The clients that it has accepted here and that have not left, by its messages; None where it keeps a registry."""
    dialogs: dict[Port, channel.Socket] = field(default_factory=dict)
    unsent: dict[Port, messages.InitialMsg] = field(default_factory=dict)
    """Could not be sent at once: the dialog was full.  One is as good as several."""
    refusals: int = 0
    """How many clients it has refused since it took one."""
    paused: bool = False
    """It has sent too much: it is not read for a moment."""
    condemned: bool = False
    """The Monitor has been asked to replace it."""

    def flags(self, port: Port) -> int:
        """What its dialog is watched for, beside its end (EPOLLHUP)."""
        return (0 if self.paused else READ) | (WRITE if port in self.unsent else 0)

    def note(self, message: messages.FromServer) -> None:
        """Keep `served` as the server's message has it."""
        if self.served is None:
            return
        match message:
            case messages.Accepted():
                self.served[message.client] = None
            case messages.Disconnect():
                self.served.pop(message.client, None)
            case _:
                pass

    def forget(self, clients: Sequence[Client]) -> None:
        """It has been asked not to count these."""
        if self.served is not None:
            for client in clients:
                self.served.pop(client, None)


class Dialogs:
    """The dialogs of all servers of one Distributor."""

    def __init__(
        self, name: str, incarnation: Incarnation, loop: Loop, machine: Machine, *, registries: bool = True
    ) -> None:
        """There is no server yet.

        Args:
            name: of the server class.
            incarnation: of the Distributor.
            loop: watches the descriptors.
            machine: takes what the servers say.
            registries: whether the servers keep registries of their clients.
        """
        self.servers: dict[ServerId, Server] = {}
        self._name = name
        self._incarnation = incarnation
        self._loop = loop
        self._machine = machine
        self._registries = registries

    # ================================================================ holding

    def hold_server(
        self, message: messages.Adopt, fds: Sequence[int], on_control: Callable[[ServerId, int], None]
    ) -> None:
        """Take over the descriptors of a server, as many as the message names.

        Args:
            message: names the server and its dialogs.
            fds: the Distributor's end of the control socket, the registry, the Distributor's ends of the dialogs.
            on_control: is called with the server and epoll's flags when its control socket is ready.
        """
        registry = Reader(fds[1], message.max_clients)
        served: dict[Client, None] | None = None if self._registries else {}
        server = Server(channel.attach(fds[0]), registry, Conduct(message.max_clients), served)
        self.servers[message.server] = server
        self._loop.watch(fds[0], READ, partial(on_control, message.server))
        for port, fd in zip(message.dialogs, fds[2:], strict=True):
            self.hold_dialog(message.server, port, channel.attach(fd))

    def hold_dialog(self, server: ServerId, port: Port, dialog: channel.Socket) -> None:
        """Read this dialog from now on."""
        held = self.servers[server]
        self._loop.watch(dialog.fileno(), held.flags(port), partial(self._on_dialog, server, port))
        held.dialogs[port] = dialog

    def close(self, effect: core.CloseDialog) -> None:
        """Close a dialog, or the control socket."""
        if effect.port == core.CONTROL:
            self.drop_control(effect.server)
        else:
            self.drop_dialog(effect.server, effect.port)

    def drop_dialog(self, server: ServerId, port: Port) -> None:
        """Close the dialog, if it is open."""
        held = self.servers.get(server)
        dialog = held.dialogs.pop(port, None) if held else None
        if held is None or dialog is None:
            return
        held.unsent.pop(port, None)
        self._loop.forget(dialog.fileno())
        dialog.close()
        self._forget_if_gone(server, held)

    def drop_control(self, server: ServerId) -> None:
        """Close the control socket, if it is open."""
        held = self.servers.get(server)
        if held is None or held.control.fileno() < 0:
            return
        self._loop.forget(held.control.fileno())
        held.control.close()
        self._forget_if_gone(server, held)

    def _forget_if_gone(self, server: ServerId, held: Server) -> None:
        if held.control.fileno() < 0 and not held.dialogs:
            held.registry.close()
            del self.servers[server]
            self._loop.cancel_timer(("read", server))

    # ================================================================ reading

    def may_send(self, server: ServerId, flags: int) -> bool:
        """Whether to read from it now; what a server that has ended left unread is read in any case."""
        held = self.servers.get(server)
        if held is None:
            return False
        if held.conduct.may_send(self._loop.turns) or flags & select.EPOLLHUP:
            return True
        if held.conduct.spent and not held.paused:
            self._pause(held, True)
            self._loop.set_timer(("read", server), READ_AGAIN, partial(self._pause, held, False))
        return False

    def _pause(self, held: Server, paused: bool) -> None:
        held.paused = paused
        for port, end in ((core.CONTROL, held.control), *held.dialogs.items()):
            if end.fileno() >= 0:
                self._loop.change(end.fileno(), held.flags(port))

    def _on_dialog(self, server: ServerId, port: Port, flags: int) -> None:
        if flags & WRITE:
            self._send_unsent(server, port)
        if not self.may_send(server, flags):
            return
        held = self.servers[server]
        dialog = held.dialogs.get(port)
        if dialog is None:
            return
        try:
            packet = _receive(dialog) if held.conduct.offences else channel.receive(dialog, bare=True)
        except BlockingIOError:
            return
        except (wire.WireError, OSError) as error:
            self.offends(server, held, f"no message on the dialog of port {port}: {error}")
            return
        if packet is None:
            self._machine.handle(core.DialogEnded(server, port))
            self.drop_dialog(server, port)
        else:
            if packet.fds or packet.truncated:
                self.offends(server, held, f"a descriptor came on the dialog of port {port}")
            self._on_message(server, held, port, packet.message)

    def _on_message(self, server: ServerId, held: Server, port: Port, message: wire.Message) -> None:
        if not isinstance(message, _FROM_SERVER):
            self.offends(server, held, f"no message on the dialog of port {port}: {type(message).__name__}")
            return
        status = self._machine.state.servers.get(server, None)
        objection = status and held.conduct.objection(status, self._incarnation, port, message)
        if objection:
            self.offends(server, held, f"{type(message).__name__} on port {port}: {objection}")
        else:
            held.note(message)
            self._machine.handle(core.Received(server, port, message))

    def offends(self, server: ServerId, held: Server, what: str) -> None:
        """It has sent what no server may: report the first time; where it goes on, have it killed."""
        conduct = held.conduct
        conduct.offences += 1
        conduct.offence = conduct.offence or what
        text = f"server {server} of {self._name} breaks the protocol: {what}"
        (report.warning if conduct.offences == 1 else report.debug)(text)
        if conduct.offences == PATIENCE:
            self.condemn(server, held, "breaks the protocol again and again")

    def condemn(self, server: ServerId, held: Server, why: str) -> None:
        """Report once that the server is not to be kept."""
        if not held.condemned:
            held.condemned = True
            report.warning(f"server {server} of {self._name} {why}")
            self._machine.handle(core.Unfit(server))

    # ================================================================ writing

    def send_initial(self, server: ServerId, port: Port, message: messages.InitialMsg) -> None:
        """Open the dialog, as soon as it has room."""
        self.servers[server].unsent[port] = message
        self._send_unsent(server, port)

    def _send_unsent(self, server: ServerId, port: Port) -> None:
        held = self.servers.get(server)
        message = held.unsent.get(port) if held else None
        if held is None or message is None or port not in held.dialogs:
            return
        dialog = held.dialogs[port]
        try:
            channel.send(dialog, message)
        except OSError as error:
            if error.errno in channel.CROWDED:
                self._loop.change(dialog.fileno(), held.flags(port))
                return
        held.forget(message.forget)
        del held.unsent[port]
        self._loop.change(dialog.fileno(), held.flags(port))


def _receive(dialog: channel.Socket) -> channel.Packet | None:
    """The next packet, whose descriptors are closed already, without waiting."""
    packet = channel.receive(dialog)
    if packet is not None:
        channel.drop(packet.fds)
    return packet
