"""The catalogue of the shell's mutants: slips in what meets the kernel, each with the test that notices it.

An entry is an edit, as for the core (see `proofs.mutation.core.mutant`), of a function of `maitred.shell`, and names in
``tests`` its killer: the quickest test that fails on it and passes on the shell as it is.  ``make shell-mutants`` runs
every killer against its mutant and records what came of it in ``result.json``; ``tests/proofs/mutation/test_shell.py``
runs a cut, and compares the record with the code that it is of.
"""

from typing import Final

from proofs.mutation.core.mutant import Mutant
from proofs.mutation.shell import _endpoint, _machines, _means

CATALOGUE: Final[dict[str, Mutant]] = {
    mutant.name: mutant for mutant in (*_machines.MUTANTS, *_endpoint.MUTANTS, *_means.MUTANTS)
}
"""All mutants of the shell, by name."""
