"""Mutants of the proof: each guard dropped, each assignment dropped, and which sentence of the invariant breaks.

A mutated transition is looked at in finite scopes first (`proofs.induction.finite_scope`): a state that has the whole
invariant, and a step after which some conjunct is false, kills the mutant.  Where there is none, Z3 is asked of every
obligation of the transition, at any size: one that it cannot discharge is no longer proved, which kills the mutant too.
If all still hold, safety does not need what was dropped.  A guard may follow from the transition's other guards and the
invariant: then dropping it changes nothing in any state that can be reached, as Z3 shows.  Otherwise it is for the
bridge to see that the relation does not say what the code does.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from typing import Any, Final

import z3
from spec.relation.invariant import INVARIANT
from spec.relation.language import Step, View
from spec.relation.state import STATE
from spec.relation.system import ACTIONS

from proofs import kept
from proofs.induction.necessity import SCOPES, Room
from proofs.induction.obligations import HINTS, INDUCTIVE, before, obligation, speaks_of, step_of
from proofs.induction.obligations import THEORY as INDUCTION
from proofs.kept import KEPT
from proofs.refinement.abstraction import canonical_form
from proofs.refinement.bridge import TRANSITIONS, Move, Tally
from proofs.refinement.interpreter import State, Transition
from proofs.refinement.pinned_configurations import here_and_there
from proofs.solve.solver import EFFORT, ROOT, Obligation, Parts, Theory, register, solve, watched

FATES: Final = KEPT / "proof_mutants"
"""What the last run of all has found."""
SEPARATOR: Final = " | "
ITS_GUARD: Final = "the guard itself"
"""In place of a conjunct: the guard that was dropped follows from the others and the invariant."""
LITTLE: Final = 500_000
"""Z3's units of work to show that a guard is implied: where it is, a tenth of this has been enough."""
WORLDS: Final = 150
"""Worlds of each pinned configuration that the bridge compares."""
WALKS: Final = 10
"""Random walks within each of the deep bounds."""


@dataclass(frozen=True)
class RelationMutant:
    """One guard or one assignment of a transition, dropped."""

    transition: str
    guard: int | None = None
    """The place of the guard among the transition's."""
    assignment: str = ""
    """Or the symbol that keeps its value."""

    @property
    def name(self) -> str:
        """Unique."""
        return f"{self.transition} without {self.assignment or f'guard {self.guard}'}"

    @property
    def text(self) -> str:
        """What is dropped."""
        if self.guard is None:
            return self.assignment
        return " ".join(str(step_of(ACTIONS.by_name[self.transition]).guards[self.guard][1]).split())

    @property
    def label(self) -> str:
        """What is dropped of which transition, for people: at most some hundred characters."""
        text = self.text if len(self.text) <= 90 else f"{self.text[:87]}..."
        return f"{self.transition} without the {'guard' if self.guard is not None else 'assignment'} {text}"

    def step(self) -> Step:
        """The mutated transition."""
        step = step_of(ACTIONS.by_name[self.transition])
        if self.guard is None:
            return replace(step, changed={name: m for name, m in step.changed.items() if name != self.assignment})
        return replace(step, guards=step.guards[: self.guard] + step.guards[self.guard + 1 :])


@cache
def relation_mutants() -> dict[str, RelationMutant]:
    """All of them, by name."""
    found = []
    for action in ACTIONS:
        step = step_of(action)
        found += [RelationMutant(action.name, guard=n) for n in range(len(step.guards))]
        found += [RelationMutant(action.name, assignment=name) for name in step.changed]
    return {mutant.name: mutant for mutant in found}


def relation_mutant(transition: str, text: str) -> RelationMutant:
    """The one of the transition that drops what contains this text; of assignments, the symbol.

    Raises:
        LookupError: there is none, or more than one.
    """
    of_it = [b for b in relation_mutants().values() if b.transition == transition]
    found = [b for b in of_it if b.assignment == text] or [b for b in of_it if b.guard is not None and text in b.text]
    if len(found) != 1:
        raise LookupError(f"{len(found)} guards or assignments of {transition} are {text!r}")
    return found[0]


# ================================================================ obligations


def touched(mutant: RelationMutant) -> list[str]:
    """The conjuncts that the mutated transition could break."""
    changed = set(mutant.step().changed)
    return [name for name in INDUCTIVE if changed & speaks_of(INVARIANT[name].says)]


