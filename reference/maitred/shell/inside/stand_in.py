"""The customised socket class: `socket.socket`, whose listeners on a server class's ports are dialogs.

A program calls `bind` on a TCP socket.  If the port is one of its server class, the dialog takes the place of the
socket under the very same descriptor, there and then: some programs register it with epoll before they call `listen`,
and whatever polls it is woken by a hand-off.  From then on the object is a `VirtualListener`, whose `accept` takes the
next client from the dialog.  All other sockets, clients' connections among them, do what they always did.

Rules
-----
1.  A listener is known by its descriptor's inode, so it is recognised however it comes: wrapped by ``ssl``, by `dup`,
    by `socket.fromfd`, by number.
2.  A second family on the same port (``[::]`` beside ``0.0.0.0``) gets a *twin*, which is never ready: all clients of
    the port come through the first.
3.  A duplicate of the original TCP socket answers `getsockopt` and `setsockopt`; `getsockname` says what the program
    bound.  The options that a real listener bequeaths to its connections are set on them.  What is settled with a
    connection's first packet (TCP_MAXSEG, the scale of the window, TCP_SAVE_SYN) is that of the Distributor's listener.
4.  To `recv` and `getpeername` a listener is not connected (``ssl`` asks); `shutdown` ends the listening and leaves
    the dialog alone.
5.  `accept` returns one connection, or says that it would block.  (A listener that blocks, and that the program has
    polled before, may make it wait: a Distributor that was restarted has asked something, and no client is there.)
6.  A closing is claimed by number before it happens, since the number may be used again at once.
7.  An exec closes what is not inheritable, so its connections are let go of just before it.  Where it fails after all,
    they are taken back; a client whose other holders have closed in that instant is counted no more.
8.  When a child that was forked is reaped, the kernel is asked about the connections that it had.
9.  The program cannot close what is ours by number: to it, nothing is there.  It has not opened it.
10. The main process leads a session and a process group.  To ask for that is to have it already.
11. When the Distributor has closed a port, this process may connect to its own listener there: some programs end so.

Workers that a program forks inherit all this.  Those that it starts with an exec are handed it: see
`maitred.shell.inside.workers`.  What a listener is that a worker is sent, it looks up: see
`maitred.shell.inside.passed_listeners`.
"""

from __future__ import annotations

import _posixsubprocess
import _socket
import _thread
import atexit
import functools
import io
import json
import operator
import os
import select
import socket
import sys
import time
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from errno import EADDRINUSE, EAGAIN, EBADF, ECONNREFUSED, EINVAL, ENOTCONN, EPIPE
from typing import TYPE_CHECKING, Any, Final, NoReturn, SupportsIndex, TypeAlias

from maitred.core.messages import BIND_YOURSELF, Address, Client, Port
from maitred.shell.inside import native_sockets, workers
from maitred.shell.inside.connections import Connection, Tracker, is_held
from maitred.shell.inside.endpoint import Endpoint
from maitred.shell.inside.epoll_registrations import Registrations
from maitred.shell.inside.passed_listeners import Shelf
from maitred.shell.io import report
from maitred.shell.io.sock_diag import SO_COOKIE, SocketAddress

Passed: TypeAlias = Any  # Any: an argument or result of a real method, passed on as it is

CHILDREN: Final = 1024
"""Of so many children it is known what they had: some programs never reap theirs."""
_SLICE: Final = 0.5
"""Seconds after which a blocked accept looks whether its listener has been shut down."""
_NUMBERS: Final = {
    _socket.SOL_SOCKET: {*range(1, 128)} - {4, 12, 26, 49, 57},
    _socket.IPPROTO_IP: {*range(1, 64)} - {4},  # from 64 on, the packet filter is asked
    _socket.IPPROTO_IPV6: {*range(1, 128)} - {26, 64, 65, 68, 69},
    _socket.IPPROTO_TCP: {*range(1, 128)} - {9, 11, 12, 14, *range(19, 24), 26, 28, 29, 31, 35, *range(38, 42)},
}
"""By level, the numbers of options that a connection may inherit: all that the kernel may have, but for those that it
does not pass on (SO_PRIORITY, SO_INCOMING_CPU, IP_OPTIONS, IPV6_V6ONLY, TCP_DEFER_ACCEPT, TCP_QUICKACK, TCP_FASTOPEN),
and those that are no settings (SO_ERROR, filters, SO_COOKIE, TCP_INFO, TCP_REPAIR, keys, TCP_ZEROCOPY_RECEIVE...)."""
_LONGEST: Final = 64
_BUFFERS: Final = {_socket.SO_SNDBUF: (1, 32), _socket.SO_RCVBUF: (2, 33)}
"""Set to half of what they then say.  With each, its bit in SO_BUF_LOCK, which says that it has been set, be it to what
it was; and the option that knows no limit (SO_SNDBUFFORCE, SO_RCVBUFFORCE)."""
_SO_BUF_LOCK: Final = 72
_SO_DOMAIN: Final = 39

_OUT_OF_REACH: Final = "which is not the Python that runs it: no client can be handed to that"

