"""A configuration written as TOML: what ``maitred config show`` prints and ``maitred config new`` writes.

Whatever is written here, `maitred.config.toml_file` reads as the same configuration.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import TypeAlias

from maitred.config import keys
from maitred.config.model import Config, ProcessingElement, ServerClass

Value: TypeAlias = str | int | float | bool | list[str] | dict[str, str]
"""What the keys take."""
Tables: TypeAlias = dict[tuple[str, ...], dict[str, Value]]
"""The keys that are set, of each table: ``()``, ``("durations",)``, ``("element", NAME)`` and ``("class", NAME)``."""


def toml(value: Value) -> str:
    """The value as TOML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{toml(key)} = {toml(item)}' for key, item in value.items())} }}" if value else "{}"
    return f"{value:g}" if isinstance(value, float) and value == float(f"{value:g}") else repr(value)


def shown(value: Value | None) -> str:
    """The value as TOML, or what stands for none."""
    return "none" if value is None else toml(value)


def tables(config: Config, *, control: bool) -> Tables:
    """Every key that has a value; the control socket only if that is asked for."""
    top: dict[str, Value | None] = {
        "name": config.name,
        "log_directory": _path(config.log_directory),
        "log": _path(config.log),
        "control": str(config.control) if control else None,
        "trace": _path(config.trace),
        "verify": config.verify,
    }
    durations: dict[str, Value] = {
        field.name: getattr(config.durations, field.name) for field in fields(config.durations)
    }
    found: Tables = {(): _set(top), ("durations",): durations}
    found.update({("element", element.name): _element(element) for element in config.elements})
    found.update({("class", cls.name): _set(_class(cls)) for cls in config.classes})
    return found


def _set(table: Mapping[str, Value | None]) -> dict[str, Value]:
    return {key: value for key, value in table.items() if value is not None}


def _path(path: object) -> str | None:
    return None if path is None else str(path)


def _element(element: ProcessingElement) -> dict[str, Value]:
    return {"name": element.name, "cpus": ",".join(map(str, element.cpus)), "weight": element.weight}


def _class(cls: ServerClass) -> dict[str, Value | None]:
    executable = cls.program.kind == "executable"
    program: dict[str, Value | None]
    if executable:
        program = {"program": [cls.program.name, *cls.program.args]}
    else:
        program = {cls.program.kind: cls.program.name, "args": list(cls.program.args)}
    interpreter: dict[str, Value | None] = {
        "interpreter": cls.interpreter,
        "interpreter_options": list(cls.interpreter_options),
        "path": list(cls.path),
    }
    return {
        "name": cls.name,
        **program,
        "listen": [address for _, address in cls.listeners] or None,
        "static": cls.static,
        "dynamic": cls.dynamic,
        "max_clients": cls.max_clients,
        "waiting_limit": cls.waiting_limit,
        "elements": list(cls.elements),
        **({} if executable else interpreter),
        "directory": cls.directory,
        "environment": dict(cls.environment),
        "memory_limit": cls.memory_limit,
        "stop_signal": cls.stop_signal and signal.Signals(cls.stop_signal).name.removeprefix("SIG"),
    }


def document(found: Tables, remark: Callable[[tuple[str, ...], str], str], control: str) -> Iterator[str]:
    """The lines of a file with these keys; keys without a value are there as comments.

    Args:
        found: the tables.
        remark: what to write behind a key of a table.
        control: where the control socket is, if the file does not set it.
    """
    for table, content in found.items():
        if table:
            yield ""
            yield f"[[{table[0]}]]" if len(table) > 1 else f"[{table[0]}]"
        for key in KEYS[table[0] if table else ""]:
            if key.name in content:
                yield f"{key.name} = {toml(content[key.name])}  # {remark(table, key.name)}"
            elif key.name not in NEITHER:
                yield f"# {key.name}: {control if key.name == 'control' else key.default.replace('`', '')}"


KEYS = {"": keys.TOP, "durations": keys.DURATIONS, "element": keys.ELEMENT, "class": keys.CLASS}
"""By the first word of a table."""
NEITHER = frozenset(
    {
        "durations",
        "element",
        "class",
        "module",
        "script",
        "program",
        "args",
        "interpreter",
        "interpreter_options",
        "path",
    }
)
"""Keys that are tables, or that depend on what is run: none has a default worth a line."""
