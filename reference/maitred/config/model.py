"""The configuration that the Monitor takes: what FIG. 13 shows, and what the Configuration Utility asks for.

It is complete and checked: every default is filled in, every name refers to something.  Whether it came from
the command line or from a file, nothing after this point interprets what the user wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maitred.core.messages import Address, Port
from maitred.core.monitor import ClassConfig
from maitred.core.timing import Durations


@dataclass(frozen=True, slots=True)
class Program:
    """The server program ("the name of the .class file"): an unmodified one in Python, or one that keeps the start
    contract (`spec/start.md`) by itself, in any language.
    """

    kind: Literal["module", "script", "executable"]
    """Whether `name` is a module, as in ``python -m``, or the path of a script or of an executable."""
    name: str
    args: tuple[str, ...]
    """What the program finds after its name; with placeholders (see `maitred.config.placeholders`)."""


@dataclass(frozen=True, slots=True)
class ServerClass:
    """One type of Application Server, with its Distributor."""

    name: str
    program: Program
    listeners: tuple[tuple[Port, Address], ...]
    """Where the Distributor listens.  An address is ``host:port``; ``*:port`` is every interface, IPv4 and IPv6."""
    fixed: bool
    """Whether `listeners` is all; otherwise the first bind of the program decides."""
    static: int
    """Servers that always run; at least 1."""
    dynamic: int
    """Further servers that may be started when the load asks for them."""
    max_clients: int
    """Clients that one server serves at a time."""
    waiting_limit: int
    """Clients that may wait; beyond, they stay in the kernel's backlog."""
    elements: tuple[str, ...]
    """Names of the processing elements that the class may run on; at least one."""
    interpreter: str
    """Path of the Python that runs the program ("the location of the Java Virtual Machine")."""
    interpreter_options: tuple[str, ...]
    """What stands before the program on the interpreter's command line, such as ``-X utf8``."""
    path: tuple[str, ...]
    """Put before PYTHONPATH ("the path to any .class files, .jar or .zip files")."""
    directory: str | None
    """Where the program runs; None: where ``maitred`` was started."""
    environment: tuple[tuple[str, str], ...]
    """Added to the program's environment; the values with placeholders."""
    memory_limit: int | None
    """Bytes of data (RLIMIT_DATA) that one server process may have ("the maximum heap size"); None: no limit."""
    stop_signal: int | None = None
    """What asks a server to end; None: SIGTERM, or SIGINT where that is what ``maitred`` itself was asked with."""


@dataclass(frozen=True, slots=True)
class ProcessingElement:
    """A set of CPUs; the processes on it die together when it fails."""

    name: str
    cpus: tuple[int, ...]
    weight: int
    """A server here takes this many clients where one on an element of weight 1 takes one."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that one Monitor needs to know."""

    name: str
    """Of this instance ("a name for the PATHMON process")."""
    classes: tuple[ServerClass, ...]
    elements: tuple[ProcessingElement, ...]
    durations: Durations
    control: Path
    """The control socket; its directory is there, and nobody else serves it (see `maitred.config.instances`)."""
    trace: Path | None
    """Where every event and effect is written, for ``maitred replay``."""
    log_directory: Path | None
    """Where the programs' stdout and stderr go, a file each; None: to those of ``maitred``."""
    verify: bool = False
    """Whether a process of its own checks every step as it is taken; not where there is a `trace`."""
    log: Path | None = None
    """Where maitred's own log goes; None: to stderr."""
    file: Path | None = None
    """Where the configuration was read; None: on the command line."""

    def core(self) -> tuple[tuple[ClassConfig, ...], tuple[int, ...]]:
        """The arguments of `maitred.core.monitor.initial`, which knows elements by their place in the list."""
        place = {element.name: index for index, element in enumerate(self.elements)}
        classes = tuple(
            ClassConfig(
                static=cls.static,
                dynamic=cls.dynamic,
                max_clients=cls.max_clients,
                waiting_limit=cls.waiting_limit,
                elements=tuple(place[name] for name in cls.elements),
                listeners=cls.listeners,
                fixed=cls.fixed,
            )
            for cls in self.classes
        )
        return classes, tuple(element.weight for element in self.elements)
