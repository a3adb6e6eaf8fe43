"""How much of the three machines the vectors run: ``python -m spec.vectors.branches`` prints the fraction of branches.

Every vector is read and taken, and each trace played; what is counted are the branches of the functions that a step may
run.  `NOT_IN_A_STEP` names the others.  It exits 1 below 100 %, and names what is missing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

import coverage

MACHINES: Final = ("distributor", "server", "monitor")
NOT_IN_A_STEP: Final = ("initial", "_new_class", "enabled", "canonical")
"""Functions that make a first state, list what may happen, or renumber: no step runs them."""


def measured() -> tuple[int, int, list[str]]:
    """How many branches there are, how many are run, and those that are not: file, line and the line after."""
    watch = coverage.Coverage(branch=True, source_pkgs=["maitred.core"], data_file=None)
    watch.start()
    from maitred.vectors import codec, files

    for vector in files.steps():
        state = codec.decode_state(vector.machine, vector.state)
        codec.take(vector.machine, state, codec.decode_event(vector.machine, vector.event))
    watch.stop()
    with tempfile.NamedTemporaryFile("r", suffix=".json") as out:
        watch.json_report(outfile=out.name)
        report = json.load(out)
    total = run = 0
    missing = []
    machines = {file: found for file, found in report["files"].items() if Path(file).stem in MACHINES}
    for file, found in machines.items():
        for name, function in found["functions"].items():
            if name and name not in NOT_IN_A_STEP:
                total += function["summary"]["num_branches"]
                run += function["summary"]["covered_branches"]
                missing += [f"{Path(file).name}:{a}->{b}" for a, b in function["missing_branches"]]
    return total, run, missing


def main() -> int:
    """Print it."""
    total, run, missing = measured()
    print(f"branches of the machines' steps: {run} of {total}, {100 * run / total:.1f} %")
    for place in missing:
        print(f"  not run: {place}")
    return int(run < total)


if __name__ == "__main__":
    sys.exit(main())
