"""A configuration file (TOML) read into a `Config`.

Every key is known, every value is checked, and all that is wrong is reported with the file, the line, the key, the
value and what would be right.  Paths are taken from where the file is, so that it means the same wherever ``maitred``
is started.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

from maitred.config import checks, instances, keys, lines, values
from maitred.config.error import ConfigError, ConfigErrors
from maitred.config.model import Config, ProcessingElement, Program, ServerClass
from maitred.core.timing import Durations

T = TypeVar("T")
D = TypeVar("D")

MAX_BYTES: Final = 1 << 20
"""A file that is larger is something else."""
MAX_PARTS: Final = 8
"""Of a dotted key; ours have three at most.  For each line under a header, `tomllib` looks at every part of the header:
a file of 80 kB, half of it one header, keeps it busy for 15 s."""
DURATIONS: Final = keys.names(keys.DURATIONS)
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
    content = contents(path)
    document = parse(content, path)
    if control is not None:
        document["control"] = os.path.abspath(values.at("--control", checks.socket_path, control))
    for key, given in (("trace", trace), ("log", log)):
        if given is not None:
            document[key] = os.path.abspath(values.at(f"--{key}", checks.new_file, given))
    if verify:
        document["verify"] = True
    return read(document, path, content.decode())


def look(path: str) -> Examined:
    """Read the file, and change nothing on the machine.

    Raises:
        ConfigErrors: all that is wrong with it.
    """
    try:
        content = contents(path)
        examined = examine(parse(content, path), path, content.decode())
    except ConfigError as error:
        raise ConfigErrors((str(error),), path) from None
    if examined.problems:
        raise ConfigErrors(examined.problems, path)
    return examined


def contents(path: str) -> bytes:
    """What is in the file, or a little more than `MAX_BYTES` of it."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


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


def read(document: dict[str, object], path: str, text: str = "") -> Config:
    """The configuration that a parsed document stands for, with its control socket claimed and its log directory made.

    Args:
        document: what `tomllib` makes of the file.
        path: of the file, for messages and for relative paths.
        text: of the file, for the numbers of lines.

    Raises:
        ConfigError: whatever the document holds, nothing else is raised.
    """
    examined = examine(document, path, text)
    if examined.problems:
        raise ConfigErrors(examined.problems, path)
    config, top = examined.config, examined.top
    try:
        if "control" in document:
            name, control = config.name, instances.claim(config.control)
        else:
            name, control = instances.default(config.name, chosen="name" in document)
    except ConfigError as error:
        raise ConfigError(top.text("control" if "control" in document else "name", error)) from None
    if config.log_directory is not None:
        try:
            config.log_directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            complaint = f"{config.log_directory} cannot be made: {error.strerror}"
            raise ConfigError(top.text("log_directory", complaint)) from None
    return replace(config, name=name, control=control)


@dataclass(frozen=True, slots=True)
class Examined:
    """What is known of a document; nothing of the machine was changed to learn it."""

    config: Config
    """Complete where there is no problem; its control socket is the one that is tried first."""
    problems: tuple[str, ...]
    """A line each, in the order of the file."""
    top: _Table

    def line(self, table: tuple[str, ...], key: str) -> int | None:
        """The line of a key, or None where it is not in the file.

        Args:
            table: ``()``, ``("durations",)``, or the kind and the name of an element or a class.
            key: of the table.
        """
        path: lines.Path = table
        if len(table) > 1:
            items = self.top.content.get(table[0])
            names = [item["name"] for item in items] if isinstance(items, list) else []
            if table[1] not in names:
                return None
            path = (table[0], names.index(table[1]))
        return self.top.problems.line_of((*path, key))


