"""Whether a property is refuted of the core as it is at the moment: mutated, or not."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from maitred.model.check.checker import enquire
from maitred.model.check.liveness import check_liveness
from maitred.model.claims.safety import PROPERTIES, judge
from maitred.model.search.explorer import Explorer
from maitred.model.world import Bounds, System
from proofs.mutation.core.mutant import Mutant

LIMIT = 6_500
"""Known states after which an exploration ends: a mutant may have no end of them, and dies before."""
RAISES = "a step raises"
"""The mutated machine itself breaks down in an exploration, which ends it."""
RAISED = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError)
"""What is meant by that."""


def refuted(bounds: Bounds, names: Collection[str], limit: int = LIMIT, first: int | None = None) -> frozenset[str]:
    """Those of the properties that are refuted within the bounds, as far as so many states go.

    An *always* property is refuted by a violation, a *sometimes* property by a complete exploration that does not
    come to it.  The exploration ends as soon as all have been found.  One in which the numbers begin at `first` and
    keep their size may have no end: it sees *always* properties only.
    """
    wanted = frozenset(names)
    always = frozenset(name for name in wanted if PROPERTIES[name].kind == "always")
    if first is not None:
        return _violated(System(bounds, judge, first=first), always, limit)
    explorer = Explorer(partial(enquire, bounds, False))
    explorer.run(None, limit, always.issubset if always == wanted else None)
    missed = wanted - always - explorer.found if explorer.complete else frozenset()
    return always & explorer.found | missed


def _violated(system: System, always: frozenset[str], limit: int) -> frozenset[str]:
    """Those that are violated in an exploration, breadth first, of worlds as they are."""
    asked = [(name, breaks) for name in always if (breaks := PROPERTIES[name].world) is not None]
    frontier = [system.initial()]
    found = set(system.amiss)
    known = {*map(system.key, frontier)}
    while frontier and len(known) <= limit:
        found.update(
            name for world in frontier for name, breaks in asked if name not in found and next(breaks(world), None)
        )
        if found >= always:
            break
        following = []
        for world in frontier:
            for _, after, wrong in system.successors(world):
                found.update(wrong)
                if (key := system.key(after)) not in known:
                    known.add(key)
                    following.append(after)
        frontier = following
    return always & found


def refuted_in_the_end(
    bounds: Bounds, names: Collection[str], without: Collection[str] = (), limit: int = LIMIT
) -> frozenset[str]:
    """Those of the *eventually* properties that are refuted within the bounds, as far as so many states go.

    The assumptions named by `without` are not made.
    """
    result = check_liveness(bounds, names, max_states=limit, without=without)
    return frozenset(on.property.name for on in result.verdicts if on.lasso is not None)


def survived(mutant: Mutant) -> frozenset[str]:
    """What the mutant's entry names and what is not so of the core as it is at the moment: properties that are not
    refuted, a step that does not raise.
    """
    left = frozenset(mutant.refutes) | frozenset(mutant.eventually)
    if mutant.within is None:
        return left
    if mutant.breaks:
        left |= {RAISES}
        try:
            refuted(mutant.within, PROPERTIES, first=mutant.first)
        except RAISED:
            left -= {RAISES}
    if mutant.refutes:
        left -= refuted(mutant.within, mutant.refutes, first=mutant.first)
    if mutant.eventually:
        left -= refuted_in_the_end(mutant.within, mutant.eventually, mutant.without)
    return left
