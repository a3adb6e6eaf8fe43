"""Stands in for the listeners of a program on its server class's ports: to poll one is to poll a dialog.

A program calls `bind` on a TCP socket.  If the port is one of its server class, the dialog takes the place of the
socket under the same descriptor, at once: some programs register it with epoll before they call `listen`, and whatever
polls it is woken by a hand-off.  From then on the object is a `maitred.shell.inside.listener_socket.ListenerSocket`,
whose `accept` takes the next client from the dialog.  All other sockets, clients' connections among them, are as ever.

Rules
-----
1.  A second family on the same port (``[::]`` beside ``0.0.0.0``) gets a *twin*, which is never ready: all clients of
    the port come through the first.
2.  A duplicate of the original TCP socket answers `getsockopt` and `setsockopt`; `getsockname` gives what the program
    bound.  The options that a real listener passes on to its connections are set on them.
3.  To `recv` and `getpeername` a listener is not connected (``ssl`` asks); `shutdown` ends the listening and leaves
    the dialog alone.
4.  `accept` returns one connection, or raises that it would block.  (A blocking listener that the program has polled
    before may make it wait: a Distributor that was restarted has sent an `InitialMsg`, and there is no client.)
5.  When the Distributor has closed a port, this process may connect to its own listener there: some programs end so.
6.  Until a process of the server has bound a port of the class, none of them can connect to it: alone, nobody would
    answer there.  (Some programs look so for another instance of theirs, and give way to it.)

Which descriptors are listeners and connections: `maitred.shell.inside.descriptor_table`.  What happens to them at a
fork or an exec: `maitred.shell.inside.processes`.
"""

from __future__ import annotations

import _socket
import os
import select
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EADDRINUSE, EAGAIN, EINVAL, ENOTCONN
from typing import Any, Final, TypeAlias

from maitred.core.messages import BIND_YOURSELF, Address, Client, Port
from maitred.shell.inside import native_sockets, real_calls
from maitred.shell.inside.addresses import as_seen_by, covers, host_here, is_v6only, port_of, resolve
from maitred.shell.inside.connections import Connection
from maitred.shell.inside.descriptor_table import DescriptorTable
from maitred.shell.inside.epoll_registrations import Registrations
from maitred.shell.inside.listener import Listener, never_ready
from maitred.shell.inside.real_calls import error
from maitred.shell.io.sock_diag import SocketAddress

Passed: TypeAlias = Any  # Any: an argument of a real method, passed on as it is

_SLICE: Final = 0.5
"""Seconds after which a blocked accept looks whether its listener has been shut down."""


