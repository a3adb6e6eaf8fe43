"""The records of the running machines' steps for the verifier, as they are in the rings (`maitred.shell.observe.ring`).

An `Encoder` appends them.  A record is a list in JSON:

==================================  ==================================================================================
record                              meaning
==================================  ==================================================================================
``["start", ARGUMENTS]``            a machine begins; the arguments, by name, are those of its ``initial``
``["event", N, PID, EVENT]``        this process of the machine takes the event, its step number ``N``
``["event", ..., GAP, STATE]``      so, and this is the machine's state before the step; ``GAP`` is 1 where the last
                                    step was dropped, else 0
``["effect", EFFECT]``              the machine has performed the next effect of that event
``["rejected", REASON]``            the machine declined that event
==================================  ==================================================================================

An object is a list of its class's name and its fields, a `Tree` a list of pairs, a member of an enumeration its name:
shorter than the form of a trace, and several times quicker to write and to read.

A step of which a record finds no room is dropped and counted.  After that nothing can be checked until the machine's
state is known again, so the next record contains the state.  It is written when half of the ring is free, unless the
state is too large.  The verifier asks for the state, too: now and then, to compare it with its own, and after a
divergence, to begin again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

from maitred.core.tree import Tree
from maitred.shell.observe.ring import MachineHeader, Ring

PAUSE: Final = 0.25
"""Minimum of seconds between two states that a machine writes."""
SHARE: Final = 50
"""A machine spends at most 1/SHARE of its time on writing its state."""
MAX_ENTRIES: Final = 8192
"""Entries of one table: a state with a larger one is not written."""

_BEGUN: Final = MachineHeader.BEGUN.value
_DROPPED: Final = MachineHeader.DROPPED.value
_GAP: Final = MachineHeader.GAP.value
_WANTED: Final = MachineHeader.WANTED.value


# ==================================================================== values as lists


class TooLarge(Exception):
    """A table of the state has more than `MAX_ENTRIES` entries."""


def _getter(kind: type) -> Callable[[object], list[object]]:
    """The function that makes the list for an object of the class."""
    names = [field.name for field in fields(kind)]
    if not names:
        return lambda value: [kind.__name__]
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda value: [kind.__name__, only(value)]
    several = attrgetter(*names)
    return lambda value: [kind.__name__, *several(value)]


_GETTERS: Final[dict[type, Callable[[object], list[object]]]] = {}


def _simpler(value: object) -> object:
    """The value one step nearer to what JSON has."""
    kind = type(value)
    getter = _GETTERS.get(kind)
    if getter is None:
        if isinstance(value, Enum):
            return value.name
        if isinstance(value, Tree):
            if len(value) > MAX_ENTRIES:
                raise TooLarge
            return list(value.items())
        assert is_dataclass(kind), f"{value!r} is no part of a machine"
        getter = _GETTERS[kind] = _getter(kind)
    return getter(value)


_to_json: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=_simpler).encode


def encode(record: list[object]) -> bytes:
    """The record as it stands in a ring.

    Raises:
        TooLarge: there is a state in it that is not written.
    """
    return _to_json(record).encode()


Decoder: TypeAlias = Callable[[object], Any]  # Any: the hint that it was made of decides


class DecodeError(ValueError):
    """A record contains something that is no value of the wanted type."""


@cache
def decoder(hint: Any) -> Decoder:  # Any: a form of type has no static type
    """The function that makes a value of this type from parsed JSON of `encode`.  It raises `DecodeError`."""
    choices = _choices(hint)
    plain = tuple(each for each in choices if each in (int, bool, str, type(None)))
    objects = {each.__name__: each for each in choices if is_dataclass(each) and isinstance(each, type)}
    enums = [each for each in choices if isinstance(each, type) and issubclass(each, Enum)]
    others = [each for each in choices if get_origin(each) in (tuple, Tree)]
    assert len(plain) + len(objects) + len(enums) + len(others) == len(choices), f"{hint} cannot be read"

    def read(packed: object) -> Any:
        if type(packed) in plain:
            return packed
        if isinstance(packed, list):
            if objects and packed and isinstance(packed[0], str) and packed[0] in objects:
                return _object(objects[packed[0]], packed)
            for each in others:
                return (_tree if get_origin(each) is Tree else _tuple)(each, packed)
        if isinstance(packed, str):
            for each in enums:
                if packed in each.__members__:
                    return each[packed]
        raise DecodeError(
            f"{_cut(packed)} is none of {', '.join(getattr(each, '__name__', str(each)) for each in choices)}"
        )

    return read


def _cut(packed: object) -> str:
    text = repr(packed)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (Union, UnionType):
        return tuple(inner for each in get_args(hint) for inner in _choices(each))
    return (type(None),) if hint is None else (hint,)


@cache
def _field_decoders(kind: Any) -> tuple[Decoder, ...]:
    hints = get_type_hints(kind)
    return tuple(decoder(hints[field.name]) for field in fields(kind))


def _object(kind: Any, packed: list[object]) -> Any:
    decoders = _field_decoders(kind)
    if len(packed) != len(decoders) + 1:
        raise DecodeError(f"{_cut(packed)} has not the fields of {kind.__name__}")
    return kind(*[read(item) for read, item in zip(decoders, packed[1:], strict=True)])


def _tuple(hint: Any, packed: list[object]) -> tuple[Any, ...]:
    kinds = get_args(hint)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(packed)
    if len(kinds) != len(packed):
        raise DecodeError(f"{_cut(packed)} should have {len(kinds)} items")
    return tuple(decoder(kind)(item) for kind, item in zip(kinds, packed, strict=True))


def _tree(hint: Any, packed: list[object]) -> Tree[Any, Any]:
    pair = decoder(tuple[get_args(hint)])  # type: ignore[misc]  # a tuple of what the tree's own hint names
    return Tree.of(pair(item) for item in packed)


# ==================================================================== the machine's side


class Encoder:
    """Appends the records of one machine to its ring; every process of the machine has an encoder of its own."""

    def __init__(self, ring: Ring) -> None:
        """Append to the ring."""
        self._ring = ring
        self._header = ring.header
        self._open = False
        """Whether no record of the last step has been dropped."""
        self._next_state = 0.0

    def start(self, arguments: dict[str, object]) -> None:
        """The machine begins."""
        self._header[MachineHeader.PID] = os.getpid()
        if not self._ring.put(encode(["start", arguments])):
            self._header[_GAP] = 1

    def event(self, event: object, state: object = None) -> None:
        """The machine is about to take the event; ``state`` is its state, None where the caller has none."""
        header = self._header
        number = header[_BEGUN] = header[_BEGUN] + 1
        record: list[object] = ["event", number, os.getpid(), event]
        gap = header[_GAP]
        if gap or header[_WANTED]:
            with_state = self._with_state(record, state)
            if with_state is not None and self._ring.put(with_state):
                header[_GAP] = header[_WANTED] = 0
                self._open = True
                return
            if gap:
                self._drop()
                return
        self._open = True
        self._put(record)

    def effect(self, effect: object) -> None:
        """The next effect of the last event has been performed."""
        if self._open:
            self._put(["effect", effect])

    def rejected(self, reason: object) -> None:
        """The machine declined the last event."""
        if self._open:
            self._put(["rejected", reason])

    def _put(self, record: list[object]) -> None:
        if not self._ring.put(encode(record)):
            self._drop()

    def _drop(self) -> None:
        self._open = False
        self._header[_GAP] = 1
        self._header[_DROPPED] += 1

    def _with_state(self, record: list[object], state: object) -> bytes | None:
        """The record with the state, if it is time for that."""
        began = time.monotonic()
        if state is None or began < self._next_state or self._ring.free < self._ring.room // 2:
            return None
        try:
            return encode([*record, self._header[_GAP], state])
        except TooLarge:
            return None
        finally:
            now = time.monotonic()
            self._next_state = now + max(PAUSE, SHARE * (now - began))
