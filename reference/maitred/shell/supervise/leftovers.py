"""Finds what a Monitor has left behind that was killed: its Distributors and servers, which serve on without it.

Nobody can be asked about them, since it was the Monitor that answered.  But every process of an instance has inherited
the path of the instance's control socket in its environment, and the kernel shows that to the user whose processes they
are, and to root: to whom the Monitor would have answered.

Anybody can say so in the environment of a process of his own, though, and root sees that too.  So only processes that
are ours through and through are taken for remains, and are ours to kill; those of others are named beside them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from maitred.config import instances
from maitred.shell.inside.exec_server import CONTROL
from maitred.shell.start_contract import ENVIRONMENT
from maitred.shell.supervise.descendants import PROC, ProcessInfo, all_processes, holds

_DISTRIBUTOR: Final = b"multiprocessing.spawn"
"""In the command line of a Distributor; a server has exec'd a program of its own."""

_LISTEN: Final = "0A"
"""The state in ``/proc/net/tcp``."""


@dataclass(frozen=True, slots=True)
class Remains:
    """The processes of one instance whose Monitor is gone."""

    control: Path
    """Where the Monitor listened."""
    distributors: tuple[int, ...]
    """Pids."""
    servers: tuple[int, ...]
    """Pids of the servers' main processes."""
    strangers: tuple[int, ...] = ()
    """Pids of processes of other users that say so too: servers that have changed their user, or none of ours."""

    def __str__(self) -> str:
        servers = _pids("server", self.servers)
        if self.distributors:
            left = ", ".join(filter(None, [_pids("Distributor", self.distributors), servers]))
            what = f"the Monitor is gone, and what it has started serves on without it: {left}"
        else:
            what = (
                "the Monitor and its Distributors are gone; clients that are there already are still served,"
                f" by {servers}"
            )
        pids = " ".join(map(str, (*self.distributors, *self.servers)))
        end = f"To end it all: kill {pids}"
        if self.strangers:
            others = ", ".join(map(str, self.strangers))
            end += f". Processes of other users claim to be of it, look at them first: {others}"
        return f"{self.control}: unsupervised: {what}. What ends is not started again. {end}"


def _pids(what: str, pids: Sequence[int]) -> str:
    return f"{what}{'s' if len(pids) > 1 else ''} {', '.join(map(str, pids))}" if pids else ""


def mark(control: Path) -> None:
    """Have all that this process starts from now on say to which instance it belongs."""
    os.environ[CONTROL] = os.path.abspath(control)


def find(control: Path | None = None) -> list[Remains]:
    """The instances that run without a Monitor, in the order of their control sockets.

    Args:
        control: of the only one that matters; None: all whose control sockets are where they are by default.
    """
    found: dict[str, tuple[list[int], list[int], list[int]]] = {}
    ours = os.environ.get(CONTROL)  # in a Monitor, which may have taken the place of a dead one
    for process in all_processes():
        environment = {} if process.dead else _environment(process.pid)
        path = environment.get(CONTROL)
        if path is None or not _is_wanted(path, control):
            continue
        distributors, servers, strangers = found.setdefault(path, ([], [], []))
        if process.session != process.pid or (path == ours and process.parent == os.getpid()):
            continue  # what somebody has forked, or helps the Monitor; or what we have started
        if not _is_ours(process.pid):
            strangers.append(process.pid)
        elif ENVIRONMENT in environment:
            servers.append(process.pid)
        elif _is_distributor(process):
            distributors.append(process.pid)
    return [
        Remains(Path(path), *(tuple(sorted(pids)) for pids in (distributors, servers, strangers)))
        for path, (distributors, servers, strangers) in sorted(found.items())
        if (distributors or servers) and (path == ours or not instances.answers(Path(path)))
    ]


def holders(port: int) -> list[str]:
    """Who listens on the TCP port, as far as we may see: in words, each with what can be done."""
    inodes = frozenset(_listening(port))
    found: dict[str, None] = {}
    for process in all_processes() if inodes else ():
        if process.dead or process.pid == os.getpid() or not holds(process.pid, inodes):
            continue
        path = _environment(process.pid).get(CONTROL)
        left = [] if path is None else find(Path(path))
        command = _read(process.pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
        found.update(dict.fromkeys(map(str, left) if left else [f"process {process.pid} ({command[:80]})"]))
    return list(found)


def _listening(port: int) -> Iterator[int]:
    """The inodes of the sockets that listen on the TCP port (proc(5))."""
    for name in ("tcp", "tcp6"):
        for line in _read("net", name).decode().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield int(fields[9])


def _is_wanted(path: str, control: Path | None) -> bool:
    if control is None:
        return Path(path).parent in instances.candidates()
    return path == os.path.abspath(control)


def _is_distributor(process: ProcessInfo) -> bool:
    return _DISTRIBUTOR in _read(process.pid, "cmdline")


def _is_ours(pid: int) -> bool:
    """Whether our user is its real, effective and saved one: else it may have been begun by another."""
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"Uid:"):
            return set(line.split()[1:]) == {b"%d" % os.geteuid()}
    return False


def _environment(pid: int) -> dict[str, str]:
    """As it was when the process began; empty where it may not be seen."""
    lines = _read(pid, "environ").decode(errors="surrogateescape").split("\0")
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _read(pid: int | str, what: str) -> bytes:
    try:
        return (PROC / str(pid) / what).read_bytes()
    except OSError:
        return b""
