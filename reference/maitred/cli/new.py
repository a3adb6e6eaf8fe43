"""``maitred config new``: asks for what the Configuration Utility captures, and writes what starts it.

Each question is in a table with its default and its help; what reads the answer is the loader's own.  An answers file
(TOML) answers any of them in advance; with ``--defaults`` nothing is asked.  The files are made in full before the
first is put in place, so that an interruption leaves nothing half-written.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from maitred.config import checks, keys, lines, render, startfile, toml_file, values
from maitred.config.error import ConfigError, ConfigErrors

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """One question."""

    key: str
    """In the answers file."""
    prompt: str
    default: str | None
    """None: it must be answered."""
    help: str


_HERE: Final = "(known where it is asked)"
"""In place of a default that depends on the machine or on the file's name."""

GENERAL: Final = (
    Question("name", "Name of the Monitor", _HERE, "Names the instance in `maitred status` and in the log."),
    Question("primary", "Processing element of the Monitor", _HERE, "Recorded only."),
    Question("backups", "Backup processing elements of the Monitor", "", "Any number of names. Recorded only."),
    Question("log_directory", "Directory for the programs' stdout and stderr", "", "Empty: they go to maitred's own."),
    Question(
        "weights",
        "Weights of processing elements",
        "",
        "NAME=WEIGHT ...: a server on one of weight 2 takes two clients where one of weight 1 takes one.",
    ),
    Question("interpreter", "Python interpreter of the servers", _HERE, "A path, or a command on the PATH."),
    Question("classes", "Number of server classes", "1", "Each class is one program with servers of its own."),
)
CLASS: Final = (
    Question("name", "Name of the class", None, "Names the class in `maitred status` and in the log."),
    Question(
        "kind",
        "Kind of program",
        "script",
        "module (as of python -m), script (a file of Python), or executable (one that keeps the start contract).",
    ),
    Question("path", "Import path", "", "Directories and .zip files in which Python looks first."),
    Question(
        "program",
        "Program and its arguments",
        None,
        "As typed after python or python -m. A file is looked for from the directory of the configuration.",
    ),
    Question("address", "Network address", "*", "A host name or IP address of this machine; * is every interface."),
    Question("ports", "Ports", None, "One or more, from 1 to 65535: those that the program binds."),
    Question("max_clients", "Clients that one server serves at a time", str(keys.DEFAULTS.max_clients), "A number."),
    Question("static", "Servers that always run (static)", _HERE, "A number."),
    Question("dynamic", "Servers that may be started under load (dynamic)", str(keys.DEFAULTS.dynamic), "A number."),
    Question("elements", "Processing elements", _HERE, "Names: where the servers may run."),
    Question("interpreter_options", "Interpreter options", "", "Such as -O or -X utf8."),
    Question("environment", "Environment", "", "NAME=VALUE ..., added to the program's environment."),
    Question("memory_start", "Memory at the start", "", "Recorded only: Python's heap has no initial size."),
    Question("memory_limit", "Memory at most", "", "Of data, such as 512M. Empty: no limit."),
)


def table(questions: Sequence[Question]) -> str:
    """The questions as a Markdown table, for the reference page."""
    rows = ["| key | question | default | |", "|---|---|---|---|"]
    for each in questions:
        default = "required" if each.default is None else f"`{each.default}`" if each.default else "none"
        if each.default == _HERE:
            default = _COMPUTED[each.key]
        rows.append(f"| `{each.key}` | {each.prompt} | {default} | {each.help} |")
    return "\n".join(rows)


_COMPUTED: Final = {
    "name": "the file's, without `.toml`",
    "primary": "the first",
    "interpreter": "the one that runs maitred",
    "static": "the number of CPUs",
    "elements": "all",
}


@dataclass(frozen=True, slots=True)
class _Class:
    """The answers for one class."""

    table: dict[str, render.Value]
    memory_start: str


