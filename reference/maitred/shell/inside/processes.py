"""What happens to listeners and clients' connections when this process forks, starts a program, becomes one, or ends.

Rules
-----
1.  A fork shares what the process has.  When a child that was forked is reaped, the kernel is asked about the
    connections that it had.
2.  An exec closes what is not inheritable, so the clients of those connections are counted as gone just before it.
    Where it fails after all, they are counted again; one whose other holders have closed in that instant is not.
3.  The main process leads a session and a process group.  To ask for that is to have it already.

Workers that a program forks inherit everything.  Those that it starts with an exec are handed it: see
`maitred.shell.inside.workers`.
"""

from __future__ import annotations

import _socket
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from maitred.core.messages import Client
from maitred.shell import start_contract
from maitred.shell.inside import real_calls, workers
from maitred.shell.inside.connections import Connection, is_held
from maitred.shell.inside.descriptor_table import DescriptorTable
from maitred.shell.io import report

Passed: TypeAlias = Any  # Any: an argument or result of a real function, passed on as it is

CHILDREN: Final = 1024
"""Number of children whose connections are remembered: some programs never reap theirs."""
_OUT_OF_REACH: Final = "which is not the Python that runs it: no client can be handed to that"


class Processes:
    """This process, and those that it makes."""

    def __init__(self, descriptors: DescriptorTable, main: int, identity: workers.Identity | None = None) -> None:
        """This process, as it begins.

        Args:
            descriptors: of this process.
            main: the process id of the server's main process.
            identity: what workers that the program execs are to be; None: nothing.
        """
        self.descriptors: Final = descriptors
        self.endpoint: Final = descriptors.endpoint
        self._connections: Final = descriptors.connections
        self._main: Final = main
        self._identity: Final = identity
        self._starting = 0
        """The thread that is starting another program: its fork only comes before an exec."""
        self._rights = workers.rights()
        """User and groups with which this process began."""
        self._children: Final[dict[int, list[Connection]]] = {}
        """The connections that each child had when it was forked, the last `CHILDREN` of them."""

    # ---------------------------------------------------------------- programs that are started

    def start_program(
        self, start: Callable[..., Passed], equip: workers.Equip, args: tuple[Passed, ...], kwargs: dict[str, Passed]
    ) -> Passed:
        """Call a function that starts another program with what it may inherit."""
        named = set(_numbers((args, list(kwargs.values()))))
        self.descriptors.pass_on(fd for fd in list(self._connections.by_fd) if fd in named or os.get_inheritable(fd))
        args, kwargs = equip(self.hand_down, args, kwargs)
        self._starting = real_calls.thread_id()
        try:
            return start(*args, **kwargs)
        finally:
            self._starting = 0

    def become_program(self, path: Passed, argv: Passed, environment: Passed) -> None:
        """`os.execve`; returns only by what it raises."""
        environment, fds = workers.execve(self.hand_down, path, argv, environment)
        for fd in fds:
            os.set_inheritable(fd, True)
        left = [] if self._is_starting() or not _is_program(path) else self._left_by_exec()
        for client in left:
            self.endpoint.let_go(client)
        if not fds and os.getpid() == self._main and not self._is_starting():
            name = path if isinstance(path, int) else os.fsdecode(path)
            report.warning(f"the program becomes {name}, {_OUT_OF_REACH}")
        try:
            real_calls.execve(path, argv, environment)
        finally:
            for client in left:
                self.endpoint.take_back(client)
            for fd in fds:
                os.set_inheritable(fd, False)

    def _is_starting(self) -> bool:
        return self._starting == real_calls.thread_id()

    def _left_by_exec(self) -> list[Client]:
        """The clients whose connections a program that this process becomes would not inherit."""
        by_fd = self._connections.by_fd
        kept = {id(by_fd[fd]) for fd in list(by_fd) if _survives_exec(fd)}
        return [connection.client for connection in self._connections.open() if id(connection) not in kept]

    def hand_down(self, inherits: workers.Inherits) -> workers.Inheritance | None:
        """What makes a worker one of this server's processes.

        None where the program has closed what it needs, or has forked this process and changed its user or groups.

        With each listener that it inherits goes the dialog.  So does the dialog of a port that it could bind itself:
        not so while a listener here keeps it from that, as the kernel would.
        """
        if self._identity is None or (os.getpid() != self._main and workers.rights() != self._rights):
            return None
        listeners = self.descriptors.listeners()
        handed = [listener for listener in listeners if any(map(inherits, listener.fds))]
        kept = {other.port for other in listeners if other not in handed and not other.option(_socket.SO_REUSEPORT)}
        wanted = {listener.port for listener in handed} | (self.endpoint.dialogs.keys() - kept)
        dialogs = {port: dialog.fileno() for port, dialog in self.endpoint.dialogs.items() if port in wanted}
        fds = (*self._identity.fds, *dialogs.values(), *(listener.original.fileno() for listener in handed))
        if not _all_open(fds):
            return None
        self.endpoint.publish()
        for listener in handed:
            listener.is_shared = True
        inodes = self.descriptors.inodes()
        rows = [listener.row(inodes[listener]) for listener in handed]
        text = start_contract.encode({**self._identity.record(), "dialogs": list(dialogs.items()), "listeners": rows})
        return workers.Inheritance(text, fds)

    # ---------------------------------------------------------------- fork and the end

    def fork(self, fork: Callable[[], Passed]) -> Passed:
        """`os.fork`, `os.forkpty`."""
        had = self._connections.open()
        for connection in had:
            connection.note_local()
        result = fork()
        pid = result if isinstance(result, int) else result[0]
        if pid and had:
            self._children[pid] = had
            while len(self._children) > CHILDREN:
                self._children.pop(next(iter(self._children)), None)
        return result

    def reaped(self, pid: int) -> None:
        """A child has ended: of its connections and those that were passed on, forget those that nobody holds."""
        for connection in self._children.pop(pid, ()):
            if not is_held(connection):
                self.endpoint.forget(connection.client)
        self._connections.look_again()

    def before_fork(self) -> None:
        """Note what the child will have too."""
        for listener in self.descriptors.listeners():
            listener.is_shared = True
        shared = () if self._is_starting() else self._connections.open()
        self.endpoint.before_fork([connection.client for connection in shared])

    def after_fork_in_child(self) -> None:
        """Go on as a process of the same server; or as one that has only the time until its exec."""
        self._rights = workers.rights()
        self._children.clear()
        self.endpoint.after_fork_in_child()
        if self._is_starting():
            self.descriptors.by_fd.clear()
            self._connections.by_fd.clear()
        self._connections.after_fork_in_child()

    def end_child(self) -> None:
        """A process that the server has forked is about to end.  (The end of the main process is the server's.)"""
        if os.getpid() != self._main:
            self.endpoint.leave()
            self._connections.close_all()

    def leads_already(self, pid: int = 0, group: int = 0) -> bool:
        """Whether the process asks to lead a group, or a session, as the server's main process does."""
        me = os.getpid()
        return me == self._main == os.getsid(0) and {pid, group} <= {0, me}


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
        return False  # closed by C code


def _all_open(fds: Iterable[int]) -> bool:
    try:
        for fd in fds:
            os.fstat(fd)
    except OSError:
        return False
    return True
