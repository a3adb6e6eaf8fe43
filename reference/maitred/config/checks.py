"""What only the machine knows: whether a script, a module, a directory, a CPU, an interpreter is there.

Checked once, before anything is started, so that a mistake gives one line instead of a crash loop.
Whether the program *works* is left to the program.  `os.path` is asked rather than `pathlib`, because it answers "no"
for every path that cannot be, however odd, where the other raises.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import struct
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.machinery import PathFinder
from pathlib import Path

from maitred.config.error import ConfigError

SOCKET_PATH_LIMIT = 107
"""Bytes in the path of an AF_UNIX socket (108 with its final NUL)."""


def available_cpus() -> tuple[int, ...]:
    """The CPUs that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def cpus(wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The CPUs, all of which this process may use."""
    available = available_cpus()
    missing = [cpu for cpu in wanted if cpu not in available]
    if missing:
        what = f"CPU {missing[0]} is" if len(missing) == 1 else f"CPUs {_ranges(missing)} are"
        raise ConfigError(f"{what} not there, or not for us; available: {_ranges(available)}")
    return wanted


def _ranges(numbers: Sequence[int]) -> str:
    """Ordered numbers as ``0-3, 8``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)


def script(path: str) -> str:
    """A script that ``python path`` would find."""
    if path == "-":
        raise ConfigError("'-' will not do: several servers cannot read one standard input; name a script")
    place = Path(path)
    if os.path.isdir(path) and not os.path.isfile(place / "__main__.py"):
        raise ConfigError(f"{path} is a directory without a __main__.py; name a script, or a module with -m")
    if not os.path.exists(path):
        raise ConfigError(f"{path} does not exist{_instead(place)}")
    if is_executable(path):
        raise ConfigError(f"{path} is no Python script: it is a program of its own, which `program` takes")
    if not os.access(place, os.R_OK):
        raise ConfigError(f"{path} cannot be read by us")
    return path


