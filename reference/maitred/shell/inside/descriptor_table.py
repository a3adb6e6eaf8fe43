"""The descriptors of this process that mean something here: listeners, clients' connections, and our own.

Each is followed from where it comes (bind, accept, `dup`, a number, a message) to its close.  So a client is counted as
gone with its last descriptor, and a port as closed with its last listener.

Rules
-----
1.  A listener is known by its descriptor's inode, so it is recognised however it comes: wrapped by ``ssl``, by `dup`,
    by `socket.fromfd`, by number, from another process of the server (`maitred.shell.inside.passed_listeners`).
2.  A descriptor is claimed by number before it is closed, since the number may be used again at once.
3.  A number may be stale: what C code has closed is noticed when the number comes up again.
4.  The program cannot close our own descriptors by number: to it, nothing is there.  It has not opened them.
"""

from __future__ import annotations

import _socket
import functools
import io
import os
import sys
import weakref
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, TypeAlias

from maitred.shell.inside import real_calls
from maitred.shell.inside.addresses import cookie_of, family_of
from maitred.shell.inside.connections import Connection, Connections
from maitred.shell.inside.endpoint import Endpoint
from maitred.shell.inside.listener import Listener
from maitred.shell.inside.passed_listeners import PassedListeners

Passed: TypeAlias = Any  # Any: an argument of a real method, passed on as it is


