"""Random values of the core's types, for the commands that watch what the machines do with random events.

The draws are the same each time: `random.Random.random` gives the same numbers for ever.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from maitred.core.messages import Adopt

T = TypeVar("T")


@dataclass(frozen=True)
class Draws:
    """Where small values are drawn from."""

    dice: random.Random
    ranges: Mapping[str, tuple[int, int]]
    """The least and the greatest number, by the name of the field."""
    otherwise: tuple[int, int]
    """The same of any other field."""
    likely: Mapping[object, Sequence[Any]] = field(default_factory=dict)  # Any: values of a class, or of a field
    """By class or by the name of the field, from what most of its values are drawn."""

    def value(self, hint: Any, name: str = "", brought: Any = None) -> Any:  # Any: a type, and a value of it
        """A value of the type.

        Args:
            hint: the type.
            name: of the field that it is for.
            brought: the type of its ``message`` or ``timer``; None for any.
        """
        kind = pick(list(parts(hint)), self.dice)
        if kind is NoneType:
            return None
        likely = self.likely.get(kind) or self.likely.get(name)
        if likely and self.dice.random() < 0.8:
            return pick(likely, self.dice)
        if kind is bool:
            return self.dice.random() < 0.5
        if kind is str:
            return pick(("*:1", "*:2"), self.dice)
        if kind is int:
            low, high = self.ranges.get(name, self.otherwise)
            return low + int(self.dice.random() * (high - low + 1))
        if get_origin(kind) is tuple:
            return tuple({self.value(get_args(kind)[0], "port"): None for _ in range(int(self.dice.random() * 2))})
        hints = hints_of(kind)
        if brought is not None:
            hints = {name: brought if name in ("message", "timer") else hint for name, hint in hints.items()}
        made = kind(**{each.name: self.value(hints[each.name], each.name) for each in fields(kind)})
        return replace(made, owed=made.dialogs) if isinstance(made, Adopt) else made


def parts(hint: Any) -> Iterator[Any]:  # Any: a type, or a union of such
    """The members of a union, however it is nested; of anything else, itself."""
    if get_origin(hint) in (Union, UnionType):
        for inner in get_args(hint):
            yield from parts(inner)
    else:
        yield hint


def pick(options: Sequence[T], dice: random.Random) -> T:
    """One of them."""
    return options[int(dice.random() * len(options))]


@cache
def hints_of(kind: type[Any]) -> Mapping[str, Any]:  # Any: types
    """The types of the fields."""
    return get_type_hints(kind)
