"""Whether a property is refuted of the core as it is at the moment: bent, or not."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from maitred.model.checker import enquire
from maitred.model.explorer import Explorer
from maitred.model.liveness import check_liveness
from maitred.model.properties import PROPERTIES
from maitred.model.world import Bounds
from proofs.mutants.bend import Mutant

LIMIT = 6_500
"""Known states after which an exploration ends: a mutant may have no end of them, and dies before."""


def refuted(bounds: Bounds, names: Collection[str], limit: int = LIMIT) -> frozenset[str]:
    """Those of the properties that are refuted within the bounds, as far as so many states go.

    An *always* property is refuted by a violation, a *sometimes* property by a complete exploration that does not
    come to it.  The exploration ends as soon as all have been found.
    """
    wanted = frozenset(names)
    always = frozenset(name for name in wanted if PROPERTIES[name].kind == "always")
    explorer = Explorer(partial(enquire, bounds, False))
    explorer.run(None, limit, always.issubset if always == wanted else None)
    missed = wanted - always - explorer.found if explorer.complete else frozenset()
    return always & explorer.found | missed


def refuted_in_the_end(
    bounds: Bounds, names: Collection[str], without: Collection[str] = (), limit: int = LIMIT
) -> frozenset[str]:
    """Those of the *eventually* properties that are refuted within the bounds, as far as so many states go.

    The assumptions named by `without` are not made.
    """
    result = check_liveness(bounds, names, max_states=limit, without=without)
    return frozenset(on.property.name for on in result.verdicts if on.lasso is not None)


def survived(mutant: Mutant) -> frozenset[str]:
    """The properties that the mutant's entry names and that are not refuted of the core as it is at the moment."""
    left = frozenset(mutant.refutes) | frozenset(mutant.eventually)
    if mutant.within is None:
        return left
    if mutant.refutes:
        left -= refuted(mutant.within, mutant.refutes)
    if mutant.eventually:
        left -= refuted_in_the_end(mutant.within, mutant.eventually, mutant.without)
    return left