class Asker:
    """Gets an answer to each question: from the answers file, the default, or the terminal."""

    def __init__(self, answers: str | None, *, defaults: bool, console: Console) -> None:
        self._defaults = defaults
        self._console = console
        self._file = answers or "--defaults"
        content = toml_file.contents(answers) if answers is not None else b""
        self.content = toml_file.parse(content, self._file)
        self._lines = lines.lines(content.decode())

    def known(self, names: Sequence[str], at: lines.Path) -> None:
        """Refuse a key of the answers file that answers nothing."""
        for key in self._table(at):
            if key not in names:
                near = get_close_matches(key, names, 1)
                hint = f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(names)
                raise self.error((*at, key), f"unknown key; {hint}")

    def error(self, at: lines.Path, complaint: object) -> ConfigError:
        """The complaint, with the answers file, the line and the key."""
        line = next((self._lines[at[:i]] for i in range(len(at), 0, -1) if at[:i] in self._lines), None)
        place = self._file if line is None else f"{self._file}:{line}"
        where = f"class no. {int(at[1]) + 1}: {at[-1]}" if len(at) > 2 else str(at[-1])
        return ConfigError(f"{place}: {where if where.isprintable() else values.shown(where)}: {complaint}")

    def _table(self, at: lines.Path) -> Mapping[str, object]:
        """The answers for the instance, or those for a class."""
        items = self.content.get("class") if at else None
        found = items[int(at[1])] if isinstance(items, list) and items else {} if at else self.content
        return found if isinstance(found, dict) else {}

    def ask(
        self, question: Question, read: Callable[[str], T], at: lines.Path = (), *, default: str = "", names: str = ""
    ) -> T:
        """The answer.

        Args:
            question: what is asked.
            read: raises `ConfigError` where the answer will not do.
            at: the table of the answers file.
            default: where it depends on the machine.
            names: what may be named, for the help.
        """
        usual = default or question.default
        given = self._table(at).get(question.key)
        if given is not None:
            try:
                return read(_text(given))
            except ConfigError as error:
                raise self.error((*at, question.key), error) from None
        explained = f"{question.help} There are {names}." if names else question.help
        if not self._defaults:
            return self._on_terminal(question.prompt, explained, usual, read)
        if usual is None:
            raise self.error((*at, question.key), f"is missing: {question.prompt}. {explained}")
        return read(usual)

    def _on_terminal(self, prompt: str, explained: str, default: str | None, read: Callable[[str], T]) -> T:
        from rich.prompt import Prompt
        from rich.text import Text

        while True:
            try:
                text = Prompt.ask(
                    Text(prompt), console=self._console, default=default or "", show_default=bool(default)
                )
            except EOFError:
                raise ConfigError(f"the input ended before an answer to: {prompt}") from None
            if text.strip() == "?":
                self.say(explained)
                continue
            try:
                if not text.strip() and default is None:
                    raise ConfigError("an answer is needed")
                return read(text)
            except ConfigError as error:
                self.say(f"{error} (? for help)")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _text(answer: object) -> str:
    """An answer of the file, as it would be typed."""
    if isinstance(answer, list):
        return shlex.join(_text(item) for item in answer)
    if isinstance(answer, dict):
        return shlex.join(f"{key}={_text(item)}" for key, item in answer.items())
    return values.text(answer) if isinstance(answer, str) else str(answer)


# ================================================================ readers


def _words(text: str) -> list[str]:
    try:
        return [values.text(word) for word in shlex.split(text)]
    except ValueError as error:
        raise ConfigError(f"{values.shown(text)} will not do: {error}") from None


def _names(text: str) -> list[str]:
    return _words(text.replace(",", " "))


def _paths(text: str) -> list[str]:
    return [values.filled(word) for word in _words(text)]


def _number(key: str) -> Callable[[str], int]:
    return lambda text: values.whole_of(key)(values.number(text))


def _pairs(text: str) -> dict[str, str]:
    """NAME=VALUE, ..."""
    found = {}
    for word in _words(text):
        name, equals, value = word.partition("=")
        if not equals:
            raise values.wrong(word, "NAME=VALUE")
        found[name] = value
    return dict(values.environment(found))


