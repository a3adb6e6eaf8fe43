"""What a program has bound to a port of its server class, as the program sees it: a listening TCP socket."""

from __future__ import annotations

import _socket
from collections import deque
from typing import Final

from maitred.core.messages import Port
from maitred.shell.inside.addresses import is_v6only
from maitred.shell.inside.inherited_options import Option, inherited_options, options_without_effect
from maitred.shell.inside.passed_listeners import Row
from maitred.shell.io import report
from maitred.shell.io.sock_diag import SocketAddress


class Listener:
    """What a program has bound to a port of the server class: one TCP socket, as it sees it."""

    def __init__(self, port: Port, name: SocketAddress, original: _socket.socket, twin: bool) -> None:
        self.port: Final = port
        self.name: Final = name
        """As `getsockname` is to say."""
        self.original: Final = original
        """A duplicate of the TCP socket that the program made."""
        self.twin = twin
        """Never ready: another listener of this process takes the port's clients."""
        self.fds: set[int] = set()
        """The descriptors that lead here; closed when there are none."""
        self.listened = False
        self.is_shared = False
        """Other processes have it too."""
        self.own_connections: Final[deque[int]] = deque()
        """Connections that this very process has made, to be accepted."""
        self._named: set[str] = set()
        """The options that have no effect, as far as they were logged."""
        self.inherited_options: tuple[Option, ...] = ()
        """The options that connections inherit, where they are not the default."""

    @property
    def family(self) -> int:
        return self.original.family

    @property
    def host(self) -> str:
        return str(self.name[0])

    def option(self, number: int, level: int = _socket.SOL_SOCKET) -> int:
        return self.original.getsockopt(level, number)

    def row(self, inode: int) -> Row:
        """What another process of the server has to know of it, as JSON; see `of_row`."""
        return {
            "inode": inode,
            "port": self.port,
            "name": self.name,
            "original": self.original.fileno(),
            "twin": self.twin,
            "listened": self.listened,
        }

    @classmethod
    def of_row(cls, row: Row, original: _socket.socket) -> Listener:
        """The listener of a row that another process has made."""
        listener = cls(row["port"], tuple(row["name"]), original, row["twin"])
        listener.listened, listener.is_shared = row["listened"], True
        return listener

    def note_inherited_options(self) -> None:
        """Note the options that connections accepted from now on are to have."""
        self.inherited_options = inherited_options(self.original)
        names = [name for name in options_without_effect(self.original) if name not in self._named]
        self._named.update(names)
        for name in names:
            report.info(
                f"the program sets {name} on its listener for port {self.port}: that has no effect here,"
                " as the Distributor's listener has answered a client's first packet by then"
            )

    def overlaps(self, family: int, host: str, v6only: bool) -> bool:
        """Whether the kernel would see a second bind of the port, to this address, in this one's way."""
        if self.family == family:
            return host == self.host or {host, self.host} & {"0.0.0.0", "::"} != set()
        six, only = (host, v6only) if family == _socket.AF_INET6 else (self.host, is_v6only(self.original))
        return six == "::" and not only

    def may_share(self, sock: _socket.socket) -> bool:
        """Whether both have asked to share the address (SO_REUSEPORT, SO_REUSEADDR)."""

        def both(number: int) -> bool:
            return bool(self.option(number) and sock.getsockopt(_socket.SOL_SOCKET, number))

        return both(_socket.SO_REUSEPORT) or (both(_socket.SO_REUSEADDR) and not self.listened)


def never_ready() -> _socket.socket:
    """A socket that nobody can send anything to."""
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
