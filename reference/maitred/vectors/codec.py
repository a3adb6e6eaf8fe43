"""The core's values as JSON, and back: the encoding of the vectors.

=============================  =====================================================================================
value                          JSON
=============================  =====================================================================================
whole number                   a number; beyond what a double holds exactly (2^53 - 1) ``{"#bigint": "..."}``
true, false, text              themselves
nothing                        ``null``
member of an enumeration       its name
list                           an array
tuple                          ``{"#tup": [...]}``
set                            ``{"#set": [...]}``, in any order
map                            ``{"#map": [[key, value], ...]}``, in any order
record                         an object with all of its fields; one of several kinds has its kind under ``is``
=============================  =====================================================================================

This is the encoding of ITF (the Informal Trace Format, Apalache's ADR 015), with ``null`` and ``is`` added.

A state is *abstract*: it has nothing that follows from the rest (`LEFT_OUT`), and of the ranks of the Distributor's
servers only their order, as the list ``order``: first who was chosen longest ago.  `decode_state` adds what was left
out, so ``decode_state(machine, encode_state(state)) == canonical(state)`` for a state that keeps its invariants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

from maitred.core import distributor, monitor, server
from maitred.core.transition import Reason, Rejected
from maitred.core.tree import Tree
from maitred.core.value import replace

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | None"
State: TypeAlias = distributor.DistributorState | server.EndpointState | monitor.MonitorState
Event: TypeAlias = distributor.Event | server.Event | monitor.Event
Effect: TypeAlias = distributor.Effect | server.Effect | monitor.Effect

EXACT: Final = 2**53 - 1
"""The largest number that every reader of JSON keeps exactly."""

LEFT_OUT: Final[Mapping[type, tuple[str, ...]]] = {
    distributor.DistributorState: ("waiting", "next_rank", "drainable", "drained", "outstanding", "promised"),
    distributor.ServerStatus: ("server", "rank"),
    distributor.PortInfo: ("port", "free", "answering"),
    monitor.ClassState: ("vacant", "living"),
    monitor.Place: ("place", "dynamic"),
    monitor.ElementState: ("processes",),
}
"""The fields that follow from others, or that are the key at which the record stands."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One of the three machines, as a vector names it."""

    name: str
    state: Any  # Any: these three are types, of which unions have no static type
    event: Any
    effect: Any
    module: Any
    """The module of the core, with its `step`."""


