"""Messages and descriptors over ``AF_UNIX SOCK_SEQPACKET`` sockets: one message a packet, nothing ever blocks.

It works on the C type `_socket.socket`, so that it does the same in a server's process, where `socket.socket` has been
customised.  A socket that is handed in must have no timeout of Python's own (``settimeout(None)`` or ``(0)``): with
one, CPython waits before it tries.

What comes from a server is not trusted.  A descriptor beside its message may be of any kind: `is_end` tests whether it
is a dialog's.  To close it may take as long as its ``SO_LINGER``, whatever its ``O_NONBLOCK``: `drop` does not wait.
A descriptor that nobody expects is not taken: where there is no room for it, the kernel closes it, and makes none where
the other side has set ``SO_PASSPIDFD`` on the socket (unix(7), socket(7)).
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import struct
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol, TypeAlias

from maitred.core import wire

Socket: TypeAlias = _socket.socket
"""What `pair` gives."""


class HasFileno(Protocol):
    """Anything that is a socket to the kernel."""

    def fileno(self) -> int: ...


class Packet(NamedTuple):
    """A message that has arrived, and the descriptors that came with it; the receiver must close them."""

    message: wire.Message
    fds: tuple[int, ...]
    truncated: bool
    """Descriptors were lost on the way: the process had none to spare (``MSG_CTRUNC``)."""


CROWDED: Final = frozenset({errno.EAGAIN, errno.ETOOMANYREFS, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Why the kernel may decline to send although the receiver lives."""

_FDS: Final = 253  # SCM_MAX_FD: the kernel takes no more in one message
_ROOM: Final = _socket.CMSG_SPACE(_FDS * array("i").itemsize)
_SCM_PIDFD: Final = 4
_LINGER: Final = struct.Struct("ii")
_poll: Final = select.poll  # green threads replace it, or take it away
_SEND: Final = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
_PEEK: Final = _socket.MSG_DONTWAIT | _socket.MSG_PEEK
_sendmsg: Final = _socket.socket.sendmsg
_send: Final = _socket.socket.send
_recvmsg: Final = _socket.socket.recvmsg
_recv: Final = _socket.socket.recv
_RECEIVE: Final = _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC


def pair() -> tuple[Socket, Socket]:
    """A fresh channel: two connected ends, close-on-exec."""
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    one.settimeout(None)  # whatever the program has made the default
    other.settimeout(None)
    return one, other


def attach(fd: int) -> Socket:
    """The channel whose end is the descriptor, which the result owns from now on."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)
    end.settimeout(None)
    return end


def connection(fd: int) -> Socket:
    """The client's connection whose descriptor it is, which the result owns from now on; its flags stay as they are.

    Of the C type, whose calls Python adds nothing to, and of no family in particular: it only passes through.
    """
    return _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd)


def send(sock: HasFileno, message: wire.Message, fds: Sequence[int] = (), outcome: list[int] | None = None) -> None:
    """Send one message, and duplicates of the descriptors beside it.

    Args:
        sock: the channel's end.
        message: what to send.
        fds: the descriptors.
        outcome: gets an entry at the very instant when the packet is in the socket, so that whoever is torn out of
            here by what a signal handler raises knows whether it is.

    Raises:
        BlockingIOError: the other side has not read for long; nothing was sent.
        OSError: nothing was sent: ``EPIPE``, nobody holds the other end; ``ETOOMANYREFS``, too many in flight.
        wire.WireError: the message is too large for a packet.
    """
    packet = wire.encode(message)
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", fds))] if fds else []
    if not isinstance(sock, _socket.socket):
        borrowed = _borrow(sock.fileno())
        try:
            borrowed.sendmsg([packet], rights, _SEND)
        finally:
            borrowed.detach()
    elif outcome is not None:
        # Within one call of C, after which alone a signal handler may run:
        outcome.extend(map(_sendmsg, (sock,), ([packet],), (rights,), (_SEND,)))
    elif rights:
        _sendmsg(sock, [packet], rights, _SEND)
    else:
        _send(sock, packet, _SEND)


def receive(sock: HasFileno, *, bare: bool = False) -> Packet | None:
    """Take the next message, or None at the end: nobody holds the other end, and all it sent has been read.

    Args:
        sock: the channel's end.
        bare: no descriptors are expected: those that come are lost, and the packet counts as truncated.

    Raises:
        BlockingIOError: there is none now.
        wire.WireError: what came is no message; it has been taken, and its descriptors closed.
        OSError: as `recvmsg`; never ``ECONNRESET``, which comes before the data that it should follow.
    """
    room = 0 if bare else _ROOM
    if not isinstance(sock, _socket.socket):
        borrowed = _borrow(sock.fileno())
        try:
            return receive(borrowed, bare=bare)
        finally:
            borrowed.detach()
    try:
        raw = _recvmsg(sock, wire.LIMIT, room, _RECEIVE)
    except ConnectionResetError:  # reported once; then the data, then the end
        raw = _recvmsg(sock, wire.LIMIT, room, _RECEIVE)
    return parse(sock, *raw)


Raw: TypeAlias = tuple[bytes, list[tuple[int, int, bytes]], int, object]
"""A packet as `recvmsg` gives it: data, ancillary data, flags, and the sender's address."""


