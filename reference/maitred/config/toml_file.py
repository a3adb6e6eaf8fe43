"""A configuration file (TOML) read into a `Config`.

Every key is known, every value is checked, and what is wrong is said with the file, the key, the value and what would
be right.  Paths are taken from where the file is, so that it means the same wherever ``maitred`` is started.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeVar

from maitred.config import checks, instances, keys, values
from maitred.config.error import ConfigError
from maitred.config.model import Config, ProcessingElement, Program, ServerClass
from maitred.core.timing import Durations

T = TypeVar("T")
D = TypeVar("D")

MAX_BYTES: Final = 1 << 20
"""A file that is larger is something else."""
MAX_PARTS: Final = 8
"""Of a dotted key; ours have three at most.  For each line under a header, `tomllib` looks at every part of the header:
a file of 80 kB, half of it one header, keeps it busy for 15 s."""
MAX_CLASSES: Final = 256
MAX_ELEMENTS: Final = 4096

_TEXT: Final = re.compile(
    r"""(?s)\"{3}(?:[^\\]|\\.)*?(?:\"{3,5}|\Z)|'{3}.*?(?:'{3,5}|\Z)|"(?:[^"\\\n]|\\.)*+"?|'[^'\n]*'?|\#[^\n]*"""
)
"""A string or a comment, be it that its end is missing."""
_DEEP: Final = re.compile(
    r"(?<![^\s.=\[\]{},])[^\s.=\[\]{},]++(?:[ \t]*+\.[ \t]*+[^\s.=\[\]{},]++){MAX}".replace("MAX", str(MAX_PARTS))
)
"""A key of more parts, strings being away."""
_AT: Final = re.compile(r"(?s)(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")


def load(
    path: str,
    *,
    control: str | None = None,
    trace: str | None = None,
    log: str | None = None,
    verify: bool = False,
) -> Config:
    """Read the file; what else is given takes precedence over the file.

    Raises:
        ConfigError: it cannot be read, or something is wrong or missing in it.
    """
    document = _document(path)
    if control is not None:
        document["control"] = os.path.abspath(values.at("--control", checks.socket_path, control))
    for key, given in (("trace", trace), ("log", log)):
        if given is not None:
            document[key] = os.path.abspath(values.at(f"--{key}", checks.new_file, given))
    if verify:
        document["verify"] = True
    return read(document, path)


def reread(path: Path, running: Config) -> Config:
    """Read the file of an instance that runs: its name and its control socket stay as they are.

    Raises:
        ConfigError: it cannot be read, or something is wrong or missing in it.
    """
    return read(_document(os.fspath(path)), os.fspath(path), running)


def _document(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(content, path)


def parse(content: bytes, path: str) -> dict[str, object]:
    """The TOML document; a mistake is reported with ``file:line:column``."""
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES >> 20} MiB: this is not a configuration file")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8: TOML is") from None
    _check_depth(text, path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_placed(path, text, str(error))) from None
    except ValueError as error:  # a number with thousands of digits
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None


def _check_depth(text: str, path: str) -> None:
    """Raise if a key is deeper than any of ours."""
    bare = _TEXT.sub(lambda match: "x" + "\n" * match[0].count("\n"), text)
    found = _DEEP.search(bare)
    if found is not None:
        line = bare.count("\n", 0, found.start()) + 1
        raise ConfigError(f"{path}:{line}: a dotted key of more than {MAX_PARTS} parts: no key of maitred has so many")


def _placed(path: str, text: str, complaint: str) -> str:
    match = _AT.fullmatch(complaint)
    if match is None:
        return f"{path}: {complaint}"
    lines = text.split("\n")
    line, column = (match[2], match[3]) if match[2] else (len(lines), len(lines[-1]) + 1)
    return f"{path}:{line}:{column}: {match[1]}"


def read(document: dict[str, object], path: str, running: Config | None = None) -> Config:
    """The configuration that a parsed document stands for.

    Args:
        document: what `tomllib` makes of the file.
        path: of the file, for messages and for relative paths.
        running: of an instance that has the control socket already.

    Raises:
        ConfigError: whatever the document holds, nothing else is raised.
    """
    top = _Table(document, keys.TOP, path, "", os.path.dirname(os.path.abspath(path)))
    elements = _elements(top)
    classes = _classes(top, elements)
    durations = _durations(top)
    log_directory = top.get("log_directory", top.path(checks.writable_directory), None)
    trace = top.get("trace", top.path(checks.new_file), None)
    log = top.get("log", top.path(checks.new_file), None)
    verify = top.get("verify", lambda value: values.not_both(values.truth(value), trace), False)
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(path).name.removesuffix(".toml")).lstrip("-.")[:64] or "maitred"
    name = top.get("name", values.name, stem)
    control = top.get("control", top.path(checks.socket_path), None)
    try:
        if running is not None:
            name, socket_path = running.name, running.control
        elif control is None:
            name, socket_path = instances.default(name, chosen="name" in document)
        else:
            socket_path = instances.claim(Path(control))
    except ConfigError as error:
        raise top.error("name" if control is None else "control", error) from None
    return Config(
        name=name,
        classes=classes,
        elements=elements,
        durations=durations,
        control=socket_path,
        trace=Path(trace) if trace else None,
        log_directory=Path(log_directory) if log_directory else None,
        verify=verify,
        log=Path(log) if log else None,
        file=Path(os.path.abspath(path)),
    )


