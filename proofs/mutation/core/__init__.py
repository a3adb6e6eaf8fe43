"""The catalogue of mutants: slips of the pen in the core, each with what users would suffer and with what notices it.

Each entry is an edit (see `proofs.mutation.core.mutant`) and names its killers: properties of the model, with the
bounds within which they are refuted, and tests of the core, which see what no property of the closed system can.  The
tests in ``tests/proofs/mutation/test_core.py`` ask for each of them; ``python -m proofs.mutation.matrix`` asks every
check of every mutant.
"""

from typing import Final

from proofs.mutation.core import _distributor, _management, _monitor, _numbers, _server, _values
from proofs.mutation.core.mutant import Mutant

CATALOGUE: Final[dict[str, Mutant]] = {
    mutant.name: mutant
    for mutants in (
        _distributor.MUTANTS,
        _server.MUTANTS,
        _monitor.MUTANTS,
        _management.MUTANTS,
        _values.MUTANTS,
        _numbers.MUTANTS,
    )
    for mutant in mutants
}
"""All mutants, by name."""
