"""Addresses that the program binds and sees, as the kernel would resolve and write them."""

from __future__ import annotations

import _socket
import sys
from typing import Any, Final, TypeAlias

from maitred.core.messages import Address, Port
from maitred.shell.io.sock_diag import SO_COOKIE, SocketAddress

Passed: TypeAlias = Any  # Any: an argument of a real method, passed on as it is

_SO_DOMAIN: Final = 39
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a connection to every interface leads."""


def port_of(sock: _socket.socket, address: Passed) -> Port:
    """The port, where this is a bind of a TCP socket, not yet bound, to a port that is not 0; else 0."""
    if sock.type != _socket.SOCK_STREAM or sock.family not in (_socket.AF_INET, _socket.AF_INET6):
        return 0
    if sock.proto not in (0, _socket.IPPROTO_TCP) or not isinstance(address, tuple) or len(address) < 2:
        return 0
    port = address[1]
    if not isinstance(port, int) or not 0 < port < 65_536 or _socket.socket.getsockname(sock)[1]:
        return 0
    return int(port)


def resolve(sock: _socket.socket, address: Passed) -> tuple[SocketAddress, Address]:
    """The address as the kernel would name it, and as the protocol writes it.

    Raises:
        OSError: it cannot be bound on this machine, or cannot be resolved.
    """
    probe = _socket.socket(sock.family, _socket.SOCK_STREAM)
    try:
        probe.bind((address[0], 0, *address[2:]))
        host, _, *rest = probe.getsockname()
    finally:
        probe.close()
    port = int(address[1])
    if sock.family == _socket.AF_INET:
        text = f"{host}:{port}"
    elif host == "::" and not is_v6only(sock):
        text = f"*:{port}"
    else:
        text = f"[{host}]:{port}"
    return (host, port, *rest), text


def host_here(sock: _socket.socket, address: Passed) -> str | None:
    """The host of this machine that a connection to the address leads to; None where it leads elsewhere, or nowhere."""
    try:
        host = str(resolve(sock, address)[0][0])
    except (OSError, TypeError, ValueError, OverflowError):
        return None
    return _LOOPBACK.get(host, host.removeprefix("::ffff:"))


def covers(listener: Address, host: str) -> bool:
    """Whether a listener at the configured address gets what is sent to this host of this machine.

    A name may stand for any of them.
    """
    place = listener.rpartition(":")[0].removeprefix("[").removesuffix("]")
    return place in (host, "*", "::" if ":" in host else "0.0.0.0") or not _is_numeric(place)


def _is_numeric(host: str) -> bool:
    try:
        return bool(_socket.getaddrinfo(host, 0, 0, 0, 0, _socket.AI_NUMERICHOST))
    except OSError:
        return False


def is_v6only(sock: _socket.socket) -> bool:
    """Whether it is an IPv6 socket that does not take IPv4, too."""
    if sock.family != _socket.AF_INET6:
        return False
    return bool(_socket.socket.getsockopt(sock, _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY))


def as_seen_by(listener: _socket.socket, remote: SocketAddress) -> SocketAddress:
    """The peer's address as the listener would give it: an IPv4 peer may come to either family, and to both at once."""
    if listener.family == _socket.AF_INET and len(remote) == 4 and remote[0].startswith("::ffff:"):
        return (remote[0].removeprefix("::ffff:"), remote[1])
    if listener.family == _socket.AF_INET6 and len(remote) == 2 and not is_v6only(listener):
        return (f"::ffff:{remote[0]}", remote[1], 0, 0)
    return remote


def family_of(sock: _socket.socket) -> int:
    """The family as the kernel has it; the object has the one that its maker gave."""
    return _socket.socket.getsockopt(sock, _socket.SOL_SOCKET, _SO_DOMAIN)


def cookie_of(sock: _socket.socket) -> int:
    """The kernel's cookie of the socket; 0 where it has none."""
    try:
        cookie = _socket.socket.getsockopt(sock, _socket.SOL_SOCKET, SO_COOKIE, 8)
    except OSError:
        return 0
    return int.from_bytes(cookie, sys.byteorder)
