"""What `--verify` costs: `python -m benchmarks.verify`; `--write` records the run in docs/benchmarks/.

maitred with and without `--verify` run side by side from beginning to end; in each round both take their turn at both
workloads, and the next round begins with the other.  Reported are medians over the rounds, ratios within each round,
and how many of the steps the verifier could check: where it lacks time, steps are dropped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from docs import campaigns

from benchmarks import load, machine
from benchmarks.build import Failed
from benchmarks.peers import Peer, cpu_seconds, maitred, maitred_status
from benchmarks.report import DOCS, QUIET, markdown

CLIENTS = {"crowd": 64, "alone": 1}
"""Of each workload: how many clients connect at a time."""
WITHOUT, WITH = "without", "with"
SETTLE = 60.0
"""Seconds at most that the verifier has after each turn to check what has come through."""
UNREAD = 5
"""Steps that may be unread, or of processes that were killed, when it has."""


@dataclass(frozen=True)
class Turn:
    """One turn at a workload; CPU in microseconds for each connection."""

    rate: float
    """Connections per second."""
    p50: float
    """Milliseconds."""
    p99: float
    front: float
    """Distributor, Monitor and all else but servers and verifier."""
    servers: float
    verifier: float
    steps: int
    """That the machines have taken; 0 where nobody counts them."""
    verified: int
    dropped: int
    divergences: int
    failed: int
    """Connections."""


@dataclass(frozen=True)
class Results:
    """A whole run."""

    machine: dict[str, str]
    settings: dict[str, float]
    busy: list[float]
    """Before each round: the share of the machine that was in use while both rested."""
    rounds: list[dict[str, dict[str, Turn]]]
    """By `WITHOUT` and `WITH`, and by workload."""


# ================================================================ measuring


def measure(peer: Peer, control: Path, clients: int, seconds: float) -> Turn:
    """One turn."""
    before = verification(peer, control)
    verifier = (before["pid"],) if before["pid"] else ()
    front = tuple(pid for pid in peer.front + peer.others if pid not in verifier)
    begun = [cpu_seconds(pids) for pids in (front, peer.servers, verifier)]
    sample = load.run("connections", peer.port, clients=clients, seconds=seconds)
    after = settled(peer, control)
    used = [cpu_seconds(pids) - then for pids, then in zip((front, peer.servers, verifier), begun, strict=True)]
    each = [round(seconds / max(sample.everything, 1) * 1e6, 1) for seconds in used]
    names = ("steps", "verified", "dropped", "divergences")
    steps, verified, dropped, divergences = (after[name] - before[name] for name in names)
    return Turn(
        rate=sample.results / sample.seconds,
        p50=sample.p50,
        p99=sample.p99,
        front=each[0],
        servers=each[1],
        verifier=each[2],
        steps=steps,
        verified=verified,
        dropped=dropped,
        divergences=divergences,
        failed=sum(sample.failed.values()),
    )


def settled(peer: Peer, control: Path) -> dict[str, int]:
    """What the verifier has come to once it has read what the turn has given it to read."""
    end = monotonic() + SETTLE
    while True:
        now = verification(peer, control)
        seen = sum(now[name] for name in ("verified", "dropped", "unchecked", "divergences"))
        if now["steps"] - seen <= UNREAD:
            return now
        if monotonic() > end:
            raise Failed(f"{peer.name}: the verifier has not read what there was within {SETTLE:g} s: {now}")
        sleep(0.2)


def verification(peer: Peer, control: Path) -> dict[str, int]:
    """What `maitred status` says of the verifier; zeros where there is none."""
    none = {"pid": 0, "steps": 0, "verified": 0, "dropped": 0, "unchecked": 0, "divergences": 0}
    return {**none, **maitred_status(peer.name, control).get("verify", {})}


def run(options: argparse.Namespace) -> Results:
    """All rounds."""
    with TemporaryDirectory(prefix="maitred-bench-") as place, ExitStack() as stack:
        peers = {
            WITHOUT: stack.enter_context(maitred(options.server, options.copies, Path(place))),
            WITH: stack.enter_context(maitred(options.server, options.copies, Path(place), "--verify")),
        }
        progress = machine.Progress(options.rounds * len(peers) * len(CLIENTS))
        rounds, busy = [], []
        for number in range(options.rounds):
            busy.append(machine.others_busy(0.5))
            turns: dict[str, dict[str, Turn]] = {}
            for which in (WITHOUT, WITH) if number % 2 == 0 else (WITH, WITHOUT):
                peer = peers[which]
                for workload, clients in CLIENTS.items():
                    progress.turn(f"{which} --verify, {workload}")
                    control = Path(place) / peer.name / "control"
                    turns.setdefault(which, {})[workload] = measure(peer, control, clients, options.seconds)
            rounds.append({which: turns[which] for which in (WITHOUT, WITH)})
        progress.over()
    settings = {"rounds": options.rounds, "seconds": options.seconds, "warmup": load.WARMUP, "copies": options.copies}
    facts = {**machine.facts(), "server": f"benchmarks/servers/{options.server}.py"}
    return Results(facts, settings, busy, rounds)


# ================================================================ the page

Figure = Callable[[Turn], float]


def share(turn: Turn) -> float:
    """Percent of the steps that were verified."""
    return 100 * turn.verified / max(turn.steps, 1)


ROWS: list[tuple[str, str, Figure, str]] = [
    ("new connections/s, 64 clients", "crowd", lambda turn: turn.rate, ",.0f"),
    ("its p50, ms", "crowd", lambda turn: turn.p50, ".2f"),
    ("its p99, ms", "crowd", lambda turn: turn.p99, ".2f"),
    ("front's CPU for a connection, µs", "crowd", lambda turn: turn.front, ",.0f"),
    ("servers' CPU for a connection, µs", "crowd", lambda turn: turn.servers, ",.0f"),
    ("verifier's CPU for a connection, µs", "crowd", lambda turn: turn.verifier, ",.0f"),
    ("steps verified, %", "crowd", share, ".1f"),
    ("new connections/s, one client", "alone", lambda turn: turn.rate, ",.0f"),
    ("its p50, ms", "alone", lambda turn: turn.p50, ".2f"),
    ("verifier's CPU for a connection, µs", "alone", lambda turn: turn.verifier, ",.0f"),
    ("steps verified, %", "alone", share, ".1f"),
]


def figures(results: Results, which: str, workload: str, figure: Figure) -> list[float]:
    """One for each round."""
    return [figure(turns[which][workload]) for turns in results.rounds]


def ratios(results: Results, workload: str, figure: Figure) -> list[float]:
    """With by without, in each round; empty where there is nothing to compare with."""
    pairs = zip(figures(results, WITH, workload, figure), figures(results, WITHOUT, workload, figure), strict=True)
    return [with_it / without for with_it, without in pairs if without]


def table(results: Results) -> str:
    """Medians, and the median ratio with the least and the greatest of any round."""
    rows = []
    for heading, workload, figure, form in ROWS:
        compared = ratios(results, workload, figure)
        without = format(median(figures(results, WITHOUT, workload, figure)), form) if compared else "-"
        with_it = format(median(figures(results, WITH, workload, figure)), form)
        ratio = f"**{median(compared):.2f}** ({min(compared):.2f} to {max(compared):.2f})" if compared else "-"
        rows.append([heading, without, with_it, ratio])
    return markdown(["", "without", "with `--verify`", "ratio"], rows)


def total(results: Results, figure: Callable[[Turn], int]) -> int:
    """The sum over all turns with `--verify`."""
    return sum(figure(turn) for turns in results.rounds for turn in turns[WITH].values())


def summary(results: Results) -> str:
    """The run in sentences, each of which is computed."""
    rate = median(ratios(results, "crowd", lambda turn: turn.rate))
    without, with_it = (median(figures(results, which, "crowd", lambda turn: turn.rate)) for which in (WITHOUT, WITH))
    steps, verified, dropped, diverged = (
        total(results, figure)
        for figure in (
            lambda turn: turn.steps,
            lambda turn: turn.verified,
            lambda turn: turn.dropped,
            lambda turn: turn.divergences,
        )
    )
    failed = sum(turn.failed for turns in results.rounds for each in turns.values() for turn in each.values())
    return (
        f"With {results.settings['copies']:.0f} copies and 64 clients at a time, maitred seats **{without:,.0f} new "
        f"connections/s**, and with `--verify` **{with_it:,.0f}**: {rate:.2f} times as many. Of {steps:,} steps,"
        f" {verified:,} were verified and {dropped:,} dropped; there were {diverged:,} divergences, and {failed:,}"
        " connections failed."
    )


PAGE = """\
# What `--verify` costs

