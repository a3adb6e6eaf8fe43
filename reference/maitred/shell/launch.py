"""Starts processes, with multiprocessing's spawn: nothing of the Monitor's memory or descriptors comes along.

A Distributor goes on as the spawned interpreter.  A server execs (see `maitred.shell.become`), so that its interpreter
has the options of its class, not the Monitor's.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from maitred.shell import become, distributor

SAFE_PATH: Final = "PYTHONSAFEPATH"


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

    def close(self) -> None:
        """Let go of every descriptor that is kept for the process, which has been reaped."""
        os.close(self.pidfd)
        self._process.close()


def start_distributor(spec: distributor.DistributorSpec) -> Child:
    """Start a Distributor.

    Raises:
        OSError: no process can be made.
    """
    kept = tuple(fd for _, _, fds in spec.kept for fd in fds)
    trace = () if spec.trace is None else (spec.trace,)
    return start(distributor.run, spec, (spec.channel, spec.status, *trace, *kept))


def start_server(spec: become.ServerSpec) -> Child:
    """Start an Application Server.

    Raises:
        OSError: no process can be made.
    """
    trace = () if spec.trace is None else (spec.trace,)
    return start(become.run, spec, (spec.control, spec.registry, *trace))


def start(target: Callable[[Any, object], None], spec: object, fds: tuple[int, ...]) -> Child:  # Any: its own spec
    """Start a process that runs ``target(spec, handed)`` and inherits the descriptors, under the same numbers.

    Raises:
        OSError: no process can be made.
    """
    arguments = (target, spec, Handed(fds), os.environ.get(SAFE_PATH))
    process = multiprocessing.get_context("spawn").Process(target=_run, args=arguments)
    with _nothing_to_import(), _safe_path():
        process.start()
    return Child(process)


def _run(target: Callable[[Any, object], None], spec: object, handed: Handed, safe_path: str | None) -> None:  # Any: so
    """The process: with the environment as the user has it."""
    _set_safe_path(safe_path)
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
def _nothing_to_import() -> Iterator[None]:
    """Show multiprocessing an empty main module: else every process would import the command's first."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