def formula(name: str, assume: Sequence[str]) -> Parts:
    """The obligation of a mutated transition: `induction.formula`, but for what was dropped."""
    mutated, _, conjunct = name.partition(SEPARATOR)
    mutant = relation_mutants()[mutated]
    step = mutant.step()
    if conjunct == ITS_GUARD:
        assert mutant.guard is not None, "no guard is dropped"
        goal = step_of(ACTIONS.by_name[mutant.transition]).guards[mutant.guard][1]
    else:
        goal = INVARIANT[conjunct].says(View(STATE, step.changed))
    assumptions = [(other, before(INVARIANT[other].says)) for other in assume]
    return [*assumptions, ("guard", guard_of(step)), ("goal", z3.Not(goal))]


def is_implied(mutant: RelationMutant, effort: int = LITTLE) -> bool:
    """Whether the transition's other guards and the invariant imply the guard, so that dropping it changes nothing."""
    return solve(Obligation(THEORY.name, f"{mutant.name}{SEPARATOR}{ITS_GUARD}"), None, effort).holds


def guard_of(step: Step) -> z3.BoolRef:
    """All that is required, which may be nothing."""
    return step.guard if step.guards else z3.BoolVal(True)


THEORY: Final = register(Theory("proofs.mutation.proof_mutants", formula, INDUCTIVE, HINTS))


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "refuted by the induction"
    UNPROVED = "no longer proved"
    IMPLIED = "implied by the other guards and the invariant"
    NOTICED = "noticed by the bridge"
    SURVIVED = "noticed by neither"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant, and by which conjunct."""

    mutant: RelationMutant
    fate: Fate
    conjunct: str = ""


def judge(mutant: RelationMutant, effort: int = EFFORT) -> Verdict:
    """Look in the scopes, then ask Z3 at any size; `effort` is in its units of work, for one obligation."""
    for scope in SCOPES:
        broken = broken_by(mutant, touched(mutant), room(SCOPES.index(scope)))
        if broken:
            return Verdict(mutant, Fate.KILLED, broken)
    hints = INDUCTION.hints()
    for conjunct in touched(mutant):
        asked = Obligation(THEORY.name, f"{mutant.name}{SEPARATOR}{conjunct}")
        hint = hints.get(obligation(mutant.transition, conjunct).name)
        quick = hint is not None and solve(asked, [n for n in hint if n in INDUCTIVE], effort // 4).holds
        if not quick and not solve(asked, None, effort).holds:
            return Verdict(mutant, Fate.UNPROVED, conjunct)
    return Verdict(mutant, Fate.IMPLIED if mutant.guard is not None and is_implied(mutant) else Fate.SURVIVED)


@cache
def room(n: int) -> Room:
    """The invariant in one of the scopes, written out once for each process."""
    return Room(SCOPES[n])


def broken_by(mutant: RelationMutant, conjuncts: Sequence[str], room: Room) -> str:
    """One of the conjuncts that is false after the mutated transition, a promise rather than a lemma; or nothing."""
    step, scope = mutant.step(), room.scope
    after = View(STATE, step.changed)
    goals = {name: scope.ground(z3.Not(INVARIANT[name].says(after))) for name in conjuncts}
    room.solver.push()
    try:
        room.solver.add(scope.ground(guard_of(step)), z3.Or(*goals.values()))
        numbers = [parameter for parameter in step.parameters.values() if parameter.sort() == z3.IntSort()]
        room.solver.add(*(z3.And(n >= 0, n <= scope.top) for n in numbers))
        if room.solver.check(list(room.assumed.values())) != z3.sat:
            return ""
        model = room.solver.model()
        false = [name for name, goal in goals.items() if z3.is_true(model.eval(goal, model_completion=True))]
        return min(false, key=lambda name: not INVARIANT[name].promised)
    finally:
        room.solver.pop()


# ================================================================ what the bridge notices


@dataclass
class Noticed:
    """A watch on the bridge.

    A guard that alone is false, where an exact transition could be tried and nothing of the kind happens in the code,
    is one whose absence would be noticed there.  An assignment without which the transitions of a step lead elsewhere,
    or no further, is so too.
    """

    among: set[RelationMutant]
    """What has not been noticed yet, and may be."""
    found: set[RelationMutant] = field(default_factory=set)

    def walked(self, state: State, wanted: State, moves: Sequence[Move]) -> None:
        """Try the step again without each assignment of its transitions."""
        for name in {name for name, _ in moves}:
            for symbol in TRANSITIONS[name].updates:
                mutant = RelationMutant(name, assignment=symbol)
                if mutant in self.among and not _leads_there(state, wanted, moves, mutant):
                    self._note(mutant)

    def refused(self, state: State, refused: Transition, parameters: Mapping[str, Any]) -> None:
        """Note the guard that is the only one that is false."""
        if all(mutant.guard is None or mutant.transition != refused.name for mutant in self.among):
            return
        verdicts = refused.verdicts(state, parameters)
        if verdicts.count(False) == 1:
            mutant = RelationMutant(refused.name, guard=verdicts.index(False))
            if mutant in self.among:
                self._note(mutant)

    def _note(self, mutant: RelationMutant) -> None:
        self.among.discard(mutant)
        self.found.add(mutant)


def _leads_there(state: State, wanted: State, moves: Sequence[Move], mutant: RelationMutant) -> bool:
    for name, parameters in moves:
        taken = TRANSITIONS[name]
        if name == mutant.transition:
            taken = replace(taken, updates={s: update for s, update in taken.updates.items() if s != mutant.assignment})
        if taken.refused(state, parameters) is not None:
            return False
        state = taken.after(state, parameters)
    return canonical_form(state) == canonical_form(State(wanted.tables, state.domains, wanted.defaults))


def may_be_noticed(mutant: RelationMutant) -> bool:
    """The bridge compares every assignment that is no ghost's, and the guards of exact transitions."""
    transition = TRANSITIONS[mutant.transition]
    return transition.exact if mutant.guard is not None else mutant.assignment in transition.updates


