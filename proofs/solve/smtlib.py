"""A second opinion: the obligations in SMT-LIB, and cvc5 asked of each, with the conjuncts that its proof needed.

Z3 says `unsat` of every obligation.  A solver is a large program, so another one, written by others, is asked the same
in the language that both read.  What it confirms is published by number, and what it does not, by name.

`python -m proofs.solve.smtlib --export FOLDER` writes the questions to files, for any other solver.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import cvc5
import z3
from docs import campaigns

from proofs.induction.invariant import wanted
from proofs.solve.solver import ROOT, Obligation, Outcome, smtlib, theory, watched

PAGE: Final = ROOT / "docs" / "generated" / "second-solver.md"
LOGIC: Final = "UFDTLIA"
"""Quantifiers, functions without meaning, finite kinds, linear integers; no arrays, so `store` is a name."""
PATIENCE: Final = 10_000
"""Milliseconds for one obligation."""


def question(obligation: Obligation) -> str:
    """The obligation in SMT-LIB, under what its proof needed or, where that is not known, under everything."""
    text = smtlib(obligation.parts(theory(obligation.theory).hints().get(obligation.name)))
    values = set(re.findall(r"\((\w+)\)", "".join(re.findall(r"^\(declare-datatypes.*", text, re.MULTILINE))))
    for name in values.intersection(re.findall(r"^\(declare-fun (\w+) \(\w", text, re.MULTILINE)):
        # A function and a value of one name are two things to Z3, which distinguishes them by their arguments.
        text = text.replace(f"({name} ", f"(is_{name} ").replace(f"(declare-fun {name} ", f"(declare-fun is_{name} ")
    return f"; {obligation.name}\n(set-logic {LOGIC})\n{text}"


def asked(text: str, patience: int = PATIENCE) -> str:
    """What cvc5 says of a question: ``unsat``, ``sat`` or ``unknown``; `patience` is in milliseconds."""
    solver = cvc5.Solver(cvc5.TermManager())
    solver.setOption("tlimit-per", str(patience))
    solver.setOption("enum-inst", "true")  # where the terms at hand do not decide, quantifiers are tried on others
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "obligation")
    said = ""
    while not (command := parser.nextCommand()).isNull():
        said += command.invoke(solver, parser.getSymbolManager())
    verdict = re.findall(r"^(unsat|sat|unknown)\b", said, re.MULTILINE)
    assert len(verdict) == 1, f"cvc5 answered {said!r}"
    return str(verdict[0])


def second_opinion(obligation: Obligation) -> Outcome:
    """cvc5's verdict."""
    began = time.monotonic()
    verdict = asked(question(obligation))
    return Outcome(obligation, verdict, time.monotonic() - began)


def second_opinions(
    those: Sequence[Obligation], advance: Callable[[], None] = lambda: None, workers: int | None = None
) -> list[Outcome]:
    """cvc5's verdicts, on all cores.

    Raises:
        ValueError: there is nothing to ask.
    """
    if not those:
        raise ValueError("there is nothing to ask")
    outcomes = []
    with ProcessPoolExecutor(workers) as pool:
        for outcome in pool.map(second_opinion, those, chunksize=8):
            outcomes.append(outcome)
            advance()
    return outcomes


def page(outcomes: Sequence[Outcome]) -> str:
    """What was confirmed by number, and the rest by name, as Markdown."""
    counts, rest = Counter(outcome.verdict for outcome in outcomes), [o for o in outcomes if not o.holds]
    lines = [
        "# The second solver",
        "",
        "Written by `python -m proofs.solve.smtlib --write`. Z3 has discharged every obligation of the induction. Each",
        "is exported in SMT-LIB, with the conjuncts that its proof needed, and cvc5 is asked the same.",
        "",
        f"Z3 {z3.get_version_string()}; cvc5 {cvc5.__version__}, {PATIENCE // 1000} seconds for each. "
        f"cvc5 confirms **{counts['unsat']} of {len(outcomes)}**.",
        "",
    ]
    lines += [f"- `{outcome.obligation.name}`: {outcome.verdict}" for outcome in rest] or ["None is left."]
    return "\n".join(lines) + "\n"


def export(those: Sequence[Obligation], folder: Path) -> None:
    """Write each question to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for obligation in those:
        name = re.sub(r"\W+", "-", obligation.name)
        (folder / f"{name}.smt2").write_text(question(obligation))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if cvc5 contradicts Z3.  That it does not know is said, and is no contradiction."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.solve.smtlib", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a transition or a conjunct; all by default")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the questions to files, and ask nobody")
    given = parser.parse_args(arguments)
    if given.write and given.names:
        parser.error("the page is about every obligation: --write takes no names")
    try:
        those = wanted(given.names)
    except ValueError as error:
        parser.error(str(error))
    if given.export:
        export(those, given.export)
        print(f"{len(those)} obligations in {given.export}")
        return 0
    with watched("obligations", len(those)) as advance:
        outcomes = second_opinions(those, advance)
    for outcome in outcomes:
        if not outcome.holds:
            print(f"{outcome.verdict}: {outcome.obligation.name} ({outcome.seconds:.1f} s)")
    if given.write:
        PAGE.write_text(page(outcomes))
        campaigns.record(PAGE)
    print(f"cvc5 confirms {sum(outcome.holds for outcome in outcomes)} of {len(outcomes)}")
    return int(any(outcome.verdict == "sat" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
