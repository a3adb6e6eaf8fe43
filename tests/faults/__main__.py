"""The fault campaign: `python -m tests.faults` (or `make campaign-faults`, which records it in docs/benchmarks/).

Ends with 0 where every loss had a cause, no check saw a divergence and everything was as it had been; with 1 otherwise.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from docs import campaigns
from tests.faults import report, rounds
from tests.faults.campaign import Plan, copied
from tests.faults.violence import KINDS

SECONDS = 600.0
CLIENTS = 300
SHARE = 0.2
"""Of the seconds, that the round with `--verify` takes afterwards."""


def parser():
    made = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    seconds = "of violence (default: %(default)g); then a fifth of it again to an instance with --verify"
    made.add_argument("--seconds", type=positive, default=SECONDS, help=seconds)
    made.add_argument("--clients", type=int, default=CLIENTS, help="at a time (default: %(default)s)")
    made.add_argument("--seed", type=int, default=1, help="of what is done to whom (default: %(default)s)")
    made.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help="of faults")
    made.add_argument("--write", action="store_true", help="record it in docs/benchmarks/")
    return made


def positive(text):
    """Seconds; argparse makes a message of float's error for anything else."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: should be more than 0")
    return seconds


def main(argv):
    arguments = parser().parse_args(argv)
    plan = Plan(arguments.seconds, arguments.clients, arguments.seed, tuple(arguments.kinds))
    directory = Path(tempfile.mkdtemp(prefix="maitred-faults-"))
    print(f"what is recorded is in {directory}, and stays there if anything is wrong", flush=True)
    _, environment = copied(directory)
    recorded = rounds.recorded(directory / "recorded", plan, environment)
    print(recorded.table(), flush=True)
    again = replace(plan, seconds=SHARE * plan.seconds, seed=plan.seed + 1)
    verified = rounds.verified(directory / "verified", again, environment)
    print(verified.table(), flush=True)
    if arguments.write:
        report.write(report.results(plan, recorded, verified))
        campaigns.record("docs/benchmarks/faults.md")
    if recorded.account.wrong or verified.account.wrong:
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
