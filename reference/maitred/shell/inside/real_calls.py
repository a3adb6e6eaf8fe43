"""The functions of `os`, `select` and `socket` as Python has them, before `maitred.shell.inside.install` replaces some.

Green threads (gevent, eventlet) replace others, or remove them; what stands in for a listener needs the real ones.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
import socket
from typing import Any, Final, TypeAlias

Passed: TypeAlias = Any  # Any: an argument or result of a real function, passed on as it is

dup: Final = os.dup
dup2: Final = os.dup2
close: Final = os.close
closerange: Final = os.closerange
exit_now: Final = os._exit
execve: Final = os.execve
fdopen: Final = os.fdopen
setpgrp: Final = os.setpgrp
setsid: Final = os.setsid
setpgid: Final = os.setpgid

init: Final[Passed] = socket.socket.__init__
plain_init: Final[Passed] = _socket.socket.__init__
bind: Final = _socket.socket.bind
connect: Final = _socket.socket.connect
connect_ex: Final = _socket.socket.connect_ex
real_close: Final[Passed] = socket.socket._real_close  # type: ignore[attr-defined]  # CPython's own, not in typeshed
finalise: Final[Passed] = _socket.socket.__del__  # type: ignore[attr-defined]  # it is there, typeshed does not say so
sendmsg: Final = _socket.socket.sendmsg
fileno: Final = _socket.socket.fileno

poll: Final = select.poll
thread_id: Final = _thread.get_ident
"""Of the thread, where green threads have an id of their own."""


def init_again(sock: _socket.socket, family: int, proto: int, fd: int) -> None:
    """Have the object of a TCP socket say so, where its maker named another family or protocol."""
    initialise = init if isinstance(sock, socket.socket) else plain_init
    initialise(sock, family, _socket.SOCK_STREAM, proto, fd)


def error(number: int) -> OSError:
    """The exception that the real call raises."""
    return OSError(number, os.strerror(number))