class _Table:
    """A table of the file, where it is, and which keys it may have."""

    def __init__(
        self, content: dict[str, object], known: tuple[keys.Key, ...], file: str, where: str, base: str
    ) -> None:
        self.content = content
        self.file = file
        self.where = where
        self.base = base
        names = keys.names(known)
        for key in content:
            if key not in names:
                near = get_close_matches(key, names, 1)
                hint = f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(names)
                raise self.error(key, f"unknown key; {hint}")

    def error(self, key: str, complaint: object) -> ConfigError:
        """The complaint, with the file and the key before it."""
        where = f"{self.where}.{key}" if self.where and key else self.where or key
        return ConfigError(f"{self.file}: {where}: {complaint}")

    def get(self, key: str, reader: Callable[[object], T], default: D) -> T | D:
        """The key's value, or the default where it is not there."""
        return self.require(key, reader) if key in self.content else default

    def require(self, key: str, reader: Callable[[object], T]) -> T:
        """The key's value, which must be there."""
        if key not in self.content:
            raise self.error(key, "is missing")
        try:
            return reader(self.content[key])
        except ConfigError as error:
            raise self.error(key, error) from None

    def path(self, check: Callable[[str], str]) -> Callable[[object], str]:
        """A reader of paths that are taken from where the file is."""

        def read(value: object) -> str:
            return check(os.path.join(self.base, os.path.expanduser(values.filled(value))))

        return read

    def tables(self, key: str, known: tuple[keys.Key, ...], most: int) -> list[_Table]:
        """The tables of an array such as ``[[class]]``."""
        content = self.content.get(key, [])
        if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
            raise self.error(key, values.wrong(content, f"tables, each under a line [[{key}]]"))
        if len(content) > most:
            raise self.error(key, f"{len(content)} are too many; at most {most} fit")
        return [_Table(item, known, self.file, f"{key}[{index}]", self.base) for index, item in enumerate(content)]


def _unique(tables: list[_Table]) -> None:
    """Raise if two tables have one name."""
    seen: dict[object, str] = {}
    for table in tables:
        name = table.require("name", values.name)
        if name in seen:
            raise table.error("name", f"{name!r} is the name of {seen[name]} already; choose another")
        seen[name] = table.where


def _elements(top: _Table) -> tuple[ProcessingElement, ...]:
    tables = top.tables("element", keys.ELEMENT, MAX_ELEMENTS)
    _unique(tables)
    if not tables:
        return one_per_cpu()
    return tuple(
        ProcessingElement(
            table.require("name", values.name),
            table.require("cpus", lambda value: checks.cpus(values.cpus(value))),
            table.get("weight", values.whole(1, values.MAX_WEIGHT), keys.DEFAULTS.weight),
        )
        for table in tables
    )


def one_per_cpu() -> tuple[ProcessingElement, ...]:
    """The processing elements where none are configured."""
    return tuple(ProcessingElement(f"cpu{cpu}", (cpu,), keys.DEFAULTS.weight) for cpu in checks.available_cpus())


def _classes(top: _Table, elements: tuple[ProcessingElement, ...]) -> tuple[ServerClass, ...]:
    tables = top.tables("class", keys.CLASS, MAX_CLASSES)
    if not tables:
        raise top.error(
            "class", "is missing: give under a line [[class]] a name, and one of module, script and program"
        )
    _unique(tables)
    taken: dict[str, str] = {}
    return tuple(_class(table, tuple(element.name for element in elements), taken) for table in tables)


