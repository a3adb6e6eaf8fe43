"""A JSON Schema (draft 2020-12) of the configuration file, for editors that complete and check TOML.

It is made from the tables of `maitred.config.keys` and the limits of `maitred.config.values`.  What it refuses, the
loader refuses too; the loader refuses more, because only it knows what is on the machine and what depends on what.
"""

from __future__ import annotations

import signal
from typing import Final, TypeAlias

from maitred.config import keys, toml_file, values

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None
Schema: TypeAlias = dict[str, Json]

_TEXT: Final[Schema] = {"type": "string", "pattern": r"^[^\u0000]*$"}
_FILLED: Final[Schema] = {"type": "string", "pattern": r"^[^\u0000]+$"}
_NAME: Final[Schema] = {"type": "string", "pattern": f"^{values.NAME.pattern}$"}
_ADDRESS: Final[Schema] = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string", "pattern": r"\d{1,5}\s*$"}]
}
_CPUS: Final[Schema] = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": values.MAX_CPU},
        {"type": "string", "pattern": r"^[\d\s,-]+$"},
        {"type": "array", "minItems": 1},
    ]
}
_SIGNALS: Final = [
    word
    for name, number in signal.Signals.__members__.items()
    if number not in (signal.SIGKILL, signal.SIGSTOP)
    for word in (name, name.removeprefix("SIG"))
]


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, **({"minItems": least} if least else {})}


def _whole(key: str) -> Schema:
    low, high = values.NUMBERS[key]
    return {"type": "integer", "minimum": low, "maximum": high}


def _or_list(item: Schema) -> Schema:
    return {"anyOf": [item, _list(item, 1)]}


_TYPES: Final[dict[str, Schema]] = {
    "name": _NAME,
    "log_directory": _FILLED,
    "log": _FILLED,
    "control": _FILLED,
    "trace": _FILLED,
    "verify": {"type": "boolean"},
    "cpus": _CPUS,
    **{key: _whole(key) for key in values.NUMBERS},
    "module": {"type": "string", "pattern": r"^[^\s/.]+(\.[^\s/.]+)*$"},
    "script": _FILLED,
    "program": _list(_TEXT, 1),
    "args": _list(_TEXT),
    "listen": _or_list(_ADDRESS),
    "elements": _list(_NAME, 1),
    "interpreter": _FILLED,
    "interpreter_options": {"anyOf": [_TEXT, _list(_FILLED)]},
    "path": _list(_FILLED),
    "directory": _FILLED,
    "environment": {"type": "object", "additionalProperties": _TEXT},
    "memory_limit": {
        "anyOf": [
            {"type": "integer", "minimum": values.MIN_MEMORY},
            {"type": "string", "pattern": r"^\s*\d{1,15}\s*[KMGTkmgt]?([Ii]?[Bb])?\s*$"},
        ]
    },
    "stop_signal": {"anyOf": [{"enum": [*_SIGNALS]}, {"type": "string", "pattern": "[a-z]"}]},
}
"""What each key takes that is no table; the keys of durations are numbers."""


def _described(key: keys.Key, of: Schema) -> Schema:
    default = "" if key.default == "required" else f" Default: {key.default}."
    return {"description": keys.plain(f"{key.means}{default}"), **of}


def _table(known: tuple[keys.Key, ...], types: dict[str, Schema]) -> Schema:
    """An object with these keys and no others."""
    return {
        "type": "object",
        "properties": {key.name: _described(key, types[key.name]) for key in known},
        "required": [key.name for key in known if key.default == "required"],
        "additionalProperties": False,
    }


def schema() -> Schema:
    """The schema."""
    durations: dict[str, Schema] = {
        name: {"type": "number", "minimum": toml_file.least(name), "maximum": values.MAX_SECONDS}
        for name in toml_file.DURATIONS
    }
    program: list[Json] = [{"required": [key]} for key in ("module", "script", "program")]
    cls: Schema = {**_table(keys.CLASS, _TYPES), "oneOf": program}
    tables: dict[str, Schema] = {
        "durations": _table(keys.DURATIONS, durations),
        "element": {**_list(_table(keys.ELEMENT, _TYPES)), "maxItems": toml_file.MAX_ELEMENTS},
        "class": {**_list(cls, 1), "maxItems": toml_file.MAX_CLASSES},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of maitred",
        **_table(keys.TOP, {**_TYPES, **tables}),
    }
