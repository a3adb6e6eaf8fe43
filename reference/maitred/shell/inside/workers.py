"""Workers that the program itself execs: they join the server as its processes, as forked workers do.

Nothing of a process survives an exec but its descriptors and its environment.  So a Python program that a server starts
is given both: the descriptors that make a process one of this server's, and an environment that names them and puts
`maitred.shell.inside.hook` on the module search path, where the new interpreter finds it before it runs anything.  That
covers multiprocessing's spawn (uvicorn, hypercorn), reloaders (Flask, Django), and programs that exec themselves again.

Only the interpreter that runs this very process is given them, called directly or by the first line of a script; and
not with the options to ignore the environment (-E, -I) or to leave out ``site`` (-S).  Any other program could not use
them, and would keep a dialog open without reading it.

Nor is a program given them whose user or group changes on the way (``user=``, ``group=``, ``extra_groups=``, a
``preexec_fn`` that does it, a forked child that has done it): a program that gives up rights is to have fewer, and what
makes a process one of the server's is a right.  A server whose main process changes its own user goes on as that user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from maitred.core.messages import Address
from maitred.shell.start_contract import ENVIRONMENT

HOOK: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hook")

Given: TypeAlias = Any  # Any: an argument of a real function, given on
Arguments: TypeAlias = tuple[tuple[Given, ...], dict[str, Given]]
Inherits: TypeAlias = Callable[[int], bool]
"""Whether the new program inherits the descriptor anyway."""

_OURSELVES: Final = "/proc/self/exe"
_LONGEST_FIRST_LINE: Final = 256
_OWNERS: Final = slice(11, 14)
"""Group, further groups and user, among the arguments of `_posixsubprocess.fork_exec` after the environment."""
_PREEXEC: Final = 15
_IGNORING: Final = frozenset(b"EIS")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server is, and the descriptors that every process of it has."""

    class_id: int
    server: int
    control: int
    registry: int
    trace: int | None
    passed_listeners: tuple[int, int]
    """Both ends of the channel of `maitred.shell.inside.passed_listeners`."""
    main: int
    """The process id of the main process."""
    listen: tuple[Address, ...]
    """The configured addresses of the class."""
    program: tuple[str, ...]
    """The interpreter's arguments that say what the main process runs: ``-m NAME ...`` or ``PATH ...``."""

    def record(self) -> dict[str, object]:
        """As JSON, for `ENVIRONMENT`."""
        return {
            "class": self.class_id,
            "server": self.server,
            "control": self.control,
            "registry": self.registry,
            "trace": self.trace,
            "passed_listeners": self.passed_listeners,
            "main": self.main,
            "listen": self.listen,
            "program": self.program,
        }

    @property
    def fds(self) -> list[int]:
        """The descriptors."""
        return [fd for fd in (self.control, self.registry, self.trace, *self.passed_listeners) if fd is not None]


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a worker is given."""

    identity: str
    """The value of `ENVIRONMENT`."""
    fds: tuple[int, ...]
    """The descriptors that it names."""


HandDown: TypeAlias = Callable[[Inherits], Inheritance | None]
"""Gives what a worker is given; None where the program has closed what it would need."""
Equip: TypeAlias = Callable[[HandDown, tuple[Given, ...], dict[str, Given]], Arguments]


def fork_exec(hand_down: HandDown, args: tuple[Given, ...], kwargs: dict[str, Given]) -> Arguments:
    """Equip a call of `_posixsubprocess.fork_exec`, by which subprocess and multiprocessing start programs."""
    argv, candidates, close_fds, kept, cwd, environment, *rest = args
    if any(who is not None for who in rest[_OWNERS]):
        return args, kwargs
    executable = next((path for path in candidates if os.path.exists(os.path.join(*filter(None, (cwd, path))))), None)
    if executable is None or not becomes_worker(executable, argv):
        return args, kwargs
    inheritance = hand_down(lambda fd: fd in kept or (not close_fds and os.get_inheritable(fd)))
    if inheritance is None:
        return args, kwargs
    if environment is None:
        given: Mapping[Given, Given] = os.environ
    else:
        given = dict(item.split(b"=", 1) for item in map(os.fsencode, environment))
    variables = [name + b"=" + value for name, value in _environment(given, inheritance).items()]
    if rest[_PREEXEC] is not None:
        rest[_PREEXEC] = _withholding(rest[_PREEXEC], inheritance.fds)
    return (argv, candidates, close_fds, tuple(sorted({*kept, *inheritance.fds})), cwd, variables, *rest), kwargs


def rights() -> tuple[object, ...]:
    """The user, the group and the groups with which this process acts."""
    return os.getresuid(), os.getresgid(), os.getgroups()


def _withholding(preexec: Callable[[], object], fds: Sequence[int]) -> Callable[[], None]:
    """Call this before the exec, instead of `preexec`: a child whose user or groups it changes is given nothing."""

    def withhold() -> None:
        before = rights()
        preexec()
        if rights() != before:
            for fd in fds:
                with suppress(OSError):
                    os.set_inheritable(fd, False)

    return withhold


def posix_spawn(hand_down: HandDown, args: tuple[Given, ...], kwargs: dict[str, Given]) -> Arguments:
    """Equip a call of `os.posix_spawn` or `os.posix_spawnp`."""
    inheritance = None
    resets = kwargs.get("resetids") and (os.getuid(), os.getgid()) != (os.geteuid(), os.getegid())
    if len(args) == 3 and not resets and becomes_worker(_found(args[0]), args[1]):
        inheritance = hand_down(os.get_inheritable)
    if inheritance is None:
        return args, kwargs
    path, argv, environment = args
    # To duplicate a descriptor onto itself is the way to have it survive.
    actions = [*(kwargs.get("file_actions") or ()), *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in inheritance.fds)]
    return (path, argv, _environment(environment, inheritance)), {**kwargs, "file_actions": actions}


def execve(hand_down: HandDown, path: Given, argv: Given, environment: Given) -> tuple[Given, tuple[int, ...]]:
    """What `os.execve` is to be given as environment, and which descriptors are to survive it."""
    inheritance = None
    if isinstance(path, (str, bytes, os.PathLike)) and argv and becomes_worker(path, argv):
        inheritance = hand_down(os.get_inheritable)
    return (environment, ()) if inheritance is None else (_environment(environment, inheritance), inheritance.fds)


def becomes_worker(executable: Given, argv: Sequence[Given]) -> bool:
    """Whether the program can be one of the server's processes: it is our interpreter, and will find the hook."""
    return _is_ours(os.fsencode(executable)) and _reads_environment(argv)


