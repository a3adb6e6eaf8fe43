"""Every killer against its mutant of the shell: `python -m proofs.mutation.shell`, and with ``--write`` the record."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from proofs.mutation.shell import CATALOGUE
from proofs.mutation.shell.result import FILE, entry, recorded
from proofs.mutation.shell.run import Outcome, outcomes, unmutated_failure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if every killer passes on the unmutated shell and no mutant survived."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.mutation.shell", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help=f"record the result in {FILE.name}")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="so many at a time; 2 by default")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant; all by default")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in CATALOGUE]
    if unknown:
        parser.error(f"no such mutant: {', '.join(unknown)}")
    mutants = [CATALOGUE[name] for name in given.names or CATALOGUE]
    if failure := unmutated_failure(mutants):
        print(failure[-2_000:], file=sys.stderr)
        print("a killer fails on the unmutated shell: nothing can be learnt of the mutants", file=sys.stderr)
        return 1
    found = {}
    for mutant, outcome in outcomes(mutants, given.workers):
        found[mutant.name] = entry(mutant, outcome)
        print(f"{mutant.name}: {outcome.value}", flush=True)
    if given.write:
        kept = recorded() if given.names and FILE.exists() else {}
        merged = {name: {**kept, **found}[name] for name in CATALOGUE if name in {*kept, *found}}
        FILE.write_text(json.dumps(merged, indent=1) + "\n")
    return int(any(of["outcome"] != Outcome.KILLED.value for of in found.values()))


if __name__ == "__main__":
    sys.exit(main())
