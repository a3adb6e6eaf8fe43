"""`maitred`, bent for a test of ``--verify``: ``python bent.py JSON run ...`` is `maitred run ...`, but for this.

==============  ====================================================================================================
key             meaning
==============  ====================================================================================================
``room``        bytes of each machine's ring
``mutant``      a mutant of `proofs.mutation.core`: the core of the Distributor's process, and of no other, is bent so
``after``       the number of the step from which it is
==============  ====================================================================================================
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = "MAITRED_TEST_BENT"


def distribute(spec, handed):
    """In the place of the Distributor's process."""
    sys.path.insert(0, str(ROOT))
    from proofs.mutation.core import CATALOGUE

    from maitred.core import distributor as core
    from maitred.shell import distributor

    options = json.loads(os.environ[OPTIONS])
    bent, step, taken = CATALOGUE[options["mutant"]].mutated(), core.step, 0

    def counted(state, event):
        nonlocal taken
        taken += 1
        if taken == options["after"]:
            bent.__enter__()
        return step(state, event)

    core.step = counted
    distributor.run(spec, handed)


def main():
    from maitred.cli import main as command
    from maitred.shell.observe import verifier
    from maitred.shell.supervise import launch

    os.environ[OPTIONS] = sys.argv[1]
    options = json.loads(sys.argv[1])
    if "room" in options:
        verifier.ROOM = verifier.SERVER_ROOM = options["room"]
    if "mutant" in options:
        import bent  # by this name the new process finds it, too: this directory comes first on the path

        launch.distributor = SimpleNamespace(run=bent.distribute)
    sys.exit(command(sys.argv[2:]))


if __name__ == "__main__":
    main()
