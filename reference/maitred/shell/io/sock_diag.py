"""Asks the kernel about connections: which of them somebody still holds.  No process can know this of its descendants.

A connection's cookie (``SO_COOKIE``) is unique while the machine is up and is the same through every duplicate.  The
netlink service ``sock_diag`` finds a connection by its addresses and compares the cookie, or lists those of a port.
Where some descriptor in some process leads to a connection, it has an inode; one that is only winding down has none,
and one that is over is not found.  A query takes some tens of microseconds and no privilege.

A listing is not atomic: while it is being read, a connection that goes can push another past the reader.  What a
listing lacks is therefore asked for one by one, by addresses and cookie, where an earlier listing has shown the
addresses; and else the port is listed again, once for all of them.  Most of what a listing lacks has left in the
meantime, though, as clients do; so the servers' counts are read again first.

Servers use this inside the user's program, so it needs no more than the C type of sockets.
"""

from __future__ import annotations

import _socket
import errno
import math
import os
import struct
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

SocketAddress: TypeAlias = tuple[Any, ...]  # Any: two items, or four of IPv6, as Python gives addresses

SO_COOKIE: Final = 57

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NLM_F_REQUEST: Final = 0x1
_NLM_F_DUMP: Final = 0x300
_LISTEN: Final = 10
_TIME_WAIT: Final = 6
_STATES: Final = 0xFFFF_FFFF & ~(1 << _LISTEN | 1 << _TIME_WAIT)  # nobody holds what only waits out its time
_NO_COOKIE: Final = 0xFFFF_FFFF_FFFF_FFFF
_FAMILIES: Final = (_socket.AF_INET, _socket.AF_INET6)
_PATIENCE: Final = 2.0

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, sender
_REQUEST: Final = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_ADDRESSES: Final = 40  # ports, addresses and interface of `struct inet_diag_sockid`
_COOKIE: Final = struct.Struct("=Q")
_ANSWER: Final = struct.Struct("=BBBB40sQIIIII")  # `struct inet_diag_msg`; after the cookie: expires, unread,
# unsent, uid, inode
_INFO: Final = 2  # INET_DIAG_INFO
_TIMES: Final = struct.Struct("=44xIxxxxI")  # of `struct tcp_info`: ms since data was last sent, and last received
_PORTS: Final = struct.Struct("!HH")
_SCOPE: Final = struct.Struct("=I")
_UNIX_REQUEST: Final = struct.Struct("=BxxxIIIQ")  # family, states, inode, what to show, cookie
_SHOW_PEER: Final = 0x4
_UNIX_ANSWER: Final = 16  # bytes of `struct unix_diag_msg`; attributes follow
_PEER: Final = 2  # UNIX_DIAG_PEER
_NUMBER: Final = struct.Struct("=I")
_ATTRIBUTE: Final = struct.Struct("=HH")  # length and type of what follows either answer


