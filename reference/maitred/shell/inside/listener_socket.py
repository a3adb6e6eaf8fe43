"""The socket class of a listener on a port of the server class: what the program calls, it answers as TCP would.

A socket object becomes a `ListenerSocket` when its descriptor becomes that of a dialog (`disguise`).
"""

from __future__ import annotations

import _socket
import operator
import socket
import sys
from collections.abc import Callable
from errno import EINVAL, ENOTCONN, EPIPE
from typing import TYPE_CHECKING, Any, Final, SupportsIndex, TypeAlias

from maitred.shell.inside import native_sockets, real_calls
from maitred.shell.inside.listener import Listener
from maitred.shell.inside.real_calls import error
from maitred.shell.inside.stand_in import here

Passed: TypeAlias = Any  # Any: an argument or result of a real method, passed on as it is

if TYPE_CHECKING:
    _Beside = socket.socket
else:
    _Beside = object


def _listener_of(sock: _socket.socket) -> Listener | None:
    return here().descriptors.listener_of(sock)


class ListenerMethods(_Beside):
    """What a listener does in its own way, whether its class derives from `socket.socket` or from the C type."""

    __slots__ = ()

    # An object that is closed stands for no listener any more; then the real method raises what it should.

    def listen(self, *backlog: Passed) -> None:
        listener = _listener_of(self)
        if listener is None:
            return super().listen(*backlog)
        for number in backlog:
            operator.index(number)  # the real one complains in these words
        return here().listen(listener)

    def _accept(self) -> Passed:
        listener = _listener_of(self)
        if listener is None:
            return super()._accept()  # type: ignore[misc]  # of the C type, not in typeshed
        return here().accept(listener, self.gettimeout())

    def getsockname(self) -> Passed:
        listener = _listener_of(self)
        return super().getsockname() if listener is None else listener.name

    def getpeername(self) -> Passed:
        if _listener_of(self) is None:
            return super().getpeername()
        raise error(ENOTCONN)

    def getsockopt(self, *args: Passed) -> Passed:
        listener = _listener_of(self)
        if listener is None:
            return super().getsockopt(*args)
        if args == (_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            return int(listener.listened)
        return listener.original.getsockopt(*args)

    def setsockopt(self, *args: Passed) -> None:
        listener = _listener_of(self)
        if listener is None:
            return super().setsockopt(*args)
        listener.original.setsockopt(*args)
        if listener.listened:
            listener.note_inherited_options()
        return None

    def shutdown(self, how: int, /) -> None:
        listener = _listener_of(self)
        if listener is None:
            return super().shutdown(how)
        if not listener.listened:
            raise error(ENOTCONN)
        if how in (_socket.SHUT_RD, _socket.SHUT_RDWR):
            here().shut_down(listener)
        return None


class ListenerSocket(ListenerMethods, socket.socket):
    """A listener whose descriptor is a dialog.  An object that a program has made as a plain socket becomes this."""

    __slots__ = ()

    def bind(self, address: Passed, /) -> None:
        if _listener_of(self) is None:
            return real_calls.bind(self, address)
        raise error(EINVAL)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Passed:
        """As multiprocessing has it for plain sockets; it goes by the class, and this is not the one that it knows."""
        reduction = sys.modules.get("multiprocessing.reduction")
        if reduction is None or type(self) is not ListenerSocket:
            return super().__reduce_ex__(protocol)
        return reduction._reduce_socket(self)

    def setblocking(self, flag: bool, /) -> None:
        if _listener_of(self) is not None:
            native_sockets.refuse_loop()  # the last call that such a loop makes through Python
        super().setblocking(flag)

    def dup(self) -> ListenerSocket:
        fd = here().descriptors.duplicate(self.fileno())
        other = type(self)(self.family, self.type, self.proto, fileno=fd)
        other.settimeout(self.gettimeout())
        return other


def _unconnected(name: str, number: int) -> Callable[..., Passed]:
    """A method of sockets that a listener does not have."""
    real = getattr(_socket.socket, name)

    def method(self: ListenerSocket, *args: Passed, **kwargs: Passed) -> Passed:
        if _listener_of(self) is None:
            return real(self, *args, **kwargs)
        raise error(number)

    method.__name__ = name
    return method


for _name in ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"):
    setattr(ListenerSocket, _name, _unconnected(_name, ENOTCONN))
for _name in ("send", "sendall", "sendto", "sendmsg"):
    setattr(ListenerSocket, _name, _unconnected(_name, EPIPE))
ListenerSocket.__module__ = socket.socket.__module__
ListenerSocket.__name__ = ListenerSocket.__qualname__ = socket.socket.__name__

_classes: Final[dict[type[socket.socket], type[socket.socket]]] = {
    socket.socket: ListenerSocket,
    ListenerSocket: ListenerSocket,
}


def _listener_class(base: type[socket.socket]) -> type[socket.socket]:
    """The class between a program's own class of sockets (`ssl.SSLSocket`) and `socket.socket`."""
    if base not in _classes:
        body = {"__slots__": (), "__module__": base.__module__, "__qualname__": base.__qualname__}
        metaclass: Passed = type(base)
        made: type[socket.socket] = metaclass(base.__name__, (base, ListenerSocket), body)
        _classes[base] = made
        _classes[made] = made
    return _classes[base]


def disguise(sock: _socket.socket) -> None:
    """Have the object be a listener, where its class does not see to that itself."""
    if isinstance(sock, socket.socket) and not isinstance(sock, ListenerMethods):
        sock.__class__ = _listener_class(type(sock))
