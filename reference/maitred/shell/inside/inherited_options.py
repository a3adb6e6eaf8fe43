"""Which options of a program's listener its connections inherit: those of TCP and IP that the kernel copies at accept.

The Distributor's listener has the defaults, so what the program has set on its own is set on each connection that it is
handed.  What is fixed with a connection's first packet (TCP_MAXSEG, the window scale, TCP_SAVE_SYN) cannot be:
to set it on the Distributor's listener would set it for the clients of all copies, and one copy harms no other's.
"""

from __future__ import annotations

import _socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, TypeAlias

Option: TypeAlias = tuple[int, int, int | bytes]
"""Level, number and value, as `setsockopt` takes them."""

_NUMBERS: Final = {
    _socket.SOL_SOCKET: {*range(1, 128)} - {4, 12, 26, 49, 57},
    _socket.IPPROTO_IP: {*range(1, 64)} - {4},  # from 64 on, the packet filter is asked
    _socket.IPPROTO_IPV6: {*range(1, 128)} - {26, 64, 65, 68, 69},
    _socket.IPPROTO_TCP: {*range(1, 128)} - {9, 11, 12, 14, *range(19, 24), 26, 28, 29, 31, 35, *range(38, 42)},
}
"""By level, the numbers of the options that a connection may inherit.  Left out are those that the kernel does not pass
on (SO_PRIORITY, SO_INCOMING_CPU, IP_OPTIONS, IPV6_V6ONLY, TCP_DEFER_ACCEPT, TCP_QUICKACK, TCP_FASTOPEN), and those that
are no settings (SO_ERROR, filters, SO_COOKIE, TCP_INFO, TCP_REPAIR, keys, TCP_ZEROCOPY_RECEIVE...)."""
_OF_THE_FIRST_PACKET: Final = {2: "TCP_MAXSEG", 9: "TCP_DEFER_ACCEPT", 23: "TCP_FASTOPEN", 27: "TCP_SAVE_SYN"}
"""Options of TCP that only the listener itself can have: it has answered a client's first packet by them."""
_LONGEST: Final = 64
_BUFFERS: Final = {_socket.SO_SNDBUF: (1, 32), _socket.SO_RCVBUF: (2, 33)}
"""`getsockopt` gives twice what was set.  With each, its bit in SO_BUF_LOCK, which is 1 once it has been set, and the
option without a limit (SO_SNDBUFFORCE, SO_RCVBUFFORCE)."""
_SO_BUF_LOCK: Final = 72


def inherited_options(listener: _socket.socket) -> tuple[Option, ...]:
    """The options to set on a connection of the program's listener: those that the kernel would have passed on.

    They are found by comparison with a socket that has the options of the Distributor's listener and no others.
    """
    plain = _socket.socket(listener.family, _socket.SOCK_STREAM)
    try:
        plain.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        return tuple(_differences(listener, plain))
    finally:
        plain.close()


def options_without_effect(listener: _socket.socket) -> list[str]:
    """The names of those that the program has set, and that no connection here can have."""
    plain = _socket.socket(listener.family, _socket.SOCK_STREAM)
    try:
        return [
            name
            for number, name in _OF_THE_FIRST_PACKET.items()
            if _option(listener, _socket.IPPROTO_TCP, number) != _option(plain, _socket.IPPROTO_TCP, number)
        ]
    finally:
        plain.close()


def _differences(sock: _socket.socket, plain: _socket.socket) -> Iterator[Option]:
    """Yield each option (level, number, value) in which the sockets differ, and set it on the plain one."""
    locked = _option(sock, _socket.SOL_SOCKET, _SO_BUF_LOCK) or b"\0"
    for level, numbers in _NUMBERS.items():
        for number in sorted(numbers):
            value = _option(sock, level, number)
            bit, force = _BUFFERS.get(number, (0, 0)) if level == _socket.SOL_SOCKET else (0, 0)
            if value is None or (value == _option(plain, level, number) and not bit & locked[0]):
                continue
            half = int.from_bytes(value, sys.byteorder) // 2
            for setting in ((level, number, half), (level, force, half)) if force else ((level, number, value),):
                with suppress(OSError):
                    plain.setsockopt(*setting)
                    if _option(plain, level, number) == value:
                        yield setting
                        break
    if plain.getsockopt(_socket.SOL_SOCKET, _socket.SO_PRIORITY):  # of IP_TOS, which passes on alone
        yield _socket.SOL_SOCKET, _socket.SO_PRIORITY, 0


def _option(sock: _socket.socket, level: int, number: int) -> bytes | None:
    """Its value; None where this family has no such option."""
    try:
        return sock.getsockopt(level, number, _LONGEST)
    except OSError:
        return None
