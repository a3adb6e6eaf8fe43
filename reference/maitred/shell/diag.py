"""Asks the kernel whether anybody still holds a connection: what no process can know of its descendants.

``sock_diag`` finds a connection by its addresses, and compares the cookie.  Where some descriptor in some process leads
to it, it has an inode; a connection that is only winding down has none, and one that is over is not found.  A query
takes some tens of microseconds and no privilege.
"""

from __future__ import annotations

import _socket
import errno
import struct
from typing import Any, Final, TypeAlias

SocketAddress: TypeAlias = tuple[Any, ...]  # Any: two items, or four of IPv6, as Python gives addresses

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_ALL_STATES: Final = 0xFFFF_FFFF
_REQUEST: Final = struct.Struct("=IHHII BBBxI")
"""``nlmsghdr``, then the start of ``inet_diag_req_v2``; ``_PORTS``, addresses, interface and cookie follow."""
_PORTS: Final = struct.Struct("!HH")
_WHICH: Final = struct.Struct("=IQ")
_INODE: Final = struct.Struct("=I")
_HEADER: Final = 16
_INODE_AT: Final = _HEADER + 4 + 48 + 4 * 4
_SIZE: Final = _REQUEST.size + _PORTS.size + 32 + _WHICH.size


def held(family: int, local: SocketAddress, remote: SocketAddress, cookie: int) -> bool:
    """Whether some process has a descriptor of the TCP connection.

    Raises:
        OSError: the kernel does not say: no descriptor to ask with, or no ``sock_diag``.
    """
    scope = remote[3] if len(remote) > 3 else 0
    query = (
        _REQUEST.pack(_SIZE, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0, family, _socket.IPPROTO_TCP, 0, _ALL_STATES)
        + _PORTS.pack(local[1], remote[1])
        + _packed(family, local[0])
        + _packed(family, remote[0])
        + _WHICH.pack(scope, cookie)
    )
    netlink = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    try:
        netlink.settimeout(None)
        netlink.sendto(query, (0, 0))
        answer = netlink.recv(1024)  # is there already: the kernel answers within the call
    finally:
        netlink.close()
    return _read(answer)


def _packed(family: int, host: str) -> bytes:
    return _socket.inet_pton(family, host.partition("%")[0]).ljust(16, b"\0")


def _read(answer: bytes) -> bool:
    kind: int = struct.unpack_from("=H", answer, 4)[0]
    if kind != _NLMSG_ERROR:
        return bool(_INODE.unpack_from(answer, _INODE_AT)[0])
    error: int = -struct.unpack_from("=i", answer, _HEADER)[0]
    if error in (errno.ENOENT, errno.ESTALE):  # over, or another has its addresses by now
        return False
    raise OSError(error, "the kernel does not tell who holds a connection")
