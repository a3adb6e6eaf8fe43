"""Proves the invariant inductive: discharges the obligations (`proofs.induction.obligations`), all or those named.

Of what is not discharged, a small counterexample is looked for and shown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from spec.relation.invariant import INVARIANT
from spec.relation.system import ACTIONS

from proofs.induction.necessity import readable, to_induction
from proofs.induction.obligations import ALWAYS, BEGINNING, THEORY, obligations, pair
from proofs.solve import sentence
from proofs.solve.solver import Obligation, command


def part_of(obligation: Obligation) -> str:
    """Whether it is about what users are promised, or about what that rests on."""
    return "promises" if INVARIANT[pair(obligation)[1]].promised else "lemmas"


def wanted(names: Sequence[str]) -> list[Obligation]:
    """The obligations of these names, or of these transitions and conjuncts; all, where none is given.

    Raises:
        ValueError: a name is of no transition, of no conjunct and of no obligation.
    """
    every = obligations()
    known = {*INVARIANT, *ACTIONS.by_name, BEGINNING, ALWAYS, *(o.name for o in every)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"neither a transition nor a conjunct nor an obligation: {', '.join(unknown)}")
    return [o for o in every if not names or {o.name, *pair(o)} & set(names)]


def _show(obligation: Obligation) -> None:
    transition, name = pair(obligation)
    if transition in ACTIONS.by_name:
        print(f"after {sentence.place(ACTIONS.by_name[transition].body)} {transition}, this need not hold:")
    print(sentence.conjunct(name))
    counterexample = to_induction(obligation)
    if counterexample is None:
        print(f"{obligation.name}: no counterexample is small")
    else:
        print("\n".join([f"a counterexample to {obligation.name}", *readable(counterexample)]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove everything, or what is named; 1 if something could not be."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.induction.invariant", description=(__doc__ or "").partition("\n")[0]
    )
    what = 'a transition, a conjunct, or both as in a verdict ("releases: no_client_is_lost"); all by default'
    parser.add_argument("names", nargs="*", metavar="NAME", help=what)
    return command(THEORY, wanted, part_of, parser, arguments, _show)


if __name__ == "__main__":
    sys.exit(main())
