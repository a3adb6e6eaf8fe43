"""maitred beside its peers, in front of the same unmodified servers: `python -m benchmarks` (or `make bench`).

A run is a sequence of stages.  All peers of a stage run from its beginning to its end; in each round every peer takes
its turn at every workload, and the next round begins with the next peer.  So whatever else the machine does, it does to
all.  Reported are medians over the rounds with their spread, and ratios taken within each round.  `--write` records the
run in docs/benchmarks/.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import FrameType

from docs import campaigns

from benchmarks import build, counts, load, machine, profile, report
from benchmarks.peers import (
    PEERS,
    SEATS,
    Absent,
    Peer,
    ask,
    check,
    cpu_seconds,
    distributors_of,
    installed,
    maitred,
    memory,
)
from maitred import compiled

COPIES = 4
ONE, MANY, BUSY = 0.001, 0.1, 0.7
"""Heavy tail: seconds of 9 clients in 10, of the tenth, and the share of their time that the copies are to be busy."""


@dataclass(frozen=True)
class Workload:
    """What the load generator does, and for how long."""

    name: str
    mode: str
    clients: int
    share: float
    """Of the time asked for with --seconds."""
    value: float = 0


STORM = Workload("storm", "connections", 64, 1)
CROWD = Workload("crowd", "connections", 1000, 1)
ALONE = Workload("alone", "connections", 1, 0.5)
REQUESTS = Workload("requests", "requests", 64, 0.5)
BULK = Workload("bulk", "download", 1, 0.5, 64 << 20)
TAIL = Workload("tail", "tail", 1, 5, BUSY * COPIES / (0.9 * ONE + 0.1 * MANY))
HOLD = Workload("balance", "hold", 1000, 2.5)


@dataclass(frozen=True)
class Stage:
    """Peers that run side by side, and what is done to them."""

    name: str
    peers: tuple[tuple[str, str, int], ...]
    """Of each: its kind, its server and its copies."""
    workloads: tuple[Workload, ...]
    pinned: bool = False
    seats: int = SEATS


IN_C = tuple((kind, "c", COPIES) for kind in ("haproxy", "nginx", "shared", "reuseport", "maitred"))
EVERYBODY = (
    ("direct", "c", 1),
    *IN_C,
    ("maitred-plain", "c", COPIES),
    *((kind, "blocking", COPIES) for kind in ("haproxy", "nginx", "shared", "reuseport", "maitred", "maitred-plain")),
    *((kind, "gunicorn", COPIES) for kind in ("haproxy", "own", "maitred")),
    *((kind, "uvicorn", COPIES) for kind in ("haproxy", "own", "maitred")),
)
STAGES = (
    Stage("pinned", EVERYBODY, (STORM, ALONE), pinned=True),
    Stage("free", EVERYBODY, (STORM, ALONE)),
    Stage("open", (("direct", "c", 1), *(peer for peer in IN_C if "reuse" not in peer[0])), (REQUESTS, BULK)),
    Stage(
        "tail",
        tuple((kind, "c", COPIES) for kind in ("haproxy", "haproxy-one", "shared", "reuseport", "maitred-one")),
        (TAIL,),
    ),
    Stage("balance", IN_C, (HOLD,), seats=512),
    Stage("growth", tuple((kind, "c", copies) for copies in (4, 16, 64) for kind in ("haproxy", "maitred")), (STORM,)),
    Stage("waiting", tuple((kind, "c", COPIES) for kind in ("haproxy-one", "maitred-one")), (STORM, CROWD)),
)
QUICK = (
    Stage("pinned", (("haproxy", "c", 2), ("shared", "c", 2), ("maitred", "c", 2)), (STORM, ALONE), pinned=True),
    Stage("tail", (("shared", "c", COPIES), ("maitred-one", "c", COPIES)), (TAIL,)),
)


def measure(peer: Peer, workload: Workload, seconds: float, seed: int, cpus: set[int] | None) -> report.Measured:
    """One turn of a peer."""
    before = cpu_seconds(peer.front), cpu_seconds(peer.others), cpu_seconds(peer.servers)
    begun = monotonic()
    sample = load.run(
        workload.mode,
        peer.port,
        clients=workload.clients,
        warmup=0 if workload.mode == "hold" else load.WARMUP,
        seconds=seconds,
        value=workload.value,
        seed=seed,
        cpus=cpus,
    )
    check(peer)
    after = cpu_seconds(peer.front), cpu_seconds(peer.others), cpu_seconds(peer.servers)
    front, others, servers = (now - then for now, then in zip(after, before, strict=True))
    return report.Measured(sample, front, others, servers, monotonic() - begun)


@contextmanager
def on_one_cpu(wanted: bool) -> Iterator[set[int] | None]:
    """Confine what is started in this context to one CPU; gives the CPUs that are left for the load generator."""
    ours = os.sched_getaffinity(0)
    if not wanted:
        yield None
        return
    if len(ours) < 2:
        raise Absent("to pin front and servers to one CPU and the client to another takes two CPUs")
    os.sched_setaffinity(0, {min(ours)})
    try:
        yield ours - {min(ours)}
    finally:
        os.sched_setaffinity(0, ours)


def run_stage(stage: Stage, options: argparse.Namespace, absent: list[str]) -> report.Stage:
    """All peers of the stage, all rounds."""
    with TemporaryDirectory(prefix="maitred-bench-") as place, ExitStack() as stack:
        others = stack.enter_context(on_one_cpu(stage.pinned))
        peers = []
        for kind, server, copies in stage.peers:
            more = {} if stage.seats == SEATS else {"seats": stage.seats}
            if kind not in ("haproxy", "nginx", "maitred"):
                more = {}  # nobody counts their clients
            try:
                peers.append(stack.enter_context(PEERS[kind](server, copies, Path(place), **more)))
            except Absent as why:
                if str(why) not in absent:
                    absent.append(str(why))
        progress = machine.Progress(options.rounds * len(peers) * len(stage.workloads))
        rounds, busy = [], []
        for number in range(options.rounds):
            busy.append(machine.others_busy(0.5))
            turns: dict[str, dict[str, report.Measured]] = {}
            first = number % max(len(peers), 1)
            for peer in peers[first:] + peers[:first]:
                for workload in stage.workloads:
                    progress.turn(f"{stage.name}: {peer.name}, {workload.name}")
                    seconds = options.seconds * workload.share
                    turns.setdefault(peer.name, {})[workload.name] = measure(peer, workload, seconds, number, others)
            rounds.append({peer.name: turns[peer.name] for peer in peers})
        progress.over()
        return report.Stage(busy, {peer.name: described(peer) for peer in peers}, rounds)


def described(peer: Peer) -> report.Arrangement:
    """The peer as it is after its last turn."""
    check(peer)
    front, servers = memory(peer.front + peer.others), memory(peer.servers)
    return report.Arrangement(
        peer.kind, peer.server, peer.copies, peer.processes, peer.threads, round(front, 1), round(servers, 1)
    )


def run_restarts(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds from `kill -9` of a Distributor to the next client served: of the first one of a new instance, and of its
    successor as soon as it has served one.
    """
    progress = machine.Progress(rounds)
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        progress.turn("restart: maitred")
        with TemporaryDirectory(prefix="maitred-bench-") as place, maitred("c", COPIES, Path(place)) as peer:
            sleep(0.5)
            victim = peer.front[0]
            for seconds in taken:
                begun = monotonic()
                os.kill(victim, signal.SIGKILL)
                while ask(peer.port) is None:
                    if monotonic() - begun > load.SLACK:
                        raise build.Failed(f"restart {number}: nobody was served within {load.SLACK:g} s")
                seconds.append(monotonic() - begun)
                (victim,) = (pid for pid in distributors_of(peer) if pid != victim)
    progress.over()
    return taken