def _is_ours(path: bytes) -> bool:
    try:
        if os.path.samefile(path, _OURSELVES):
            return True
        with open(path, "rb") as file:
            line = file.read(_LONGEST_FIRST_LINE).partition(b"\n")[0]
        interpreter = line[2:].split()[:1]
        return line.startswith(b"#!") and bool(interpreter) and os.path.samefile(interpreter[0], _OURSELVES)
    except (OSError, ValueError):
        return False


def _reads_environment(argv: Sequence[Given]) -> bool:
    for word in map(os.fsencode, argv[1:]):
        if not word.startswith(b"-") or word[1:2] in b"cm-":
            return True
        if word[1:2] not in b"WX" and _IGNORING & set(word):
            return False
    return True


def _found(path: Given) -> Given:
    """As `os.posix_spawnp` finds it."""
    if os.path.dirname(path):
        return path
    candidates = (os.path.join(os.fsencode(entry), os.fsencode(path)) for entry in os.get_exec_path())
    return next(filter(os.path.exists, candidates), path)


def _environment(given: Mapping[Given, Given], inheritance: Inheritance) -> dict[bytes, bytes]:
    variables = {os.fsencode(name): os.fsencode(value) for name, value in given.items()}
    path = [os.fsencode(HOOK), *filter(None, [variables.get(b"PYTHONPATH")])]
    variables[b"PYTHONPATH"] = os.fsencode(os.pathsep).join(path)
    variables[os.fsencode(ENVIRONMENT)] = os.fsencode(inheritance.identity)
    return variables