MACHINES: Final[Mapping[str, Machine]] = {
    "distributor": Machine(
        "distributor", distributor.DistributorState, distributor.Event, distributor.Effect, distributor
    ),
    "server": Machine("server", server.EndpointState, server.Event, server.Effect, server),
    "monitor": Machine("monitor", monitor.MonitorState, monitor.Event, monitor.Effect, monitor),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was taken: the state after it, in its canonical form, and the effects."""

    state: State
    effects: tuple[Effect, ...]


Outcome: TypeAlias = Taken | Rejected


class CodecError(ValueError):
    """The JSON is not a value of the wanted type; the text says where, what was found and what would be right."""


# ================================================================ whole steps


def take(machine: str, state: State, event: Event) -> Outcome:
    """What the core makes of the event."""
    outcome = MACHINES[machine].module.step(state, event)
    if isinstance(outcome, Rejected):
        return outcome
    return Taken(canonical(outcome.state), outcome.effects)


def canonical(state: State) -> State:
    """The same state, with ranks by their order alone."""
    return distributor.canonical(state) if isinstance(state, distributor.DistributorState) else state


def encode_state(state: State) -> Json:
    """The abstract state."""
    record = encode(type(state), state)
    if isinstance(state, distributor.DistributorState):
        assert isinstance(record, dict)
        record["order"] = [row.server for row in sorted(state.servers.values(), key=lambda row: row.rank)]
    return record


def decode_state(machine: str, json: Json, where: str = "state") -> State:
    """The state that this is the abstraction of.

    Raises:
        CodecError: it is none.
    """
    kind = MACHINES[machine].state
    if kind is not distributor.DistributorState:
        state = decode(kind, json, where)
        return _completed_monitor(state, where) if isinstance(state, monitor.MonitorState) else _endpoint(state)
    if not isinstance(json, dict) or "order" not in json:
        raise CodecError(f"{where}: should be an object with the key 'order', the servers' ids in the order of choice")
    order = decode(tuple[int, ...], json["order"], f"{where}.order")
    found = decode(kind, {name: value for name, value in json.items() if name != "order"}, where)
    if sorted(order) != [*found.servers]:
        raise CodecError(f"{where}.order: {list(order)} should have each key of 'servers' once: {[*found.servers]}")
    return _completed_distributor(found, order)


def encode_event(event: Event) -> Json:
    """The event."""
    return encode(_machine_of(event).event, event)


def decode_event(machine: str, json: Json, where: str = "event") -> Event:
    """The event; raises `CodecError` where it is none of the machine's."""
    event: Event = decode(MACHINES[machine].event, json, where)
    return event


def encode_outcome(outcome: Outcome) -> Json:
    """What comes of a step: ``{"state": ..., "effects": [...]}`` or ``{"rejected": REASON}``."""
    if isinstance(outcome, Rejected):
        return {"rejected": outcome.reason.name}
    effect = _machine_of(outcome.state).effect
    return {"state": encode_state(outcome.state), "effects": [encode(effect, each) for each in outcome.effects]}


def decode_outcome(machine: str, json: Json, where: str = "answer") -> Outcome:
    """What comes of a step; raises `CodecError`.  Further keys are not looked at."""
    if not isinstance(json, dict):
        raise CodecError(f"{where}: {_shown(json)} should be an object")
    if "rejected" in json:
        if "state" in json or "effects" in json:
            raise CodecError(f"{where}: has 'rejected' beside 'state' or 'effects'; should have one or the other")
        return Rejected(decode(Reason, json["rejected"], f"{where}.rejected"))
    for name in ("state", "effects"):
        if name not in json:
            raise CodecError(f"{where}: has no {name!r}; should have 'state' and 'effects', or 'rejected'")
    effect = MACHINES[machine].effect
    effects = decode(tuple[effect, ...], json["effects"], f"{where}.effects")  # type: ignore[valid-type]  # a union
    return Taken(canonical(decode_state(machine, json["state"], f"{where}.state")), effects)


def _machine_of(value: State | Event | Effect) -> Machine:
    """Whose state it is, or whose event: the module of the class decides, or of what may bring a message there."""
    for machine in MACHINES.values():
        if type(value) is machine.state or type(value) in _kinds(machine.event).values():
            return machine
    raise AssertionError(f"{value!r} is no state and no event")


# ================================================================ what was left out


def _completed_distributor(found: Any, order: tuple[int, ...]) -> distributor.DistributorState:
    """With the indexes, and ranks from 0 in this order.  (Any: mypy does not know that `found` is a plain state.)"""
    ranks = {server_id: rank for rank, server_id in enumerate(order)}
    rows = {key: replace(row, server=key, rank=ranks[key]) for key, row in found.servers.items()}
    ports = Tree.of(
        (
            port,
            replace(
                info,
                port=port,
                free=Tree.of((distributor.Seat.of(row), None) for row in rows.values() if row.free_on(port)),
                answering=sum(row.answering_on(port) for row in rows.values()),
            ),
        )
        for port, info in found.ports.items()
    )
    state: distributor.DistributorState = replace(
        found,
        servers=Tree.of(rows.items()),
        ports=ports,
        waiting=sum(len(info.waiting) for info in ports.values()),
        next_rank=len(rows),
        drainable=Tree.of((key, None) for key, row in rows.items() if row.drainable),
        drained=sum(row.drained for row in rows.values()),
        outstanding=sum(row.request is not None for row in rows.values()),
        promised=sum(row.promised for row in rows.values()),
    )
    return state


def _completed_monitor(found: monitor.MonitorState, where: str) -> monitor.MonitorState:
    """With the places' numbers, the indexes, and how many processes run on each processing element."""
    classes = []
    processes = dict.fromkeys(found.elements, 0)
    for class_id, cls in found.classes.items():
        static, all_places = cls.config.static, range(cls.config.static + cls.config.dynamic)
        places = {key: replace(place, place=key, dynamic=key >= static) for key, place in cls.places.items()}
        if not set(range(static)) <= set(places) <= set(all_places):
            raise CodecError(
                f"{where}.classes[{class_id}].places: {[*places]} should have 0 to {static - 1}, the static places,"
                f" and may have others up to {len(all_places) - 1}, the dynamic ones"
            )
        vacant = Tree.of((key, None) for key in all_places if key not in places)
        living = Tree.of((place.server, key) for key, place in places.items() if place.alive)
        classes.append((class_id, replace(cls, places=Tree.of(places.items()), vacant=vacant, living=living)))
        runs_on = [place.element for place in places.values() if place.alive]
        runs_on += [cls.distributor.element] if cls.distributor.alive else []
        for element in runs_on:
            if element not in processes:
                raise CodecError(f"{where}.classes[{class_id}]: runs on processing element {element}, which is unknown")
            processes[element] += 1
    elements = Tree.of((key, replace(one, processes=processes[key])) for key, one in found.elements.items())
    return replace(found, classes=Tree.of(classes), elements=elements)


def _endpoint(state: Any) -> server.EndpointState:
    assert isinstance(state, server.EndpointState)
    return state


_EMPTY: Final[Mapping[str, object]] = {
    **dict.fromkeys(("free", "drainable", "vacant", "living"), Tree()),
    **dict.fromkeys(
        ("waiting", "next_rank", "drained", "outstanding", "promised", "answering", "server", "rank", "port"), 0
    ),
    **dict.fromkeys(("place", "processes"), 0),
    "dynamic": False,
}
"""What stands in a field that is left out until the state is completed."""

# ================================================================ values


def encode(hint: Any, value: Any) -> Json:  # Any: the hint is a form of type, and decides what the value is
    """The JSON of a value of this type."""
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if -EXACT <= value <= EXACT else {"#bigint": str(value)}
    if isinstance(value, tuple):
        (form,) = (one for one in choices(hint) if get_origin(one) is tuple)
        items = [encode(inner, item) for inner, item in zip(_items(form, len(value)), value, strict=True)]
        return items if _is_list(form) else {"#tup": items}
    if isinstance(value, Tree):
        (form,) = (one for one in choices(hint) if get_origin(one) is Tree)
        key_hint, value_hint = get_args(form)
        if value_hint in (None, NoneType):
            return {"#set": [encode(key_hint, key) for key in value]}
        return {"#map": [[encode(key_hint, key), encode(value_hint, inner)] for key, inner in value.items()]}
    kind: Any = type(value)  # Any: mypy takes no class for hashable
    record: dict[str, Json] = {"is": kind.__name__} if len(_kinds(hint)) > 1 else {}
    record |= {name: encode(inner, getattr(value, name)) for name, inner in shown_fields(kind).items()}
    return record


def decode(hint: Any, json: Json, where: str) -> Any:  # Any: the hint decides what comes back
    """The value of this type that the JSON stands for.

    Raises:
        CodecError: it stands for none.
    """
    options = choices(hint)
    number = _number(json, where)
    if number is not None and int in options:
        return number
    for one in options:
        if (one is NoneType and json is None) or (one in (bool, str) and type(json) is one):
            return json
        if isinstance(one, type) and issubclass(one, Enum) and isinstance(json, str) and json in one.__members__:
            return one[json]
        if get_origin(one) is tuple and (items := _inside(json, None if _is_list(one) else "#tup", where)) is not None:
            hints = _items(one, len(items))
            if len(hints) != len(items):
                raise CodecError(f"{where}: has {len(items)} items, should have {len(hints)}")
            return tuple(
                decode(inner, item, f"{where}[{i}]") for i, (inner, item) in enumerate(zip(hints, items, strict=True))
            )
        if get_origin(one) is Tree:
            tree = _tree(one, json, where)
            if tree is not None:
                return tree
    kinds = _kinds(hint)
    if isinstance(json, dict) and kinds and not any(name.startswith("#") for name in json):
        return _record(kinds, json, where)
    raise CodecError(f"{where}: {_shown(json)} should be {' or '.join(_described(one) for one in options)}")


@cache
def choices(hint: Any) -> tuple[Any, ...]:
    """The members of a union, however it is nested; of anything else, itself."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(inner for one in get_args(hint) for inner in choices(one))
    return (NoneType,) if hint is None else (hint,)


@cache
def shown_fields(kind: Any) -> Mapping[str, Any]:
    """The type of each field of a record that is in the JSON."""
    hints = get_type_hints(kind)
    left_out = LEFT_OUT.get(kind, ())
    return {field.name: hints[field.name] for field in fields(kind) if field.name not in left_out}


@cache
def _kinds(hint: Any) -> Mapping[str, Any]:
    """The records that the type allows, by name."""
    return {one.__name__: one for one in choices(hint) if isinstance(one, type) and is_dataclass(one)}


def _is_list(form: Any) -> bool:
    return get_args(form)[-1:] == (Ellipsis,)


def _items(form: Any, length: int) -> tuple[Any, ...]:
    inner = get_args(form)
    return (inner[0],) * length if _is_list(form) else inner


def _number(json: Json, where: str) -> int | None:
    if type(json) is int:
        return json
    if isinstance(json, dict) and json.keys() == {"#bigint"}:
        text = json["#bigint"]
        digits = text.removeprefix("-") if isinstance(text, str) else ""
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > 100:
            raise CodecError(f"{where}: {_shown(text)} should be a whole number in decimal digits, as text")
        return int(str(text))
    return None


def _inside(json: Json, mark: str | None, where: str) -> list[Json] | None:
    """The items of an array, or of an object with this key alone; None where it is something else."""
    if mark is None:
        return json if isinstance(json, list) else None
    if not isinstance(json, dict) or json.keys() != {mark}:
        return None
    items = json[mark]
    if not isinstance(items, list):
        raise CodecError(f"{where}: {_shown(items)} at {mark!r} should be an array")
    return items


def _tree(form: Any, json: Json, where: str) -> Tree[Any, Any] | None:
    key_hint, value_hint = get_args(form)
    is_set = value_hint in (None, NoneType)
    items = _inside(json, "#set" if is_set else "#map", where)
    if items is None:
        return None
    found: list[tuple[Any, Any]] = []
    for i, item in enumerate(items):
        if is_set:
            found.append((decode(key_hint, item, f"{where}[{i}]"), None))
        elif isinstance(item, list) and len(item) == 2:
            key = decode(key_hint, item[0], f"{where}, key {i}")
            found.append((key, decode(value_hint, item[1], f"{where}[{_shown(item[0])}]")))
        else:
            raise CodecError(f"{where}: {_shown(item)} should be an array of a key and its value")
    tree = Tree.of(found)
    if len(tree) != len(found):
        raise CodecError(f"{where}: has something twice")
    return tree


def _record(kinds: Mapping[str, Any], json: dict[str, Json], where: str) -> Any:
    name = json.get("is", next(iter(kinds)) if len(kinds) == 1 else None)
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise CodecError(f"{where}.is: {_shown(name)} should be {' or '.join(kinds)}")
    hints = shown_fields(kind)
    for odd in sorted(json.keys() - hints.keys() - {"is"}):
        raise CodecError(f"{where}.{odd}: {kind.__name__} has no such field; it has {', '.join(hints) or 'none'}")
    for missing in hints.keys() - json.keys():
        raise CodecError(f"{where}: {kind.__name__} has no {missing!r}; should have {', '.join(hints)}")
    empty = {name: _EMPTY[name] for name in LEFT_OUT.get(kind, ())}
    return kind(**empty, **{name: decode(inner, json[name], f"{where}.{name}") for name, inner in hints.items()})


def _described(one: Any) -> str:
    """What JSON the type wants."""
    if get_origin(one) is tuple:
        return "an array" if _is_list(one) else '{"#tup": [...]}'
    if get_origin(one) is Tree:
        return '{"#set": [...]}' if get_args(one)[1] in (None, NoneType) else '{"#map": [[key, value], ...]}'
    if isinstance(one, type) and issubclass(one, Enum):
        return f"one of {', '.join(one.__members__)}"
    words = {int: "a whole number", bool: "true or false", str: "a text", NoneType: "null"}
    return words.get(one) or f"an object, {one.__name__}"


def _shown(json: object) -> str:
    text = repr(json)
    return text if len(text) <= 60 else f"{text[:60]}..."
