"""The shared memory in which the `EndpointState` of one server lives, for all the processes of that server.

A program may fork workers that accept from one listener; they are one Application Server with one count.  Hence the
state lies in a memory file (``memfd``) that all of them map, and a lock guards each step.

The Distributor's audit and the Monitor read it by a `Reader`.  The program can write here what it likes, so a `Reader`
maps nothing, reads with bounds and checks every number.  Where a number makes no sense it raises `Damaged`, and the
server is replaced.  The file cannot be made shorter (``F_SEAL_SHRINK``): each process that maps it would get SIGBUS.

=========  ==========  =========================================================================
at         bytes       what
=========  ==========  =========================================================================
0          8           ``MAGIC``
8          8           1 while the writes of the log are being made
16         8           version: how many saves there have been
24         8           changes: how many entries the journal has had
32         8           the sequence number of the last count
40         8           how many replies are in the outbox
48         8           in flight: what a process is doing with a dialog (`Doing`), and 256 times its port
56         8           1 where a message is left unread until there is room for its answer
64         8           capacity: how many places for clients there are
72         8           foreign: which of `native_sockets.LIBRARIES` the program has imported, a bit each
128        16 x 128    ports: number (0: free), listening, incarnation that has asked
2176       8 x 2048    holders: port, process that accepts on it (0: free)
18560      8 x 256     journal: the last places that changed; -1 stands for the ports
20608      32          the beginning of the packet that is being read
20640      56 x 512    outbox: port, tag as in a packet, client (0: none), incarnation, number of clients, sequence
53248      65536       log: its length, then of each write the place, the length and the bytes
122880     24 x c.     clients: arrival, cookie, port (0: free), how many processes hold the connection
=========  ==========  =========================================================================

A process keeps the state that it has last seen, with its number of changes, and reads in the journal what others have
changed since.  So a step costs the same however many clients there are.

A save is atomic, whenever its process is killed: its writes are first put into the log, and the next process that finds
them begun makes them again.  Words of 8 bytes are written by one store.

If the main process of a server is its only one, no other process reads the state or finishes a step: with the process
the server has died.  So while a process is *alone*, it takes no file lock and keeps the state in its own memory.  It
writes here only what a `Reader` asks for: the clients, the number of replies in the outbox, and whether a message is
left unread.  Before another process can come (by a fork, or an exec that hands the descriptor down) it calls `publish`,
which writes the whole state; from then on each step is made under the lock.  No process becomes alone again.
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
from enum import IntEnum
from typing import Final, NamedTuple

from maitred.core import wire
from maitred.core.messages import (
    Accepted,
    Client,
    Count,
    Disconnect,
    FromServer,
    Incarnation,
    NotReady,
    Port,
    Refused,
    RestartReply,
)
from maitred.core.server import EndpointState, Reply, VirtualListener
from maitred.core.tree import Tree

MAGIC: Final = b"maitred4"
PORT_LIMIT: Final = 128
"""A server can bind so many ports through its Distributor."""
OUTBOX_LIMIT: Final = 4 * PORT_LIMIT
"""Most replies to be sent: of each port a `Disconnect`, a `NotReady` or `RestartReply`, and an answer to a hand-off."""
PACKET: Final = 32
"""Bytes that are recorded of a packet that is being read: more than a `HandOff` has."""

_NUMBER: Final = struct.Struct("Q")  # in the machine's own order: stored at once, never half
_HEAD: Final = struct.Struct("6Q")
_WRITING_VERSION: Final = struct.Struct("2Q")
_SAVED: Final = struct.Struct("5Q")
_BEGINNING: Final = struct.Struct("8s9Q")
_PLACE: Final = struct.Struct("=q")
_PORT: Final = struct.Struct("=IIq")
_HOLDER: Final = struct.Struct("=II")
_CLIENT: Final = struct.Struct("=qqII")
_NO_CLIENT: Final = bytes(_CLIENT.size)
_HOLDS: Final = struct.Struct("=I")
_REPLY: Final = struct.Struct("=IIqqqqqq")
_WRITE: Final = struct.Struct("=QI")
_LOCK: Final = struct.Struct("hhqqi")  # the kernel's struct flock

_WRITING: Final = 8
_VERSION: Final = 16
_OUTBOX_LENGTH: Final = 40
_IN_FLIGHT: Final = 48
_UNREAD: Final = 56
_CAPACITY: Final = 64
_FOREIGN: Final = 72
_PORTS: Final = 128
_HOLDERS: Final = _PORTS + PORT_LIMIT * _PORT.size
_HOLDERS_ROOM: Final = 2048
_JOURNAL: Final = _HOLDERS + _HOLDERS_ROOM * _HOLDER.size
_JOURNAL_ROOM: Final = 256
_PACKET: Final = _JOURNAL + _JOURNAL_ROOM * _PLACE.size
_OUTBOX: Final = _PACKET + PACKET
_LOG: Final = 53_248
_LOG_ROOM: Final = 65_536
_CLIENTS: Final = 122_880
_THE_PORTS: Final = -1
_MOST_PORT: Final = 65_535
_PATIENCE: Final = 100
"""Number of times that a `Reader` reads what the server is changing meanwhile."""

assert _OUTBOX + OUTBOX_LIMIT * _REPLY.size <= _LOG
assert _LOG + _NUMBER.size + _LOG_ROOM <= _CLIENTS

_KINDS: Final = {
    tag: kind for tag, kind in wire.TAGS.items() if kind in (Accepted, Disconnect, NotReady, Refused, RestartReply)
}
_TAGS: Final = {kind: tag for tag, kind in _KINDS.items()}


class Doing(IntEnum):
    """What a process is doing with a dialog, and has not saved yet."""

    NOTHING = 0
    READING = 1
    SENDING = 2


class Damaged(Exception):
    """The registry makes no sense; the text names what does not."""


class Full(Exception):
    """The server binds more ports, or has more replies to send, than the registry has room for."""


def create(clients: int) -> int:
    """A new, empty registry with room for so many clients to begin with: its descriptor, close-on-exec.

    Raises:
        OSError: there is no memory for it, or no descriptor.
    """
    fd = os.memfd_create("maitred-registry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, _CLIENTS + clients * _CLIENT.size)
        os.pwrite(fd, MAGIC, 0)
        os.pwrite(fd, _NUMBER.pack(clients), _CAPACITY)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)  # it may grow
    except OSError:
        os.close(fd)
        raise
    return fd


class _Beginning(NamedTuple):
    """The first numbers of a registry, in their order."""

    magic: bytes
    writing: int
    version: int
    changes: int
    sequence: int
    outbox: int
    in_flight: int
    unread: int
    capacity: int
    foreign: int


class Reader:
    """A server's registry as those read it who must not trust the server.  Waits for nobody."""

    def __init__(self, fd: int, clients: int) -> None:
        """Read behind the descriptor, which belongs to the result from now on.

        Args:
            fd: the descriptor.
            clients: how many the server may have at a time.
        """
        self.fd = fd
        self._most = _grown(clients)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def clients(self) -> tuple[Client, ...]:
        """The clients that the server counts; a moment old, perhaps.

        Where a writer has died in the middle, its client is there or not there: either is a state that was.

        Raises:
            Damaged: what stands there makes no sense.
        """
        rows, settled = b"", False
        for _ in range(_PATIENCE):
            before = self._beginning()
            rows = os.pread(self.fd, before.capacity * _CLIENT.size, _CLIENTS)
            after = self._beginning()
            settled = not (before.writing or after.writing) and after.version == before.version
            if settled:
                break
        whole = len(rows) - len(rows) % _CLIENT.size
        found = [Client(*row) for *row, _ in _CLIENT.iter_unpack(rows[:whole]) if row[2]]
        sound = [client for client in found if _is_sound(client)]
        if settled and len(sound) < len(found):  # else a row may be half written, which is nobody's fault
            raise Damaged(f"it counts {next(client for client in found if not _is_sound(client))}")
        ports = {client.port for client in sound}
        if len(ports) > PORT_LIMIT:
            raise Damaged(f"it counts clients of {len(ports)} ports; {PORT_LIMIT} is the most")
        return tuple(sorted(sound))

    @property
    def is_unfinished(self) -> bool:
        """Whether the server has left something undone or unsent, and none of its processes is in a step.

        Raises:
            Damaged: what stands there makes no sense.
        """
        return self._has_unfinished_work() and not self._is_locked() and self._has_unfinished_work()

    @property
    def foreign(self) -> int:
        """The bits of the libraries that the server's processes claim to have imported."""
        number: int = _NUMBER.unpack(os.pread(self.fd, _NUMBER.size, _FOREIGN))[0]
        return number

    def fault(self) -> str | None:
        """What makes no sense there, if anything."""
        try:
            self.clients()
        except Damaged as damage:
            return str(damage)
        return None

    def _beginning(self) -> _Beginning:
        read = _Beginning(*_BEGINNING.unpack(os.pread(self.fd, _BEGINNING.size, 0)))
        if read.magic != MAGIC:
            raise Damaged("its first bytes are not those of a registry")
        if read.capacity > self._most:
            raise Damaged(f"it claims room for {read.capacity} clients; {self._most} is the most")
        return read

    def _has_unfinished_work(self) -> bool:
        now = self._beginning()
        return bool(now.writing or now.outbox or now.in_flight or now.unread)

    def _is_locked(self) -> bool:
        """Whether another process holds the lock."""
        wanted = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        kind: int = _LOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_GETLK, wanted))[0]
        return kind != fcntl.F_UNLCK


