"""Obligations, and who discharges them: Z3, on all cores; its answers are kept, and found again by content.

An obligation is a name in a *theory*; the theory makes the named formulas that must be unsatisfiable together.  So an
obligation travels to another process as two strings.  Some of the formulas are *assumptions* that a proof may not need:
those that it needed last time, the hint, are tried alone first, which is much quicker, and then all.

A verdict is kept under a fingerprint of the SMT-LIB text of the formulas and of the solver's version, so it is found
again as long as, and only while, the same question is asked.  `unknown` is never kept: it is a failure, to be tried
again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import z3
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from proofs import kept

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / "build" / "proofs"
"""Where verdicts are kept; it may be removed at any time."""
EFFORT: Final = 50_000_000
"""Z3's own units of work (`rlimit`) for one obligation, some half a minute.  No clock decides a verdict."""
SHOWN: Final = 3
"""Of so many obligations that could not be discharged, more is shown."""

Parts: TypeAlias = list[tuple[str, z3.BoolRef]]
"""Named formulas, which must not hold together."""


@dataclass(frozen=True)
class Theory:
    """Where obligations come from."""

    name: str
    """The module that registers it: whoever is handed an obligation imports this."""
    parts: Callable[[str, Sequence[str]], Parts]
    """The formulas of the obligation of this name, under these assumptions."""
    assumptions: Sequence[str]
    """The names of all that may be assumed."""
    remembers: Path
    """The folder of hints: for each obligation, what its proof needed."""

    def hints(self) -> dict[str, list[str]]:
        """What the proofs needed, by obligation: found once, and only ever a shortcut."""
        return kept.read(self.remembers)

    def write_hints(self, outcomes: Sequence[Outcome]) -> None:
        """Remember what the proofs needed, where that is not within what they needed last time."""
        old, hints = self.hints(), dict[str, list[str]]()
        for outcome in outcomes:
            last = old.get(outcome.obligation.name)
            enough = last is not None and set(outcome.needed) <= set(last) <= set(self.assumptions)
            hints[outcome.obligation.name] = last if last is not None and enough else list(outcome.needed)
        kept.write(self.remembers, hints, kept.before_colon)


_theories: dict[str, Theory] = {}


def register(theory: Theory) -> Theory:
    """Make the theory's obligations known, here and in every process that is handed one."""
    _theories[theory.name] = theory
    return theory


def theory(name: str) -> Theory:
    """The theory of this name, whose module is imported if it is not yet."""
    if name not in _theories:
        importlib.import_module(name)
    return _theories[name]


@dataclass(frozen=True)
class Obligation:
    """Something to prove."""

    theory: str
    name: str
    """Unique in the theory."""

    def parts(self, assume: Sequence[str] | None = None) -> Parts:
        """What must be unsatisfiable, under these assumptions or under all."""
        of = theory(self.theory)
        return of.parts(self.name, of.assumptions if assume is None else assume)


@dataclass(frozen=True)
class Outcome:
    """What a solver answers for an obligation."""

    obligation: Obligation
    verdict: str
    """``unsat``: it holds; ``sat``: there is a counterexample; ``unknown``."""
    seconds: float
    """How long the solver took, now or when it was asked."""
    needed: tuple[str, ...] = ()
    """The assumptions that the proof needed."""
    known: bool = False
    """From an earlier run."""

    @property
    def holds(self) -> bool:
        """Nothing but `unsat` will do."""
        return self.verdict == "unsat"


# ================================================================ one obligation


def smtlib(parts: Parts) -> str:
    """The formulas as one question in SMT-LIB, with all declarations, which any solver can be asked."""
    terms = [part for _, part in parts]
    rest = (z3.Ast * (len(terms) - 1))(*(term.as_ast() for term in terms[1:]))
    text: str = z3.Z3_benchmark_to_smtlib_string(
        terms[0].ctx_ref(), "", "", "unknown", "", len(rest), rest, terms[0].as_ast()
    )
    return text


def fingerprint(parts: Parts) -> str:
    """The content of a question: what is asked, by which names its parts are known, and who is asked."""
    # How `smtlib` abbreviates depends on what else was printed: of it, only the declarations are always the same.
    declarations = sorted(line for line in smtlib(parts).splitlines() if line.startswith("(declare-"))
    texts = (f"{name}: {part.sexpr()}" for name, part in parts)
    return hashlib.sha256("\0".join((z3.get_full_version(), *declarations, *texts)).encode()).hexdigest()


def solve(obligation: Obligation, assume: Sequence[str] | None = None, effort: int | None = None) -> Outcome:
    """Ask Z3, under these assumptions or under all; `effort` is in its units of work, `EFFORT` by default."""
    return _ask(obligation, obligation.parts(assume), EFFORT if effort is None else effort)


def fresh_solver(parts: Parts, effort: int) -> z3.Solver:
    """A solver of these formulas that does the same work whatever else has been asked, on a machine of any load.

    Z3 orders terms by their numbers, which depend on what its context has made before, and its search depends on the
    order: a proof of 0.03 s has taken 6 s.  So each question has a context of its own.
    """
    context = z3.Context()
    solver = z3.Solver(ctx=context)
    solver.set("rlimit", effort)
    solver.set("unsat_core", True)
    for name, part in parts:
        solver.assert_and_track(part.translate(context), name)
    return solver


