"""Mutants judged on all cores: each in a process where nothing else is mutated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from proofs.mutation.core.mutant import Mutant


def on_all_cores(
    judge: Callable[[str], tuple[str, ...]], mutants: Sequence[Mutant], done: Callable[[], None]
) -> Mapping[str, tuple[str, ...]]:
    """What `judge`, a function of a module, says of each mutant by its name; `done` is called after each, in order."""
    names = [mutant.name for mutant in mutants]
    killers = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for name, found in zip(names, pool.map(judge, names), strict=True):
            killers[name] = found
            done()
    return killers


def left_by_the_model(mutants: Sequence[Mutant], done: Callable[[], None]) -> list[Mutant]:
    """Those that no property of the model kills; of the others, `done` is called at once."""
    left = [mutant for mutant in mutants if not mutant.dies_in_the_model]
    for _ in range(len(mutants) - len(left)):
        done()
    return left
