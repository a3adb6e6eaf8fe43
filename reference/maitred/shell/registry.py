"""The shared memory in which the `EndpointState` of one server lives, for all the processes of that server.

A program may fork workers that accept from one listener; they are one Application Server with one count.  Hence the
state lies in a memory file (``memfd``) that all of them map, and a lock guards each step.  The Distributor maps it too:
its audit reads which clients the server counts, without the lock.

=========  ==========  =========================================================================
at         bytes       what
=========  ==========  =========================================================================
0          8           ``MAGIC``
8          8           1 while somebody writes; a reader who finds it under the lock repairs
16         8           changes: how many entries the journal has had
24         8           the sequence number of the last count
32         8           capacity: how many places for clients there are
40         8           foreign: which libraries of `maitred.shell.foreign` the program has imported, a bit each
64         16 x 32     ports: number (0: free), listening, incarnation that has asked
576        8 x 256     holders: port, process that accepts on it (0: free)
2624       8 x 256     journal: the last places that changed; -1 stands for the ports
8192       24 x c.     clients: arrival, cookie, port (0: free), how many processes hold the connection
=========  ==========  =========================================================================

A process keeps the state that it has last seen and the number of changes it then had, so a step costs the same however
many clients there are: what others have changed since is in the journal.
"""

from __future__ import annotations

import _thread
import fcntl
import mmap
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from maitred.core.messages import Client, Port
from maitred.core.server import EndpointState, VirtualListener
from maitred.core.tree import Tree

MAGIC: Final = b"maitred1"
PORT_LIMIT: Final = 32
"""A server can bind so many ports through its Distributor."""

_NUMBER: Final = struct.Struct("=Q")
_PLACE: Final = struct.Struct("=q")
_PORT: Final = struct.Struct("=IIq")
_HOLDER: Final = struct.Struct("=II")
_CLIENT: Final = struct.Struct("=qqII")
_HOLDS: Final = struct.Struct("=I")

_WRITING: Final = 8
_CHANGES: Final = 16
_SEQUENCE: Final = 24
_CAPACITY: Final = 32
_FOREIGN: Final = 40
_PORTS: Final = 64
_HOLDERS: Final = _PORTS + PORT_LIMIT * _PORT.size
_HOLDERS_ROOM: Final = 256
_JOURNAL: Final = _HOLDERS + _HOLDERS_ROOM * _HOLDER.size
_JOURNAL_ROOM: Final = 256
_CLIENTS: Final = 8192
_THE_PORTS: Final = -1
_PATIENCE: Final = 100

assert _JOURNAL + _JOURNAL_ROOM * _PLACE.size <= _CLIENTS


class Full(Exception):
    """The server binds more ports than the registry has room for."""


