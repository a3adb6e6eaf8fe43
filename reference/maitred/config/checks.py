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


def interpreter(command: str) -> str:
    """The path of an executable file."""
    found = shutil.which(command)
    if found is None:
        raise ConfigError(f"{command} is not an executable file, nor a command on the PATH")
    return os.path.abspath(found)


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