def head(sock: Socket, length: int) -> bytes:
    """The first bytes of the next packet, which stays where it is; none at the end, or where it is empty.

    Raises:
        BlockingIOError: there is none now.
        OSError: as `recv`; never ``ECONNRESET``.
    """
    while True:
        try:
            return _recv(sock, length, _PEEK)
        except ConnectionResetError:
            continue  # as below


def take(sock: Socket, box: list[Raw], room: int = _ROOM) -> None:
    """Put the next packet into the box, by the same instant at which it leaves the socket.

    Args:
        sock: the channel's end.
        box: gets the packet.
        room: bytes for ancillary data.

    Raises:
        BlockingIOError: there is none now.
        OSError: as `recvmsg`; never ``ECONNRESET``, which comes before the data that it should follow.
    """
    while True:
        try:
            # Within one call of C, after which alone a signal handler may run:
            box.extend(map(_recvmsg, (sock,), (wire.LIMIT,), (room,), (_RECEIVE,)))
        except ConnectionResetError:
            continue  # reported once; then the data, then the end
        return


def descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came with a packet."""
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind in (_socket.SCM_RIGHTS, _SCM_PIDFD):
            numbers = array("i")
            numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
            fds.extend(numbers)
    return fds


def parse(
    sock: HasFileno, data: bytes, ancillary: list[tuple[int, int, bytes]], flags: int, sender: object = None
) -> Packet | None:
    """What has been taken from the socket; None at the end.

    Raises:
        wire.WireError: it is no message; its descriptors have been closed.
    """
    fds = descriptors(ancillary) if ancillary else []
    if not data and not fds and _ended(sock):
        return None
    try:
        if flags & _socket.MSG_TRUNC:
            raise wire.WireError(f"a packet of more than {wire.LIMIT} bytes is no message")
        message = wire.decode(data)
    except wire.WireError:
        _unlinger_all(fds)
        close(fds)
        raise
    return Packet(message, tuple(fds), bool(flags & _socket.MSG_CTRUNC))


def close(fds: Sequence[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        _close(fd)


_close: Final = os.close  # the real one: in a server's process it is customised


def unlinger(sock: Socket) -> None:
    """Let the close of a connection, which may be the last, not wait until its peer has read all (SO_LINGER).

    A linger of 0 seconds, which resets the connection, waits for nobody and stays.
    """
    on, seconds = _LINGER.unpack(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER.size))
    if on and seconds:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER.pack(0, 0))


def drop(fds: Iterable[int]) -> None:
    """Close descriptors of any kind that somebody else may have made, without waiting."""
    fds = tuple(fds)
    _unlinger_all(fds)
    close(fds)


def _unlinger_all(fds: Iterable[int]) -> None:
    for fd in fds:
        with suppress(OSError):  # not a socket, or the mere name of one (O_PATH)
            borrowed = _borrow(fd)
            unlinger(borrowed)
            borrowed.detach()


def is_end(fd: int) -> bool:
    """Whether the descriptor is an end of a channel, connected to the other."""
    try:
        borrowed = _borrow(fd)
    except OSError:
        return False  # not a socket, or the mere name of one (O_PATH)
    try:
        borrowed.getpeername()
        wanted = {_socket.SO_DOMAIN: _socket.AF_UNIX, _socket.SO_TYPE: _socket.SOCK_SEQPACKET}
        return all(borrowed.getsockopt(_socket.SOL_SOCKET, name) == value for name, value in wanted.items())
    except OSError:
        return False  # not connected
    finally:
        borrowed.detach()


def is_used(fd: int) -> bool:
    """Whether something can be read at the end of a channel whose other end is open."""
    poll = _poll()
    poll.register(fd, select.POLLIN)
    return any(flags & select.POLLIN and not flags & select.POLLHUP for _, flags in poll.poll(0))


def _borrow(fd: int) -> Socket:
    """The C type around somebody else's descriptor, whose flags stay as they are."""
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)


def _ended(sock: HasFileno) -> bool:
    """Whether an empty packet is the end: somebody might have sent one."""
    poll = _poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