def _optional(read: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: read(text) if text.strip() not in ("", "none") else None


def _size(text: str) -> str:
    values.memory(values.number(text))
    return text.strip()


def _class_count(text: str) -> int:
    return values.whole(1, toml_file.MAX_CLASSES)(values.number(text))


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.strip() not in names:
            raise values.wrong(text, "one of " + ", ".join(names))
        return text.strip()

    return read


def _some_of(names: Sequence[str], least: int) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        found = [_one_of(names)(name) for name in _names(text)]
        if len(set(found)) < max(len(found), least):
            raise values.wrong(text, f"{'at least one' if least else 'any'} of {', '.join(names)}, each once")
        return found

    return read


# ================================================================ the questions


class Wizard:
    """Asks in the order in which an answer may need an earlier one."""

    def __init__(self, asker: Asker, path: str) -> None:
        self._asker = asker
        self._path = path
        self._base = os.path.dirname(os.path.abspath(path))
        self._elements = [element.name for element in toml_file.one_per_cpu()]
        self._taken: list[str] = []
        self._class_names: list[str] = []

    def ask_all(self) -> str:
        """The text of the configuration file."""
        stem = Path(self._path).name.removesuffix(".toml")
        stem = stem if values.is_name(stem) else "maitred"
        there = ", ".join(self._elements)
        self._asker.known([*(question.key for question in GENERAL), "class"], ())
        ask, general = self._asker.ask, {question.key: question for question in GENERAL}
        name = ask(general["name"], values.name, default=stem)
        primary = ask(general["primary"], _one_of(self._elements), default=self._elements[0], names=there)
        backups = ask(general["backups"], _some_of(self._elements, 0), names=there)
        log_directory = ask(general["log_directory"], _optional(self._log_directory))
        weights = ask(general["weights"], self._weights, names=there)
        python = ask(general["interpreter"], self._interpreter, default=sys.executable)
        given = self._asker.content.get("class")
        if given is not None and not (isinstance(given, list) and given and all(isinstance(x, dict) for x in given)):
            raise self._asker.error(("class",), values.wrong(given, "tables, each under a line [[class]]"))
        number = len(given) if isinstance(given, list) else ask(general["classes"], _class_count)
        classes = [self._ask_class(index, number, python) for index in range(number)]
        totals = [sum(int(str(each.table[key])) for each in classes) for key in ("static", "dynamic")]
        servers = f"Servers: {totals[0]} static, {totals[1]} dynamic; classes: {number}."
        self._asker.say(servers)
        remarks = [
            "Configuration of maitred, written by `maitred config new`.",
            f"After a change: maitred config check {os.path.basename(self._path)}",
            servers,
            f"Processing element of the Monitor: {primary}; backups: {', '.join(backups) or 'none'}. Recorded only:",
            "this version runs the Monitor where it is started, and without a backup.",
        ]
        top: dict[str, render.Value] = {"name": name}
        if log_directory is not None:
            top["log_directory"] = log_directory
        text = [*(f"# {remark}" for remark in remarks), "", *_commented(top, keys.TOP)]
        for element in toml_file.one_per_cpu() if weights else ():
            cpus, weight = ",".join(map(str, element.cpus)), weights.get(element.name, element.weight)
            content: dict[str, render.Value] = {"name": element.name, "cpus": cpus, "weight": weight}
            text += ["", "[[element]]", *_commented(content, keys.ELEMENT)]
        for cls in classes:
            text += ["", "[[class]]", *_commented(cls.table, keys.CLASS)]
            if cls.memory_start:
                text.append(f"# Memory at the start: {cls.memory_start}. Recorded only: Python's heap has none.")
        return "\n".join(text) + "\n"

    def _ask_class(self, index: int, number: int, python: str) -> _Class:
        self._asker.say(f"Class {index + 1} of {number}")
        at: lines.Path = ("class", index)
        self._asker.known([question.key for question in CLASS], at)
        of, there = {question.key: question for question in CLASS}, ", ".join(self._elements)

        def ask(key: str, read: Callable[[str], T], default: str = "", names: str = "") -> T:
            return self._asker.ask(of[key], read, at, default=default, names=names)

        table: dict[str, render.Value] = {"name": ask("name", self._name)}
        kind = ask("kind", _one_of(("module", "script", "executable")))
        path = ask("path", _paths) if kind != "executable" else []
        words = ask("program", lambda text: self._program(kind, path, python, text))
        table.update({"program": words} if kind == "executable" else {kind: words[0], "args": words[1:]})
        host = ask("address", self._host)
        table["listen"] = ask("ports", lambda text: self._ports(host, text))
        table["max_clients"] = ask("max_clients", _number("max_clients"))
        table["static"] = ask("static", _number("static"), str(len(checks.available_cpus())))
        table["dynamic"] = ask("dynamic", _number("dynamic"))
        table["elements"] = ask("elements", _some_of(self._elements, 1), " ".join(self._elements), there)
        if kind != "executable":
            options = ask("interpreter_options", lambda text: list(values.interpreter_options(text)))
            table.update({"interpreter": python, "interpreter_options": options, "path": path})
        table.update({"directory": ".", "environment": ask("environment", _pairs)})
        memory_start = ask("memory_start", _optional(_size)) or ""
        if limit := ask("memory_limit", _optional(_size)):
            table["memory_limit"] = limit
        return _Class(table, memory_start)

    # ------------------------------------------------ readers that need to know more

    def _name(self, text: str) -> str:
        name = values.name(text)
        if name in self._class_names:
            raise ConfigError(f"{name!r} is the name of another class already; choose another")
        self._class_names.append(name)
        return name

    def _log_directory(self, text: str) -> str:
        checks.directory_to_be(self._from_base(text))
        return text

    def _from_base(self, text: str) -> str:
        return os.path.join(self._base, os.path.expanduser(values.filled(text)))

    def _weights(self, text: str) -> dict[str, int]:
        found = {}
        for name, weight in _pairs(text).items():
            found[_one_of(self._elements)(name)] = _number("weight")(weight)
        return found

    def _interpreter(self, text: str) -> str:
        checks.interpreter(self._from_base(text) if os.sep in text else values.filled(text))
        return text

    def _program(self, kind: str, path: Sequence[str], python: str, text: str) -> list[str]:
        words = _words(text)
        if not words or not words[0]:
            raise ConfigError("an answer is needed")
        if kind == "script":
            checks.script(self._from_base(words[0]))
        elif kind == "module":
            values.module(words[0])
            if python == sys.executable:
                checks.module(words[0], [self._base, *map(self._from_base, path)])
        elif os.sep in words[0]:
            checks.executable(self._from_base(words[0]))
        else:
            checks.command(words[0])
        return words

    def _host(self, text: str) -> str:
        host = text.strip()
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        values.listener(f"{host}:1")
        return host

    def _ports(self, host: str, text: str) -> list[str]:
        found = [f"{host}:{port}" for port in _names(text)]
        addresses = [address for _, address in values.listeners(found)]
        for address in addresses:
            for other in self._taken:
                if values.overlap(address, other):
                    raise ConfigError(f"{address} collides with {other} of another class")
        self._taken += addresses
        return found


def _commented(table: Mapping[str, render.Value], known: tuple[keys.Key, ...]) -> list[str]:
    """The keys, each below its meaning."""
    found = []
    for key, value in table.items():
        means = next(each for each in known if each.name == key).means
        found += [f"# {keys.unlinked(means)}", f"{key} = {render.toml(value)}"]
    return found


# ================================================================ the files


def new(path: str, *, answers: str | None, defaults: bool, force: bool) -> int:
    """Ask, and write the configuration file, the start script and the unit; the exit code."""
    from rich.console import Console

    if not path.endswith(".toml") or path.endswith("/.toml"):
        raise ConfigError(f"{path}: the name of a configuration file ends in .toml, such as shop.toml")
    place = Path(os.path.abspath(path))
    stem = place.name.removesuffix(".toml")
    files = (place, place.with_name(f"start-{stem}.sh"), place.with_name(f"{stem}.service"))
    checks.new_file(str(place))
    for file in files:
        if os.path.lexists(file) and not force:
            raise ConfigError(f"{file} is there already; --force replaces it")
    asker = Asker(answers, defaults=defaults, console=Console(highlight=False))
    text = Wizard(asker, path).ask_all()
    examined = toml_file.examine(tomllib.loads(text), path, text)
    if examined.problems:
        raise ConfigErrors(examined.problems, path)
    script, unit = startfile.script(place.name), startfile.unit(examined.config, str(place))
    _put(dict(zip(files, ((text, 0o644), (script, 0o755), (unit, 0o644)), strict=True)))
    for file, what in zip(files, ("the configuration", "starts it", "has systemd start it"), strict=True):
        asker.say(f"{os.path.relpath(file)}: {what}")
    return 0


def _put(files: Mapping[Path, tuple[str, int]]) -> None:
    """Write all files, or none."""
    drafts = {file: file.with_name(f".{file.name}.{os.getpid()}") for file in files}
    try:
        for file, (text, mode) in files.items():
            drafts[file].write_text(text, encoding="utf-8", newline="")
            drafts[file].chmod(mode)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            for file, draft in drafts.items():
                draft.replace(file)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written: {error.strerror}") from None
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink(missing_ok=True)
