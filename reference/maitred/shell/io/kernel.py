"""What the kernel does for processes: signals that hit no stranger, orphans that come home, CPUs that are there.

And what a process inherits from whoever has started it.  Where that would change what we or a program do, it is settled
here; all the rest (umask, niceness, limits, OOM score, control group) is what the user wants, and comes through.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CREDENTIALS: Final = struct.Struct("=iII")
"""``struct ucred`` (unix(7)): pid, uid, gid."""
_PR_SET_CHILD_SUBREAPER: Final = 36
FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""What a terminal sends to every process of its session's foreground group."""
_PYTHONS_OWN: Final = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""An interpreter ignores them from its start."""


def hear_of_children() -> None:
    """Have the kernel report the ends of our children, and block no signal, whatever whoever started us had settled.

    A SIGCHLD that is ignored is inherited, and then the kernel reaps each child by itself: nobody learns of its end.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def heed_signals_again() -> None:
    """Have signals do what they do by default, also those that whoever started us ignores.

    A program in the background of a script, where SIGINT is ignored, could not be ended by it otherwise.  And what the
    Monitor blocks for itself, its children do not.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTTOU])
    for number in signal.valid_signals() - _PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def terminal_held_back() -> Iterator[None]:
    """Have a process that is made meanwhile heed nothing from the terminal until it calls `leave_terminal`.

    Else a Ctrl-C while its interpreter starts has it print a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FROM_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_terminal() -> None:
    """Enter a session of our own, and heed signals from now on: one that has come since the start ends us, silently."""
    os.setsid()
    for number in FROM_TERMINAL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def working_directory() -> str | None:
    """Where this process is; None where that has been removed.

    By the name that the shell has for it, which may lead through symbolic links; else by its own.
    """
    try:
        real = os.getcwd()
    except OSError:
        return None
    logical = os.environ.get("PWD", "")
    try:
        return logical if os.path.isabs(logical) and os.path.samefile(logical, ".") else real
    except OSError:
        return real


def in_words(error: OSError) -> str:
    """What was wrong, with which file, and what could be done about a limit."""
    words = error.strerror or str(error)
    if error.errno == errno.EMFILE:
        words += f": at most {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} may be (ulimit -n)"
    return f"{os.fsdecode(error.filename)}: {words}" if isinstance(error.filename, (str, bytes)) else words


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """The pid and the uid of whoever is at the other end of a connection of AF_UNIX (SO_PEERCRED, unix(7)).

    The pid is 0 where we cannot see the process.
    """
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid


def send_signal(pidfd: int, number: int) -> bool:
    """Signal the process behind the pidfd; whether it was still there."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def become_subreaper() -> None:
    """Have orphans among this process's descendants become its children, so that none gets out of sight.

    Raises:
        OSError: the kernel declines.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def online_cpus(text: str | None = None) -> frozenset[int]:
    """The CPUs that are online; ``text`` in the kernel's form, as ``0-3,8``, else asked of the kernel."""
    if text is None:
        try:
            with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
                text = file.read()
        except OSError:
            return frozenset(range(os.cpu_count() or 1))
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)