_dup: Final = os.dup
_dup2: Final = os.dup2
_close: Final = os.close
_closerange: Final = os.closerange
_exit: Final = os._exit
_execve: Final = os.execve
_fdopen: Final = os.fdopen
_setpgrp: Final = os.setpgrp
_setsid: Final = os.setsid
_setpgid: Final = os.setpgid
_init: Final[Passed] = socket.socket.__init__
_plain_init: Final[Passed] = _socket.socket.__init__
_bind: Final = _socket.socket.bind
_connect: Final = _socket.socket.connect
_connect_ex: Final = _socket.socket.connect_ex
_real_close: Final[Passed] = socket.socket._real_close  # type: ignore[attr-defined]  # CPython's own, not in typeshed
_finalise: Final[Passed] = _socket.socket.__del__  # type: ignore[attr-defined]  # it is there, typeshed does not say so
_sendmsg: Final = _socket.socket.sendmsg
_fileno: Final = _socket.socket.fileno
_poll: Final = select.poll  # green threads replace it, or take it away
_thread_id: Final = _thread.get_ident  # of the thread, where green threads have their own


# ================================================================ what stands in


class Listening:
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
        self.inherited = False
        """Other processes have it too."""
        self.from_here: Final[deque[int]] = deque()
        """Connections that this very process has made, to be accepted."""
        self.bequest: tuple[tuple[int, int, int | bytes], ...] = ()
        """The options that connections inherit, where they are not the default."""

    @property
    def family(self) -> int:
        return self.original.family

    @property
    def host(self) -> str:
        return str(self.name[0])

    def option(self, number: int, level: int = _socket.SOL_SOCKET) -> int:
        return self.original.getsockopt(level, number)

    def row(self, inode: int) -> dict[str, Passed]:
        """What a worker has to know of it, as JSON; see `of_row`."""
        return {
            "inode": inode,
            "port": self.port,
            "name": self.name,
            "original": self.original.fileno(),
            "twin": self.twin,
            "listened": self.listened,
        }

    @classmethod
    def of_row(cls, row: dict[str, Passed], original: _socket.socket) -> Listening:
        """The listener of a row that another process has made."""
        listening = cls(row["port"], tuple(row["name"]), original, row["twin"])
        listening.listened, listening.inherited = row["listened"], True
        return listening

    def note_bequest(self) -> None:
        """Compare with a socket that is as the Distributor's, and that nobody else has touched."""
        plain = _socket.socket(self.family, _socket.SOCK_STREAM)
        try:
            plain.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            self.bequest = tuple(_differences(self.original, plain))
        finally:
            plain.close()


def _differences(sock: _socket.socket, plain: _socket.socket) -> Iterator[tuple[int, int, int | bytes]]:
    """What makes the plain socket like the other, option by option; that is done to it."""
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
    """Its value; None where there is no such option, or not for this family."""
    try:
        return sock.getsockopt(level, number, _LONGEST)
    except OSError:
        return None


if TYPE_CHECKING:
    _Beside = socket.socket
else:
    _Beside = object