def shown_to_the_bridge(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, where the bridge has noticed what the induction has not: one comparison does for all."""
    watch = Noticed({v.mutant for v in verdicts if v.fate is Fate.SURVIVED and may_be_noticed(v.mutant)})
    for _ in here_and_there(WORLDS, WALKS, Tally(watch=watch)) if watch.among else ():
        if not watch.among:
            break
    return [replace(v, fate=Fate.NOTICED) if v.mutant in watch.found else v for v in verdicts]


# ================================================================ what is kept, and the command


def rendered(verdict: Verdict) -> str:
    """The fate in words."""
    match verdict.fate:
        case Fate.KILLED | Fate.UNPROVED:
            return f"{verdict.fate.value}: {verdict.conjunct}"
        case Fate.NOTICED | Fate.IMPLIED:
            return str(verdict.fate.value)
    if verdict.mutant.assignment and STATE.symbols[verdict.mutant.assignment].ghost:
        return f"{verdict.fate.value}: a ghost"
    exact = ACTIONS.by_name[verdict.mutant.transition].exact
    return f"{verdict.fate.value}: {'idle' if exact or verdict.mutant.assignment else 'of the world'}"


def facts(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """What is kept of the verdicts."""
    return {verdict.mutant.label: rendered(verdict) for verdict in verdicts}


def counted(fates: Iterable[str]) -> str:
    """How many mutants came to each end, in words."""
    counts = Counter(fate.partition(": ")[0] for fate in fates)
    return ", ".join(f"{counts[fate.value]} {fate.value}" for fate in Fate)


def judged(
    those: Sequence[RelationMutant], advance: Callable[[], None] = lambda: None, workers: int | None = None
) -> list[Verdict]:
    """The fate of each, on all cores."""
    verdicts = []
    with ProcessPoolExecutor(workers) as pool:
        for verdict in pool.map(judge, those, chunksize=4):
            verdicts.append(verdict)
            advance()
    return verdicts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.mutation.proof_mutants", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a transition; all by default")
    parser.add_argument("--write", action="store_true", help=f"keep the fates in {FATES.relative_to(ROOT)}")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in ACTIONS.by_name]
    if unknown:
        parser.error(f"no such transition: {', '.join(unknown)}")
    if given.write and given.names:
        parser.error("what is kept is of every mutant: --write takes no names")
    those = [b for b in relation_mutants().values() if not given.names or b.transition in given.names]
    with watched("mutants", len(those)) as advance:
        verdicts = shown_to_the_bridge(judged(those, advance))
    for verdict in verdicts:
        print(f"{verdict.mutant.label}\n    {rendered(verdict)}")
    if given.write:
        kept.write(FATES, facts(verdicts), lambda name: name.partition(" without ")[0])
    print(f"{len(verdicts)} mutants: {counted(facts(verdicts).values())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