def examine(document: dict[str, object], path: str, text: str = "") -> Examined:
    """Look at everything that a parsed document holds, and find all that is wrong with it; as `read`."""
    found = _Problems(path, text)
    top = _Table(document, keys.TOP, found, (), os.path.dirname(os.path.abspath(path)))
    elements = _elements(top)
    classes = _classes(top, elements)
    durations = _durations(top)
    log_directory = top.get("log_directory", top.path(checks.directory_to_be), None)
    trace = top.get("trace", top.path(checks.new_file), None)
    log = top.get("log", top.path(checks.new_file), None)
    verify = top.get("verify", lambda value: values.not_both(values.truth(value), trace), False)
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(path).name.removesuffix(".toml")).lstrip("-.")[:64] or "maitred"
    name = top.get("name", values.name, stem)
    control = top.get("control", top.path(checks.socket_path), None)
    config = Config(
        name=name,
        classes=classes,
        elements=elements,
        durations=durations,
        control=Path(control) if control else instances.first_choice(name),
        trace=Path(trace) if trace else None,
        log_directory=Path(log_directory) if log_directory else None,
        verify=verify,
        log=Path(log) if log else None,
    )
    return Examined(config, found.texts(), top)


class _Problems:
    """What is wrong with a file, and on which line."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._source = text
        self._found: list[tuple[int, str]] = []

    @cached_property
    def _lines(self) -> dict[lines.Path, int]:
        try:
            return lines.lines(self._source)
        except RecursionError:
            return {}

    def line_of(self, path: lines.Path) -> int | None:
        """The line of a key, or None where it is not in the file."""
        return self._lines.get(path)

    def line(self, path: lines.Path) -> int | None:
        """The line of a key, or of the table that lacks it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)

    def text(self, path: lines.Path, where: str, complaint: object) -> str:
        """The complaint, with the file, the line and the key before it."""
        line = self.line(path)
        return ": ".join(filter(None, (self.file if line is None else f"{self.file}:{line}", where, str(complaint))))

    def add(self, path: lines.Path, text: str) -> None:
        """Note what is wrong at a key."""
        self._found.append((self.line(path) or 0, text))

    def texts(self) -> tuple[str, ...]:
        """By line; those of one line as they were found."""
        return tuple(text for _, text in sorted(self._found, key=lambda each: each[0]))


class _Table:
    """A table of the file, where it is, and which keys it may have.

    What is wrong is noted, and reading goes on with what would be there if the key were not.
    """

    def __init__(
        self,
        content: dict[str, object],
        known: tuple[keys.Key, ...],
        problems: _Problems,
        place: lines.Path,
        base: str,
    ) -> None:
        self.content = content
        self.problems = problems
        self.place = place
        self.base = base
        self.broken: set[str] = set()
        """The keys that something is wrong with."""
        names = keys.names(known)
        for key in content:
            if key not in names:
                near = get_close_matches(key, names, 1)
                self.complain(key, f"unknown key; {f'did you mean {near[0]!r}?' if near else _known(names)}")

    @property
    def where(self) -> str:
        """What the file's author calls the table."""
        if not self.place:
            return ""
        kind, *index = self.place
        name = self.content.get("name")
        if not index:
            return str(kind)
        return f"{kind} {name!r}" if values.is_name(name) else f"{kind} no. {int(index[0]) + 1}"

    def text(self, key: str, complaint: object) -> str:
        """The complaint, with the file, the line and the key before it."""
        joint = ": " if len(self.place) > 1 else "."
        where = joint.join(filter(None, (self.where, key if key.isprintable() else values.shown(key))))
        return self.problems.text((*self.place, key) if key else self.place, where, complaint)

    def complain(self, key: str, complaint: object) -> None:
        """Note what is wrong with a key, or with the table."""
        self.broken.add(key)
        self.problems.add((*self.place, key) if key else self.place, self.text(key, complaint))

    def get(self, key: str, reader: Callable[[object], T], default: D) -> T | D:
        """The key's value, or the default where it is not there, or is wrong."""
        if key not in self.content:
            return default
        try:
            return reader(self.content[key])
        except ConfigError as error:
            self.complain(key, error)
            return default

    def require(self, key: str, reader: Callable[[object], T], instead: T) -> T:
        """The key's value, which must be there."""
        if key not in self.content:
            self.complain(key, "is missing")
        return self.get(key, reader, instead)

    def path(self, check: Callable[[str], str]) -> Callable[[object], str]:
        """A reader of paths that are taken from where the file is."""

        def read(value: object) -> str:
            return check(os.path.join(self.base, os.path.expanduser(values.filled(value))))

        return read

    def tables(self, key: str, known: tuple[keys.Key, ...], most: int) -> list[_Table]:
        """The tables of an array such as ``[[class]]``; no two have one name."""
        content = self.content.get(key, [])
        if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
            self.complain(key, values.wrong(content, f"tables, each under a line [[{key}]]"))
            return []
        if len(content) > most:
            self.complain(key, f"{len(content)} are too many; at most {most} fit")
            return []
        found = [_Table(item, known, self.problems, (key, i), self.base) for i, item in enumerate(content)]
        seen: dict[object, int | None] = {}
        for table in found:
            name = table.content.get("name")
            if values.is_name(name) and name in seen:
                line = f" on line {seen[name]}" if seen[name] else ""
                table.complain("name", f"{name!r} is the name of another {key}{line} already; choose another")
            elif values.is_name(name):
                seen[name] = self.problems.line((key, found.index(table)))
        return found