def _class(table: _Table, elements: tuple[str, ...], taken: dict[str, str]) -> ServerClass:
    """One server class; ``taken`` has the addresses of those before it, and which."""
    listeners = table.get("listen", values.listeners, ())
    values.at(f"{table.file}: {table.where}.listen", values.few_listeners, len(taken) + len(listeners))
    for _, address in listeners:
        for other, where in taken.items():
            if values.overlap(address, other):
                raise table.error("listen", f"{address} collides with {other} of {where}; a port has one class")
    taken.update((address, table.where) for _, address in listeners)
    path = table.get("path", values.listed(table.path(str)), ())
    directory = table.get("directory", table.path(checks.directory), None)
    interpreter = table.get("interpreter", lambda value: _interpreter(table, value), sys.executable)
    return ServerClass(
        name=table.require("name", values.name),
        program=_program(table, path, directory, interpreter),
        listeners=listeners,
        fixed=bool(listeners),
        static=table.get("static", values.whole(1, values.MAX_SERVERS), len(checks.available_cpus())),
        dynamic=table.get("dynamic", values.whole(0, values.MAX_SERVERS), keys.DEFAULTS.dynamic),
        max_clients=table.get("max_clients", values.whole(1, values.MAX_CLIENTS), keys.DEFAULTS.max_clients),
        waiting_limit=table.get("waiting_limit", values.whole(1, values.MAX_WAITING), keys.DEFAULTS.waiting_limit),
        elements=table.get("elements", lambda value: _element_names(value, elements), elements),
        interpreter=interpreter,
        interpreter_options=table.get("interpreter_options", values.interpreter_options, ()),
        path=path,
        directory=directory,
        environment=table.get("environment", values.environment, ()),
        memory_limit=table.get("memory_limit", values.memory, None),
        stop_signal=table.get("stop_signal", values.stop_signal, None),
    )


def _element_names(value: object, elements: tuple[str, ...]) -> tuple[str, ...]:
    names = values.listed(values.name)(value)
    known = set(elements)
    for name in names:
        if name not in known:
            near = get_close_matches(name, elements, 1)
            hint = f"did you mean {near[0]!r}?" if near else "there are " + ", ".join(elements)
            raise ConfigError(f"no element is named {name!r}; {hint}")
    if not names or len(set(names)) < len(names):
        raise values.wrong(value, "at least one processing element, each once")
    return names


def _interpreter(table: _Table, value: object) -> str:
    command = os.path.expanduser(values.filled(value))
    return checks.interpreter(os.path.join(table.base, command) if os.sep in command else command)


def _program(table: _Table, path: tuple[str, ...], directory: str | None, interpreter: str) -> Program:
    if sum(key in table.content for key in ("module", "script", "program")) != 1:
        raise table.error("", "say what to run: one of module, script and program")
    if "program" in table.content:
        return _executable(table)
    args = table.get("args", values.listed(values.text), ())
    if "script" in table.content:
        return Program("script", table.require("script", table.path(checks.script)), args)

    def read(value: object) -> str:
        name = values.module(value)
        # Another interpreter has modules of its own, which only it knows.
        return checks.module(name, [directory or os.getcwd(), *path]) if interpreter == sys.executable else name

    return Program("module", table.require("module", read), args)


def _executable(table: _Table) -> Program:
    for key in ("args", "interpreter", "interpreter_options", "path"):
        if key in table.content:
            right = "write them into program" if key == "args" else "program is run without an interpreter"
            raise table.error(key, f"is for module and script: {right}")
    words = table.require("program", values.listed(values.text))
    if not words or not words[0]:
        raise table.error("program", values.wrong(table.content["program"], "a command such as ['./server', '--flag']"))

    def read(value: object) -> str:
        command = os.path.expanduser(words[0])
        return checks.executable(os.path.join(table.base, command)) if os.sep in command else checks.command(command)

    return Program("executable", table.require("program", read), words[1:])


def _durations(top: _Table) -> Durations:
    content = top.content.get("durations", {})
    if not isinstance(content, dict):
        raise top.error("durations", values.wrong(content, "a table, under a line [durations]"))
    table = _Table(content, keys.DURATIONS, top.file, "durations", top.base)
    given = {key: table.require(key, values.seconds(least(key))) for key in content}
    durations = replace(Durations(), **given)
    try:
        return plausible(durations)
    except ConfigError as error:
        raise table.error("", error) from None


def least(key: str) -> float:
    """The shortest that a duration may be: a timer that sets itself again must not keep a CPU busy."""
    again = ("create_delay", "rest", "accept_retry", "audit_period", "backoff_first", "backoff_cap", "start_warning")
    return 0.01 if key in again else 0.1 if key in ("queue_timeout", "hand_off_timeout") else 0.0


def plausible(durations: Durations) -> Durations:
    """The durations, unless they contradict each other."""
    if durations.backoff_first > durations.backoff_cap:
        first, cap = durations.backoff_first, durations.backoff_cap
        raise ConfigError(f"backoff_first ({first:g}) is longer than backoff_cap ({cap:g}): it should be at most that")
    return durations