class ListenerMethods(_Beside):
    """What a listener does in its own way, whether its class derives from `socket.socket` or from the C type."""

    __slots__ = ()

    # Where the object is closed, the real method says so; hence each first looks whether it stands for anything.

    def listen(self, *backlog: Passed) -> None:
        listening = here().of(self)
        if listening is None:
            return super().listen(*backlog)
        for number in backlog:
            operator.index(number)  # the real one complains in these words
        return here().listen(listening)

    def _accept(self) -> Passed:
        listening = here().of(self)
        if listening is None:
            return super()._accept()  # type: ignore[misc]  # of the C type, not in typeshed
        return here().accept(listening, self.gettimeout())

    def getsockname(self) -> Passed:
        listening = here().of(self)
        return super().getsockname() if listening is None else listening.name

    def getpeername(self) -> Passed:
        if here().of(self) is None:
            return super().getpeername()
        raise _error(ENOTCONN)

    def getsockopt(self, *args: Passed) -> Passed:
        listening = here().of(self)
        if listening is None:
            return super().getsockopt(*args)
        if args == (_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            return int(listening.listened)
        return listening.original.getsockopt(*args)

    def setsockopt(self, *args: Passed) -> None:
        listening = here().of(self)
        if listening is None:
            return super().setsockopt(*args)
        listening.original.setsockopt(*args)
        if listening.listened:
            listening.note_bequest()
        return None

    def shutdown(self, how: int, /) -> None:
        listening = here().of(self)
        if listening is None:
            return super().shutdown(how)
        if not listening.listened:
            raise _error(ENOTCONN)
        if how in (_socket.SHUT_RD, _socket.SHUT_RDWR):
            here().stop(listening)
        return None


class VirtualListener(ListenerMethods, socket.socket):
    """A listener whose descriptor is a dialog.  Objects become this, they are not made so."""

    __slots__ = ()

    def bind(self, address: Passed, /) -> None:
        if here().of(self) is None:
            return _bind(self, address)
        raise _error(EINVAL)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Passed:
        """As multiprocessing has it for plain sockets; it goes by the class, and this is not the one that it knows."""
        reduction = sys.modules.get("multiprocessing.reduction")
        if reduction is None or type(self) is not VirtualListener:
            return super().__reduce_ex__(protocol)
        return reduction._reduce_socket(self)

    def setblocking(self, flag: bool, /) -> None:
        if here().of(self) is not None:
            native_sockets.refuse_loop()  # the last that such a loop does with a socket that Python can hear
        super().setblocking(flag)

    def dup(self) -> VirtualListener:
        fd = here().duplicate(self.fileno())
        other = type(self)(self.family, self.type, self.proto, fileno=fd)
        other.settimeout(self.gettimeout())
        return other


def _unconnected(name: str, number: int) -> Callable[..., Passed]:
    """A method of sockets that a listener does not have."""
    real = getattr(_socket.socket, name)

    def method(self: VirtualListener, *args: Passed, **kwargs: Passed) -> Passed:
        if here().of(self) is None:
            return real(self, *args, **kwargs)
        raise _error(number)

    method.__name__ = name
    return method


for _name in ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"):
    setattr(VirtualListener, _name, _unconnected(_name, ENOTCONN))
for _name in ("send", "sendall", "sendto", "sendmsg"):
    setattr(VirtualListener, _name, _unconnected(_name, EPIPE))
VirtualListener.__module__ = socket.socket.__module__
VirtualListener.__name__ = VirtualListener.__qualname__ = socket.socket.__name__

_classes: Final[dict[type[socket.socket], type[socket.socket]]] = {
    socket.socket: VirtualListener,
    VirtualListener: VirtualListener,
}


def _listener_class(base: type[socket.socket]) -> type[socket.socket]:
    """The class between a program's own class of sockets (`ssl.SSLSocket`) and `socket.socket`."""
    if base not in _classes:
        body = {"__slots__": (), "__module__": base.__module__, "__qualname__": base.__qualname__}
        metaclass: Passed = type(base)
        made: type[socket.socket] = metaclass(base.__name__, (base, VirtualListener), body)
        _classes[base] = made
        _classes[made] = made
    return _classes[base]


def _disguise(sock: _socket.socket) -> None:
    """Have the object be a listener, where its class does not see to that itself."""
    if isinstance(sock, socket.socket) and not isinstance(sock, ListenerMethods):
        sock.__class__ = _listener_class(type(sock))


def _init_again(sock: _socket.socket, family: int, proto: int, fd: int) -> None:
    (_init if isinstance(sock, socket.socket) else _plain_init)(sock, family, _socket.SOCK_STREAM, proto, fd)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# ================================================================ the stand-in of this process


class StandIn:
    """All listeners and clients' connections of this process."""

    def __init__(
        self,
        endpoint: Endpoint,
        main: int,
        reports: Callable[[], bool],
        private: Iterable[int],
        identity: workers.Identity | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        """Stand in.

        Args:
            endpoint: of this process.
            main: the process id of the server's main process.
            reports: whether a bind in this process is reported to the Distributor.
            private: descriptors of ours, which a program that closes everything is to spare.
            identity: what workers that the program execs are to be; None: nothing.
            shelf: where what is to be known of listeners that are passed on is put; None: nowhere.
        """
        self.endpoint: Final = endpoint
        self.tracker: Final = Tracker(endpoint.let_go)
        self.by_fd: Final[dict[int, Listening]] = {}
        self._main: Final = main
        self._reports: Final = reports
        self._private: Final = {fd: os.fstat(fd).st_ino for fd in private}
        self._identity: Final = identity
        self._shelf: Final = shelf
        self._shelved: Final[set[int]] = set()
        """The inodes of the listeners that were put there."""
        self._by_inode: Final[dict[int, Listening]] = {}
        self._starting = 0
        """The thread that is starting another program, whose fork is but the prelude to an exec."""
        self._rights = workers.rights()
        """As whom this process began."""
        self._children: Final[dict[int, list[Connection]]] = {}
        """What each child had when it was forked, the last `CHILDREN` of them."""

    @property
    def is_busy(self) -> bool:
        """Whether any descriptor may be one of ours."""
        return bool(self.tracker.by_fd or self._by_inode)

    def of(self, sock: _socket.socket) -> Listening | None:
        """What the object stands for; None where it is closed."""
        return self.by_fd.get(_fileno(sock))

    # ---------------------------------------------------------------- bind

    def bind(self, sock: _socket.socket, address: Passed) -> None:
        """`socket.bind`.

        Raises:
            OSError: as the real one; or what kept the Distributor from binding the port.
        """
        port = _port_of(sock, address) if self._reports() else 0
        if not port:
            return _bind(sock, address)
        native_sockets.refuse_loop()
        name, text = _resolve(sock, address)
        v6only = _v6only(sock)
        others = [listening for listening in self._open() if listening.port == port]
        shared = [other for other in others if _overlap(other, sock.family, str(name[0]), v6only)]
        if any(not _may_share(other, sock) for other in shared):
            raise _error(EADDRINUSE)
        number = self.endpoint.request_bind(port, text)
        if number == BIND_YOURSELF:
            return _bind(sock, address)
        if number:
            raise _error(number)
        return self._replace(sock, port, name, twin=not shared and any(not other.twin for other in others))

    def _open(self) -> list[Listening]:
        return list(dict.fromkeys(self.by_fd.values()))

    def _replace(self, sock: _socket.socket, port: Port, name: SocketAddress, twin: bool) -> None:
        """Put the dialog, or the twin, in the place of the socket."""
        fd = sock.fileno()
        blocking, inheritable = os.get_blocking(fd), os.get_inheritable(fd)
        original = _socket.socket(sock.family, _socket.SOCK_STREAM, sock.proto, _dup(fd))
        listening = Listening(port, name, original, twin)
        source = _never_ready() if twin else self.endpoint.dialogs[port]
        watchers = Registrations(fd)
        watchers.take_out()
        _dup2(source.fileno(), fd, inheritable)
        watchers.put_back()
        if twin:
            source.close()
        os.set_blocking(fd, blocking)
        self._know(fd, listening)
        _disguise(sock)

    def _know(self, fd: int, listening: Listening) -> None:
        listening.fds.add(fd)
        self.by_fd[fd] = listening
        self._by_inode[os.fstat(fd).st_ino] = listening

    # ---------------------------------------------------------------- listen, accept, shutdown

    def listen(self, listening: Listening) -> None:
        """`socket.listen`."""
        listening.listened = True
        listening.note_bequest()
        if not listening.twin:
            self.endpoint.listen(listening.port)

    def accept(self, listening: Listening, timeout: float | None) -> tuple[int, SocketAddress]:
        """`socket._accept`: a descriptor and the address of its peer.

        Raises:
            BlockingIOError: no client is there, and the timeout is 0.
            TimeoutError: none has come in time.
            OSError: with EINVAL, the program does not listen.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if not listening.listened:
                raise _error(EINVAL)
            if listening.from_here:
                return _with_peer(listening, listening.from_here.popleft())
            if self.tracker.handed_on:
                self.tracker.look_again()
            if listening.fds and not listening.twin:
                taken = self.endpoint.take(listening.port)
                if taken is not None:
                    seated = self._seat(listening, *taken)
                    if seated is not None:
                        return seated
                    continue
                self._look_for_the_end(listening)
            if timeout == 0:
                raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
            self._wait(listening, deadline)

    def _wait(self, listening: Listening, deadline: float | None) -> None:
        """Until something has come, or for a while."""
        left = _SLICE if deadline is None else min(deadline - time.monotonic(), _SLICE)
        if left <= 0:
            raise TimeoutError("timed out")
        poll = _poll()
        dialog = self.endpoint.dialogs.get(listening.port)
        if dialog is not None and listening.fds and not listening.twin:
            poll.register(dialog.fileno(), select.POLLIN)
        poll.poll(left * 1000 + 1)

    def _seat(self, listening: Listening, fd: int, client: Client) -> tuple[int, SocketAddress] | None:
        """Make the connection such as a real accept gives; None where the client has reset it."""
        peek = _socket.socket(_socket.AF_INET6, _socket.SOCK_STREAM, 0, fd)  # whose addresses fit IPv4's too
        try:
            local, remote = peek.getsockname(), peek.getpeername()
            for option in listening.bequest:
                with suppress(OSError):  # not for its family, or only before it was connected
                    peek.setsockopt(*option)
            if not isinstance(remote, tuple):
                raise _error(ENOTCONN)
        except OSError:
            peek.detach()
            _close(fd)
            self.endpoint.let_go(client)
            return None
        peek.detach()
        if not os.get_blocking(fd):
            os.set_blocking(fd, True)
        family = int(_socket.AF_INET if len(remote) == 2 else _socket.AF_INET6)
        self.tracker.add(fd, Connection(client, family, local, remote))
        return fd, _as_seen_by(listening, remote)

    def _look_for_the_end(self, listening: Listening) -> None:
        """A dialog that has ended is readable for ever: put the twin in its place, or the program would spin."""
        if listening.port in self.endpoint.dialogs:
            return
        listening.twin = True
        for fd in listening.fds:
            twin = _never_ready()
            _dup2(twin.fileno(), fd, os.get_inheritable(fd))
            twin.close()
            self._know(fd, listening)

    def connects_to_itself(self, sock: _socket.socket, address: Passed) -> bool:
        """Whether a connection that was refused is to a listener of this process, to which it is made then.

        (Programs do so at their end, to wake a thread that blocks in `accept`.)
        """
        if sock.family not in (_socket.AF_INET, _socket.AF_INET6) or not isinstance(address, tuple):
            return False
        own = [listening for listening in self._open() if listening.listened and not listening.twin]
        listening = next((listening for listening in own if address[1:2] == (listening.port,)), None)
        if listening is None:
            return False
        listener = _socket.socket(sock.family, _socket.SOCK_STREAM)
        try:
            listener.bind(("::1" if sock.family == _socket.AF_INET6 else "127.0.0.1", 0))
            listener.listen(1)
            _connect(sock, listener.getsockname())
            listening.from_here.append(listener._accept()[0])  # type: ignore[attr-defined]  # not in typeshed
        except OSError:
            return False
        finally:
            listener.close()
        return True

    def leads_already(self, pid: int = 0, group: int = 0) -> bool:
        """Whether the process asks to lead a group, or a session, as the server's main process does."""
        me = os.getpid()
        return me == self._main == os.getsid(0) and {pid, group} <= {0, me}

    def stop(self, listening: Listening) -> None:
        """`socket.shutdown`."""
        listening.listened = False
        self._leave(listening)

    def _leave(self, listening: Listening) -> None:
        """Where no other socket of this process takes the port's clients, it does not listen there any more."""
        if listening.twin:
            return
        port = listening.port
        if not any(o.listened and not o.twin for o in self._open() if o.port == port and o is not listening):
            self.endpoint.close(port, shared=listening.inherited)

    # ---------------------------------------------------------------- descriptors that come and go

    def adopt(self, sock: _socket.socket, family: int, fd: int) -> None:
        """An object was made for a descriptor that existed: find out whether that is one of ours."""
        connection = self.tracker.by_fd.get(fd)
        if connection is not None and connection.fresh:
            connection.fresh = False
            if family != connection.family:
                _init_again(sock, connection.family, 0, fd)
            return
        listening = self._recognise(fd) or self._passed_to_us(sock, fd)
        if listening is not None:
            if family != listening.family:
                _init_again(sock, listening.family, listening.original.proto, fd)
            _disguise(sock)
        elif self.tracker.by_fd:
            self.tracker.recognise(fd, _cookie_of(sock))

    def _recognise(self, fd: int) -> Listening | None:
        try:
            listening = self._by_inode.get(os.fstat(fd).st_ino) if self._by_inode else None
        except OSError:
            return None
        known = self.by_fd.get(fd)
        if known is not None and known is not listening and (listening is None or listening.port != known.port):
            self.closed(self.claim(fd), fd)  # closed out of sight, and the number given to another
            known = None
        if listening is not None and known is None:
            self._know(fd, listening)
        return known or listening

    def _passed_to_us(self, sock: _socket.socket, fd: int) -> Listening | None:
        """What the descriptor of a dialog is that another process of the server has sent."""
        shelf = self._shelf
        try:
            if shelf is None or _domain(sock) != _socket.AF_UNIX or shelf.is_empty:
                return None
            inode = os.fstat(fd).st_ino
            found = self.endpoint.exclusively(lambda: shelf.find(inode))
            if found is None:
                return None
            row, original = found
            listening = Listening.of_row(row, original)
            if not listening.twin:
                dialog = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, _dup(fd))
                self.endpoint.take_over(listening.port, dialog)
        except OSError:
            return None  # it is no socket, or no descriptor is free
        self.take_up(inode, listening)
        self._know(fd, listening)
        return listening

    def duplicate(self, fd: int) -> int:
        """`os.dup`, `socket.dup`."""
        other = _dup(fd)
        self._same(fd, other)
        return other

    def duplicate_onto(self, fd: int, other: int, inheritable: bool) -> int:
        """`os.dup2`."""
        if fd == other:
            return _dup2(fd, other, inheritable)
        claimed = self.claim(other)
        try:
            return _dup2(fd, other, inheritable)
        finally:
            self._same(fd, other)
            self.closed(claimed, other)

    def _same(self, fd: int, other: int) -> None:
        connection, listening = self.tracker.by_fd.get(fd), self.by_fd.get(fd)
        if connection is not None:
            self.tracker.add(other, connection)
        elif listening is not None:
            self._know(other, listening)

    def claim(self, fd: int) -> Connection | Listening | None:
        """What the descriptor, which is about to be closed, is to us; from now on the number means nothing."""
        return self.tracker.claim(fd) or self.by_fd.pop(fd, None)

    def closed(self, claimed: Connection | Listening | None, fd: int) -> None:
        """The descriptor has been closed.  (At the interpreter's end the kernel does the rest.)"""
        if claimed is None or sys.is_finalizing():
            return
        if isinstance(claimed, Connection):
            self.tracker.closed(claimed)
            return
        claimed.fds.discard(fd)
        if not claimed.fds:
            for inode in [inode for inode, listening in self._by_inode.items() if listening is claimed]:
                del self._by_inode[inode]
            claimed.original.close()
            if claimed.listened:
                self._leave(claimed)

    def release(self, sock: _socket.socket, close: Callable[[Passed], None]) -> None:
        """Close the object by that function."""
        fd = _fileno(sock)
        claimed = self.claim(fd)
        try:
            close(sock)
        finally:
            self.closed(claimed, fd)

    def spares(self, fd: int) -> bool:
        """Whether the descriptor is ours: a program that closes all it inherited does not mean that.

        (A number may be stale, where it was closed out of sight.)
        """
        if fd in self._private:
            try:
                return os.fstat(fd).st_ino == self._private[fd]
            except OSError:
                return False
        return bool(self.by_fd or self.endpoint.dialogs) and fd in self._ours()

    def _ours(self) -> set[int]:
        dialogs = {dialog.fileno() for dialog in self.endpoint.dialogs.values()}
        return {*self._private, *dialogs, *(listening.original.fileno() for listening in self._open())}

    def close_range(self, low: int, high: int) -> None:
        """`os.closerange`, but for what is ours."""
        for fd in sorted(fd for fd in self._ours() if low <= fd < high):
            self._close_range(low, fd)
            low = fd + 1
        self._close_range(low, high)

    def _close_range(self, low: int, high: int) -> None:
        ours = [fd for fd in (*self.tracker.by_fd, *self.by_fd) if low <= fd < high]
        claimed = [(self.claim(fd), fd) for fd in ours]
        _closerange(low, high)
        for what, fd in claimed:
            self.closed(what, fd)

    # ---------------------------------------------------------------- connections handed on

    def passes(self, fds: Iterable[int]) -> None:
        """The program hands these descriptors to somebody whom we cannot see."""
        for fd in fds:
            connection, listening = self.tracker.by_fd.get(fd), self.by_fd.get(fd)
            if connection is not None:
                connection.passed = True
            elif listening is not None:
                self._put_on_shelf(fd, listening)

    def _put_on_shelf(self, fd: int, listening: Listening) -> None:
        """Tell whoever it may be passed to, if that is a process of the server, what it is."""
        listening.inherited = True
        inode = os.fstat(fd).st_ino
        if self._shelf is not None and inode not in self._shelved:
            with suppress(OSError):  # nobody will know it, then
                self._shelf.put(listening.row(inode), listening.original)
                self._shelved.add(inode)

    def start_program(
        self, start: Callable[..., Passed], equip: workers.Equip, args: tuple[Passed, ...], kwargs: dict[str, Passed]
    ) -> Passed:
        """Whatever starts another program with what it may inherit."""
        named = set(_numbers((args, list(kwargs.values()))))
        self.passes(fd for fd in list(self.tracker.by_fd) if fd in named or os.get_inheritable(fd))
        args, kwargs = equip(self, args, kwargs)
        self._starting = _thread_id()
        try:
            return start(*args, **kwargs)
        finally:
            self._starting = 0

    def watch_file(self, file: Passed, fd: int) -> None:
        """A file was made of a descriptor, which it would close unheard (`os.fdopen`)."""
        buffered: Passed = getattr(file, "buffer", file)
        raw: Passed = getattr(buffered, "raw", buffered)
        if fd in self.tracker.by_fd and raw.closefd:
            raw.close = functools.partial(self._close_file, weakref.ref(raw))  # weak, or it would be closed late

    def _close_file(self, file: weakref.ref[io.FileIO]) -> None:
        raw = file()
        if raw is None or raw.closed:
            return
        fd = raw.fileno()
        claimed = self.claim(fd)
        try:
            io.FileIO.close(raw)
        finally:
            self.closed(claimed, fd)

    # ---------------------------------------------------------------- workers that are exec'd

    def become_program(self, path: Passed, argv: Passed, environment: Passed) -> None:
        """`os.execve`; returns only by what it raises."""
        environment, fds = workers.execve(self, path, argv, environment)
        for fd in fds:
            os.set_inheritable(fd, True)
        left = [] if self._starting == _thread_id() or not _is_program(path) else self._left_by_exec()
        for client in left:
            self.endpoint.let_go(client)
        if not fds and os.getpid() == self._main and self._starting != _thread_id():
            report.say(
                f"the program becomes {os.fsdecode(path) if not isinstance(path, int) else path}, {_OUT_OF_REACH}"
            )
        try:
            _execve(path, argv, environment)
        finally:
            for client in left:
                self.endpoint.take_back(client)
            for fd in fds:
                os.set_inheritable(fd, False)

    def _left_by_exec(self) -> list[Client]:
        """The clients of whose connections a program that this process becomes would inherit nothing."""
        held = set(map(id, (self.tracker.by_fd[fd] for fd in list(self.tracker.by_fd) if _survives_exec(fd))))
        return [connection.client for connection in self.tracker.connections() if id(connection) not in held]

    def hand_down(self, inherits: workers.Inherits) -> workers.Legacy | None:
        """What makes a worker one of this server's processes.

        None where the program has closed what it needs, or has forked this process and made it somebody else.

        With each listener that it inherits goes the dialog.  So does the dialog of a port which it could bind itself:
        not so while a listener here keeps it from that, as the kernel would.
        """
        if os.getpid() != self._main and workers.rights() != self._rights:
            return None
        handed = [listening for listening in self._open() if any(map(inherits, listening.fds))]
        kept = {o.port for o in self._open() if o not in handed and not o.option(_socket.SO_REUSEPORT)}
        wanted = {listening.port for listening in handed} | (self.endpoint.dialogs.keys() - kept)
        dialogs = {port: dialog.fileno() for port, dialog in self.endpoint.dialogs.items() if port in wanted}
        if self._identity is None:
            return None
        fds = (*self._identity.fds, *dialogs.values(), *(listening.original.fileno() for listening in handed))
        if not _all_open(fds):
            return None
        for listening in handed:
            listening.inherited = True
        inodes = {listening: inode for inode, listening in self._by_inode.items()}
        rows = [listening.row(inodes[listening]) for listening in handed]
        text = json.dumps({**self._identity.record(), "dialogs": list(dialogs.items()), "listeners": rows})
        return workers.Legacy(text, fds)

    def take_up(self, inode: int, listening: Listening) -> None:
        """A listener that the process which exec'd this one has handed down; see `find`."""
        self._by_inode[inode] = listening
        if listening.listened:
            listening.note_bequest()

    def find(self) -> None:
        """Find the descriptors of the listeners that were taken up."""
        ours = {*self._private, *(dialog.fileno() for dialog in self.endpoint.dialogs.values())}
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd not in ours:
                self._recognise(fd)

    # ---------------------------------------------------------------- fork and the end

    def fork(self, fork: Callable[[], Passed]) -> Passed:
        """`os.fork`, `os.forkpty`."""
        had = self.tracker.connections()
        result = fork()
        pid = result if isinstance(result, int) else result[0]
        if pid and had:
            self._children[pid] = had
            while len(self._children) > CHILDREN:
                self._children.pop(next(iter(self._children)), None)
        return result

    def reaped(self, pid: int) -> None:
        """A child has ended: let go of what nobody holds any more, of its connections and those that were passed on."""
        for connection in self._children.pop(pid, ()):
            if not is_held(connection):
                self.endpoint.forget(connection.client)
        self.tracker.look_again()

    def before_fork(self) -> None:
        """What the child will have too is known to be shared."""
        for listening in self._open():
            listening.inherited = True
        held = () if self._starting == _thread_id() else self.tracker.connections()
        self.endpoint.before_fork([connection.client for connection in held])

    def after_fork_in_child(self) -> None:
        """Go on as a process of the same server; or as one that only has the time until its exec."""
        self._rights = workers.rights()
        self._children.clear()
        self.endpoint.after_fork_in_child()
        if self._starting == _thread_id():
            self.by_fd.clear()
            self.tracker.by_fd.clear()
        self.tracker.after_fork_in_child()

    def end_child(self) -> None:
        """A process that the server has forked is about to end.  (The end of the main process is the server's.)"""
        if os.getpid() != self._main:
            self.endpoint.leave()
            self.tracker.close_all()


def _numbers(values: Iterable[Passed]) -> Iterator[int]:
    """The integers among them, however deep."""
    for value in values:
        if isinstance(value, int):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _numbers(value)


def _is_program(path: Passed) -> bool:
    """Whether an exec of it is likely to succeed: `os.execvp` tries one after the other."""
    return isinstance(path, int) or (os.path.isfile(path) and os.access(path, os.X_OK))


def _survives_exec(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # closed out of sight


def _all_open(fds: Iterable[int]) -> bool:
    try:
        for fd in fds:
            os.fstat(fd)
    except OSError:
        return False
    return True


def _port_of(sock: _socket.socket, address: Passed) -> Port:
    """The port, where this is a bind that may concern the server class; else 0."""
    if sock.type != _socket.SOCK_STREAM or sock.family not in (_socket.AF_INET, _socket.AF_INET6):
        return 0
    if sock.proto not in (0, _socket.IPPROTO_TCP) or not isinstance(address, tuple) or len(address) < 2:
        return 0
    port = address[1]
    if not isinstance(port, int) or not 0 < port < 65_536 or _socket.socket.getsockname(sock)[1]:
        return 0
    return int(port)


def _resolve(sock: _socket.socket, address: Passed) -> tuple[SocketAddress, Address]:
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
    elif host == "::" and not _v6only(sock):
        text = f"*:{port}"
    else:
        text = f"[{host}]:{port}"
    return (host, port, *rest), text


def _v6only(sock: _socket.socket) -> bool:
    if sock.family != _socket.AF_INET6:
        return False
    return bool(_socket.socket.getsockopt(sock, _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY))


def _overlap(other: Listening, family: int, host: str, v6only: bool) -> bool:
    """Whether the kernel would see two binds of one port in each other's way."""
    if other.family == family:
        return host == other.host or {host, other.host} & {"0.0.0.0", "::"} != set()
    six, only = (host, v6only) if family == _socket.AF_INET6 else (other.host, _v6only(other.original))
    return six == "::" and not only


def _may_share(other: Listening, sock: _socket.socket) -> bool:
    """Whether both sides have asked for it."""

    def both(number: int) -> bool:
        return bool(other.option(number) and sock.getsockopt(_socket.SOL_SOCKET, number))

    return both(_socket.SO_REUSEPORT) or (both(_socket.SO_REUSEADDR) and not other.listened)


def _never_ready() -> _socket.socket:
    """A socket that nobody can send anything to."""
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)


def _as_seen_by(listening: Listening, remote: SocketAddress) -> SocketAddress:
    """The peer's address as the listener would give it: an IPv4 peer may come to either family, and to both at once."""
    if listening.family == _socket.AF_INET and len(remote) == 4 and remote[0].startswith("::ffff:"):
        return (remote[0].removeprefix("::ffff:"), remote[1])
    if listening.family == _socket.AF_INET6 and len(remote) == 2 and not _v6only(listening.original):
        return (f"::ffff:{remote[0]}", remote[1], 0, 0)
    return remote


def _domain(sock: _socket.socket) -> int:
    """The family, as the kernel has it: the object has what it was told."""
    return _socket.socket.getsockopt(sock, _socket.SOL_SOCKET, _SO_DOMAIN)


def _with_peer(listening: Listening, fd: int) -> tuple[int, SocketAddress]:
    """As `_socket.socket._accept` has it."""
    peek = _socket.socket(fileno=fd)
    try:
        return fd, _as_seen_by(listening, peek.getpeername())
    except OSError:
        return fd, ("", 0)  # it has gone again
    finally:
        peek.detach()


def _cookie_of(sock: _socket.socket) -> int:
    try:
        cookie = _socket.socket.getsockopt(sock, _socket.SOL_SOCKET, SO_COOKIE, 8)
    except OSError:
        return 0
    return int.from_bytes(cookie, sys.byteorder)


def rights(ancillary: Iterable[Passed]) -> Iterable[int]:
    """The descriptors in ancillary data."""
    for level, kind, data in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            payload = bytes(data)
            yield from array("i", payload[: len(payload) // 4 * 4])


# ================================================================ installing it

_installed: StandIn | None = None


def here() -> StandIn:
    """The stand-in of this process, once it is installed."""
    assert _installed is not None, "an object becomes a VirtualListener by the stand-in only"
    return _installed


def adopting(init: Callable[..., None]) -> Callable[..., None]:
    """The constructor of a class of sockets, so that it finds out what the descriptor is that it is given."""

    def __init__(
        self: _socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        init(self, family, type, proto, fileno)
        standin = here()
        if fileno is not None:
            standin.adopt(self, family, fileno)

    return __init__


def install(standin: StandIn) -> None:
    """Customise `socket.socket`, and what of `os` makes and closes descriptors.  Before the program is imported."""
    global _installed
    _installed = standin

    def bind(self: socket.socket, address: Passed, /) -> None:
        standin.bind(self, address)

    def connect(self: socket.socket, address: Passed, /) -> None:
        try:
            _connect(self, address)
        except ConnectionRefusedError:
            if not standin.connects_to_itself(self, address):
                raise

    def connect_ex(self: socket.socket, address: Passed, /) -> int:
        number = _connect_ex(self, address)
        return 0 if number == ECONNREFUSED and standin.connects_to_itself(self, address) else number

    def real_close(self: socket.socket, _ss: Passed = None) -> None:
        standin.release(self, _real_close)

    def __del__(self: socket.socket) -> None:
        standin.release(self, _finalise)

    def sendmsg(self: socket.socket, buffers: Passed, ancdata: Passed = (), *args: Passed) -> int:
        if ancdata and standin.is_busy:
            ancdata = list(ancdata)
            standin.passes(rights(ancdata))
        return _sendmsg(self, buffers, ancdata, *args)

    methods = {
        "__init__": adopting(_init),
        "bind": bind,
        "connect": connect,
        "connect_ex": connect_ex,
        "_real_close": real_close,
        "__del__": __del__,
        "sendmsg": sendmsg,
    }
    for name, method in methods.items():
        setattr(socket.socket, name, method)
    grafted: Passed = socket.socket
    grafted.__init__ = adopting(_init)
    _install_in_os(standin)


def _install_in_os(standin: StandIn) -> None:
    def close(fd: int) -> None:
        if standin.spares(fd):
            raise _error(EBADF)
        claimed = standin.claim(fd)
        try:
            _close(fd)
        finally:
            standin.closed(claimed, fd)

    def dup(fd: int, /) -> int:
        return standin.duplicate(fd)

    def dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
        return standin.duplicate_onto(fd, fd2, inheritable)

    def closerange(fd_low: int, fd_high: int, /) -> None:
        standin.close_range(fd_low, fd_high)

    def end(status: int) -> NoReturn:
        try:
            standin.end_child()
        finally:
            _exit(status)

    def execve(path: Passed, argv: Passed, env: Passed) -> None:
        standin.become_program(path, argv, env)

    def execv(path: Passed, argv: Passed, /) -> None:
        standin.become_program(path, argv, os.environ)

    def fdopen(fd: int, *args: Passed, **kwargs: Passed) -> Passed:
        file = _fdopen(fd, *args, **kwargs)
        standin.watch_file(file, fd)
        return file

    def forker(real: Callable[[], Passed]) -> Callable[[], Passed]:
        def fork() -> Passed:
            return standin.fork(real)

        return fork

    def reaper(real: Callable[..., Passed]) -> Callable[..., Passed]:
        def wait(*args: Passed, **kwargs: Passed) -> Passed:
            result = real(*args, **kwargs)
            standin.reaped(result[0] if isinstance(result, tuple) else getattr(result, "si_pid", 0))
            return result

        return wait

    def starter(real: Callable[..., Passed], equip: workers.Equip) -> Callable[..., Passed]:
        def start(*args: Passed, **kwargs: Passed) -> Passed:
            return standin.start_program(real, equip, args, kwargs)

        return start

    def setpgrp() -> None:
        if not standin.leads_already():
            _setpgrp()

    def setsid() -> None:
        if not standin.leads_already():
            _setsid()

    def setpgid(pid: int, pgrp: int, /) -> None:
        if not standin.leads_already(pid, pgrp):
            _setpgid(pid, pgrp)

    replaced = {"close": close, "dup": dup, "dup2": dup2, "closerange": closerange, "_exit": end}
    replaced |= {"execve": execve, "execv": execv, "fdopen": fdopen}
    replaced |= {"setpgrp": setpgrp, "setsid": setsid, "setpgid": setpgid}
    replaced |= {name: forker(getattr(os, name)) for name in ("fork", "forkpty")}
    replaced |= {name: reaper(getattr(os, name)) for name in ("wait", "wait3", "wait4", "waitid", "waitpid")}
    replaced |= {name: starter(getattr(os, name), workers.posix_spawn) for name in ("posix_spawn", "posix_spawnp")}
    for name, function in replaced.items():
        function.__name__ = function.__qualname__ = name
        setattr(os, name, function)
    _posixsubprocess.fork_exec = starter(_posixsubprocess.fork_exec, workers.fork_exec)
    setattr(socket, "close", close)  # noqa: B010  # the module's own function for numbers; not in typeshed
    os.register_at_fork(
        before=standin.before_fork,
        after_in_parent=standin.endpoint.after_fork_in_parent,
        after_in_child=standin.after_fork_in_child,
    )
    atexit.register(standin.end_child)
