"""What the bridge answers to a mutant of the core: a column for `proofs.matrix`.

The core is bent, and compared with the relation within the mutant's own bounds, in the first worlds of an exploration.
A step that is no step of the relation, or one that the relation allows and the bent core does not take, kills it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from maitred.model.world import Bounds
from proofs.bridge import Divergence, compare
from proofs.mutants.bend import Mutant

WORLDS: Final = 600
"""So many worlds are looked at for each mutant: some seconds' worth, and always the same ones."""


def answers(mutants: Sequence[Mutant], done: Callable[[], None]) -> Mapping[str, tuple[str, ...]]:
    """The column: for each mutant that names bounds, the transition at which the code and the relation part."""
    killers = {}
    for mutant in mutants:
        if mutant.within is not None:
            with mutant.bent():
                killers[mutant.name] = answer(mutant.within)
        done()
    return killers


def answer(bounds: Bounds, worlds: int = WORLDS) -> tuple[str, ...]:
    """What the bridge says of the core as it is at the moment: where it diverges, or nothing."""
    try:
        compare(bounds, worlds)
    except Divergence as divergence:
        return (f"the bridge: {divergence.about}",)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError):
        return ("the bridge: a step raises",)
    return ()
