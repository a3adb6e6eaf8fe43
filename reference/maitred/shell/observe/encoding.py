"""What the running machines tell the verifier of ``maitred run --verify``.

Each machine writes what it does into its ring (`maitred.shell.observe.ring`), by a `Pen`.  A record is a list in JSON:

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

A step of which something finds no room is dropped and counted.  From then on nothing can be checked until the machine's
state is known again, so the next record that is written brings the state; hence it waits until half of the ring is
free, and a state that would take long to write down is not written.  The verifier asks for the state, too: now and
then, to compare it with its own, and after a divergence, to begin again.
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
from maitred.shell.observe.ring import Book, Count

PAUSE: Final = 0.25
"""Seconds at least between two states that a machine writes."""
SHARE: Final = 50
"""To write its state takes a machine no more than one part in so many of its time."""
MOST_ENTRIES: Final = 8192
"""Entries of the tables of a state that is written."""

_BEGUN: Final = Count.BEGUN.value
_DROPPED: Final = Count.DROPPED.value
_GAP: Final = Count.GAP.value
_WANTED: Final = Count.WANTED.value


# ==================================================================== values as lists


class TooLarge(Exception):
    """The state has more entries than are written."""


def _getter(kind: type) -> Callable[[object], list[object]]:
    """What gives the list for an object of the class."""
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
            if len(value) > MOST_ENTRIES:
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


Reader: TypeAlias = Callable[[object], Any]  # Any: the hint that it was made of decides


class NoValue(ValueError):
    """A record holds something that is no value of the wanted kind."""


@cache
def reader(hint: Any) -> Reader:  # Any: a form of type has no static type
    """What makes a value of the type of what `encode` made of it, parsed; it raises `NoValue` where that is none."""
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
        raise NoValue(
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
def _field_readers(kind: Any) -> tuple[Reader, ...]:
    hints = get_type_hints(kind)
    return tuple(reader(hints[field.name]) for field in fields(kind))


def _object(kind: Any, packed: list[object]) -> Any:
    readers = _field_readers(kind)
    if len(packed) != len(readers) + 1:
        raise NoValue(f"{_cut(packed)} has not the fields of {kind.__name__}")
    return kind(*[read(item) for read, item in zip(readers, packed[1:], strict=True)])


def _tuple(hint: Any, packed: list[object]) -> tuple[Any, ...]:
    kinds = get_args(hint)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(packed)
    if len(kinds) != len(packed):
        raise NoValue(f"{_cut(packed)} should have {len(kinds)} items")
    return tuple(reader(kind)(item) for kind, item in zip(kinds, packed, strict=True))


def _tree(hint: Any, packed: list[object]) -> Tree[Any, Any]:
    pair = reader(tuple[get_args(hint)])  # type: ignore[misc]  # a tuple of what the tree's own hint names
    return Tree.of(pair(item) for item in packed)


# ==================================================================== the machine's side


class Pen:
    """Writes what one machine does into its ring; every process of the machine has one of its own."""

    def __init__(self, book: Book) -> None:
        """Write into the book."""
        self._book = book
        self._numbers = book.numbers
        self._open = False
        """Whether the last step has been written so far."""
        self._next_state = 0.0

    def start(self, arguments: dict[str, object]) -> None:
        """The machine begins."""
        self._numbers[Count.PID] = os.getpid()
        if not self._book.put(encode(["start", arguments])):
            self._numbers[_GAP] = 1

    def event(self, event: object, state: object = None) -> None:
        """The machine is about to take the event; ``state`` is its state, None where it is not to be had."""
        numbers = self._numbers
        number = numbers[_BEGUN] = numbers[_BEGUN] + 1
        record: list[object] = ["event", number, os.getpid(), event]
        gap = numbers[_GAP]
        if gap or numbers[_WANTED]:
            with_state = self._with_state(record, state)
            if with_state is not None and self._book.put(with_state):
                numbers[_GAP] = numbers[_WANTED] = 0
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
        if not self._book.put(encode(record)):
            self._drop()

    def _drop(self) -> None:
        self._open = False
        self._numbers[_GAP] = 1
        self._numbers[_DROPPED] += 1

    def _with_state(self, record: list[object], state: object) -> bytes | None:
        """The record with the state, if it is time for that."""
        began = time.monotonic()
        if state is None or began < self._next_state or self._book.free < self._book.room // 2:
            return None
        try:
            return encode([*record, self._numbers[_GAP], state])
        except TooLarge:
            return None
        finally:
            now = time.monotonic()
            self._next_state = now + max(PAUSE, SHARE * (now - began))
