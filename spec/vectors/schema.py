"""Writes the JSON Schema of the vectors' files and of the kit's lines: ``python -m spec.vectors.schema``.

It follows from the types of the core by way of `maitred.vectors.codec`, as the values in the files do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Final, TypeAlias, get_args, get_origin

from docs.refresh import refresh

from maitred.core import wire
from maitred.core.transition import Reason
from maitred.core.tree import Tree
from maitred.vectors import codec

FILE: Final = Path(__file__).with_name("vectors.schema.json")
Schema: TypeAlias = "dict[str, Schema] | list[Schema] | str | int | bool"

TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {
    "description": "A whole number; #bigint beyond what a double holds exactly, or (in an answer) anywhere.",
    "oneOf": [
        {"type": "integer", "minimum": -codec.EXACT, "maximum": codec.EXACT},
        {
            "type": "object",
            "required": ["#bigint"],
            "properties": {"#bigint": {"type": "string", "pattern": "^-?[0-9]{1,100}$"}},
            "additionalProperties": False,
        },
    ],
}


def record(properties: dict[str, Schema], optional: Iterable[str] = (), description: str = "") -> dict[str, Schema]:
    """An object with these keys and no other."""
    required: list[Schema] = [name for name in properties if name not in set(optional)]
    found: dict[str, Schema] = {"type": "object", "required": required, "properties": properties}
    return found | {"additionalProperties": False} | ({"description": description} if description else {})


def opened(schema: dict[str, Schema]) -> dict[str, Schema]:
    """The same with further keys allowed."""
    return {key: value for key, value in schema.items() if key != "additionalProperties"}


def one_of(options: Sequence[Schema]) -> Schema:
    """One of these; itself, if it is the only one."""
    return options[0] if len(options) == 1 else {"oneOf": [*options]}


def ref(name: str) -> Schema:
    """What stands under `$defs`."""
    return {"$ref": f"#/$defs/{name}"}


class Definitions:
    """What the types come to, each record under its name."""

    def __init__(self) -> None:
        """Number and Reason are always there."""
        self.found: dict[str, Schema] = {"Number": NUMBER, "Reason": {"enum": [*Reason.__members__]}}

    def of(self, hint: Any) -> Schema:  # Any: a form of type
        """The schema of a value of this type."""
        options = codec.choices(hint)
        several = sum(is_dataclass(one) for one in options) > 1
        return one_of([self._one(one, several=several) for one in options])

    def _one(self, one: Any, *, several: bool) -> Schema:
        if get_origin(one) is tuple:
            inner = get_args(one)
            if inner[-1] is Ellipsis:
                return {"type": "array", "items": self.of(inner[0])}
            return record({"#tup": self._fixed([self.of(each) for each in inner])})
        if get_origin(one) is Tree:
            key, value = (None if each is NoneType else each for each in get_args(one))
            if value is None:
                return record({"#set": {"type": "array", "items": self.of(key)}})
            return record({"#map": {"type": "array", "items": self._fixed([self.of(key), self.of(value)])}})
        plain: dict[Any, Schema] = {
            int: ref("Number"),
            bool: {"type": "boolean"},
            str: TEXT,
            NoneType: {"type": "null"},
        }
        return plain[one] if one in plain else self._named(one, several=several)

    @staticmethod
    def _fixed(items: list[Schema]) -> Schema:
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}

    def _named(self, kind: Any, *, several: bool) -> Schema:
        """A reference to the record or enumeration: one of several kinds must have its kind under ``is``.

        Two modules may each have a class of a name.
        """
        name = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}{'.is' if several else ''}"
        if name not in self.found:
            if issubclass(kind, Enum):
                self.found[name] = {"enum": [*kind.__members__]}
            else:
                self.found[name] = {}  # it may hold itself
                inner = {field: self.of(hint) for field, hint in codec.shown_fields(kind).items()}
                mark: dict[str, Schema] = {"is": {"const": kind.__name__}}
                self.found[name] = record(mark | inner, optional=() if several else ("is",))
        return ref(name)


def with_order(state: Schema) -> None:
    """Add what a Distributor's state has beside its fields."""
    assert isinstance(state, dict)
    properties, required = state["properties"], state["required"]
    assert isinstance(properties, dict) and isinstance(required, list)
    properties["order"] = {"type": "array", "items": ref("Number")}
    required.append("order")


def document() -> dict[str, Schema]:
    """The schema."""
    types = Definitions()
    lines: dict[str, list[Schema]] = {name: [] for name in ("step", "trace", "question", "answer")}
    rejected = record({"rejected": ref("Reason")})
    for name, machine in codec.MACHINES.items():
        state, event = types.of(machine.state), types.of(machine.event)
        if name == "distributor":
            with_order(types.found["distributor.DistributorState"])
        effects: Schema = {"type": "array", "items": types.of(machine.effect)}
        is_this: dict[str, Schema] = {"machine": {"const": name}}
        taken = record({"state": state, "effects": effects})
        which: dict[str, Schema] = {"id": TEXT} | is_this
        texts: dict[str, Schema] = {"requirements": {"type": "array", "items": TEXT}, "note": TEXT}
        then = one_of([rejected, taken])
        lines["step"].append(record(which | {"state": state, "event": event, "then": then} | texts))
        along = record({"event": event, "then": one_of([rejected, record({"effects": effects})])})
        steps: Schema = {"type": "array", "items": along, "minItems": 1}
        lines["trace"].append(record(which | {"state": state, "steps": steps, "end": state, "note": TEXT}))
        lines["question"].append(opened(record(which | {"state": state, "event": event}, optional=("state",))))
        lines["answer"].append(opened(taken))
    message = types.of(wire.Message)
    data: Schema = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
    maybe = one_of([{"type": "null"}, message])
    lines["question"].append(opened(record({"id": TEXT, "machine": {"const": "wire"}, "bytes": data})))
    packets = (record({"message": {"type": "null"}}), record({"message": message, "bytes": data}))
    lines["answer"] += map(opened, (record({"rejected": ref("Reason")}), *packets))
    packet = record({"id": TEXT, "bytes": data, "message": maybe, "note": TEXT})
    kinds: dict[str, Schema] = {name: one_of(options) for name, options in lines.items()} | {"packet": packet}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of steps.jsonl (step), of traces.jsonl (trace) or of bytes.jsonl (packet);"
        " a question and an answer of maitred conform step",
        "oneOf": [ref(name) for name in ("step", "trace", "packet")],
        "$defs": kinds | dict(sorted(types.found.items())),
    }


def main(argv: Sequence[str]) -> int:
    """Write the schema, or with ``--check`` report whether it is stale."""
    return refresh("spec.vectors.schema", {FILE.name: (FILE, json.dumps(document(), indent=1) + "\n")}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
