"""The fault campaign: `python -m tests.faults` (or `make campaign-faults`, which records it in docs/benchmarks/).

Ends with 0 where every loss had a cause and everything was as it had been, with 1 otherwise.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults import report
from tests.faults.campaign import Plan, copied, run
from tests.faults.violence import KINDS
from tests.system.harness import Instance

SECONDS = 600.0
CLIENTS = 300


def parser():
    made = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    made.add_argument("--seconds", type=_positive, default=SECONDS, help="of violence (default: %(default)g)")
    made.add_argument("--clients", type=int, default=CLIENTS, help="at a time (default: %(default)s)")
    made.add_argument("--seed", type=int, default=1, help="of what is done to whom (default: %(default)s)")
    made.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help="of faults")
    made.add_argument("--write", action="store_true", help="record it in docs/benchmarks/")
    return made


def _positive(text):
    """Seconds; argparse makes a message of what float says of anything else."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: should be more than 0")
    return seconds


def main(argv):
    arguments = parser().parse_args(argv)
    plan = Plan(arguments.seconds, arguments.clients, arguments.seed, tuple(arguments.kinds))
    with tempfile.TemporaryDirectory(prefix="maitred-faults-") as directory:
        account, complaint, replayed = conduct(Path(directory), plan)
    if complaint:
        account.wrong.append(complaint)
    print(account.table(), flush=True)
    if arguments.write:
        report.write(report.results(account, plan, replayed))
    return 1 if account.wrong else 0


def conduct(directory, plan):
    """The campaign from beginning to end: its account, what was wrong with its end, what the replay said."""
    started = []
    _, environment = copied(directory)

    def start(*options):
        started.append(Instance(directory / "instance", options, environment=environment))
        started[0].replay_patience = 60 + 5 * plan.seconds
        return started[0].start(ready=False)

    complaint = ""
    try:
        account = run(start, directory, plan)
    finally:
        for instance in started:
            instance.replays = False
            try:
                instance.finish()
            except AssertionError as error:
                complaint = str(error)
    outcome = started[0].replay()
    if outcome.returncode:
        complaint += f"\nthe trace does not replay: {outcome.stdout}{outcome.stderr}"
    return account, complaint.strip(), ", ".join(outcome.stdout.splitlines()[:1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