def _instead(path: Path) -> str:
    """A hint at what may have been meant by a script that is not there."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix == ".py"]
    except OSError:
        names = []
    near = get_close_matches(path.name, names, 1, 0.7)
    if near:
        return f"; did you mean {path.parent / near[0]}?"
    if not path.suffix and path.name.isidentifier() and importlib.util.find_spec(path.name) is not None:
        return f"; did you mean the module, -m {path}?"
    if path.name == str(path) and (found := shutil.which(path.name)) is not None:
        return f"; did you mean {found}?"
    return ""


def module(name: str, path: Sequence[str]) -> str:
    """A module that the program's interpreter is likely to find; nothing of it is imported.

    Only its top-level package is looked for: to find what is within, that package would have to be run.
    """
    top = name.partition(".")[0]
    places = [*path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    if PathFinder.find_spec(top, [place or os.getcwd() for place in places]) is not None:
        return name
    try:
        found = importlib.util.find_spec(top) is not None
    except ValueError:  # modules such as __main__, which do not know where they are from
        found = False
    if not found:
        near = get_close_matches(top, sys.stdlib_module_names, 1, 0.8)
        hint = f"; did you mean {near[0]}?" if near else ""
        file = name.removesuffix(".py").replace(".", os.sep) + ".py"
        if name.endswith(".py") or any(os.path.isfile(Path(place) / file) for place in path):
            hint = f"; to run a file, leave out -m: {file}"
        raise ConfigError(f"no module named {top!r} can be found{hint}")
    return name


def command(name: str) -> str:
    """The path of a command on the PATH that this machine can run."""
    found = shutil.which(name)
    if found is None:
        raise ConfigError(f"{name} is not a command on the PATH; a file is named with a slash, as ./{name}")
    return executable(found)


def interpreter(command: str) -> str:
    """The path of an executable file."""
    found = shutil.which(command)
    if found is None:
        raise ConfigError(f"{command} is not an executable file, nor a command on the PATH")
    return os.path.abspath(found)


def is_executable(path: str) -> bool:
    """Whether the file is a program of its own, rather than one for a Python interpreter to run."""
    head = b"" if path.endswith(_PYTHON_ENDINGS) else _head(path)
    if head.startswith(_PIP):
        return False
    words = _first_line(head)
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return head.startswith(_ELF) or bool(words and not os.path.basename(words[0]).startswith(("python", "pypy")))


def executable(path: str) -> str:
    """A program that this machine can run, by its absolute path."""
    if os.path.isdir(path):
        raise ConfigError(f"{path} is a directory; name an executable file")
    if not os.path.exists(path):
        raise ConfigError(f"{path} does not exist")
    if not os.access(path, os.X_OK):
        raise ConfigError(f"{path} is not executable by us: chmod +x {path}")
    head = _head(path)
    words = _first_line(head)
    if words and not os.path.exists(words[0]):
        raise ConfigError(f"{path}: its first line names {words[0]}, which does not exist")
    if head.startswith(_ELF):
        here, there = _machine(_head("/proc/self/exe")), _machine(head)
        if there != here and not {there, here} <= _TOGETHER and not _emulates():
            names = (_MACHINES.get(number, f"machine {number} (ELF)") for number in (there, here))
            raise ConfigError("{}: is made for {}, and this machine is {}".format(path, *names))
    return os.path.abspath(path)


_PYTHON_ENDINGS = (".py", ".pyc", ".pyw", ".pyz")
_PIP = b"#!/bin/sh\n'''exec' "
"""So begins a script for a Python whose path is too long for a first line."""
_ELF = b"\x7fELF"
_MACHINES = {3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC 64", 22: "S/390", 40: "ARM", 62: "x86-64", 183: "AArch64"}
_MACHINES |= {243: "RISC-V", 258: "LoongArch"}
_TOGETHER = {3, 62}
"""The kernel for the one may run the other."""


def _head(path: str) -> bytes:
    """The first bytes of the file; none where it cannot be read, or is no file: what is read of a pipe is gone."""
    try:
        with open(path if os.path.isfile(path) else os.devnull, "rb") as file:
            return file.read(256)
    except OSError:
        return b""


def _first_line(head: bytes) -> list[str]:
    """The interpreter that a file names, and its arguments (execve(2))."""
    return os.fsdecode(head.partition(b"\n")[0][2:]).split() if head.startswith(b"#!") else []


def _machine(head: bytes) -> int:
    """What an ELF file is made for (elf(5), e_machine), or 0 for a file that is none."""
    if len(head) < 20 or not head.startswith(_ELF):
        return 0
    return int(struct.unpack_from(">H" if head[5] == 2 else "<H", head, 18)[0])


def _emulates() -> bool:
    """Whether the kernel may run what is made for another machine (binfmt_misc)."""
    try:
        return bool(set(os.listdir("/proc/sys/fs/binfmt_misc")) - {"register", "status"})
    except OSError:
        return False


def directory(path: str) -> str:
    """A directory that is there and can be entered."""
    if not os.path.isdir(path):
        raise ConfigError(f"{path} is not a directory")
    if not os.access(path, os.X_OK):
        raise ConfigError(f"{path} cannot be entered by us")
    return path


def writable_directory(path: str) -> str:
    """A directory where files can be made."""
    if not os.access(directory(path), os.W_OK):
        raise ConfigError(f"{path} cannot be written to by us")
    return path


def directory_to_be(path: str) -> str:
    """A directory where files can be made, or one that can be made beside others."""
    parent = os.path.dirname(path.rstrip(os.sep))
    if os.path.lexists(path):
        return writable_directory(path)
    if not os.path.isdir(parent):
        raise ConfigError(f"{path} is not a directory, and cannot be made: there is no directory {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path} is not a directory, and cannot be made: {parent} cannot be written to by us")
    return path


def new_file(path: str) -> str:
    """A file that can be written, whether it is there or not."""
    place = Path(path)
    if os.path.isdir(path):
        raise ConfigError(f"{path} is a directory; name a file")
    if not os.path.isdir(place.parent):
        raise ConfigError(f"{path} cannot be made: there is no directory {place.parent}")
    if not os.access(place if os.path.exists(place) else place.parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written to by us")
    return path


def socket_path(path: str) -> str:
    """A path where a control socket can be: short enough, in a directory, and not something else already."""
    size = len(os.fsencode(path))
    if not path or size > SOCKET_PATH_LIMIT:
        limit = f"a socket's path has 1 to {SOCKET_PATH_LIMIT}; name another with --control PATH"
        raise ConfigError(f"{path or 'an empty path'} has {size} bytes; {limit}")
    place = Path(path)
    if not os.path.isdir(place.parent):
        raise ConfigError(f"{path} cannot be made: there is no directory {place.parent}")
    if os.path.exists(place) and not _is_socket(path):
        raise ConfigError(f"{path} is there, and is not a socket; it is left alone: name another")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path} cannot be made: {place.parent} cannot be written to by us")
    return path


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
