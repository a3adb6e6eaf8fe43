"""The obligations of the induction: the invariant holds at first, and every transition keeps it; one for each pair.

An obligation that a transition cannot touch, because nothing that the conjunct speaks of is assigned, is no obligation.
Of the others, each is a formula: the whole invariant before, the guard, and the negation of one conjunct after; `unsat`
means that it is kept.  `unknown` and a time-out count as failures.  `proofs.solve.solver` discharges them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import z3
from spec.relation.invariant import INVARIANT
from spec.relation.language import Action, Step, View
from spec.relation.state import NOW, STATE
from spec.relation.system import ACTIONS, initial

from proofs.kept import KEPT
from proofs.solve.solver import Obligation, Parts, Theory, register

HINTS: Final = KEPT / "induction"
"""For each obligation, the conjuncts that its proof needs."""
BEGINNING: Final = "the beginning"
ALWAYS: Final = "every state"
INDUCTIVE: Final = tuple(name for name, conjunct in INVARIANT.items() if conjunct.inductive)


def obligation(transition: str, conjunct: str) -> Obligation:
    """One conjunct must hold after one transition, or in the beginning, or follow in every state."""
    return Obligation(THEORY.name, f"{transition}: {conjunct}")


def pair(obligation: Obligation) -> tuple[str, str]:
    """The transition and the conjunct that the obligation is about."""
    transition, _, conjunct = obligation.name.partition(": ")
    return transition, conjunct


def obligations() -> list[Obligation]:
    """All that have to be discharged."""
    found = [obligation(BEGINNING if c.inductive else ALWAYS, name) for name, c in INVARIANT.items()]
    for action in ACTIONS:
        changed = set(step_of(action).changed)
        found += [obligation(action.name, name) for name in INDUCTIVE if changed & speaks_of(INVARIANT[name].says)]
    return found


def formula(name: str, assume: Sequence[str]) -> Parts:
    """What must be unsatisfiable: the guard and the goal, and those conjuncts that are assumed, by their names."""
    transition, conjunct = pair(Obligation(THEORY.name, name))
    says = INVARIANT[conjunct].says
    if transition == BEGINNING:
        return [("initial", initial(NOW)), ("goal", z3.Not(says(NOW)))]
    assumptions = [(other, before(INVARIANT[other].says)) for other in assume]
    if transition == ALWAYS:
        return [*((other, part) for other, part in assumptions if other != conjunct), ("goal", z3.Not(says(NOW)))]
    step = step_of(ACTIONS.by_name[transition])
    return [*assumptions, ("guard", step.guard), ("goal", z3.Not(says(View(STATE, step.changed))))]


THEORY: Final = register(Theory(__name__, formula, INDUCTIVE, HINTS))


# ---------------------------------------------------------------- what is made once

_steps: dict[Callable[..., None], Step] = {}


def step_of(action: Action) -> Step:
    """The transition, with constants for its parameters."""
    if action.body not in _steps:
        _steps[action.body] = action.step(STATE)
    return _steps[action.body]


@cache
def before(says: Callable[[View], Any]) -> z3.BoolRef:
    """The conjunct, of the state before."""
    term: z3.BoolRef = says(NOW)
    return term


@cache
def speaks_of(says: Callable[[View], Any]) -> frozenset[str]:
    """The symbols that occur in the conjunct."""
    found, left, seen = set(), [before(says)], set()
    while left:
        term = left.pop()
        if term.get_id() in seen:
            continue
        seen.add(term.get_id())
        left += term.children()
        if z3.is_app(term) and term.decl().kind() == z3.Z3_OP_UNINTERPRETED:
            found.add(term.decl().name())
    return frozenset(found)