def cookie_of(connection: _socket.socket) -> int:
    """The kernel's name of the connection."""
    return int.from_bytes(connection.getsockopt(_socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


def is_open(family: int, local: SocketAddress, remote: SocketAddress, cookie: int) -> bool:
    """Whether some process has a descriptor of the TCP connection.

    Raises:
        OSError: the kernel does not say: no descriptor to ask with, or no ``sock_diag``.
    """
    scope = remote[3] if len(remote) > 3 else 0
    addresses = _PORTS.pack(local[1], remote[1]) + _packed(family, local[0]) + _packed(family, remote[0])
    return any(answer.inode for answer in _ask(family, addresses + _SCOPE.pack(scope), cookie, dump=False))


def peer_of(inode: int) -> int:
    """The inode of the other end of a connected ``AF_UNIX`` socket; 0: nobody has that end any more.

    Source: sock_diag(7), ``UDIAG_SHOW_PEER``.

    Raises:
        OSError: the kernel does not say.
    """
    body = _UNIX_REQUEST.pack(_socket.AF_UNIX, 0xFFFF_FFFF, inode, _SHOW_PEER, _NO_COOKIE)
    for payload in _exchange(body, dump=False):
        peer = _attributes(payload, _UNIX_ANSWER).get(_PEER, b"")
        if len(peer) >= _NUMBER.size:
            return int(_NUMBER.unpack_from(peer)[0])
    return 0


def _packed(family: int, host: str) -> bytes:
    return _socket.inet_pton(family, host.partition("%")[0]).ljust(16, b"\0")


@dataclass(frozen=True, slots=True)
class _Where:
    """The addresses of a connection as ``sock_diag`` writes them."""

    family: int
    addresses: bytes


class Connections:
    """The audit's window on the kernel's connections; remembers addresses from one look to the next."""

    def __init__(self) -> None:
        self._known: dict[int, _Where] = {}

    def gone(
        self, wanted: Collection[tuple[int, int]], recount: Callable[[], Collection[tuple[int, int]]] | None = None
    ) -> set[int]:
        """Which of the connections, given as (cookie, local port), have no descriptor left; their cookies.

        Args:
            wanted: the connections.
            recount: what is wanted by now; what has left in the meantime is not gone.  None: the same.

        Raises:
            OSError: the kernel does not answer; nothing is known then.
        """
        open_now: set[int] = set()
        for port in {port for _, port in wanted}:
            open_now |= self._list(port)
        missing = {(cookie, port) for cookie, port in wanted if cookie not in open_now}
        if missing and recount is not None:
            missing.intersection_update(recount())
        for port in {port for cookie, port in missing if cookie not in self._known}:
            open_now |= self._list(port)
        gone = {cookie for cookie, _ in missing if cookie not in open_now and not self._survives(cookie)}
        if gone and recount is not None:
            gone.intersection_update(cookie for cookie, _ in recount())
        kept = {cookie for cookie, _ in wanted} - gone
        self._known = {cookie: where for cookie, where in self._known.items() if cookie in kept}
        return gone

    @staticmethod
    def in_use(wanted: Collection[tuple[int, int]], seconds: float) -> bool:
        """Whether a process has written to, or read from, one of the connections in the last so many seconds.

        That a connection was established counts as well.

        Args:
            wanted: the connections, as (cookie, local port).
            seconds: how far to look back.

        Raises:
            OSError: the kernel does not answer.
        """
        cookies = {cookie for cookie, _ in wanted}
        for port in {port for _, port in wanted}:
            sockid = struct.pack(">H", port).ljust(_ADDRESSES, b"\0")
            for family in _FAMILIES:
                answers = _ask(family, sockid, _NO_COOKIE, dump=True, info=True)
                if any(answer.cookie in cookies and answer.idle_ms < seconds * 1000 for answer in answers):
                    return True
        return False

    def _list(self, port: int) -> set[int]:
        """The cookies of the port's connections that have a descriptor."""
        found = set()
        sockid = struct.pack(">H", port).ljust(_ADDRESSES, b"\0")
        for family in _FAMILIES:
            for answer in _ask(family, sockid, _NO_COOKIE, dump=True):
                if answer.inode:
                    found.add(answer.cookie)
                    self._known.setdefault(answer.cookie, _Where(family, answer.addresses))
        return found

    def _survives(self, cookie: int) -> bool:
        """Ask by its addresses, where they are known, for a connection that the listing lacked."""
        where = self._known.get(cookie)
        return where is not None and any(
            answer.inode for answer in _ask(where.family, where.addresses, cookie, dump=False)
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    cookie: int
    inode: int
    addresses: bytes
    idle_ms: float
    """Since a process last wrote, or last read all that had come; infinite where that was not asked for."""


def _ask(family: int, addresses: bytes, cookie: int, *, dump: bool, info: bool = False) -> Iterator[_Answer]:
    """Ask ``sock_diag`` for one connection, or for all that match."""
    extensions = 1 << _INFO - 1 if info else 0
    body = _REQUEST.pack(family, _socket.IPPROTO_TCP, extensions, _STATES) + addresses + _COOKIE.pack(cookie)
    return map(_answer, _exchange(body, dump=dump))


def _exchange(body: bytes, *, dump: bool) -> Iterator[bytes]:
    """The payloads of what ``sock_diag`` answers."""
    flags = _NLM_F_REQUEST | (_NLM_F_DUMP if dump else 0)
    head = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, 1, 0)
    netlink = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    try:
        netlink.settimeout(_PATIENCE)
        netlink.sendto(head + body, (0, 0))
        while True:
            for kind, payload in _split(netlink.recv(65_536)):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    _check(struct.unpack_from("=i", payload)[0])
                    return
                yield payload
            if not dump:
                return
    finally:
        netlink.close()


def _split(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages in a packet of netlink: their types and payloads."""
    at = 0
    while at + _HEADER.size <= len(packet):
        length, kind, _, _, _ = _HEADER.unpack_from(packet, at)
        if length < _HEADER.size:
            return
        yield kind, packet[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _check(error: int) -> None:
    """No such connection, or another by now at its addresses, is an answer; anything else is a failure."""
    if error and -error not in (errno.ENOENT, errno.ESTALE):
        raise OSError(-error, os.strerror(-error))


def _answer(payload: bytes) -> _Answer:
    _, _, _, _, addresses, cookie, _, unread, _, _, inode = _ANSWER.unpack_from(payload)
    return _Answer(cookie, inode, addresses, _idle_ms(payload, unread))


def _idle_ms(payload: bytes, unread: int) -> float:
    """What has not been read is no sign that anybody reads."""
    info = _attributes(payload, _ANSWER.size).get(_INFO, b"")
    if len(info) < _TIMES.size:
        return math.inf
    sent, received = _TIMES.unpack_from(info)
    return float(sent if unread else min(sent, received))


def _attributes(payload: bytes, at: int) -> dict[int, bytes]:
    """What follows the fixed part of an answer, by type."""
    found = {}
    while at + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        found[kind] = payload[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, length + 3 & ~3)
    return found
