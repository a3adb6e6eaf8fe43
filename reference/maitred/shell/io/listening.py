"""Opens the listening sockets for an address as a user writes it.

An address is ``host:port``, IPv6 hosts in brackets.  A name that stands for several addresses is listened on at each of
them.  ``*`` is every interface of both families, as far as the machine has them.  Where a program has bound that, it is
one IPv6 socket that takes IPv4 too, as the program's would be; where a user has asked for it, it is a socket for each
family, since most programs expect their clients over IPv4 to have IPv4 connections.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Final, TypeAlias

from maitred.core.messages import Address

SocketAddress: TypeAlias = "tuple[str, int] | tuple[str, int, int, int]"

BACKLOG: Final = 65_535  # as long as the kernel allows: it is where clients wait while a Distributor restarts
MAX_PORT: Final = 65_535
_EVERYWHERE: Final = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
_UNACKED: Final = 24
"""Where ``struct tcp_info`` has ``tcpi_unacked`` (linux/tcp.h)."""
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def split_address(address: Address) -> tuple[str, int]:
    """The host, without brackets, and the port.

    Raises:
        OSError: with EINVAL, it is not an address.
    """
    host, colon, port = address.rpartition(":")
    # The length comes first: `int` declines thousands of digits in its own way.
    if not colon or not port.isdecimal() or len(port) > len(str(MAX_PORT)) or int(port) > MAX_PORT:
        raise OSError(errno.EINVAL, f"{address!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def says_where(address: Address, port: int) -> bool:
    """Whether it is this port's, of a host that is a number or ``*``: nobody has to be asked where that is."""
    try:
        host, number = split_address(address)
        return number == port and (host == "*" or bool(socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)))
    except (OSError, ValueError):
        return False


def backlog_of(listener: socket.socket) -> int:
    """How many clients are in the backlog: connected, and not accepted.  One that has reset since is among them.

    For a listening socket, ``tcpi_unacked`` is the length of that queue (the kernel's net/ipv4/tcp.c, tcp_get_info).
    """
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED + 4)
    return int.from_bytes(info[_UNACKED:], sys.byteorder)


def open_listeners(address: Address, *, apart: bool = False) -> list[socket.socket]:
    """Bind and listen; the sockets do not block and close on exec.

    Args:
        address: where.
        apart: whether every interface is to be a socket for each family.

    Raises:
        OSError: none of them, or one that should work, cannot be listened on.
    """
    host, port = split_address(address)
    if host == "*" and not apart:
        return [_every_interface(port)]
    opened: list[socket.socket] = []
    absent: OSError | None = None
    for family, sockaddr in resolve(host, port):
        try:
            opened.append(_open(family, sockaddr, v6only=True))
        except OSError as error:
            if error.errno in _NOT_HERE:
                absent = error
                continue
            for listener in opened:
                listener.close()
            raise
    if not opened:
        raise absent or OSError(errno.EADDRNOTAVAIL, f"{host} stands for no address")
    return opened


def resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, SocketAddress]]:
    """What the host stands for, each once.

    Raises:
        OSError: for nothing; the text says why, in the resolver's words.
    """
    if host == "*":
        return [(family, (every, port)) for family, every in _EVERYWHERE]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(errno.EADDRNOTAVAIL, f"{host}: {error.strerror}") from error
    except ValueError as error:  # UnicodeError among them: no host can have such a name
        raise OSError(errno.EINVAL, f"{host!r}: {error}") from error
    pairs: list[tuple[socket.AddressFamily, SocketAddress]] = []
    for family, _, _, _, sockaddr in found:
        if family == socket.AF_INET:
            pairs.append((family, (str(sockaddr[0]), port)))
        elif family == socket.AF_INET6:
            scope = int(sockaddr[3]) if len(sockaddr) == 4 else 0
            pairs.append((family, (str(sockaddr[0]), port, 0, scope)))
    return list(dict.fromkeys(pairs))


def _every_interface(port: int) -> socket.socket:
    try:
        return _open(socket.AF_INET6, ("::", port), v6only=False)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return _open(socket.AF_INET, ("0.0.0.0", port), v6only=False)


def _open(family: socket.AddressFamily, sockaddr: SocketAddress, *, v6only: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
        listener.bind(sockaddr)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
