"""The induction: the invariant holds at first, and every transition keeps it.  One obligation for each pair.

An obligation that a transition cannot touch, because nothing that the conjunct speaks of is assigned, is no obligation.
Of the others, each is a formula: the whole invariant before, the guard, and the negation of one conjunct after; `unsat`
means that it is kept.  `unknown` and a time-out count as failures.

The conjuncts that a proof needed are remembered: they are tried alone first, which is much quicker, and then all.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import z3
from spec.relation.invariant import INVARIANT
from spec.relation.language import Action, View
from spec.relation.state import NOW, STATE
from spec.relation.system import ACTIONS, initial

HINTS = Path(__file__).parent / "hints.json"
"""For each obligation, the conjuncts that its proof needs: found once, and only ever a shortcut."""
TIMEOUT = 30_000
"""Milliseconds for one obligation."""
BEGINNING = "the beginning"
ALWAYS = "every state"
INDUCTIVE = tuple(name for name, conjunct in INVARIANT.items() if conjunct.inductive)


@dataclass(frozen=True)
class Obligation:
    """One conjunct must hold after one transition, or in the beginning."""

    transition: str
    conjunct: str

    @property
    def name(self) -> str:
        """For messages and for the hints."""
        return f"{self.transition}: {self.conjunct}"


@dataclass(frozen=True)
class Outcome:
    """What a solver says of an obligation."""

    obligation: Obligation
    verdict: str
    """``unsat``: it holds; ``sat``: there is a counterexample to induction; ``unknown``."""
    seconds: float
    needed: tuple[str, ...] = ()
    """The conjuncts that the proof needed."""
    known: bool = False
    """From an earlier run."""


def obligations() -> list[Obligation]:
    """All that have to be discharged."""
    found = [Obligation(BEGINNING, name) for name, conjunct in INVARIANT.items() if conjunct.inductive]
    found += [Obligation(ALWAYS, name) for name, conjunct in INVARIANT.items() if not conjunct.inductive]
    for action in ACTIONS:
        after = View(STATE, action.step(STATE).changed)
        for name, conjunct in INVARIANT.items():
            if conjunct.inductive and not conjunct.says(after).eq(conjunct.says(NOW)):
                found.append(Obligation(action.name, name))
    return found


def formula(obligation: Obligation, assume: Sequence[str]) -> list[tuple[str, z3.BoolRef]]:
    """What must be unsatisfiable: named parts, of which those called after a conjunct are assumptions."""
    if obligation.transition == BEGINNING:
        return [("initial", initial(NOW)), ("goal", z3.Not(INVARIANT[obligation.conjunct].says(NOW)))]
    if obligation.transition == ALWAYS:
        assumptions = [(name, INVARIANT[name].says(NOW)) for name in assume if name != obligation.conjunct]
        return [*assumptions, ("goal", z3.Not(INVARIANT[obligation.conjunct].says(NOW)))]
    action: Action = ACTIONS.by_name[obligation.transition]
    step = action.step(STATE)
    goal = INVARIANT[obligation.conjunct].says(View(STATE, step.changed))
    assumptions = [(name, INVARIANT[name].says(NOW)) for name in assume]
    return [*assumptions, ("guard", step.guard), ("goal", z3.Not(goal))]


def solve(obligation: Obligation, assume: Sequence[str], timeout: int = TIMEOUT) -> Outcome:
    """Ask Z3."""
    began = time.monotonic()
    solver = z3.Solver()
    solver.set("timeout", timeout)
    solver.set("unsat_core", True)
    for name, part in formula(obligation, assume):
        solver.assert_and_track(part, name)
    verdict = str(solver.check())
    core = {str(name) for name in solver.unsat_core()} if verdict == "unsat" else set()
    needed = tuple(name for name in assume if name in core)
    return Outcome(obligation, verdict, time.monotonic() - began, needed)


def discharge(obligation: Obligation, hint: Sequence[str] | None) -> Outcome:
    """Try with the conjuncts that were needed last time, then with all."""
    if hint is not None:
        known = [name for name in hint if name in INDUCTIVE]
        outcome = solve(obligation, known, TIMEOUT // 4)
        if outcome.verdict == "unsat":
            return outcome
    return solve(obligation, INDUCTIVE)


def read_hints() -> dict[str, list[str]]:
    """What proofs needed, by obligation."""
    if not HINTS.exists():
        return {}
    hints: dict[str, list[str]] = json.loads(HINTS.read_text())
    return hints


def _one(job: tuple[Obligation, list[str] | None]) -> Outcome:
    return discharge(*job)


def run(
    wanted: Sequence[Obligation],
    progress: Callable[[Outcome, int, int], None] | None = None,
    workers: int | None = None,
) -> list[Outcome]:
    """Discharge the obligations on all cores; `progress` hears of each, how many are done, and of how many."""
    assert wanted, "there is nothing to prove"
    hints = read_hints()
    jobs = [(obligation, hints.get(obligation.name)) for obligation in wanted]
    outcomes = []
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for outcome in pool.map(_one, jobs, chunksize=4):
            outcomes.append(outcome)
            if progress is not None:
                progress(outcome, len(outcomes), len(jobs))
    return outcomes


def write_hints(outcomes: Sequence[Outcome]) -> None:
    """Remember what the proofs needed."""
    hints = {o.obligation.name: list(o.needed) for o in outcomes if o.verdict == "unsat"}
    HINTS.write_text(json.dumps(dict(sorted(hints.items())), indent=0) + "\n")


def main() -> int:
    """Prove everything, and say what could not be."""
    import sys

    began = time.monotonic()
    failed = []

    def tell(outcome: Outcome, done: int, of: int) -> None:
        if outcome.verdict != "unsat":
            failed.append(outcome)
            print(f"{outcome.verdict}: {outcome.obligation.name} ({outcome.seconds:.1f} s)", flush=True)
        elif outcome.seconds > 3:
            print(f"   slow {outcome.obligation.name} ({outcome.seconds:.1f} s)", flush=True)

    wanted = obligations()
    if len(sys.argv) > 1:
        wanted = [o for o in wanted if o.conjunct in sys.argv[1:] or o.transition in sys.argv[1:]]
    outcomes = run(wanted, tell)
    if len(sys.argv) == 1 or not HINTS.exists():
        write_hints(outcomes)
    print(f"{len(outcomes)} obligations, {len(failed)} not discharged, {time.monotonic() - began:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