class DescriptorTable:
    """All listeners and clients' connections of this process, by descriptor."""

    def __init__(
        self, endpoint: Endpoint, private: Iterable[int], passed_listeners: PassedListeners | None = None
    ) -> None:
        """An empty table.

        Args:
            endpoint: of this process.
            private: our own descriptors.
            passed_listeners: describes listeners to the other processes of the server; None: they are not passed on.
        """
        self.endpoint: Final = endpoint
        self.connections: Final = Connections(endpoint.let_go)
        self.by_fd: Final[dict[int, Listener]] = {}
        self._by_inode: Final[dict[int, Listener]] = {}
        self._private: Final = {fd: os.fstat(fd).st_ino for fd in private}
        self._passed_listeners: Final = passed_listeners
        self._described: Final[set[int]] = set()
        """The inodes of the listeners that have been described to the other processes."""

    @property
    def is_busy(self) -> bool:
        """Whether any descriptor may be a listener or a client's connection."""
        return bool(self.connections.by_fd or self._by_inode)

    def listener_of(self, sock: _socket.socket) -> Listener | None:
        """The listener that the object stands for; None where it is closed, or is no listener of ours."""
        return self.by_fd.get(real_calls.fileno(sock))

    def listeners(self) -> list[Listener]:
        """All that are open."""
        return list(dict.fromkeys(self.by_fd.values()))

    def inodes(self) -> dict[Listener, int]:
        """The inode of each listener's descriptors."""
        return {listener: inode for inode, listener in self._by_inode.items()}

    def add(self, fd: int, listener: Listener) -> None:
        """The descriptor is one of the listener's."""
        listener.fds.add(fd)
        self.by_fd[fd] = listener
        self._by_inode[os.fstat(fd).st_ino] = listener

    # ---------------------------------------------------------------- descriptors that come

    def adopt(self, sock: _socket.socket, family: int, fd: int) -> Listener | None:
        """An object was made for a descriptor that existed: note whose it is; the listener, where it is one."""
        connection = self.connections.by_fd.get(fd)
        if connection is not None and connection.fresh:
            connection.fresh = False
            if family != connection.family:
                real_calls.init_again(sock, connection.family, 0, fd)
            return None
        listener = self._recognise(fd) or self._passed_to_us(sock, fd)
        if listener is not None and family != listener.family:
            real_calls.init_again(sock, listener.family, listener.original.proto, fd)
        if listener is None and self.connections.by_fd:
            self.connections.recognise(fd, cookie_of(sock))
        return listener

    def expect(self, inode: int, listener: Listener) -> None:
        """Another process of the server has described a listener whose descriptors are still to be recognised."""
        self._by_inode[inode] = listener
        if listener.listened:
            listener.note_inherited_options()

    def recognise_all(self) -> None:
        """Find the descriptors of the listeners that are expected among those that this process has inherited."""
        ours = {*self._private, *(dialog.fileno() for dialog in self.endpoint.dialogs.values())}
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd not in ours:
                self._recognise(fd)

    def _recognise(self, fd: int) -> Listener | None:
        try:
            listener = self._by_inode.get(os.fstat(fd).st_ino) if self._by_inode else None
        except OSError:
            return None
        known = self.by_fd.get(fd)
        if known is not None and known is not listener and (listener is None or listener.port != known.port):
            self.closed(self.claim(fd), fd)  # rule 3
            known = None
        if listener is not None and known is None:
            self.add(fd, listener)
        return known or listener

    def _passed_to_us(self, sock: _socket.socket, fd: int) -> Listener | None:
        """The listener whose dialog another process of the server has passed to this one."""
        passed = self._passed_listeners
        try:
            if passed is None or family_of(sock) != _socket.AF_UNIX or passed.is_empty:
                return None
            inode = os.fstat(fd).st_ino
            found = self.endpoint.exclusively(lambda: passed.find(inode))
            if found is None:
                return None
            row, original = found
            listener = Listener.of_row(row, original)
            if not listener.twin:
                dialog = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, real_calls.dup(fd))
                self.endpoint.take_over(listener.port, dialog)
        except OSError:
            return None  # it is no socket, or no descriptor is free
        self.expect(inode, listener)
        self.add(fd, listener)
        return listener

    def duplicate(self, fd: int) -> int:
        """`os.dup`, `socket.dup`."""
        other = real_calls.dup(fd)
        self._note_duplicate(fd, other)
        return other

    def duplicate_onto(self, fd: int, other: int, inheritable: bool) -> int:
        """`os.dup2`."""
        if fd == other:
            return real_calls.dup2(fd, other, inheritable)
        claimed = self.claim(other)
        try:
            return real_calls.dup2(fd, other, inheritable)
        finally:
            self._note_duplicate(fd, other)
            self.closed(claimed, other)

    def _note_duplicate(self, fd: int, other: int) -> None:
        connection, listener = self.connections.by_fd.get(fd), self.by_fd.get(fd)
        if connection is not None:
            self.connections.add(other, connection)
        elif listener is not None:
            self.add(other, listener)

    # ---------------------------------------------------------------- descriptors that are passed to other processes

    def pass_on(self, fds: Iterable[int]) -> None:
        """The program passes these descriptors to another process or program."""
        for fd in fds:
            connection, listener = self.connections.by_fd.get(fd), self.by_fd.get(fd)
            if connection is not None:
                connection.passed = True
                connection.note_local()
            elif listener is not None:
                self._describe(fd, listener)

    def _describe(self, fd: int, listener: Listener) -> None:
        """Describe the listener to the other processes of the server; the receiver may be one of them."""
        listener.is_shared = True
        inode = os.fstat(fd).st_ino
        if self._passed_listeners is not None and inode not in self._described:
            with suppress(OSError):  # then none of them will recognise it
                self._passed_listeners.put(listener.row(inode), listener.original)
                self._described.add(inode)

    # ---------------------------------------------------------------- descriptors that are closed

    def claim(self, fd: int) -> Connection | Listener | None:
        """What the descriptor, which is about to be closed, belongs to; from now on the number means nothing."""
        return self.connections.claim(fd) or self.by_fd.pop(fd, None)

    def closed(self, claimed: Connection | Listener | None, fd: int) -> None:
        """The descriptor has been closed.  (At the interpreter's end the kernel does the rest.)"""
        if claimed is None or sys.is_finalizing():
            return
        if isinstance(claimed, Connection):
            self.connections.closed(claimed)
            return
        claimed.fds.discard(fd)
        if not claimed.fds:
            for inode in [inode for inode, listener in self._by_inode.items() if listener is claimed]:
                del self._by_inode[inode]
            claimed.original.close()
            if claimed.listened:
                self.leave_port(claimed)

    def leave_port(self, listener: Listener) -> None:
        """The listener accepts no more.  Unless another socket of this process does, the process leaves the port."""
        if listener.twin:
            return
        others = [other for other in self.listeners() if other.port == listener.port and other is not listener]
        if not any(other.listened and not other.twin for other in others):
            self.endpoint.close(listener.port, shared=listener.is_shared)

    def close_object(self, sock: _socket.socket, close: Callable[[Passed], None]) -> None:
        """Close the socket object by that function."""
        fd = real_calls.fileno(sock)
        claimed = self.claim(fd)
        try:
            close(sock)
        finally:
            self.closed(claimed, fd)

    def is_ours(self, fd: int) -> bool:
        """Whether the descriptor is our own: a program that closes all it inherited does not mean that one."""
        if fd in self._private:
            try:
                return os.fstat(fd).st_ino == self._private[fd]  # rule 3
            except OSError:
                return False
        return bool(self.by_fd or self.endpoint.dialogs) and fd in self._ours()

    def _ours(self) -> set[int]:
        dialogs = {dialog.fileno() for dialog in self.endpoint.dialogs.values()}
        return {*self._private, *dialogs, *(listener.original.fileno() for listener in self.listeners())}

    def close_range(self, low: int, high: int) -> None:
        """`os.closerange`, but for our own descriptors."""
        for fd in sorted(fd for fd in self._ours() if low <= fd < high):
            self._close_range(low, fd)
            low = fd + 1
        self._close_range(low, high)

    def _close_range(self, low: int, high: int) -> None:
        known = [fd for fd in (*self.connections.by_fd, *self.by_fd) if low <= fd < high]
        claimed = [(self.claim(fd), fd) for fd in known]
        real_calls.closerange(low, high)
        for what, fd in claimed:
            self.closed(what, fd)

    def watch_file(self, file: Passed, fd: int) -> None:
        """A file was made of a descriptor (`os.fdopen`): it would close it without `os.close`."""
        buffered: Passed = getattr(file, "buffer", file)
        raw: Passed = getattr(buffered, "raw", buffered)
        if fd in self.connections.by_fd and raw.closefd:
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


def rights(ancillary: Iterable[Passed]) -> Iterable[int]:
    """The descriptors in ancillary data."""
    for level, kind, data in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            payload = bytes(data)
            yield from array("i", payload[: len(payload) // 4 * 4])
