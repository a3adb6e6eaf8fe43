"""Kills everything that descends from a server, whatever it has forked, and knows when the last is gone.

Why it must be everything: a process that is left could still take a hand-off from the dialogs that it inherited, while
the Distributor offers the same client elsewhere.  So a server's place is free only when nobody is left.

A process belongs to a server when one of these holds:

- it is in the server's control group, where this machine lets us make one (cgroup v2, writable).  Nothing leaves that;
- it descends from the server's main process, is in its session, or holds the server's end of its control socket or of
  one of its dialogs.  The Monitor is the reaper of its orphaned descendants, so none of them gets out of sight; a
  process that has left the session *and* whose parents have died is known by what it holds, which is just what could do
  harm.  (The Monitor keeps the other end of each dialog; the kernel says which socket is at the far end of that.)

Killing is repeated until a look finds nobody: a process may have forked between the look and the kill.  And a look is
repeated where a process of ours has died since: a list of processes is not of one instant, so one that was listed may
have forked, and died, before it was read, and its child is not in the list.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from maitred.shell.io import report, sock_diag
from maitred.shell.io.kernel import send_signal

PROC: Final = Path("/proc")
ZOMBIE_STATES: Final = frozenset("ZX")
STOPPED_STATES: Final = frozenset("Tt")
LOOKS: Final = 4
"""So often in a row, at most: a family may go on forking and dying."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What ``/proc/PID/stat`` says of a process, as far as it matters here."""

    pid: int
    parent: int
    session: int
    started: int
    """Together with the pid this names the process for good."""
    dead: bool
    """A zombie: it holds nothing any more and only waits to be reaped."""
    stopped: bool = False
    """By a signal or a debugger: it does nothing."""


def read_process(pid: int) -> ProcessInfo | None:
    """The process with this number, or None."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and brackets
    state = fields[0]
    parent, session, started = int(fields[1]), int(fields[3]), int(fields[19])
    return ProcessInfo(pid, parent, session, started, state in ZOMBIE_STATES, state in STOPPED_STATES)


def all_processes() -> Iterator[ProcessInfo]:
    """Every process on the machine that is in sight."""
    for name in os.listdir(PROC):
        if name.isdecimal() and (found := read_process(int(name))) is not None:
            yield found


def holds(pid: int, inodes: Collection[int]) -> bool:
    """Whether the process has a descriptor of a socket with one of these inodes."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    try:
        with os.scandir(PROC / str(pid) / "fd") as entries:
            return any(_link(entry.path) in wanted for entry in entries)
    except OSError:
        return False  # it is gone, or belongs to somebody else


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


# ---------------------------------------------------------------- control groups


class Groups:
    """The control groups of one Monitor's servers: one directory for each, made beside the Monitor's own group."""

    def __init__(self, base: Path | None) -> None:
        """Groups below ``base``, a directory of a cgroup v2 tree; None where there is none to be had."""
        self._base = base

    @property
    def base(self) -> Path | None:
        """Where the groups are made."""
        return self._base

    @classmethod
    def find(cls) -> Groups:
        """Groups in the first cgroup v2 tree that lets us make one, be it the only tree or beside older ones."""
        own = _own_group()
        for mount in _unified_mounts():
            base = mount / own.lstrip("/")
            trial = base / f"maitred-trial-{os.getpid()}"
            if not os.access(base / "cgroup.procs", os.W_OK):
                continue
            try:
                trial.mkdir()
            except OSError:
                continue
            able = (trial / "cgroup.kill").exists()
            _remove(trial)
            if able:
                _remove_leftovers(base)
                return cls(base)
        return cls(None)

    def make(self, name: str) -> Path | None:
        """A new group, to be joined by writing to its ``cgroup.procs``; None where that is not possible."""
        if self._base is None:
            return None
        path = self._base / name
        try:
            path.mkdir()
        except OSError:
            return None
        return path


def _remove_leftovers(base: Path) -> None:
    """Remove the empty groups of Monitors that were killed."""
    for path in base.glob("maitred-*-*"):
        owner = path.name.split("-")[1]
        if owner.isdecimal() and read_process(int(owner)) is None:
            _remove(path)