def _known(names: tuple[str, ...]) -> str:
    return "known are " + ", ".join(names)


def _name(table: _Table) -> str:
    return table.require("name", values.name, "?")


def _elements(top: _Table) -> tuple[ProcessingElement, ...]:
    tables = top.tables("element", keys.ELEMENT, MAX_ELEMENTS)
    if not tables:
        return one_per_cpu()
    return tuple(
        ProcessingElement(
            _name(table),
            table.require("cpus", lambda value: checks.cpus(values.cpus(value)), ()),
            table.get("weight", values.whole_of("weight"), keys.DEFAULTS.weight),
        )
        for table in tables
    )


def one_per_cpu() -> tuple[ProcessingElement, ...]:
    """The processing elements where none are configured."""
    return tuple(ProcessingElement(f"cpu{cpu}", (cpu,), keys.DEFAULTS.weight) for cpu in checks.available_cpus())


def _classes(top: _Table, elements: tuple[ProcessingElement, ...]) -> tuple[ServerClass, ...]:
    tables = top.tables("class", keys.CLASS, MAX_CLASSES)
    if not tables and "class" not in top.broken:
        top.complain("class", "is missing: give under a line [[class]] a name, and one of module, script and program")
    taken: dict[str, str] = {}
    # An element whose name is wrong, or a misspelt one, would have every class that names it complained of as well.
    names = None if "element" in top.broken or "?" in (each.name for each in elements) else _names(elements)
    return tuple(_class(table, names, taken) for table in tables)


def _names(elements: tuple[ProcessingElement, ...]) -> tuple[str, ...]:
    return tuple(element.name for element in elements)


def _class(table: _Table, elements: tuple[str, ...] | None, taken: dict[str, str]) -> ServerClass:
    """One server class; ``taken`` has the addresses of those before it, and which."""
    path = table.get("path", values.listed(table.path(str)), ())
    directory = table.get("directory", table.path(checks.directory), None)
    interpreter = table.get("interpreter", lambda value: _interpreter(table, value), sys.executable)
    listeners = table.get("listen", lambda value: _listeners(value, table.where, taken), ())
    return ServerClass(
        name=_name(table),
        program=_program(table, path, directory, interpreter),
        listeners=listeners,
        fixed=bool(listeners),
        static=table.get("static", values.whole_of("static"), len(checks.available_cpus())),
        dynamic=table.get("dynamic", values.whole_of("dynamic"), keys.DEFAULTS.dynamic),
        max_clients=table.get("max_clients", values.whole_of("max_clients"), keys.DEFAULTS.max_clients),
        waiting_limit=table.get("waiting_limit", values.whole_of("waiting_limit"), keys.DEFAULTS.waiting_limit),
        elements=table.get("elements", lambda value: _element_names(value, elements), elements or ()),
        interpreter=interpreter,
        interpreter_options=table.get("interpreter_options", values.interpreter_options, ()),
        path=path,
        directory=directory,
        environment=table.get("environment", values.environment, ()),
        memory_limit=table.get("memory_limit", values.memory, None),
        stop_signal=table.get("stop_signal", values.stop_signal, None),
    )


