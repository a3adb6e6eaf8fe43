"""Interning: equal components of worlds are one object, so a world is known by the identities of its components."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from maitred.model.world.state import Group, World

T = TypeVar("T")
_PACK: Final = struct.Struct(f"{len(World._fields)}Q").pack


class Components:
    """The components of one system's worlds, each interned: of equal ones there is one object."""

    def __init__(self) -> None:
        """None so far."""
        self._parts: dict[Any, Any] = {}  # Any: components of every type
        self._own: set[int] = set()
        self._groups: dict[tuple[int, ...], tuple[Group, ...]] = {}

    def interned(self, part: T) -> T:
        """The one object that is equal to this component, kept alive for as long as the system."""
        if id(part) in self._own:
            return part
        known: T = self._parts.setdefault(part, part)
        self._own.add(id(known))
        return known

    def team(self, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        """The one tuple of these groups, each of which is interned."""
        return self._groups.setdefault(tuple(map(id, groups)), groups)

    def seal(self, world: Iterable[Any], before: World | None = None) -> World:  # Any: the parts of a world
        """The same world, of interned components; those that are `before`'s are interned already."""
        if before is None:
            return World._make(map(self.interned, world))
        interned = self.interned
        return World._make([p if p is old else interned(p) for p, old in zip(world, before, strict=True)])

    @staticmethod
    def key(world: World) -> bytes:
        """What is equal for equal sealed worlds and for no others."""
        return _PACK(*map(id, world))

    def assemble(self, world: World) -> World:
        """The sealed world of these components, whose groups are each interned."""
        return self.seal(world._replace(groups=self.team(world.groups)))
