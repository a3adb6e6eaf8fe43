"""Turns a process that multiprocessing has just started into an Application Server: sets it up, then execs.

What it execs is an executable that keeps the start contract (`spec/start.md`) by itself, or the Python interpreter with
`maitred.shell.inside.bootstrap`, which keeps it for an unmodified program.

This runs in the new process only, and imports next to nothing, so that a server is up soon.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from maitred.shell import start_contract
from maitred.shell.io import kernel, report

CONTROL: Final = "MAITRED_CONTROL"
"""In the environment of every process that a Monitor starts: the path of its control socket.  The program does not see
it.  The kernel goes on showing it, so that what a dead Monitor has left behind can be found
(`maitred.shell.supervise.leftovers`)."""
CODE: Final = (
    "import os, sys; path, library = sys.path[:], os.path.dirname(os.__file__);"
    " sys.path[:] = [{home!r}, *sorted(filter(None, path), key=lambda entry: not entry.startswith(library))];"
    " from maitred.shell.inside.bootstrap import main; main(path)"
)
"""While what is ours is imported, the standard library comes first, and the current directory ('') is not searched: a
json.py there is not the json that we import.  The program gets the path as it was."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What an Application Server's process is started with; descriptors are numbers that it inherits."""

    class_id: int
    server: int
    max_clients: int
    control: int
    registry: int | None
    """None for an executable, which has no use for it."""
    trace: int | None
    cpus: tuple[int, ...]
    open_files: tuple[int, int]
    """RLIMIT_NOFILE, soft and hard, as the user has set it."""
    memory_limit: int | None
    interpreter: str
    interpreter_options: tuple[str, ...]
    program: tuple[str, ...]
    """``-m``, ``script`` or ``executable``, the name, the arguments."""
    path: tuple[str, ...]
    directory: str | None
    started_in: str | None
    """Where the Monitor was started, by name; its process is there still, and so is each that it starts."""
    environment: tuple[tuple[str, str], ...]
    log: str | None
    """A file for stdout and stderr; None: those of the Monitor."""
    group: str | None
    """A control group to join."""
    listen: tuple[str, ...]
    """The configured addresses of the class; empty: the first bind of a program decides."""
    name: str
    """Of the process: of the class, and the number of the copy."""


def run(spec: ServerSpec, handed: object) -> NoReturn:
    """The process: what `maitred.shell.supervise.launch` has multiprocessing start.  Ends in exec.

    Args:
        spec: what to become.
        handed: the descriptors named in ``spec``; multiprocessing has passed them.
    """
    del handed
    try:
        kernel.leave_terminal()
        _join(spec.group)
        _redirect(spec.log)
        _settle_on(spec.cpus)
        _enter(spec)
        control, registry, trace = _keep_only((spec.control, spec.registry, spec.trace))
        resource.setrlimit(resource.RLIMIT_NOFILE, spec.open_files)
        if spec.memory_limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (spec.memory_limit, spec.memory_limit))
        if spec.program[0] == "executable":
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which this interpreter ignores, and a program would go on
                signal.signal(number, signal.SIG_DFL)
            os.execve(spec.program[1], spec.program[1:], _environment(spec, _contract(spec, control)))
        environment = _environment(spec, _identity(spec, control, registry, trace))
        os.execve(spec.interpreter, _interpreted(spec), environment)
    except (OSError, ValueError) as error:
        report.error(f"server {spec.server} cannot be started: {_why_not(spec, error)}")
        os._exit(1)


def _interpreted(spec: ServerSpec) -> list[str]:
    """The command line of an interpreter that runs the bootstrap."""
    home = os.path.abspath(__file__)
    for _ in range(4):  # inside, shell, maitred, and where it is installed
        home = os.path.dirname(home)
    code = CODE.format(home=home)
    return [spec.interpreter, *spec.interpreter_options, "-c", code, *spec.program]


def _why_not(spec: ServerSpec, error: OSError | ValueError) -> str:
    """What keeps the process from becoming the program, in words."""
    if spec.program[0] == "executable" and isinstance(error, OSError):
        name = spec.program[1]
        if error.errno == errno.ENOEXEC:
            return f"{name} is no program that this machine can run"
        if error.errno == errno.ENOENT and os.path.exists(name):
            return f"{name} is there, but not the loader or interpreter that it names"
        return f"{name}: {error.strerror}" if error.filename is None else str(error)
    return str(error)


def _join(group: str | None) -> None:
    """Enter the control group.  Where that fails, the server's processes are still known by session and parents."""
    if group is None:
        return
    try:
        with open(os.path.join(group, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write("0")
    except OSError:
        return


def _redirect(log: str | None) -> None:
    """Nothing to read on stdin; stdout and stderr to the log, where there is to be one."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    if log is not None:
        file = report.open_file(log, empty=False)
        os.dup2(file, 1)
        os.dup2(file, 2)


def _enter(spec: ServerSpec) -> None:
    """Enter the configured directory; else stay, unless the current one has been removed since.

    Then enter the one that has its name now: after a deployment, the next version.

    Raises:
        OSError: the configured one cannot be entered.
    """
    if spec.directory is not None:
        os.chdir(spec.directory)
    elif spec.started_in is not None and kernel.working_directory() is None:
        try:
            os.chdir(spec.started_in)
        except OSError:
            report.warning(f"server {spec.server}: {spec.started_in}, where maitred was started, has been removed")


def _settle_on(cpus: Iterable[int]) -> None:
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        report.warning(f"cannot be bound to the CPUs {sorted(cpus)}: {error.strerror}")


def _keep_only(wanted: tuple[int, int | None, int | None]) -> tuple[int, int | None, int | None]:
    """Close all but the standard streams and these, and give these the lowest numbers (for programs that use select).

    What multiprocessing has left open would leak into the program.
    """
    keep = {fd for fd in wanted if fd is not None}
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in keep:
            _close(fd)
    control, registry, trace = (None if fd is None else fcntl.fcntl(fd, fcntl.F_DUPFD, 3) for fd in wanted)
    for fd in keep:
        _close(fd)
    assert control is not None
    return control, registry, trace


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return  # the descriptor of the listing itself


def _contract(spec: ServerSpec, control: int, **others: object) -> str:
    """The fields of the contract, and others; the process id ``main`` stays the same through the exec."""
    return start_contract.encode(
        {
            "control": control,
            "server": spec.server,
            "class": spec.class_id,
            "main": os.getpid(),
            "max_clients": spec.max_clients,
            **others,
        }
    )


def _identity(spec: ServerSpec, control: int, registry: int | None, trace: int | None) -> str:
    """What the bootstrap must know beside."""
    return _contract(
        spec, control, registry=registry, trace=trace, listen=list(spec.listen), path=list(spec.path), name=spec.name
    )


def _environment(spec: ServerSpec, identity: str) -> dict[str, str]:
    environment = {**os.environ, **dict(spec.environment), start_contract.ENVIRONMENT: identity}
    if spec.directory is not None and "PWD" in environment:
        environment["PWD"] = os.path.normpath(spec.directory)  # as a shell does that enters it
    paths = [*spec.path, *filter(None, [environment.get("PYTHONPATH")])]
    if paths:
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment
