"""Installs the stand-in: replaces methods of `socket.socket`, and what of `os` makes, passes and closes descriptors.

Each replacement does what the real function (`maitred.shell.inside.real_calls`) does, and notes it.
"""

from __future__ import annotations

import _posixsubprocess
import _socket
import atexit
import os
import socket
from collections.abc import Callable
from errno import EBADF, ECONNREFUSED
from typing import Any, NoReturn, TypeAlias

from maitred.shell.inside import listener_socket, real_calls, stand_in, workers
from maitred.shell.inside.descriptor_table import rights
from maitred.shell.inside.processes import Processes
from maitred.shell.inside.real_calls import error
from maitred.shell.inside.stand_in import StandIn

Passed: TypeAlias = Any  # Any: an argument or result of a real function, passed on as it is


def install(standin: StandIn, processes: Processes) -> None:
    """Put the stand-in of this process in place.  Before the program is imported."""
    stand_in.put_in_place(standin)
    _install_in_socket(standin)
    _install_in_os(standin, processes)


def adopting(init: Callable[..., None]) -> Callable[..., None]:
    """The constructor of a class of sockets, so that it notes whose the descriptor is that it is given."""

    def __init__(
        self: _socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        init(self, family, type, proto, fileno)
        descriptors = stand_in.here().descriptors
        if fileno is not None and descriptors.adopt(self, family, fileno) is not None:
            listener_socket.disguise(self)

    return __init__


def _install_in_socket(standin: StandIn) -> None:
    descriptors = standin.descriptors

    def bind(self: socket.socket, address: Passed, /) -> None:
        if standin.bind(self, address):
            listener_socket.disguise(self)

    def connect(self: socket.socket, address: Passed, /) -> None:
        if standin.refuses(self, address):
            raise error(ECONNREFUSED)
        try:
            real_calls.connect(self, address)
        except ConnectionRefusedError:
            if not standin.connects_to_itself(self, address):
                raise

    def connect_ex(self: socket.socket, address: Passed, /) -> int:
        refused = standin.refuses(self, address)
        number = ECONNREFUSED if refused else real_calls.connect_ex(self, address)
        return 0 if number == ECONNREFUSED and standin.connects_to_itself(self, address) else number

    def real_close(self: socket.socket, _ss: Passed = None) -> None:
        descriptors.close_object(self, real_calls.real_close)

    def __del__(self: socket.socket) -> None:
        descriptors.close_object(self, real_calls.finalise)

    def sendmsg(self: socket.socket, buffers: Passed, ancdata: Passed = (), *args: Passed) -> int:
        if ancdata and descriptors.is_busy:
            ancdata = list(ancdata)
            descriptors.pass_on(rights(ancdata))
        return real_calls.sendmsg(self, buffers, ancdata, *args)

    methods = {
        "__init__": adopting(real_calls.init),
        "bind": bind,
        "connect": connect,
        "connect_ex": connect_ex,
        "_real_close": real_close,
        "__del__": __del__,
        "sendmsg": sendmsg,
    }
    for name, method in methods.items():
        setattr(socket.socket, name, method)


def _install_in_os(standin: StandIn, processes: Processes) -> None:
    descriptors = standin.descriptors

    def close(fd: int) -> None:
        if descriptors.is_ours(fd):
            raise error(EBADF)
        claimed = descriptors.claim(fd)
        try:
            real_calls.close(fd)
        finally:
            descriptors.closed(claimed, fd)

    def dup(fd: int, /) -> int:
        return descriptors.duplicate(fd)

    def dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
        return descriptors.duplicate_onto(fd, fd2, inheritable)

    def closerange(fd_low: int, fd_high: int, /) -> None:
        descriptors.close_range(fd_low, fd_high)

    def end(status: int) -> NoReturn:
        try:
            processes.end_child()
        finally:
            real_calls.exit_now(status)

    def execve(path: Passed, argv: Passed, env: Passed) -> None:
        processes.become_program(path, argv, env)

    def execv(path: Passed, argv: Passed, /) -> None:
        processes.become_program(path, argv, os.environ)

    def fdopen(fd: int, *args: Passed, **kwargs: Passed) -> Passed:
        file = real_calls.fdopen(fd, *args, **kwargs)
        descriptors.watch_file(file, fd)
        return file

    def forker(real: Callable[[], Passed]) -> Callable[[], Passed]:
        def fork() -> Passed:
            return processes.fork(real)

        return fork

    def reaper(real: Callable[..., Passed]) -> Callable[..., Passed]:
        def wait(*args: Passed, **kwargs: Passed) -> Passed:
            result = real(*args, **kwargs)
            processes.reaped(result[0] if isinstance(result, tuple) else getattr(result, "si_pid", 0))
            return result

        return wait

    def starter(real: Callable[..., Passed], equip: workers.Equip) -> Callable[..., Passed]:
        def start(*args: Passed, **kwargs: Passed) -> Passed:
            return processes.start_program(real, equip, args, kwargs)

        return start

    def setpgrp() -> None:
        if not processes.leads_already():
            real_calls.setpgrp()

    def setsid() -> None:
        if not processes.leads_already():
            real_calls.setsid()

    def setpgid(pid: int, pgrp: int, /) -> None:
        if not processes.leads_already(pid, pgrp):
            real_calls.setpgid(pid, pgrp)

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
        before=processes.before_fork,
        after_in_parent=standin.endpoint.after_fork_in_parent,
        after_in_child=processes.after_fork_in_child,
    )
    atexit.register(processes.end_child)
