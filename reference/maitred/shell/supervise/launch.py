"""Starts processes, with multiprocessing's spawn: nothing of the Monitor's memory or descriptors comes along.

A Distributor goes on as the spawned interpreter.  A server execs (see `maitred.shell.inside.exec_server`), so that its
interpreter has the options of its class, not the Monitor's.

What a start needs is settled when this module is imported, once: the interpreter, and where modules are found, both by
their real paths.  multiprocessing would ask for the working directory and the command's main module each time, and
enter the one by its name and import the other in each new process.  So an instance goes on after the directory in
which it was started has been removed, or where its user may not enter it, or after a symbolic link on the way to our
files has been turned to another version.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import reduction, resource_tracker, spawn
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from maitred.shell import distributor
from maitred.shell.inside import exec_server
from maitred.shell.io import kernel
from maitred.shell.io.loop import READ, Loop

SAFE_PATH: Final = "PYTHONSAFEPATH"
_PATH: Final = tuple(map(os.path.realpath, filter(None, sys.path)))
_INTERPRETER: Final = os.path.join(os.path.realpath(os.path.dirname(sys.executable)), os.path.basename(sys.executable))
"""Its own last link is not followed: by it an interpreter knows its virtual environment."""


class Handed:
    """Descriptors that go along with a process being spawned, under the same numbers."""

    def __init__(self, fds: tuple[int, ...]) -> None:
        self.fds = fds

    def __reduce__(self) -> tuple[type[Handed], tuple[tuple[int, ...]]]:
        """Pickled while the process is being spawned, which is when multiprocessing takes them."""
        for fd in self.fds:
            reduction.DupFd(fd)
        return Handed, (self.fds,)


class Child:
    """A process that we started, and know by its pidfd."""

    def __init__(self, process: SpawnProcess) -> None:
        """Take over the process, which has been started."""
        self._process = process
        assert process.pid is not None, "it has been started"
        self.pid: int = process.pid
        self.pidfd: int = os.pidfd_open(self.pid)

    def exitcode(self) -> int | None:
        """Reap the process, if it has ended: its status, or the number of the signal that killed it, negative."""
        return self._process.exitcode

    def watch_end(self, loop: Loop, on_end: Callable[[int], None]) -> None:
        """Have the process reaped by the loop when it ends, and ``on_end`` called with its `exitcode`."""

        def on_ready(flags: int) -> None:
            code = self.exitcode()
            if code is not None:
                loop.forget(self.pidfd)
                on_end(code)

        loop.watch(self.pidfd, READ, on_ready)

    def close(self) -> None:
        """Let go of every descriptor that is kept for the process, which has been reaped."""
        os.close(self.pidfd)
        self._process.close()


def start_distributor(spec: distributor.DistributorSpec) -> Child:
    """Start a Distributor.

    Raises:
        OSError: no process can be made.
    """
    return start(distributor.run, spec, descriptors(spec))


def descriptors(spec: distributor.DistributorSpec) -> tuple[int, ...]:
    """The descriptors that a Distributor is started with."""
    kept = (fd for _, _, fds in spec.kept for fd in fds)
    files = (fd for fd in (spec.trace, spec.log) if fd is not None)
    return (spec.channel, spec.status, *files, *kept)


def start_server(spec: exec_server.ServerSpec) -> Child:
    """Start an Application Server.

    Raises:
        OSError: no process can be made.
    """
    others = (fd for fd in (spec.registry, spec.trace) if fd is not None)
    return start(exec_server.run, spec, (spec.control, *others))


def start(target: Callable[[Any, object], None], spec: object, fds: tuple[int, ...]) -> Child:  # Any: its own spec
    """Start a process that runs ``target(spec, handed)`` and inherits the descriptors, under the same numbers.

    Raises:
        OSError: no process can be made.
    """
    arguments = (target, spec, Handed(fds), os.environ.get(SAFE_PATH))
    context = multiprocessing.get_context("spawn")
    context.set_executable(_INTERPRETER)
    process = context.Process(target=_run, args=arguments)
    with _settled(), _safe_path():
        resource_tracker.ensure_running()  # else multiprocessing does it meanwhile, and no longer blocks SIGINT then
        with kernel.terminal_held_back():
            process.start()
    return Child(process)


def _run(target: Callable[[Any, object], None], spec: object, handed: Handed, safe_path: str | None) -> None:  # Any: so
    """The process: with the environment as the user has it, and with signals as if nobody had ignored any.

    The terminal's are held back until the target leaves it, or ignores them.
    """
    _set_safe_path(safe_path)
    kernel.heed_signals_again()
    target(spec, handed)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Have a new interpreter not search the current directory, as it would for the code that multiprocessing runs."""
    before = os.environ.get(SAFE_PATH)
    _set_safe_path("1")
    try:
        yield
    finally:
        _set_safe_path(before)


def _set_safe_path(value: str | None) -> None:
    if value is None:
        os.environ.pop(SAFE_PATH, None)
    else:
        os.environ[SAFE_PATH] = value


@contextmanager
def _settled() -> Iterator[None]:
    """Tell a new process where modules are found, and nothing else that multiprocessing would look up for it."""
    before = spawn.get_preparation_data
    spawn.get_preparation_data = lambda name: {"name": name, "sys_path": list(_PATH), "sys_argv": sys.argv}
    try:
        yield
    finally:
        spawn.get_preparation_data = before
