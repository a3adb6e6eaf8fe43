"""Installs the stand-in in the sockets of green threads: gevent and eventlet derive theirs from the C type.

gevent's derive from it directly, and eventlet imports the module `socket` afresh for its own use.  So while one of
these modules is executed, the C type is replaced by `GreenSocket`, which does what the stand-in grafts on
`socket.socket`.
"""

from __future__ import annotations

import _socket
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, TypeAlias

from maitred.shell.inside import install, listener_socket, real_calls
from maitred.shell.inside.descriptor_table import rights
from maitred.shell.inside.stand_in import here

Passed: TypeAlias = Any  # Any: an argument or result of a real method, passed on as it is

MODULES: Final = frozenset({"gevent._socket3", "socket"})

_plain: Final[Passed] = _socket.socket


class GreenSocket(listener_socket.ListenerMethods, _socket.socket):
    """A socket of the C type with the methods of the stand-in."""

    __slots__ = ()

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        _plain.__init__(self, family, type, proto, fileno)
        if fileno is not None:
            here().descriptors.adopt(self, family, fileno)

    def bind(self, address: Passed, /) -> None:
        here().bind(self, address)

    def close(self) -> None:
        here().descriptors.close_object(self, _plain.close)

    def __del__(self) -> None:
        here().descriptors.close_object(self, real_calls.finalise)

    def sendmsg(self, buffers: Passed, ancdata: Passed = (), *args: Passed) -> int:
        ancdata = list(ancdata)
        here().descriptors.pass_on(rights(ancdata))
        sent: int = _plain.sendmsg(self, buffers, ancdata, *args)
        return sent


def watch() -> None:
    """From now on, have such modules make sockets of this class."""
    sys.meta_path.insert(0, _Watcher())


class _Watcher:
    """A finder that has the others find a module, and changes how it is executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As the others find it."""
        if fullname not in MODULES:
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, _Watcher))
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        loader: Passed = None if spec is None else spec.loader
        if loader is not None:
            loader.exec_module = _with_green_sockets(loader.exec_module)
        return spec


def _with_green_sockets(execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def exec_module(module: ModuleType) -> None:
        attribute: Passed = _socket
        attribute.socket = GreenSocket
        try:
            execute(module)
        finally:
            attribute.socket = _plain
        made: Passed = getattr(module, "socket", None)
        derives = isinstance(made, type) and issubclass(made, GreenSocket)
        if derives:
            made.__init__ = install.adopting(made.__init__)  # it calls the C type's by name

    return exec_module
