"""What the bridge answers to a mutant of the core: a column for `proofs.mutation.matrix`.

The mutated core is compared with the relation in the first worlds of an exploration: within the mutant's own bounds,
and within `USUAL` where it names none.  A step that is no step of the relation, or one that the relation allows and the
mutated core does not take, kills it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from maitred.model.world import Bounds
from maitred.model.world.recorded_runs import RunError
from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.checks import RAISED, RAISES
from proofs.mutation.core.mutant import Mutant
from proofs.mutation.core.parallel import on_all_cores
from proofs.refinement.abstraction import NotModelled
from proofs.refinement.bridge import Divergence, compare
from proofs.refinement.readers import Unlike

WORLDS: Final = 1_000
"""Worlds compared for each mutant: some seconds' worth, and always the same ones."""
USUAL: Final = Bounds(servers=1, clients=2, distributor_crashes=1)
"""Where a mutant is looked for that only tests are named for."""


def answers(mutants: Sequence[Mutant], done: Callable[[], None]) -> Mapping[str, tuple[str, ...]]:
    """The column: for each mutant, the transition at which the code and the relation part."""
    return on_all_cores(_answer, mutants, done)


def _answer(name: str) -> tuple[str, ...]:
    mutant = CATALOGUE[name]
    with mutant.mutated():
        return answer(mutant.within or USUAL)


def answer(bounds: Bounds, worlds: int = WORLDS) -> tuple[str, ...]:
    """What the bridge says of the core as it is at the moment: where it diverges, or nothing."""
    try:
        compare(bounds, worlds)
    except Divergence as divergence:
        return (divergence.about,)
    except (NotModelled, RunError):  # from the first world on
        return ()
    except Unlike:
        return ("copies of a client differ",)
    except RAISED:
        return (RAISES,)
    return ()
