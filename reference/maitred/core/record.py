"""Events and effects as JSON, for traces: what happened, written so that it can be played through the machines again.

A value is an object whose ``is`` names its class and whose other keys are its fields; a tuple is a list; a member of an
enumeration is its name.  A trace is a text file of one JSON object a line:

======================================  ==============================================================================
line                                    meaning
======================================  ==============================================================================
``{"who": W, "start": {...}}``          a machine begins; ``start`` holds the arguments of its ``initial``
``{"who": W, "event": {...}}``          the machine takes an event; written before any of its effects is performed
``{"who": W, "effect": {...}}``         the machine has performed the next effect of that event
``{"who": W, "rejected": "REASON"}``    the machine declined that event
======================================  ==============================================================================

``W`` is ``monitor``, ``distributor CLASS INCARNATION`` or ``server CLASS SERVER``.  Further keys: ``t``, the
monotonic clock in seconds, is for readers; ``pid`` is the process that wrote the line: it shows which process of a
server left a step unfinished because it was killed.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

from maitred.core import distributor, monitor, server

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | None"

MACHINES: Final[dict[str, tuple[Any, Any]]] = {  # Any: a union of classes has no static type
    "distributor": (distributor.Event, distributor.Effect),
    "monitor": (monitor.Event, monitor.Effect),
    "server": (server.Event, server.Effect),
}
"""The events and the effects of each machine."""


class RecordError(ValueError):
    """The JSON is not a record of the wanted kind; the text says where and why."""


def to_record(value: object) -> Json:
    """The JSON for an event, an effect or a value within one."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, tuple):
        return [to_record(item) for item in value]
    if is_dataclass(value):
        record: dict[str, Json] = {"is": type(value).__name__}
        for field in fields(value):
            record[field.name] = to_record(getattr(value, field.name))
        return record
    assert value is None or isinstance(value, (bool, int, str)), f"{value!r} is no part of an event"
    return value


def from_record(hint: Any, record: object, where: str = "") -> Any:  # Any: `hint` decides what comes back
    """The value of type ``hint`` (a class, a union, ``tuple[...]``) that the record stands for.

    Raises:
        RecordError: it stands for none.
    """
    choices = _choices(hint)
    for choice in choices:
        if choice in (int, bool, str, type(None)) and type(record) is choice:
            return record
        if isinstance(record, list) and get_origin(choice) is tuple:
            return _tuple(choice, record, where)
        is_enum = isinstance(choice, type) and issubclass(choice, Enum)
        if is_enum and isinstance(record, str) and record in choice.__members__:
            return choice[record]
        if isinstance(record, dict) and isinstance(choice, type) and record.get("is") == choice.__name__:
            return _instance(choice, record, f"{where}{choice.__name__}.")
    names = ", ".join(sorted(choice.__name__ for choice in choices))
    got = record.get("is", "an object without 'is'") if isinstance(record, dict) else repr(record)
    raise RecordError(f"{where.rstrip('.') or 'record'}: {got} is none of {names}")


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (Union, UnionType):
        return tuple(inner for arg in get_args(hint) for inner in _choices(arg))
    return (hint,)


def _tuple(hint: Any, record: list[object], where: str) -> tuple[Any, ...]:
    args = get_args(hint)
    if args[-1] is Ellipsis:
        args = (args[0],) * len(record)
    if len(args) != len(record):
        raise RecordError(f"{where.rstrip('.')}: has {len(record)} items, should have {len(args)}")
    return tuple(
        from_record(arg, item, f"{where.rstrip('.')}[{i}].")
        for i, (arg, item) in enumerate(zip(args, record, strict=True))
    )


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Of each field, what it holds; cached, as it takes longer to find out than all the rest."""
    return get_type_hints(kind)


def _instance(kind: Any, record: dict[str, object], where: str) -> Any:
    hints = _hints(kind)
    names = {field.name for field in fields(kind)}
    if names != record.keys() - {"is"}:
        odd = ", ".join(sorted(names ^ (record.keys() - {"is"})))
        raise RecordError(f"{where.rstrip('.')}: missing or unknown: {odd}")
    return kind(**{name: from_record(hints[name], record[name], f"{where}{name}.") for name in names})
