"""What the explorations with and without renumbering come to, compared level by level.

*Full* is an exploration in which nothing is renumbered.  *Reduced* is one of normal forms.  After so many levels the
normal forms of all worlds of the one must be the worlds of the other, and what was violated or witnessed on the way the
same; and of each world of the one, its steps and then their normal forms must be the steps of its normal form.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import permutations
from typing import NamedTuple

from maitred.model.claims.safety import PROPERTIES, judge
from maitred.model.world import Bounds, System, World
from maitred.model.world.symmetry import Names


class Forms:
    """The worlds of one system of normal forms, and what is equal for exactly those that are one to it."""

    def __init__(self, bounds: Bounds, *, symmetric: bool) -> None:
        """For worlds within the bounds."""
        self.system = System(bounds, judge, symmetric=symmetric, steady=True)
        self._symmetric = symmetric
        self._orbits: dict[bytes, bytes] = {}

    def of(self, world: World) -> bytes:
        """Of a normal form: itself; where it is symmetric, the least of all that are it but for who is who."""
        key = self.system.key(world)
        if not self._symmetric:
            return key
        if key not in self._orbits:
            every = [self.system.normal.rename(world, names) for names in renamings(self.system, world)]
            self._orbits[key] = min(map(self.system.key, every))
        return self._orbits[key]


def renamings(system: System, world: World) -> Iterator[Names]:
    """Every renaming of servers and clients that changes who is who."""
    servers = sorted(s for s in system.normal.mentioned(world)[0] if s < world.monitor.next_server)
    for order in permutations(servers):
        for cookies in permutations(range(len(world.guests))):
            yield system.normal.exchanged(world, order, dict(enumerate(cookies)))


class Level(NamedTuple):
    """What is known after so many levels."""

    forms: frozenset[bytes]
    found: frozenset[str]
    """The properties that were violated, or shown."""


_ASKED = [(p.name, p.world) for p in PROPERTIES.values() if p.world is not None]
_SOUGHT = [(p.name, p.witness) for p in PROPERTIES.values() if p.witness is not None]
Known = Callable[[World], World]
Outcome = tuple[bytes, frozenset[str]]


def asked_of(world: World) -> set[str]:
    """The properties that the world violates."""
    return {name for name, violations in _ASKED if next(violations(world), None)}


def steps(system: System, world: World, found: Collection[str] = ()) -> list[tuple[World, frozenset[str]]]:
    """Where the steps lead, and the properties that each violates or shows; those that are found are not sought.

    A machine that breaks down leads nowhere, and shows by which exception it does.
    """
    try:
        taken = [*system.successors(world)]
    except Exception as error:  # whatever a bent machine may raise
        return [(world, frozenset({type(error).__name__}))]
    sought = [(name, shows) for name, shows in _SOUGHT if name not in found]
    return [
        (after, frozenset((*wrong, *(name for name, shows in sought if shows(world, action, after)))))
        for action, after, wrong in taken
    ]


def levels(
    system: System, known_as: Known, form: Callable[[World], bytes], limit: int, depth: int | None = None
) -> Iterator[Level]:
    """An exploration of worlds as they are known, level by level: until there are so many, or as deep as that."""
    try:
        first = known_as(system.initial())
    except Exception as error:  # as in `steps`
        yield Level(frozenset(), frozenset({type(error).__name__}))
        return
    frontier, seen = [first], {system.key(first)}
    forms: set[bytes] = set()
    found: set[str] = set(system.amiss)
    while frontier and (depth is None or depth >= 0):
        forms.update(map(form, frontier))
        for world in frontier:
            found |= asked_of(world)
        yield Level(frozenset(forms), frozenset(found))
        if depth is None and len(seen) > limit:
            return
        depth = depth - 1 if depth is not None else None
        following = []
        for world in frontier:
            for after, wrong in steps(system, world, found):
                found |= wrong
                known = known_as(after)
                if system.key(known) not in seen:
                    seen.add(system.key(known))
                    following.append(known)
        frontier = following


def disagreements(bounds: Bounds, limit: int, *, symmetric: bool, first: int = 0) -> Iterator[str]:
    """Where the exploration without any renumbering and that of normal forms differ; the former ends at the limit."""
    forms = Forms(bounds, symmetric=symmetric)
    system = System(bounds, judge, first=first)
    full = [*levels(system, lambda world: world, lambda world: forms.of(forms.system.adopted(world)), limit)]
    reduced = [*levels(forms.system, forms.system.canonical, forms.of, limit, len(full) - 1)]
    reduced += reduced[-1:] * (len(full) - len(reduced))  # of worlds that come again, a full exploration has no end
    for depth, (one, other) in enumerate(zip(full, reduced, strict=True)):
        if one.found != other.found:
            yield f"level {depth}: only in one of them are found {sorted(one.found ^ other.found)}"
        if one.forms != other.forms:
            more, less = len(one.forms - other.forms), len(other.forms - one.forms)
            yield f"level {depth}: {more} normal forms are only in the full exploration, {less} only in the reduced"


def missteps(bounds: Bounds, limit: int, *, symmetric: bool, first: int = 0) -> Iterator[World]:
    """Worlds, of the first so many, whose steps and then their normal forms are not the steps of their normal form."""
    forms, full = Forms(bounds, symmetric=symmetric), System(bounds, judge, first=first)

    def outcomes(system: System, world: World) -> set[Outcome]:
        return {(forms.of(forms.system.adopted(after)), wrong) for after, wrong in steps(system, world)}

    start = full.initial()
    seen, queue = {full.key(start)}, deque([start])
    while queue:
        world = queue.popleft()
        if outcomes(full, world) != outcomes(forms.system, forms.system.adopted(world)):
            yield world
        for after, _ in steps(full, world):
            if full.key(after) not in seen and len(seen) < limit:
                seen.add(full.key(after))
                queue.append(after)