def run_calls(absent: list[str]) -> dict[str, dict[str, counts.Calls]]:
    """System calls of the peers with a process in front, by peer and workload."""
    found: dict[str, dict[str, counts.Calls]] = {}
    progress = machine.Progress(6)
    for kind, server in (("haproxy", "c"), ("maitred", "c"), ("maitred", "blocking")):
        try:
            with TemporaryDirectory(prefix="maitred-bench-") as place, PEERS[kind](server, COPIES, Path(place)) as peer:
                for workload in (ALONE, STORM):
                    progress.turn(f"calls: {peer.name}, {workload.name}")
                    of_roles = counts.system_calls(peer, Path(place), workload.clients)
                    found.setdefault(peer.name, {})[workload.name] = of_roles
        except Absent as why:
            if str(why) not in absent:
                absent.append(str(why))
    progress.over()
    return found


def run_profile(seconds: float) -> dict[str, dict[str, float]]:
    """Where the Distributor's time goes."""
    print("profile: maitred", file=sys.stderr)
    with TemporaryDirectory(prefix="maitred-bench-") as place:
        return profile.distributor(Path(place), COPIES, seconds)


def facts() -> dict[str, str]:
    """The machine, and the versions of the peers that are here."""
    found = machine.facts()
    for command, question, place in (("haproxy", "-v", 2), ("nginx", "-v", 2)):
        try:
            said = subprocess.run([installed(command, ""), question], capture_output=True, text=True, check=True)
        except Absent:
            continue
        found[command] = (said.stdout + said.stderr).split()[place].rpartition("/")[2]
    compiler = subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True, check=False)
    return {**found, "compiler": compiler.stdout.split("\n", 1)[0]}


