"""The hostile campaign: `python -m tests.hostile` (or `make hostile`, which records it in docs/benchmarks/).

Ends with 0 where honest servers and clients were left alone, Monitor and Distributors lived, and all was as before;
with 1 otherwise.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from docs import campaigns
from tests.faults.__main__ import positive
from tests.faults.campaign import copied
from tests.hostile import report
from tests.hostile.attacks import ATTACKS
from tests.hostile.campaign import Plan, run

SECONDS = 600.0


def parser():
    made = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__.partition("\n")[0])
    made.add_argument("--seconds", type=positive, default=SECONDS, help="of attacks (default: %(default)g)")
    made.add_argument("--seed", type=int, default=1, help="of what is done (default: %(default)s)")
    made.add_argument(
        "--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS), metavar="ATTACK", help="only these"
    )
    made.add_argument("--write", action="store_true", help="record it in docs/benchmarks/")
    return made


def main(argv):
    arguments = parser().parse_args(argv)
    plan = Plan(arguments.seconds, tuple(arguments.attacks), seed=arguments.seed)
    directory = Path(tempfile.mkdtemp(prefix="maitred-hostile-"))
    print(f"what is recorded is in {directory}, and stays there if anything is wrong", flush=True)
    _, environment = copied(directory)
    found = run(directory / "campaign", plan, environment)
    print(found.table(), flush=True)
    if arguments.write:
        report.write(report.results(plan, found))
        campaigns.record("docs/benchmarks/hostile.md")
    if found.wrong:
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
