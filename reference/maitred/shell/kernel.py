"""What only the kernel knows: the names of connections, which of them still have a socket, and who lives.

A connection's cookie (``SO_COOKIE``) is unique while the machine is up and is the same through every duplicate.  The
netlink service ``sock_diag`` tells which connections of a port there are, with cookie and inode; a connection whose
last descriptor is closed has inode 0 (it is only winding down) or is not there at all.

A listing is not atomic: while it is being read, a connection that goes can push another past the reader.  What a
listing lacks is therefore asked for one by one, by addresses and cookie, where an earlier listing has told the
addresses; and else listed again.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import struct
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

SO_COOKIE: Final = 57

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NLM_F_REQUEST: Final = 0x1
_NLM_F_DUMP: Final = 0x300
_ALL_STATES: Final = 0xFFFF_FFFF & ~(1 << 10)  # but listening
_NO_COOKIE: Final = 0xFFFF_FFFF_FFFF_FFFF
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_PATIENCE: Final = 2.0

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, sender
_REQUEST: Final = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_ADDRESSES: Final = 40  # ports, addresses and interface of `struct inet_diag_sockid`
_COOKIE: Final = struct.Struct("=Q")
_ANSWER: Final = struct.Struct("=BBBB40sQIIIII")  # `struct inet_diag_msg`; the last is the inode
_PR_SET_CHILD_SUBREAPER: Final = 36


def cookie_of(connection: socket.socket) -> int:
    """The kernel's name of the connection."""
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


# ---------------------------------------------------------------- connections


@dataclass(frozen=True, slots=True)
class _Where:
    """The addresses of a connection as ``sock_diag`` writes them."""

    family: int
    addresses: bytes


class Connections:
    """The audit's window on the kernel's connections; remembers addresses from one look to the next."""

    def __init__(self) -> None:
        self._known: dict[int, _Where] = {}

    def gone(self, wanted: Collection[tuple[int, int]]) -> set[int]:
        """Which of the connections, given as (cookie, local port), have no descriptor left; their cookies.

        Raises:
            OSError: the kernel does not answer; nothing is known then.
        """
        open_now: set[int] = set()
        for port in {port for _, port in wanted}:
            open_now |= self._list(port)
        missing = [(cookie, port) for cookie, port in wanted if cookie not in open_now]
        gone = {cookie for cookie, port in missing if not self._survives(cookie, port)}
        kept = {cookie for cookie, _ in wanted} - gone
        self._known = {cookie: where for cookie, where in self._known.items() if cookie in kept}
        return gone

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

    def _survives(self, cookie: int, port: int) -> bool:
        """Ask once more for a connection that the listing lacked."""
        where = self._known.get(cookie)
        if where is None:
            return cookie in self._list(port)
        return any(answer.inode for answer in _ask(where.family, where.addresses, cookie, dump=False))


@dataclass(frozen=True, slots=True)
class _Answer:
    cookie: int
    inode: int
    addresses: bytes


def _ask(family: int, addresses: bytes, cookie: int, *, dump: bool) -> Iterator[_Answer]:
    """Ask ``sock_diag`` for one connection, or for all that match."""
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES) + addresses + _COOKIE.pack(cookie)
    flags = _NLM_F_REQUEST | (_NLM_F_DUMP if dump else 0)
    head = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_PATIENCE)
        netlink.send(head + body)
        while True:
            for kind, payload in _split(netlink.recv(65_536)):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    _check(struct.unpack_from("=i", payload)[0])
                    return
                yield _answer(payload)
            if not dump:
                return


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
    _, _, _, _, addresses, cookie, _, _, _, _, inode = _ANSWER.unpack_from(payload)
    return _Answer(cookie, inode, addresses)


# ---------------------------------------------------------------- processes


def send_signal(pidfd: int, number: int) -> bool:
    """Signal the process behind the pidfd; whether it was still there."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def become_subreaper() -> None:
    """Have orphans among this process's descendants become its children, so that none gets out of sight.

    Raises:
        OSError: the kernel declines.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def online_cpus(text: str | None = None) -> frozenset[int]:
    """The CPUs that are online; ``text`` in the kernel's form, as ``0-3,8``, else asked of the kernel."""
    if text is None:
        try:
            with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
                text = file.read()
        except OSError:
            return frozenset(range(os.cpu_count() or 1))
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)