def _listeners(value: object, where: str, taken: dict[str, str]) -> tuple[tuple[int, str], ...]:
    """The addresses of a class; none may be another's."""
    found = values.listeners(value)
    values.few_listeners(len(taken) + len(found))
    for _, address in found:
        for other, whose in taken.items():
            if values.overlap(address, other):
                raise ConfigError(f"{address} collides with {other} of {whose}; a port has one class")
    taken.update((address, where) for _, address in found)
    return found


def _element_names(value: object, elements: tuple[str, ...] | None) -> tuple[str, ...]:
    """Names of elements; where these are not known, any."""
    names = values.listed(values.name)(value)
    known = set(names if elements is None else elements)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "there are " + ", ".join(elements or ())
            raise ConfigError(f"no element is named {name!r}; {hint}")
    if not names or len(set(names)) < len(names):
        raise values.wrong(value, "at least one processing element, each once")
    return names


def _interpreter(table: _Table, value: object) -> str:
    command = os.path.expanduser(values.filled(value))
    return checks.interpreter(os.path.join(table.base, command) if os.sep in command else command)


_NOTHING: Final = Program("module", "?", ())
"""In place of a program that something is wrong with."""


def _program(table: _Table, path: tuple[str, ...], directory: str | None, interpreter: str) -> Program:
    given = [key for key in ("module", "script", "program") if key in table.content]
    if len(given) != 1:
        hint = f", not {' and '.join(given)}" if given else ""
        table.complain("", f"say what to run: one of module, script and program{hint}")
        return _NOTHING
    if given == ["program"]:
        return _executable(table)
    args = table.get("args", values.listed(values.text), ())
    if given == ["script"]:
        return Program("script", table.require("script", table.path(checks.script), ""), args)

    def read(value: object) -> str:
        name = values.module(value)
        if interpreter != sys.executable or table.broken & {"interpreter", "path", "directory"}:
            return name  # Another interpreter has modules of its own, which only it knows.
        return checks.module(name, [directory or os.getcwd(), *path])

    return Program("module", table.require("module", read, ""), args)


def _executable(table: _Table) -> Program:
    for key in ("args", "interpreter", "interpreter_options", "path"):
        if key in table.content:
            right = "write them into program" if key == "args" else "program is run without an interpreter"
            table.complain(key, f"is for module and script: {right}")

    def read(value: object) -> Program:
        words = values.listed(values.text)(value)
        if not words or not words[0]:
            raise values.wrong(value, "a command such as ['./server', '--flag']")
        command = os.path.expanduser(words[0])
        found = checks.executable(os.path.join(table.base, command)) if os.sep in command else checks.command(command)
        return Program("executable", found, words[1:])

    return table.require("program", read, _NOTHING)


def _durations(top: _Table) -> Durations:
    content = top.content.get("durations", {})
    if not isinstance(content, dict):
        top.complain("durations", values.wrong(content, "a table, under a line [durations]"))
        return Durations()
    table = _Table(content, keys.DURATIONS, top.problems, ("durations",), top.base)
    given = {key: table.get(key, values.seconds(least(key)), None) for key in content if key in DURATIONS}
    durations = replace(Durations(), **{key: value for key, value in given.items() if value is not None})
    try:
        return plausible(durations)
    except ConfigError as error:
        table.complain("", error)
        return durations


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