def _ask(obligation: Obligation, parts: Parts, effort: int) -> Outcome:
    began = time.monotonic()
    solver = fresh_solver(parts, effort)
    verdict = str(solver.check())
    core = {str(name) for name in solver.unsat_core()} if verdict == "unsat" else set()
    assumptions = set(theory(obligation.theory).assumptions)
    needed = tuple(name for name, _ in parts if name in core and name in assumptions)
    return Outcome(obligation, verdict, time.monotonic() - began, needed)


def remembered(obligation: Obligation, assume: Sequence[str] | None, effort: int, cache: Path | None) -> Outcome:
    """The same, but from `cache` where the same was asked before."""
    parts = obligation.parts(assume)
    if cache is None:
        return _ask(obligation, parts, effort)
    file = cache / fingerprint(parts)
    try:
        known = json.loads(file.read_text())
        return Outcome(obligation, known["verdict"], known["seconds"], tuple(known["needed"]), known=True)
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole: it is asked again
        outcome = _ask(obligation, parts, effort)
    if outcome.verdict != "unknown":
        _keep(file, outcome)
    return outcome


def _keep(file: Path, outcome: Outcome) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_suffix(f".{os.getpid()}")
    whole.write_text(
        json.dumps({"verdict": outcome.verdict, "seconds": outcome.seconds, "needed": list(outcome.needed)})
    )
    whole.replace(file)  # at once, for whoever asks the same at this moment


def discharge(obligation: Obligation, hint: Sequence[str] | None = None, cache: Path | None = None) -> Outcome:
    """Try with the assumptions that were needed last time, then with all."""
    if hint is not None:
        assumptions = set(theory(obligation.theory).assumptions)
        known = [name for name in hint if name in assumptions]
        outcome = remembered(obligation, known, EFFORT // 4, cache)
        if outcome.holds:
            return outcome
    return remembered(obligation, None, EFFORT, cache)


# ================================================================ many


def run(
    wanted: Sequence[Obligation],
    cache: Path | None = CACHE,
    progress: Callable[[Outcome], None] | None = None,
    workers: int | None = None,
    hinted: bool = True,
) -> list[Outcome]:
    """Discharge the obligations on all cores; `progress` is called with each outcome, in order.

    Where they are not *hinted*, everything that may be is assumed in each proof from the first.

    Raises:
        ValueError: there is none.  A proof of nothing would be mistaken for a proof.
    """
    if not wanted:
        raise ValueError("there is nothing to prove")
    hints = {name: theory(name).hints() if hinted else {} for name in {o.theory for o in wanted}}
    jobs = [(obligation, hints[obligation.theory].get(obligation.name), cache) for obligation in wanted]
    outcomes = []
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for outcome in pool.map(_one, jobs, chunksize=4):
            outcomes.append(outcome)
            if progress is not None:
                progress(outcome)
    return outcomes


def _one(job: tuple[Obligation, Sequence[str] | None, Path | None]) -> Outcome:
    return discharge(*job)


@contextmanager
def watched(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how far the work is, on the standard error: a bar on a terminal, else a line for each tenth."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)
        return
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

    yield advance


# ================================================================ the command of a theory


def closing_table(outcomes: Sequence[Outcome], part_of: Callable[[Obligation], str]) -> Table:
    """What was asked and what was answered, by what it is a part of, in the order of the outcomes."""
    table = Table(box=None, header_style="bold")
    table.add_column("")
    for title in ("obligations", "discharged", "known from before", "seconds", "the slowest"):
        table.add_column(title, justify="right")
    parts: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        parts.setdefault(part_of(outcome.obligation), []).append(outcome)
    for name, part in parts.items():
        held, known = sum(o.holds for o in part), sum(o.known for o in part)
        seconds = [o.seconds for o in part]
        table.add_row(name, *map(str, (len(part), held, known)), f"{sum(seconds):.1f}", f"{max(seconds):.2f}")
    return table


def command(
    theory: Theory,
    wanted: Callable[[Sequence[str]], list[Obligation]],
    part_of: Callable[[Obligation], str],
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    show: Callable[[Obligation], None] = lambda _: None,
) -> int:
    """Discharge what is named, report it, and remember what the proofs needed if all was asked; 1 if one failed.

    `wanted` turns names into obligations, and raises ValueError for one that it does not know; `show` is given the
    first `SHOWN` obligations that could not be discharged.
    """
    parser.add_argument("--no-cache", action="store_true", help="ask again what was answered before")
    parser.add_argument("--no-hints", action="store_true", help="assume the whole invariant in each proof")
    given = parser.parse_args(arguments)
    try:
        asked = wanted(given.names)
    except ValueError as error:
        parser.error(str(error))
    began = time.monotonic()
    with watched("obligations", len(asked)) as advance:
        outcomes = run(asked, None if given.no_cache else CACHE, lambda _: advance(), hinted=not given.no_hints)
    failed = [outcome for outcome in outcomes if not outcome.holds]
    for outcome in failed:
        print(f"{outcome.verdict}: {outcome.obligation.name} ({outcome.seconds:.1f} s)")
    for outcome in failed[:SHOWN]:
        show(outcome.obligation)
    Console().print(closing_table(outcomes, part_of))
    print(f"{len(outcomes)} obligations, {len(failed)} not discharged, {time.monotonic() - began:.1f} s")
    if not given.names and not failed:
        theory.write_hints(outcomes)
    return int(bool(failed))