class Registry:
    """One server's registry as one process sees it."""

    def __init__(self, fd: int) -> None:
        """Map the registry behind the descriptor, which belongs to the result from now on.

        Raises:
            OSError: it cannot be mapped.
            ValueError: it is not a registry.
        """
        self.fd = fd
        self._memory = _map(fd, os.fstat(fd).st_size)
        if self._memory[:8] != MAGIC:
            raise ValueError("not a registry")
        self._mutex = _thread.RLock()
        self._forget()

    def _forget(self) -> None:
        """Know nothing of the content."""
        self._state = EndpointState()
        self._changes = -1
        self._places: dict[Client, int] = {}
        self._at: dict[int, Client] = {}
        self._freed: dict[int, None] = {}  # each once, the last freed last

    @classmethod
    def create(cls, capacity: int) -> Registry:
        """A new, empty registry with room for so many clients to begin with; close-on-exec."""
        fd = os.memfd_create("maitred-registry", os.MFD_CLOEXEC)
        os.ftruncate(fd, _CLIENTS + capacity * _CLIENT.size)
        os.pwrite(fd, MAGIC, 0)
        os.pwrite(fd, _NUMBER.pack(capacity), _CAPACITY)
        return cls(fd)

    @classmethod
    def open(cls, fd: int) -> Registry:
        """The registry that another process has created."""
        return cls(fd)

    def close(self) -> None:
        """Let go of the descriptor and of the memory."""
        self._memory.close()
        os.close(self.fd)

    # ---------------------------------------------------------------- the lock

    def lock(self) -> None:
        """Take the lock: against other threads, and against other processes.  It dies with its holder.

        Raises:
            OSError: the program has closed the registry's descriptor; the lock is not taken.
        """
        self._mutex.acquire()
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX, 1)
        except BaseException:  # a signal handler may raise anything while this waits
            self._mutex.release()
            raise

    def unlock(self) -> None:
        """Let the next one have it.

        Raises:
            OSError: the program has closed the registry's descriptor; the lock is gone.
        """
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1)
        finally:
            self._mutex.release()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            OSError: the program has closed the registry's descriptor.
        """
        self.lock()
        try:
            yield
        finally:
            self.unlock()

    # Around a fork the forking thread holds the mutex, so that the child's copy is one that no other thread holds.

    def before_fork(self) -> None:
        self._mutex.acquire()

    def after_fork(self) -> None:
        self._mutex.release()

    # ---------------------------------------------------------------- the state; under the lock

    def load(self) -> EndpointState:
        """The state as it is now."""
        changes = self._number(_CHANGES)
        if self._number(_WRITING):
            self._forget()  # its writer died: count what is there
            self._set_number(_WRITING, 0)
        if changes != self._changes:
            if self._changes < 0 or not 0 < changes - self._changes <= _JOURNAL_ROOM:
                self._forget()
                self._read_all()
            else:
                self._follow(self._changes, changes)
            self._changes = changes
        sequence = self._number(_SEQUENCE)
        if sequence != self._state.sequence:
            self._state = replace(self._state, sequence=sequence)
        return self._state

    def _read_all(self) -> None:
        capacity = self._capacity()
        for place in range(capacity):
            client = self._client(place)
            if client is not None:
                self._places[client] = place
                self._at[place] = client
        clients = Tree.of((client, None) for client in self._places)
        self._state = EndpointState(self._read_ports(), clients, 0)

    def _follow(self, since: int, until: int) -> None:
        """Repeat what others have done."""
        self._capacity()
        places = {self._journal(number) for number in range(since, until)}
        clients, listeners = self._state.clients, self._state.listeners
        if _THE_PORTS in places:
            places.remove(_THE_PORTS)
            listeners = self._read_ports()
        for place in places:
            old, new = self._at.pop(place, None), self._client(place)
            if old is not None and self._places.get(old) == place:
                del self._places[old]
                clients = clients.remove(old)
            if new is not None:
                self._places[new] = place
                self._at[place] = new
                self._freed.pop(place, None)
            else:
                self._freed[place] = None
        for place in places:  # after all removals: a client may have moved
            found = self._at.get(place)
            if found is not None:
                clients = clients.set(found, None)
        self._state = replace(self._state, clients=clients, listeners=listeners)

    def save(self, old: EndpointState, new: EndpointState, touched: Iterable[Client] | None = None) -> None:
        """Write what differs between the state that was loaded and the new one.

        Args:
            old: what `load` gave.
            new: what it is now.
            touched: the clients that may have come or gone; None: find out.

        Raises:
            Full: there are more ports than there is room for; nothing was written.
        """
        if len(new.listeners) > PORT_LIMIT:
            raise Full(f"a server can bind {PORT_LIMIT} ports through its Distributor, not more")
        if touched is None:
            touched = {*old.clients, *new.clients} if old.clients is not new.clients else ()
        self._set_number(_WRITING, 1)
        for client in touched:
            was, will = client in self._places, client in new.clients
            if was and not will:
                self._remove(client)
            elif will and not was:
                self._add(client)
        if new.listeners is not old.listeners and new.listeners != old.listeners:
            self._write_ports(new.listeners)
        self._set_number(_SEQUENCE, new.sequence)
        self._set_number(_CHANGES, self._changes)
        self._set_number(_WRITING, 0)
        self._state = new

    def _add(self, client: Client) -> None:
        place = self._free_place()
        _CLIENT.pack_into(self._memory, _CLIENTS + place * _CLIENT.size, client.arrival, client.cookie, client.port, 1)
        self._places[client] = place
        self._at[place] = client
        self._note(place)

    def _remove(self, client: Client) -> None:
        place = self._places.pop(client)
        del self._at[place]
        self._freed[place] = None
        _CLIENT.pack_into(self._memory, _CLIENTS + place * _CLIENT.size, 0, 0, 0, 0)
        self._note(place)

    def _free_place(self) -> int:
        """The place that this process last saw become free, or else one near their number."""
        while self._freed:
            place, _ = self._freed.popitem()
            if place not in self._at:
                return place
        place = len(self._at)
        if place == self._capacity():
            self._grow(2 * place + 16)
        while place in self._at:  # then a lower one is free, which another process has seen
            place -= 1
        return place

    def _grow(self, capacity: int) -> None:
        os.ftruncate(self.fd, _CLIENTS + capacity * _CLIENT.size)
        self._set_number(_CAPACITY, capacity)
        self._capacity()

    def _note(self, place: int) -> None:
        _PLACE.pack_into(self._memory, _JOURNAL + self._changes % _JOURNAL_ROOM * _PLACE.size, place)
        self._changes += 1

    def _journal(self, number: int) -> int:
        place: int = _PLACE.unpack_from(self._memory, _JOURNAL + number % _JOURNAL_ROOM * _PLACE.size)[0]
        return place

    def _read_ports(self) -> Tree[Port, VirtualListener]:
        listeners: Tree[Port, VirtualListener] = Tree()
        for index in range(PORT_LIMIT):
            port, listening, asked = _PORT.unpack_from(self._memory, _PORTS + index * _PORT.size)
            if port:
                listeners = listeners.set(port, VirtualListener(bool(listening), asked))
        return listeners

    def _write_ports(self, listeners: Tree[Port, VirtualListener]) -> None:
        rows = [(port, int(listener.listening), listener.asked) for port, listener in listeners.items()]
        rows += [(0, 0, 0)] * (PORT_LIMIT - len(rows))
        for index, row in enumerate(rows):
            _PORT.pack_into(self._memory, _PORTS + index * _PORT.size, *row)
        self._note(_THE_PORTS)

    # ---------------------------------------------------------------- who accepts; under the lock

    def hold(self, port: Port, pid: int) -> None:
        """The process accepts on the port.  With no room left this is not noted; the port may then close early."""
        rows = dict(self._holders())
        if (port, pid) not in rows.values():
            for index in range(_HOLDERS_ROOM):
                if index not in rows:
                    _HOLDER.pack_into(self._memory, _HOLDERS + index * _HOLDER.size, port, pid)
                    return

    def drop(self, port: Port, pid: int) -> None:
        """The process accepts on the port no longer."""
        for index, row in self._holders():
            if row == (port, pid):
                _HOLDER.pack_into(self._memory, _HOLDERS + index * _HOLDER.size, 0, 0)

    def holders(self, port: Port) -> tuple[int, ...]:
        """The processes that accept on the port; some may have died."""
        return tuple(pid for _, (number, pid) in self._holders() if number == port)

    def _holders(self) -> list[tuple[int, tuple[int, int]]]:
        memory = self._memory[_HOLDERS : _HOLDERS + _HOLDERS_ROOM * _HOLDER.size]
        return [(index, (port, pid)) for index, (port, pid) in enumerate(_HOLDER.iter_unpack(memory)) if port]

    # ---------------------------------------------------------------- who holds a client; under the lock

    def share(self, client: Client) -> None:
        """One more process holds the client's connection."""
        self._hold_client(client, 1)

    def release(self, client: Client) -> int:
        """One process less holds the client's connection; how many still do."""
        return self._hold_client(client, -1)

    def _hold_client(self, client: Client, change: int) -> int:
        self.load()
        place = self._places.get(client)
        if place is None:
            return 0
        at = _CLIENTS + place * _CLIENT.size + _CLIENT.size - _HOLDS.size
        holds = max(0, int(_HOLDS.unpack_from(self._memory, at)[0]) + change)
        _HOLDS.pack_into(self._memory, at, holds)
        return holds

    # ---------------------------------------------------------------- without the lock

    @property
    def foreign(self) -> int:
        """The bits of the libraries that some process of the server has imported."""
        return self._number(_FOREIGN)

    def note_foreign(self, bit: int) -> None:
        """This process imports a library.  (Of two that do so in one instant, one may go unnoted.)"""
        self._set_number(_FOREIGN, self.foreign | bit)

    def clients(self) -> tuple[Client, ...]:
        """The clients that the server counts; a moment old, perhaps.  Waits for nobody.

        A writer who dies in the middle leaves one client there or not there: either is a state that was.
        """
        rows: list[Client] = []
        for _ in range(_PATIENCE):
            before = self._number(_CHANGES)
            rows = [client for place in range(self._capacity()) if (client := self._client(place)) is not None]
            if not self._number(_WRITING) and self._number(_CHANGES) == before:
                break
        return tuple(sorted(rows))

    # ---------------------------------------------------------------- the memory

    def _number(self, at: int) -> int:
        number: int = _NUMBER.unpack_from(self._memory, at)[0]
        return number

    def _set_number(self, at: int, number: int) -> None:
        _NUMBER.pack_into(self._memory, at, number)

    def _capacity(self) -> int:
        """How many places there are; another process may have made more, so map them too."""
        capacity = self._number(_CAPACITY)
        size = _CLIENTS + capacity * _CLIENT.size
        if size > len(self._memory):
            self._memory = _enlarged(self._memory, self.fd, size)
        return capacity

    def _client(self, place: int) -> Client | None:
        arrival, cookie, port, _ = _CLIENT.unpack_from(self._memory, _CLIENTS + place * _CLIENT.size)
        return Client(arrival, cookie, port) if port else None


def _map(fd: int, size: int) -> mmap.mmap:
    """Map the file, if possible without the duplicate of the descriptor that an `mmap` keeps by default."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, size, trackfd=False)
    return mmap.mmap(fd, size)


def _enlarged(memory: mmap.mmap, fd: int, size: int) -> mmap.mmap:
    """Map more of the file.  No descriptor of it may be closed on the way: that would end the lock."""
    if sys.version_info >= (3, 13):
        return _map(fd, size)
    memory.resize(size)
    return memory
