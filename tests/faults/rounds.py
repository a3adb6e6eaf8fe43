"""The two rounds of a campaign: one that is recorded, and one that is verified as it happens.

An instance has a trace or a verifier, not both.  The recorded one is replayed and followed through the relation, and
its trace shows why a client was lost; the verified one reports at its end how many of its steps were checked.
"""

import re
from dataclasses import dataclass

from tests.faults import relation
from tests.faults.account import Account
from tests.faults.campaign import CLASSES, run
from tests.system.harness import Instance

LAST_WORD = re.compile(
    r"verified: (?P<verified>\d+) of (?P<steps>\d+) steps; (?P<dropped>\d+) dropped,"
    r" (?P<unchecked>\d+) came while the state was not known; (?P<divergences>\d+) divergences"
)
WENT_AWAY = "from here on no step is verified"


@dataclass
class Recorded:
    """The round with a trace."""

    account: Account
    replayed: str
    """What `maitred replay` printed."""
    walks: relation.Walks

    def table(self):
        """For whoever reads the output."""
        lines = [f"  replayed: {self.replayed}"]
        lines.append(f"  followed: the first {self.walks.lines:,} of {self.walks.of:,} lines")
        for walk in self.walks.classes:
            followed = f"{walk.steps:,} steps, {walk.outside:,} outside, in {walk.seconds:.0f} s, to {walk.ends}"
            lines.append(f"  followed, {walk.name}: {walk.divergence or followed}")
        return "\n".join([self.account.table(), *lines])


@dataclass
class Verified:
    """The round with a verifier."""

    account: Account
    numbers: dict[str, int]
    """Of steps: how many there were, and what became of them."""

    def table(self):
        """For whoever reads the output."""
        said = ", ".join(f"{name}: {number:,}" for name, number in self.numbers.items())
        return f"{self.account.table()}\n  with --verify: {said}"


def recorded(directory, plan, environment, most=relation.MOST):
    """Carry out the plan with a trace, and follow so many lines of that; the environment names the package."""
    account, instance = _conduct(directory, plan, environment, traced=True)
    outcome = instance.replay()
    if outcome.returncode:
        account.wrong.append(f"the trace does not replay: {outcome.stdout}{outcome.stderr}")
    walks = relation.walks(instance.trace, list(CLASSES), most)
    account.wrong += walks.wrong()
    return Recorded(account, ", ".join(outcome.stdout.splitlines()[:1]), walks)


def verified(directory, plan, environment):
    """Carry out the plan with a verifier in place of the trace; the environment names the package that runs."""
    account, instance = _conduct(directory, plan, environment, traced=False)
    numbers, wrong = verdict(instance.log)
    account.wrong += wrong
    return Verified(account, numbers)


def verdict(log):
    """What the verifier has reported: its numbers, and what is wrong with them."""
    wrong = [line for line in log.splitlines() if "verify: DIVERGENCE" in line or WENT_AWAY in line]
    found = [*LAST_WORD.finditer(log)]
    if not found:
        return {}, [*wrong, "the verifier has said nothing at the end"]
    numbers = {name: int(number) for name, number in found[-1].groupdict().items()}
    if numbers["divergences"]:
        wrong.append(f"the verifier has seen {numbers['divergences']} divergences")
    if not numbers["verified"]:
        wrong.append("the verifier has verified nothing")
    return numbers, wrong


def _conduct(directory, plan, environment, *, traced):
    """The plan from beginning to end: its account, what is wrong with its end included, and the instance."""
    options = [] if traced else ["--verify"]
    started = []

    def start(*arguments):
        made = Instance(directory / "instance", [*options, *arguments], environment=environment, traced=traced)
        made.replay_patience = 60 + 5 * plan.seconds
        made.replays = False  # by `recorded`, which wants to know what was printed
        started.append(made)
        return made.start(ready=False)

    complaints = []
    try:
        account = run(start, directory, plan)
    finally:
        for instance in started:
            try:
                instance.finish()
            except AssertionError as error:
                complaints.append(str(error))
    account.wrong += complaints
    return account, started[0]
