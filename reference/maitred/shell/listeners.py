"""The listening sockets of one Distributor: opening, accepting, and the descriptors that are kept from clients.

Rules
-----
1.  A port is *muted* once a client came while no accept was outstanding: its sockets are watched no more, as it is
    known that somebody is there.
2.  An accept that is issued on a muted port is tried at the end of the turn, when all else that came has been handled,
    unless it has been withdrawn by then.  If nobody is there after all, the sockets are watched again.
3.  Ports take turns, and so do the sockets of a port: the one that gave a client least recently is tried first.
"""

from __future__ import annotations

import errno
import resource
import socket
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final

from maitred.core import distributor as core
from maitred.core.messages import Address, Port
from maitred.shell.io import channel, sock_diag
from maitred.shell.io.listening import backlog_of, open_listeners
from maitred.shell.io.loop import READ, Loop
from maitred.shell.warnings_at_intervals import WarningsAtIntervals

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
RESERVE: Final = 64
"""So many descriptors are kept from clients, for dialogs and what the Monitor sends."""
A_TURN: Final = 16
"""At the end of a turn, so many clients of muted ports are accepted at most."""


@dataclass(slots=True)
class _OfPort:
    """The listening sockets of one port."""

    sockets: dict[Address, list[socket.socket]] = field(default_factory=dict)
    armed: bool = False
    """An accept is outstanding."""
    muted: bool = False
    """A client came when none was: the sockets are not watched."""
    turns: list[socket.socket] = field(default_factory=list)
    """All sockets, the one first that gave a client least recently."""

    def all(self) -> list[socket.socket]:
        return list(chain.from_iterable(self.sockets.values()))