def _grown(clients: int) -> int:
    """For how many clients there is room once there are more than these."""
    return 2 * clients + 16


def _is_sound(client: Client) -> bool:
    return client.arrival >= 0 and client.cookie >= 0 and 0 < client.port <= _MOST_PORT


class Registry:
    """One server's registry as one of its processes sees it, which writes there under the lock."""

    def __init__(self, fd: int, *, alone: bool = False) -> None:
        """Map the registry behind the descriptor, which belongs to the result from now on.

        Args:
            fd: the descriptor.
            alone: this process is the only one of its server, which begins with it.

        Raises:
            OSError: it cannot be mapped.
            ValueError: it is not a registry.
        """
        self.fd = fd
        self._memory = _map(fd, os.fstat(fd).st_size)
        if self._memory[:8] != MAGIC:
            raise ValueError("not a registry")
        self._mutex = _thread.RLock()
        self._flight = 0
        """What was in flight at the last `load`, or is, while this process is alone."""
        self._forget()
        self.alone = False
        """No other process has the registry.  See `publish`."""
        self._held = False
        """While alone: a step is being made."""
        self._settled = True
        """While alone: the clients here are those of the state."""
        self._left = 0
        """While alone: how many replies the outbox has, as it stands here."""
        if alone:
            self.load()
            self.alone = True

    def _forget(self) -> None:
        """Have the next `load` read everything."""
        self._state = EndpointState()
        self._version = -1
        self._changes = 0
        self._places: dict[Client, int] = {}
        self._at: dict[int, Client] = {}
        self._freed: dict[int, None] = {}  # each once, the last freed last

    @classmethod
    def open(cls, fd: int, *, alone: bool = False) -> Registry:
        """The registry that another process has created."""
        return cls(fd, alone=alone)

    def close(self) -> None:
        """Close the descriptor and unmap the memory."""
        self._memory.close()
        os.close(self.fd)

    # ---------------------------------------------------------------- the lock

    def lock(self) -> None:
        """Take the lock: against other threads, and, unless alone, against other processes.  It dies with its holder.

        Raises:
            OSError: the program has closed the registry's descriptor; the lock is not taken.
        """
        self._mutex.acquire()
        if self.alone:
            self._held = True
            return
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX, 1)
        except BaseException:  # a signal handler may raise anything while this waits
            self._mutex.release()
            raise

    def unlock(self) -> None:
        """Release the lock.

        Raises:
            OSError: the program has closed the registry's descriptor; the lock is gone.
        """
        try:
            if self.alone:
                self._held = False
                replies = len(self._state.outbox)
                if replies != self._left:
                    self._set_number(_OUTBOX_LENGTH, replies)
                    self._left = replies
            else:
                fcntl.lockf(self.fd, fcntl.LOCK_UN, 1)
        finally:
            self._mutex.release()

    def publish(self, packet: bytes = b"") -> None:
        """Another process is about to come: write all that it has to know.  From now on, each step takes the lock.

        In the middle of a step (a signal handler may fork there) the lock is taken until the step ends.

        Args:
            packet: the packet that is being read, if it has been taken from its dialog.

        Raises:
            OSError: the program has closed the registry's descriptor.
        """
        with self._mutex:
            if not self.alone:
                return
            doing = self.in_flight
            try:
                if self._held:
                    fcntl.lockf(self.fd, fcntl.LOCK_EX, 1)
                self._write_all()
            finally:
                self.alone = False
            if doing is not None:
                self.begin(*doing, packet)

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
        if self.alone:
            if not self._settled:
                self._write_all()
            return self._state
        writing, version, changes, sequence, length, self._flight = _HEAD.unpack_from(self._memory, _WRITING)
        if writing:
            self._do_again()
            return self.load()
        if version == self._version:
            return self._state
        if self._version < 0 or changes - self._changes > _JOURNAL_ROOM:
            self._forget()
            self._read_all()
        else:
            self._follow(self._changes, changes)
        self._version, self._changes = version, changes
        known = self._state
        self._state = EndpointState(known.listeners, known.clients, sequence, self._read_outbox(length))
        return self._state

    def _do_again(self) -> None:
        """Make the writes of the log: the process that had begun them has died, or was interrupted."""
        at = _LOG + _NUMBER.size
        end = at + self._number(_LOG)
        while at < end:
            place, length = _WRITE.unpack_from(self._memory, at)
            at += _WRITE.size
            self._capacity()
            self._memory[place : place + length] = self._memory[at : at + length]
            at += length
        self._set_number(_WRITING, 0)
        self._forget()

    def _read_all(self) -> None:
        capacity = self._capacity()
        for place in range(capacity):
            client = self._client(place)
            if client is not None:
                self._places[client] = place
                self._at[place] = client
        clients = Tree.of((client, None) for client in self._places)
        self._state = EndpointState(self._read_ports(), clients)

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
        if new.listeners is not old.listeners and len(new.listeners) > PORT_LIMIT:
            raise Full(f"a server can bind {PORT_LIMIT} ports through its Distributor, not more")
        if len(new.outbox) > OUTBOX_LIMIT:
            raise Full(f"{len(new.outbox)} replies are to be sent; there is room for {OUTBOX_LIMIT}")
        if touched is None:
            touched = {*old.clients, *new.clients} if old.clients is not new.clients else ()
        if self.alone:
            self._save_alone(new, touched)
            return
        version, self._version = self._version, -1  # nothing is certain until all is written
        counts_alike = new.sequence == old.sequence and new.clients is old.clients
        if not new.outbox and counts_alike and new.listeners is old.listeners:
            self._all_sent(version + 1)
            self._state, self._version = new, version + 1
            return
        writes: list[tuple[int, bytes]] = []
        for client in touched:
            was, will = client in self._places, client in new.clients
            if was and not will:
                self._remove(client, writes)
            elif will and not was:
                self._add(client, writes)
        if new.listeners is not old.listeners and new.listeners != old.listeners:
            self._write_ports(new.listeners, writes)
        if new.outbox and new.outbox is not old.outbox:
            writes.append((_OUTBOX, b"".join(map(_packed, new.outbox))))
        head = _SAVED.pack(version + 1, self._changes, new.sequence, len(new.outbox), Doing.NOTHING)
        writes.append((_VERSION, head))
        self._do(writes)
        self._state, self._version = new, version + 1

    def _save_alone(self, new: EndpointState, touched: Iterable[Client]) -> None:
        """Keep the state, and write the clients that have come or gone."""
        self._settled = False
        for client in touched:
            place, counted = self._places.get(client), client in new.clients
            if counted and place is None:
                place = self._free_place()
                self._places[client] = place
                self._at[place] = client
                self._write_row(place, _CLIENT.pack(client.arrival, client.cookie, client.port, 1))
            elif place is not None and not counted:
                del self._places[client], self._at[place]
                self._freed[place] = None
                self._write_row(place, _NO_CLIENT)
        self._state, self._flight = new, Doing.NOTHING
        self._settled = True

    def _write_row(self, place: int, row: bytes) -> None:
        """Without the log; a `Reader` sees that it is being done."""
        memory, at = self._memory, _CLIENTS + place * _CLIENT.size
        self._version += 1
        _WRITING_VERSION.pack_into(memory, _WRITING, 1, self._version)
        memory[at : at + _CLIENT.size] = row
        _NUMBER.pack_into(memory, _WRITING, 0)

    def _write_all(self) -> None:
        """Write the whole state of a process that is alone, which had not, or was interrupted by a signal handler."""
        state = self._state
        clients = list(state.clients)
        if len(clients) > self._capacity():
            self._grow(_grown(len(clients)))
        self._at = dict(enumerate(clients))
        self._places = {client: place for place, client in self._at.items()}
        self._freed.clear()
        rows = b"".join(_CLIENT.pack(client.arrival, client.cookie, client.port, 1) for client in clients)
        writes = [(_CLIENTS, rows.ljust(self._capacity() * _CLIENT.size, b"\0"))]
        self._write_ports(state.listeners, writes)
        self._version += 1
        head = _SAVED.pack(self._version, self._changes, state.sequence, len(state.outbox), self._flight)
        self._do([*writes, (_OUTBOX, b"".join(map(_packed, state.outbox))), (_VERSION, head)])
        self._left = len(state.outbox)
        self._settled = True

    def _all_sent(self, version: int) -> None:
        """The outbox is empty now, else all is as it was.  In this order, each store leaves what makes sense."""
        memory, store = self._memory, _NUMBER.pack_into
        store(memory, _VERSION, version)
        store(memory, _OUTBOX_LENGTH, 0)
        store(memory, _IN_FLIGHT, 0)

    def _do(self, writes: list[tuple[int, bytes]]) -> None:
        """Write all of it or nothing.  (More than the log takes is written in parts; no step writes so much.)"""
        log = b"".join([_WRITE.pack(at, len(data)) + data for at, data in writes])
        size = len(log)
        if size > _LOG_ROOM and len(writes) > 1:
            half = len(writes) // 2
            self._do(writes[:half])
            self._do(writes[half:])
            return
        memory = self._memory
        memory[_LOG : _LOG + _NUMBER.size + size] = _NUMBER.pack(size) + log
        self._set_number(_WRITING, 1)
        for at, data in writes:
            memory[at : at + len(data)] = data
        self._set_number(_WRITING, 0)

    def _add(self, client: Client, writes: list[tuple[int, bytes]]) -> None:
        place = self._free_place()
        row = _CLIENT.pack(client.arrival, client.cookie, client.port, 1)
        writes.append((_CLIENTS + place * _CLIENT.size, row))
        self._places[client] = place
        self._at[place] = client
        self._note(place, writes)

    def _remove(self, client: Client, writes: list[tuple[int, bytes]]) -> None:
        place = self._places.pop(client)
        del self._at[place]
        self._freed[place] = None
        writes.append((_CLIENTS + place * _CLIENT.size, _NO_CLIENT))
        self._note(place, writes)

    def _free_place(self) -> int:
        """The place that this process last saw become free, or else one near their number."""
        while self._freed:
            place, _ = self._freed.popitem()
            if place not in self._at:
                return place
        place = len(self._at)
        if place == self._capacity():
            self._grow(_grown(place))
        while place in self._at:  # then a lower one is free, which another process has seen
            place -= 1
        return place

    def _grow(self, capacity: int) -> None:
        os.ftruncate(self.fd, _CLIENTS + capacity * _CLIENT.size)
        self._set_number(_CAPACITY, capacity)
        self._capacity()

    def _note(self, place: int, writes: list[tuple[int, bytes]]) -> None:
        writes.append((_JOURNAL + self._changes % _JOURNAL_ROOM * _PLACE.size, _PLACE.pack(place)))
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

    def _write_ports(self, listeners: Tree[Port, VirtualListener], writes: list[tuple[int, bytes]]) -> None:
        rows = [_PORT.pack(port, listener.listening, listener.asked) for port, listener in listeners.items()]
        writes.append((_PORTS, b"".join(rows).ljust(PORT_LIMIT * _PORT.size, b"\0")))
        self._note(_THE_PORTS, writes)

    def _read_outbox(self, length: int) -> tuple[Reply, ...]:
        return tuple(
            _unpacked(*_REPLY.unpack_from(self._memory, _OUTBOX + index * _REPLY.size)) for index in range(length)
        )

    # ---------------------------------------------------------------- what is in flight; under the lock

    @property
    def in_flight(self) -> tuple[Doing, Port] | None:
        """What a process was doing with which dialog, at the last `load`; a save ends it.

        Found by another process, it was not finished.
        """
        if not self._flight:
            return None
        port, doing = divmod(self._flight, 256)
        return Doing(doing), port

    @property
    def packet(self) -> bytes:
        """The beginning of the packet that was being read, padded to `PACKET` bytes."""
        return bytes(self._memory[_PACKET : _PACKET + PACKET])

    def begin(self, doing: Doing, port: Port, packet: bytes = b"") -> None:
        """This process is about to do that.

        Args:
            doing: what it is.
            port: the dialog's.
            packet: the beginning of the one to be read.
        """
        if self.alone:
            self._flight = port << 8 | doing
            return
        if packet:
            self._memory[_PACKET : _PACKET + PACKET] = packet[:PACKET].ljust(PACKET, b"\0")
        _NUMBER.pack_into(self._memory, _IN_FLIGHT, port << 8 | doing)

    def note_unread(self, unread: bool) -> None:
        """A message is, or is no longer, left unread until there is room for its answer."""
        if self._number(_UNREAD) != unread:
            self._set_number(_UNREAD, unread)

    # ---------------------------------------------------------------- who accepts; under the lock

    def hold(self, port: Port, pid: int) -> bool:
        """The process accepts on the port.

        Returns:
            whether this is noted.  With no room left it is not; the port may then close early.
        """
        rows = dict(self._holders())
        if (port, pid) in rows.values():
            return True
        free = next((index for index in range(_HOLDERS_ROOM) if index not in rows), None)
        if free is None:  # a process that was killed has not given its row back
            free = next((index for index, (_, other) in rows.items() if not os.path.exists(f"/proc/{other}")), None)
        if free is not None:
            _HOLDER.pack_into(self._memory, _HOLDERS + free * _HOLDER.size, port, pid)
        return free is not None

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
        if self.alone:
            return 0
        self.load()
        place = self._places.get(client)
        if place is None:
            return 0
        at = _CLIENTS + place * _CLIENT.size + _CLIENT.size - _HOLDS.size
        holds = max(0, int(_HOLDS.unpack_from(self._memory, at)[0]) + change)
        _HOLDS.pack_into(self._memory, at, holds)
        return holds

    # ---------------------------------------------------------------- without the lock

    def note_foreign(self, bit: int) -> None:
        """This process imports a library.  (Of two that do so in one instant, one may go unnoted.)"""
        self._set_number(_FOREIGN, self._number(_FOREIGN) | bit)

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


def _packed(reply: Reply) -> bytes:
    message = reply.message
    client, incarnation = Client(0, 0, 0), 0
    if isinstance(message, (NotReady, RestartReply)):
        incarnation = message.incarnation
    else:
        client = message.client
    count = message.count
    values = (client.arrival, client.cookie, client.port, incarnation, count.clients, count.sequence)
    return _REPLY.pack(reply.port, _TAGS[type(message)], *values)


def _unpacked(
    port: Port, tag: int, arrival: int, cookie: int, of: Port, incarnation: Incarnation, clients: int, sequence: int
) -> Reply:
    kind, count = _KINDS[tag], Count(clients, sequence)
    message: FromServer
    if kind in (NotReady, RestartReply):
        message = kind(incarnation, count)
    else:
        message = kind(Client(arrival, cookie, of), count)
    return Reply(port, message)


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