class StandIn:
    """What this process's listeners do."""

    def __init__(
        self, descriptors: DescriptorTable, reports: Callable[[], bool], listen: Iterable[Address] = ()
    ) -> None:
        """Stand in.

        Args:
            descriptors: of this process.
            reports: whether a bind in this process is reported to the Distributor.
            listen: the configured addresses of the class.
        """
        self.descriptors: Final = descriptors
        self.endpoint: Final = descriptors.endpoint
        self._reports: Final = reports
        self._unbound: Final[dict[Port, list[Address]]] = {}
        """The configured addresses of the class, by port, while the server is not known to have bound it."""
        for address in listen:
            self._unbound.setdefault(int(address.rpartition(":")[2]), []).append(address)

    # ---------------------------------------------------------------- bind

    def bind(self, sock: _socket.socket, address: Passed) -> bool:
        """`socket.bind`; whether the object is a listener now, whose descriptor is that of a dialog.

        Raises:
            OSError: as the real one; or what kept the Distributor from binding the port.
        """
        port = port_of(sock, address) if self._reports() else 0
        if not port:
            real_calls.bind(sock, address)
            return False
        native_sockets.refuse_loop()
        name, text = resolve(sock, address)
        v6only = is_v6only(sock)
        others = [listener for listener in self.descriptors.listeners() if listener.port == port]
        overlapping = [other for other in others if other.overlaps(sock.family, str(name[0]), v6only)]
        if any(not other.may_share(sock) for other in overlapping):
            raise error(EADDRINUSE)
        number = self.endpoint.request_bind(port, text)
        if number == BIND_YOURSELF:
            real_calls.bind(sock, address)
            return False
        if number:
            raise error(number)
        self.replace(sock, port, name, twin=not overlapping and any(not other.twin for other in others))
        return True

    def replace(self, sock: _socket.socket, port: Port, name: SocketAddress, twin: bool) -> Listener:
        """Put the dialog, or the twin, in the place of the socket."""
        fd = sock.fileno()
        blocking, inheritable = os.get_blocking(fd), os.get_inheritable(fd)
        original = _socket.socket(sock.family, _socket.SOCK_STREAM, sock.proto, real_calls.dup(fd))
        listener = Listener(port, name, original, twin)
        source = never_ready() if twin else self.endpoint.dialogs[port]
        registrations = Registrations(fd)
        registrations.take_out()
        real_calls.dup2(source.fileno(), fd, inheritable)
        registrations.put_back()
        if twin:
            source.close()
        os.set_blocking(fd, blocking)
        self.descriptors.add(fd, listener)
        return listener

    # ---------------------------------------------------------------- listen, accept, shutdown

    def listen(self, listener: Listener) -> None:
        """`socket.listen`."""
        listener.listened = True
        listener.note_inherited_options()
        if not listener.twin:
            self.endpoint.listen(listener.port)

    def accept(self, listener: Listener, timeout: float | None) -> tuple[int, SocketAddress]:
        """`socket._accept`: a descriptor and the address of its peer.

        Raises:
            BlockingIOError: no client is there, and the timeout is 0.
            TimeoutError: none has come in time.
            OSError: with EINVAL, the program does not listen.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        connections = self.descriptors.connections
        while True:
            if not listener.listened:
                raise error(EINVAL)
            if listener.own_connections:
                return _with_peer(listener, listener.own_connections.popleft())
            if connections.passed_on:
                connections.look_again()
            if listener.fds and not listener.twin:
                taken = self.endpoint.take(listener.port)
                if taken is not None:
                    seated = self._seat(listener, *taken)
                    if seated is not None:
                        return seated
                    continue
                self._replace_ended(listener)
            if timeout == 0:
                raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
            self._wait(listener, deadline)

    def _wait(self, listener: Listener, deadline: float | None) -> None:
        """Until something has come, or for a while."""
        left = _SLICE if deadline is None else min(deadline - time.monotonic(), _SLICE)
        if left <= 0:
            raise TimeoutError("timed out")
        poll = real_calls.poll()
        dialog = self.endpoint.dialogs.get(listener.port)
        if dialog is not None and listener.fds and not listener.twin:
            poll.register(dialog.fileno(), select.POLLIN)
        poll.poll(left * 1000 + 1)

    def _seat(self, listener: Listener, fd: int, client: Client) -> tuple[int, SocketAddress] | None:
        """Make the connection such as a real accept gives; None where the client has reset it."""
        peek = _socket.socket(_socket.AF_INET6, _socket.SOCK_STREAM, 0, fd)  # whose addresses fit IPv4's too
        try:
            remote = peek.getpeername()
            for option in listener.inherited_options:
                with suppress(OSError):  # not for its family, or only before it was connected
                    peek.setsockopt(*option)
            if not isinstance(remote, tuple):
                raise error(ENOTCONN)
        except OSError:
            peek.detach()
            real_calls.close(fd)
            self.endpoint.let_go(client)
            return None
        peek.detach()
        if not os.get_blocking(fd):  # a Distributor may have it so, and the flag is the connection's own
            os.set_blocking(fd, True)
        family = int(_socket.AF_INET if len(remote) == 2 else _socket.AF_INET6)
        self.descriptors.connections.add(fd, Connection(client, family, remote))
        return fd, as_seen_by(listener.original, remote)

    def _replace_ended(self, listener: Listener) -> None:
        """Put a twin in the place of a dialog that has ended: that is readable for ever, and the program would spin."""
        if listener.port in self.endpoint.dialogs:
            return
        listener.twin = True
        for fd in listener.fds:
            twin = never_ready()
            real_calls.dup2(twin.fileno(), fd, os.get_inheritable(fd))
            twin.close()
            self.descriptors.add(fd, listener)

    def shut_down(self, listener: Listener) -> None:
        """`socket.shutdown`."""
        listener.listened = False
        self.descriptors.leave_port(listener)

    # ---------------------------------------------------------------- connections to itself

    def refuses(self, sock: _socket.socket, address: Passed) -> bool:
        """Whether a connection is to a port of the class that the server has not bound (rule 6)."""
        if not self._unbound or sock.type != _socket.SOCK_STREAM or not isinstance(address, tuple):
            return False
        port = address[1] if len(address) > 1 and isinstance(address[1], int) else 0
        listeners = self._unbound.get(port)
        if listeners is None or sock.family not in (_socket.AF_INET, _socket.AF_INET6):
            return False
        if self.endpoint.has_bound(port):
            self._unbound.pop(port, None)
            return False
        host = host_here(sock, address)
        return host is not None and any(covers(listener, host) for listener in listeners)

    def connects_to_itself(self, sock: _socket.socket, address: Passed) -> bool:
        """Whether a connection that was refused is to a listener of this process, to which it is made then.

        (Programs do so at their end, to wake a thread that blocks in `accept`.)
        """
        if sock.family not in (_socket.AF_INET, _socket.AF_INET6) or not isinstance(address, tuple):
            return False
        own = [other for other in self.descriptors.listeners() if other.listened and not other.twin]
        listener = next((other for other in own if address[1:2] == (other.port,)), None)
        if listener is None:
            return False
        door = _socket.socket(sock.family, _socket.SOCK_STREAM)
        try:
            door.bind(("::1" if sock.family == _socket.AF_INET6 else "127.0.0.1", 0))
            door.listen(1)
            real_calls.connect(sock, door.getsockname())
            listener.own_connections.append(door._accept()[0])  # type: ignore[attr-defined]  # not in typeshed
        except OSError:
            return False
        finally:
            door.close()
        return True


def _with_peer(listener: Listener, fd: int) -> tuple[int, SocketAddress]:
    """As `_socket.socket._accept` returns it."""
    peek = _socket.socket(fileno=fd)
    try:
        return fd, as_seen_by(listener.original, peek.getpeername())
    except OSError:
        return fd, ("", 0)  # it has gone again
    finally:
        peek.detach()


_installed: StandIn | None = None


def here() -> StandIn:
    """The stand-in of this process, once it is installed."""
    assert _installed is not None, "an object becomes a ListenerSocket by the stand-in only"
    return _installed


def put_in_place(stand_in: StandIn) -> None:
    """This is the stand-in of this process."""
    global _installed
    _installed = stand_in