class Listeners:
    """All listening sockets of one Distributor."""

    def __init__(
        self,
        kept: Collection[tuple[Port, Address, tuple[int, ...]]],
        *,
        fixed: bool,
        sweep: float,
        loop: Loop,
        handle: Callable[[core.Event], object],
        copies: dict[int, channel.Socket],
        warnings: WarningsAtIntervals,
    ) -> None:
        """No port is listened on yet.

        Args:
            kept: the listening sockets of the last Distributor.
            fixed: whether the ports are configured.
            sweep: how long after it is asked for the backlog is counted, in seconds.
            loop: watches the sockets.
            handle: lets an event happen.
            copies: of the connections, by cookie: what is accepted is added.
            warnings: of a lack of descriptors.
        """
        self.tight = False
        """Only the reserve is left: no client is let in."""
        self._kept = {(port, address): fds for port, address, fds in kept}
        self._fixed = fixed
        self._sweep = sweep
        self._loop = loop
        self._handle = handle
        self._copies = copies
        self._warnings = warnings
        self._ports: dict[Port, _OfPort] = {}
        """The one first that gave a client least recently."""
        self._trying = False
        self._limit = _open_files_limit()

    def fds(self, port: Port, address: Address) -> tuple[int, ...]:
        """The descriptors of what listens there."""
        return tuple(listener.fileno() for listener in self._ports[port].sockets[address])

    # ================================================================ effects

    def listen(self, effect: core.Listen) -> None:
        """Take over what the last Distributor has listened with, or bind."""
        key = (effect.port, effect.address)
        kept = self._kept.pop(key, ())
        try:
            opened = [socket.socket(fileno=fd) for fd in kept]
            sockets = opened or open_listeners(effect.address, apart=self._fixed)
        except OSError as error:
            self._handle(core.ListeningFailed(*key, error.errno or errno.EINVAL))
            return
        listeners = self._ports.setdefault(effect.port, _OfPort())
        listeners.sockets[effect.address] = sockets
        listeners.turns += sockets
        for listener in sockets:
            listener.setblocking(False)
            watch = partial(self._on_listener, effect.port, listener)
            self._loop.watch(listener.fileno(), 0 if listeners.muted else READ, watch, last=True)
        self._handle(core.Listening(*key))

    def accept(self, effect: core.Accept) -> None:
        """Accept a client now, or as soon as one comes."""
        listeners = self._ports[effect.port]
        if not effect.wait:
            self._handle(self._accept_on(effect.port) or core.BacklogEmpty(effect.port))
            return
        listeners.armed = True
        if listeners.muted:
            self._try_soon()

    def withdraw(self, effect: core.Withdraw) -> None:
        """Accept nobody until another accept is issued."""
        self._ports[effect.port].armed = False

    def count_backlog(self, effect: core.CountBacklog) -> None:
        """Count the clients in the backlog after a while."""
        self._loop.set_timer(("sweep", effect.port), self._sweep, partial(self._count, effect.port))

    def close(self, effect: core.CloseListeners) -> None:
        """Close what listens on the port."""
        self._loop.cancel_timer(("sweep", effect.port))
        for listener in self._ports.pop(effect.port, _OfPort()).all():
            self._loop.forget(listener.fileno())
            listener.close()

    # ================================================================ events

    def _on_listener(self, port: Port, listener: socket.socket, flags: int) -> None:
        listeners = self._ports[port]
        if not listeners.armed:
            listeners.muted = True
            for each in listeners.all():
                self._loop.change(each.fileno(), 0)
            return
        event = self._accept_from(port, listener)
        if event is not None:
            listeners.armed = False
            self._handle(event)

    def _count(self, port: Port) -> None:
        listeners = self._ports.get(port, _OfPort())
        self._handle(core.BacklogCounted(port, sum(map(backlog_of, listeners.all()))))

    def _try_soon(self) -> None:
        if not self._trying:
            self._trying = True
            self._loop.at_end_of_turn(self._try_issued)

    def _try_issued(self) -> None:
        """Rule 2: try the accepts that are outstanding on muted ports; what is left is for the next turn."""
        self._trying = False
        for _ in range(A_TURN):
            port = next((port for port, of in self._ports.items() if of.armed and of.muted), None)
            if port is None:
                return
            event = self._accept_on(port)
            if event is None:
                self._listen_again(self._ports[port])
            else:
                self._ports[port].armed = False
                self._handle(event)
        self._try_soon()

    def _listen_again(self, listeners: _OfPort) -> None:
        listeners.muted = False
        for listener in listeners.all():
            self._loop.change(listener.fileno(), READ)

    def _accept_on(self, port: Port) -> core.ConnectionRequest | core.AcceptFailed | None:
        """What an accept comes to on the port; None: nobody is there."""
        found = (self._accept_from(port, listener) for listener in [*self._ports[port].turns])
        return next((event for event in found if event is not None), None)

    def _accept_from(self, port: Port, listener: socket.socket) -> core.ConnectionRequest | core.AcceptFailed | None:
        """What the outstanding accept comes to at this listening socket; None: nothing yet."""
        if self.tight:
            return self._exhausted(port)
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]  # as `accept`, which asks for its name too
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in EXHAUSTED:
                return self._exhausted(port)
            return None  # that client has gone again; others make the listener ready again
        self.tight = fd >= self._limit - min(RESERVE, self._limit // 4)
        connection = channel.connection(fd)
        cookie = sock_diag.cookie_of(connection)
        self._copies[cookie] = connection
        self._takes_its_turn(port, listener)
        return core.ConnectionRequest(port, cookie)

    def _takes_its_turn(self, port: Port, listener: socket.socket) -> None:
        """Rule 3."""
        listeners = self._ports[port] = self._ports.pop(port)
        listeners.turns.remove(listener)
        listeners.turns.append(listener)

    def _exhausted(self, port: Port) -> core.AcceptFailed:
        self._warnings.warn("out of descriptors: further clients wait in the backlog (raise RLIMIT_NOFILE)")
        self.tight = self.tight and bool(self._copies)
        return core.AcceptFailed(port)


def _open_files_limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
