"""The control sockets of a Distributor's servers: a server asks on it for a bind, and is answered."""

from __future__ import annotations

import errno
import os
from typing import Final

from maitred.core import distributor as core
from maitred.core import messages, wire
from maitred.core.messages import Address, Port, ServerId
from maitred.shell.dialogs import Dialogs, Machine, Server
from maitred.shell.io import channel, report, sock_diag
from maitred.shell.io.listening import MAX_PORT, says_where
from maitred.shell.warnings_at_intervals import WarningsAtIntervals

ADDRESSES: Final = 2
"""So many addresses a class without configured ports has behind it: the first that is bound, and one more, as for the
other family.  Further ones are left to the program."""
FOREIGN_PORTS: Final = 8
"""So many ports that are not behind this Distributor are named in the log."""


class Binding:
    """What the servers of one Distributor ask to have bound."""

    def __init__(
        self, name: str, *, fixed: bool, machine: Machine, dialogs: Dialogs, warnings: WarningsAtIntervals
    ) -> None:
        """Nothing has been asked for.

        Args:
            name: of the server class.
            fixed: whether the ports are configured.
            machine: decides on what is asked for.
            dialogs: holds the servers.
            warnings: of what is not bound.
        """
        self._name = name
        self._fixed = fixed
        self._machine = machine
        self._dialogs = dialogs
        self._warnings = warnings
        self._foreign_ports: set[Port] = set()

    def on_control(self, server: ServerId, flags: int) -> None:
        """Read what the server's control socket has."""
        while self._dialogs.may_send(server, flags):
            held = self._dialogs.servers[server]
            if held.control.fileno() < 0:
                return
            try:
                packet = channel.receive(held.control)
            except BlockingIOError:
                return
            except (wire.WireError, OSError) as error:
                self._dialogs.offends(server, held, f"no message on the control socket: {error}")
                continue
            if packet is None:
                self._machine.handle(core.ControlEnded(server))
                self._dialogs.drop_control(server)
                return
            if isinstance(packet.message, messages.BindRequest):
                self._bind_requested(server, held, packet.message, list(packet.fds))
            else:
                channel.drop(packet.fds)
                what = f"no message on the control socket: {type(packet.message).__name__}"
                self._dialogs.offends(server, held, what)

    def _bind_requested(self, server: ServerId, held: Server, message: messages.BindRequest, fds: list[int]) -> None:
        """Let the machine decide on a bind that asks for something."""
        if not fds:
            return  # lost, as no descriptor was free; the server asks again
        dialog, unused = fds[0], fds
        port, address = message.port, message.address
        number, offence = None, ""
        if not 0 < port <= MAX_PORT:  # such a dialog could pass for the control socket
            offence = f"no message on the control socket: BindRequest of port {port}"
        elif len(fds) > 1:
            offence = f"{len(fds)} descriptors came with BindRequest of port {port}"
        elif not channel.is_end(dialog) or self._holds_other_end(dialog) or _is_used(dialog, held, port):
            offence = f"what came with BindRequest of port {port} is not its end of a new dialog"
        elif not (self._fixed or says_where(address, port)):
            offence = f"BindRequest of port {port} at {address[:100]!r}, no numeric address of it"
            number = errno.EINVAL
        elif self._is_one_too_many(port, address):
            self._say_one_too_many(port)
            number = messages.BIND_YOURSELF
        else:
            if port not in held.dialogs:  # else asked again: the dialog has come already
                self._dialogs.hold_dialog(server, port, channel.attach(dialog))
                unused = fds[1:]
            self._machine.handle(core.BindRequested(server, port, address))
        if offence:
            self._dialogs.offends(server, held, offence)
        channel.drop(unused)
        if number is not None:
            _reply(held, messages.BindReply(port, number))

    def _holds_other_end(self, fd: int) -> bool:
        """Whether it is a server's end of what this process has an end of: it would never be seen to end."""
        servers = self._dialogs.servers.values()
        ends = [end.fileno() for held in servers for end in (held.control, *held.dialogs.values())]
        try:
            return sock_diag.peer_of(os.fstat(fd).st_ino) in {os.fstat(end).st_ino for end in ends if end >= 0}
        except OSError as error:
            report.debug(f"distributor of {self._name}: nothing is known of a dialog: {error}")
            return False

    def _is_one_too_many(self, port: Port, address: Address) -> bool:
        """A server decides where its class is reached, where nobody else has: not on every address that there is."""
        info = self._machine.state.ports.get(port, None)
        return (
            not self._fixed and info is not None and address not in info.listeners and len(info.listeners) >= ADDRESSES
        )

    def send_control(self, effect: core.SendControl) -> None:
        """A reply that finds no room is asked for again by the server; an acknowledgement is only a courtesy."""
        held = self._dialogs.servers.get(effect.server)
        if held is None:
            return
        if isinstance(effect.message, messages.BindReply) and effect.message.errno == messages.BIND_YOURSELF:
            self._say_foreign(effect.message.port)
        _reply(held, effect.message)

    def _say_one_too_many(self, port: Port) -> None:
        self._warnings.warn(
            f"the program binds more than {ADDRESSES} addresses of port {port}: clients find that server at the others,"
            " not here (only what -b names is bound without such a limit)"
        )

    def _say_foreign(self, port: Port) -> None:
        """Name a port that the program binds for itself; not so many that a server could fill a disk with them."""
        if port not in self._foreign_ports and len(self._foreign_ports) >= FOREIGN_PORTS:
            self._warnings.warn("the program binds further ports that are not behind this Distributor")
            return
        self._foreign_ports.add(port)
        ports = ", ".join(map(str, self._machine.state.ports))
        self._warnings.warn(
            f"the program binds port {port}, which is not behind this Distributor (port {ports} is):"
            " clients find that server there, not here"
        )


def _is_used(fd: int, held: Server, port: Port) -> bool:
    """Whether something is in the dialog already, and it is not one that is asked for again.

    To close a socket is to close the descriptors in its queue: again and again, that takes time.
    """
    known = held.dialogs.get(port)
    return channel.is_used(fd) and not (known is not None and os.path.sameopenfile(fd, known.fileno()))


def _reply(held: Server, message: messages.ControlToServer) -> None:
    try:
        channel.send(held.control, message)
    except OSError as error:
        report.debug(f"{message} not sent: {error}")