def _own_group() -> str:
    try:
        lines = (PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "/"
    return next((line[3:] for line in lines if line.startswith("0::")), "/")


def _unified_mounts() -> Iterator[Path]:
    try:
        lines = (PROC / "self" / "mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        mount, _, kind = line.partition(" - ")
        if kind.split(" ", 1)[0] == "cgroup2":
            yield Path(mount.split(" ")[4].replace("\\040", " "))


def _group_members(group: Path) -> list[int]:
    """The living processes of the group and of the groups that they made below it."""
    members: list[int] = []
    for directory, _, _ in os.walk(group):
        try:
            members += map(int, (Path(directory) / "cgroup.procs").read_text(encoding="ascii").split())
        except (OSError, ValueError):
            continue
    return members


# ---------------------------------------------------------------- one server's processes


class Family:
    """Everything that descends from one server's main process."""

    def __init__(self, main: int, control_inode: int, group: Path | None) -> None:
        """The family of the process ``main``.

        Args:
            main: the pid of the server's main process, which leads a session.
            control_inode: of the server's end of its control socket.
            group: its control group, where it has one.
        """
        self.main = main
        leader = read_process(main)
        self._started = leader.started if leader else -1
        self._session_is_over = False
        """The number of the session's leader has been given to another process."""
        self.control_inode = control_inode
        self.group = group

    def members(self, dialogs: Iterable[int] = (), spared: Collection[int] = ()) -> list[ProcessInfo]:
        """Who is left, but for the dead that wait to be reaped.

        Args:
            dialogs: descriptors of the Distributor's ends of its dialogs.
            spared: pids of those that are not its, with all that is theirs, whatever they hold: our Distributors, and
                the other servers' main processes.  A server can send them its socket, or pass off as a dialog one
                whose far end is theirs.
        """
        return self._look(dialogs, spared)[0]

    def _look(self, dialogs: Iterable[int], spared: Collection[int]) -> tuple[list[ProcessInfo], bool]:
        """Who is left, and whether those are all, or some."""

        def mine(processes: dict[int, ProcessInfo]) -> set[int]:
            found = self._session(processes)
            if self.group is not None:
                found.update(pid for pid in _group_members(self.group) if pid in processes)
            found.update(_holders(processes, {self.control_inode, *_far_ends(dialogs)}, spared))
            _add_descendants(found, processes)
            found.discard(os.getpid())
            return found

        return _living(mine)

    def _session(self, processes: dict[int, ProcessInfo]) -> set[int]:
        """The main process and those in its session: by numbers, which the kernel gives out again.

        A number is free once the main process has been reaped and nobody is in its session.  So whoever has it and has
        begun at another time is a stranger, and so is, then, each that is in a session of that number.  And ours all
        descend from us, since we are the reaper of their orphans.
        """
        leader = processes.get(self.main)
        self._session_is_over |= leader is not None and leader.started != self._started
        if self._session_is_over:
            return set()
        return {pid for pid in _ours(processes) if self.main in (pid, processes[pid].session)}

    def kill(self, dialogs: Iterable[int] = (), spared: Collection[int] = ()) -> bool:
        """Kill all that is left; whether anybody was, or may have been.  The arguments are those of `members`."""
        if self.group is not None:
            _write(self.group / "cgroup.kill", "1")
        left, certain = self._look(dialogs, spared)
        for found in left:
            _kill_exactly(found)
        return bool(left) or not certain

    def close(self) -> None:
        """Remove the control group, once nobody is left in it."""
        if self.group is not None:
            for directory, _, _ in os.walk(self.group, topdown=False):
                _remove(Path(directory))


def kill_holders(dialogs: Iterable[int], spared: Collection[int]) -> bool:
    """Kill those who hold these dialogs' far ends, of a server whose place is free already.

    The result and the arguments are those of `Family.kill`.
    """
    holders, certain = _living(lambda processes: _holders(processes, set(_far_ends(dialogs)), spared))
    for found in holders:
        _kill_exactly(found)
    return bool(holders) or not certain


def _living(find: Callable[[dict[int, ProcessInfo]], set[int]]) -> tuple[list[ProcessInfo], bool]:
    """Those found who live, and whether the look is complete.

    Where it finds somebody, it need not be: there will be another look when they have been killed.  Where it finds
    nobody, it is if no process of ours has died since the look before.  (Our orphans stay, dead, until we reap them.)
    """
    dead: set[tuple[int, int]] = set()
    for _ in range(LOOKS):
        processes = {found.pid: found for found in all_processes()}
        living = [processes[pid] for pid in sorted(find(processes)) if not processes[pid].dead]
        died = {(pid, processes[pid].started) for pid in _ours(processes) if processes[pid].dead} - dead
        if living or not died:
            return living, True
        dead |= died
    return [], False


def _holders(processes: dict[int, ProcessInfo], inodes: set[int], spared: Collection[int]) -> set[int]:
    """Those among our descendants that hold one of these sockets, but for the spared and what is theirs.

    Only they: a socket can be sent to any process that takes one, such as the message bus, which is not ours to kill.
    """
    ours = _ours(processes)
    others = {pid for pid in ours if pid in spared or processes[pid].session in spared}
    _add_descendants(others, processes)
    return {pid for pid in ours - others if inodes and not processes[pid].dead and holds(pid, inodes)}


def _ours(processes: dict[int, ProcessInfo]) -> set[int]:
    """All that descend from this process."""
    ours = {os.getpid()}
    _add_descendants(ours, processes)
    return ours - {os.getpid()}


def _far_ends(dialogs: Iterable[int]) -> Iterator[int]:
    """The inodes of the servers' ends of these dialogs, of those that somebody holds."""
    for fd in dialogs:
        try:
            peer = sock_diag.peer_of(os.fstat(fd).st_ino)
        except OSError as error:  # no `sock_diag` for these sockets: only the control socket shows it
            report.debug(f"who holds a dialog is not known: {error}")
            return
        if peer:
            yield peer


def _add_descendants(mine: set[int], processes: dict[int, ProcessInfo]) -> None:
    """Add to ``mine`` everybody whose parent is in it, and theirs."""
    children: dict[int, list[int]] = {}
    for found in processes.values():
        children.setdefault(found.parent, []).append(found.pid)
    fresh = list(mine)
    while fresh:
        for child in children.get(fresh.pop(), ()):
            if child not in mine:
                mine.add(child)
                fresh.append(child)


def _kill_exactly(found: ProcessInfo) -> None:
    """Kill this very process, not one that was given its number since."""
    try:
        pidfd = os.pidfd_open(found.pid)
    except OSError:
        return
    try:
        now = read_process(found.pid)
        if now is not None and now.started == found.started:
            send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except OSError:
        return  # the look that follows shows who is left


def _remove(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return  # somebody is in it still, or it is gone


# ---------------------------------------------------------------- orphans


def reap_orphans(known: frozenset[int]) -> int:
    """Reap dead children of ours that we did not start: orphans of servers, each by its number; how many.

    Args:
        known: the children that we did start; whoever started them follows their ends.
    """
    if not _any_dead_child():
        return 0
    me, reaped = os.getpid(), 0
    for found in all_processes():
        if found.parent == me and found.dead and found.pid not in known:
            try:
                reaped += os.waitid(os.P_PID, found.pid, os.WEXITED | os.WNOHANG) is not None
            except ChildProcessError:
                continue
    return reaped


def _any_dead_child() -> bool:
    """Look, and leave it as it is: somebody else may be about to reap it."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def kill_orphans() -> bool:
    """Kill children of ours that no server claims: daemons that a server started, left over; whether there were any.

    For the end, when no server and no Distributor runs.  What we started for ourselves is in our own session.
    """
    me, session = os.getpid(), os.getsid(0)
    found = [each for each in all_processes() if each.parent == me and each.session != session and not each.dead]
    for each in found:
        _kill_exactly(each)
    return bool(found)