def run(stages: Sequence[Stage], options: argparse.Namespace) -> report.Results:
    """All stages."""
    for name in ("load", "server"):
        build.program(name)
    absent: list[str] = []
    if compiled.built() is None:
        absent.append("maitred, compiled: nothing is, so that all of it runs as plain Python (make compile)")
    found = {}
    for stage in stages:
        try:
            found[stage.name] = run_stage(stage, options, absent)
        except Absent as why:
            absent.append(f"stage {stage.name}: {why}")
    every = not options.quick
    restarts, again = run_restarts(2 * options.rounds) if every and "restart" in options.stages else ([], [])
    calls = run_calls(absent) if every and "calls" in options.stages else {}
    profiled = run_profile(4 * options.seconds) if every and "profile" in options.stages else {}
    settings = {"seconds": options.seconds, "seats": SEATS, "warmup": load.WARMUP}
    return report.Results(facts(), settings, absent, found, restarts, again, calls, profiled)


def main(arguments: list[str] | None = None) -> int:
    names = [*(stage.name for stage in STAGES), "restart", "calls", "profile"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns that each peer takes (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of a turn of storm (default: 2)")
    parser.add_argument("--quick", action="store_true", help="one short round of two stages, to see that it works")
    parser.add_argument(
        "--stages", nargs="+", choices=names, default=names, help="these only; --write keeps the others as recorded"
    )
    parser.add_argument("--write", action="store_true", help="record the run in docs/benchmarks/")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 0.2
    signal.signal(signal.SIGTERM, leave)
    stages = [stage for stage in (QUICK if options.quick else STAGES) if stage.name in options.stages]
    try:
        results = run(stages, options)
    except build.Failed as failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbenchmarks: interrupted", file=sys.stderr)
        return 130
    print(report.tables(results))
    if options.write:
        if set(options.stages) != set(names):
            results = report.merged(report.recorded(), results)
        for path in report.write(results):
            print(f"written: {path}", file=sys.stderr)
        campaigns.record("docs/benchmarks/README.md")
    return 1 if report.failures(results) else 0


def leave(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM: leave as Ctrl-C does, so that the peers are ended."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