<!-- Generated from verify.json by `python -m benchmarks.verify --again`; do not edit. -->

{summary}{warning}

{table}

The ratios are taken within each round; the bold figure is their median, in brackets the least and the greatest.

- {rounds:.0f} rounds in one run, which `python -m benchmarks.verify` does again (`--write` records it here). Both
  instances run from beginning to end; in each round both take a turn of {seconds:g} s at either workload, and the next
  round begins with the other.
- Each client connects, sends one request, reads the answer to the end of file, and begins again. The server is
  [`{server}`](../../{server}).
- A step that finds the channel full is dropped and counted, so that the machine never waits; and all steps that follow
  until the machine has written down its state. The load here never pauses, and the load generator, the servers, the
  Distributor and the verifier share {cpus} CPUs: the verifier, which gives way to all others, gets what is left over.
  With pauses, or with a CPU to spare, more of the steps are verified.
- Before the rounds, other processes kept {least:.0f} to {most:.0f} % of the machine busy.

| | |
|---|---|
{machine}
"""


WARNING = " **The machine was not quiet: others kept it busy, so the rates and the times say little.**"
"""Said where more than `QUIET` of the machine was in use by others."""


def page(results: Results) -> str:
    """docs/benchmarks/verify.md."""
    quiet = max(results.busy) <= QUIET
    return PAGE.format(
        summary=summary(results),
        table=table(results),
        rounds=results.settings["rounds"],
        seconds=results.settings["seconds"],
        server=results.machine["server"],
        cpus=results.machine["cpus"],
        least=100 * min(results.busy),
        most=100 * max(results.busy),
        warning="" if quiet else WARNING,
        machine="\n".join(f"| {name} | {value} |" for name, value in results.machine.items()),
    )


def from_json(text: str) -> Results:
    """A recorded run."""
    data = json.loads(text)
    rounds = [
        {which: {name: Turn(**turn) for name, turn in turns.items()} for which, turns in each.items()}
        for each in data["rounds"]
    ]
    return Results(data["machine"], data["settings"], data["busy"], rounds)


def write(results: Results, docs: Path = DOCS) -> None:
    """Record the run, and make the page."""
    (docs / "verify.json").write_text(json.dumps(asdict(results), indent=1) + "\n")
    (docs / "verify.md").write_text(page(results))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="turns that each takes (default: 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of a turn (default: 2)")
    parser.add_argument("--copies", type=int, default=2, help="copies of the server (default: 2)")
    parser.add_argument("--server", choices=("loop", "threads"), default="loop", help="which server (default: loop)")
    parser.add_argument("--write", action="store_true", help="record the run in docs/benchmarks/")
    parser.add_argument("--again", action="store_true", help="measure nothing: make the page of the recorded run again")
    options = parser.parse_args(arguments)
    if options.again:
        write(from_json((DOCS / "verify.json").read_text()))
        return 0
    try:
        results = run(options)
    except Failed as failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        return 1
    print(table(results), summary(results), sep="\n\n")
    if options.write:
        write(results)
        campaigns.record("docs/benchmarks/verify.md")
    return 1 if total(results, lambda turn: turn.divergences + turn.failed) else 0


if __name__ == "__main__":
    sys.exit(main())
