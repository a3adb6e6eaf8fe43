"""Knows which descriptors of this process are clients' connections, and notices when a client's last one closes.

Duplicates within the process are counted here; a fork is counted in the registry.  Where else a connection was passed
to (a program that was exec'd, another process by a socket) cannot be counted: there the kernel is asked whether anybody
holds it.  (Not always, since the Distributor holds its copy until it has read that the client was
accepted.)  What ends without a call of ours, as in a child that was killed, the Distributor's audit finds.
"""

from __future__ import annotations

import _socket
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from maitred.core.messages import Client
from maitred.shell.io import sock_diag

AGAIN: Final = 4
"""Number of connections that were passed on that are looked at again on each occasion."""


@dataclass(slots=True)
class Connection:
    """A client's connection, as the kernel is asked for it."""

    client: Client
    family: int
    remote: sock_diag.SocketAddress
    local: sock_diag.SocketAddress | None = None
    """Asked for when another process is about to have the connection: most are never needed.  See `note_local`."""
    fresh: bool = True
    """Has not been wrapped in a socket object yet, so that its number is certain to be its own."""
    passed: bool = False
    """Was passed to a process that does not count it."""
    fds: set[int] = field(default_factory=set)
    """This process's descriptors of it."""

    def note_local(self) -> None:
        """Note the local address, while there is a descriptor to ask for it."""
        if self.local is None and self.fds:
            borrowed = None
            with suppress(OSError):  # closed by C code
                borrowed = _socket.socket(self.family, _socket.SOCK_STREAM, 0, next(iter(self.fds)))
                self.local = borrowed.getsockname()
            if borrowed is not None:
                borrowed.detach()


class Connections:
    """The clients' connections of this process."""

    def __init__(self, let_go: Callable[[Client], None]) -> None:
        """Call ``let_go`` of each client whose last descriptor in this process has closed."""
        self.by_fd: Final[dict[int, Connection]] = {}
        """The descriptors.  A number may be stale, where it was closed by C code."""
        self.passed_on: Final[dict[Client, Connection]] = {}
        """Closed here, and held by a process that does not count it."""
        self._by_cookie: Final[dict[int, Connection]] = {}
        self._let_go = let_go
        self._close = os.close

    def add(self, fd: int, connection: Connection) -> None:
        """The descriptor is one of the connection's."""
        stale = self.claim(fd)
        self.by_fd[fd] = connection
        self._by_cookie[connection.client.cookie] = connection
        connection.fds.add(fd)
        if stale is not None:
            self.closed(stale)

    def recognise(self, fd: int, cookie: int) -> None:
        """An object was made for the descriptor: note whose it is, by the cookie."""
        known, connection = self.by_fd.get(fd), self._by_cookie.get(cookie)
        if connection is not None:
            if known is not connection:
                self.add(fd, connection)
        elif known is not None:
            self.claim(fd)
            self.closed(known)

    def claim(self, fd: int) -> Connection | None:
        """The connection that the descriptor, about to be closed, belongs to; from now on the number means nothing."""
        connection = self.by_fd.pop(fd, None)
        if connection is not None:
            connection.fds.discard(fd)
        return connection

    def closed(self, connection: Connection) -> None:
        """A descriptor of the connection that was claimed has been closed."""
        if connection.fds:
            return
        self._by_cookie.pop(connection.client.cookie, None)
        if connection.passed and is_held(connection):
            self.passed_on[connection.client] = connection
        else:
            self._let_go(connection.client)

    def look_again(self) -> None:
        """Ask again about some of those that were passed on."""
        for client in list(self.passed_on)[:AGAIN]:
            connection = self.passed_on.pop(client, None)
            if connection is not None:
                self.closed(connection)

    def close_all(self) -> None:
        """This process is about to end: close every connection."""
        for fd in list(self.by_fd):
            connection = self.claim(fd)
            if connection is not None:
                with suppress(OSError):
                    self._close(fd)
                self.closed(connection)

    def open(self) -> list[Connection]:
        """All that this process has open."""
        return list({connection.client: connection for connection in list(self.by_fd.values())}.values())

    def after_fork_in_child(self) -> None:
        """What the parent passed on, the parent looks after."""
        self.passed_on.clear()


def is_held(connection: Connection) -> bool:
    """Whether any process has a descriptor of it, as far as the kernel says."""
    if connection.local is None:
        return True  # it could not be asked for
    try:
        return sock_diag.is_open(connection.family, connection.local, connection.remote, connection.client.cookie)
    except OSError:
        return True  # no descriptor is free to ask with
