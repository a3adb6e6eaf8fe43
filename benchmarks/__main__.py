"""maitred beside HAProxy, in front of the same unmodified servers: `python -m benchmarks` (or `make bench`).

All peers run from the beginning to the end; in each round every peer takes its turn at every workload, and the next
round begins with the next peer.  So whatever else the machine does, it does to all.  Reported are medians over the
rounds, and ratios taken within each round.  `--write` records the run in docs/benchmarks/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import FrameType

import maitred
from benchmarks import report
from benchmarks.load import Sample
from benchmarks.peers import PEERS, SEATS, Peer, PeerFailed, cpu_seconds

WARMUP = 0.2
SLACK = 20.0
"""Seconds a load generator may take beyond its time before the run is given up."""


@dataclass(frozen=True)
class Workload:
    """One row group of the report."""

    name: str
    generator: str
    clients: int
    share: float
    """Of the time asked for with --seconds."""


WORKLOADS = (
    Workload("crowd", "connections", 64, 1.0),
    Workload("alone", "connections", 1, 0.5),
    Workload("requests", "requests", 64, 0.5),
    Workload("download", "download", 1, 0.5),
)


def measure(peer: Peer, workload: Workload, seconds: float, size: int) -> report.Measured:
    """One turn of a peer."""
    command = [sys.executable, "-m", "benchmarks.load", workload.generator, str(peer.port)]
    command += ["--clients", str(workload.clients), "--size", str(size)]
    command += ["--warmup", str(WARMUP), "--seconds", str(seconds)]
    before = cpu_seconds(peer.front), cpu_seconds(peer.others), cpu_seconds(peer.servers)
    begun = monotonic()
    said = subprocess.run(command, capture_output=True, text=True, timeout=seconds + SLACK, check=False)
    if said.returncode:
        raise PeerFailed(f"{peer.name}, {workload.name}: the load generator failed:\n{said.stderr}")
    after = cpu_seconds(peer.front), cpu_seconds(peer.others), cpu_seconds(peer.servers)
    front, others, servers = (now - then for now, then in zip(after, before, strict=True))
    sample = Sample(**json.loads(said.stdout))
    return report.Measured(sample, front, others, servers, monotonic() - begun)


def others_busy(seconds: float) -> float:
    """How much of the machine is in use while all peers rest: what the neighbours take, from 0 to 1."""
    before = machine_times()
    sleep(seconds)
    after = machine_times()
    idle, total = after[0] - before[0], after[1] - before[1]
    return round(1 - idle / max(total, 1), 3)


def machine_times() -> tuple[int, int]:
    """Idle and all ticks of all CPUs since boot."""
    ticks = [int(tick) for tick in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def machine(server: str) -> dict[str, str]:
    """What the figures depend on."""
    haproxy = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "haproxy"
    version = subprocess.run([haproxy, "-v"], capture_output=True, text=True, check=True).stdout.split()[2]
    facts = machine_facts(server)
    named = facts.pop("server")
    return {**facts, "haproxy": version, "server": named}


def machine_facts(server: str) -> dict[str, str]:
    """What the figures depend on, where there is no peer."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "maitred": maitred.__version__,
        "server": f"benchmarks/servers/{server}.py",
    }


class Progress:
    """Says on stderr how far the run has come."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.done = 0
        self.begun = monotonic()
        self.live = sys.stderr.isatty()

    def turn(self, what: str) -> None:
        """The next turn begins."""
        left = f", {(monotonic() - self.begun) / self.done * (self.turns - self.done):.0f} s left" if self.done else ""
        self.done += 1
        line = f"{self.done}/{self.turns} {what}{left}"
        print(f"\r\x1b[K{line}" if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def over(self) -> None:
        if self.live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def run(arrangements: Sequence[tuple[str, int]], options: argparse.Namespace) -> report.Results:
    """All peers, all rounds."""
    with TemporaryDirectory(prefix="maitred-bench-") as place, ExitStack() as stack:
        peers = [stack.enter_context(PEERS[kind](options.server, copies, Path(place))) for kind, copies in arrangements]
        progress = Progress(options.rounds * len(peers) * len(WORKLOADS))
        rounds, busy = [], []
        for number in range(options.rounds):
            busy.append(others_busy(0.5))
            turns: dict[str, dict[str, report.Measured]] = {}
            first = number % len(peers)
            for peer in peers[first:] + peers[:first]:
                for workload in WORKLOADS:
                    progress.turn(f"{peer.name}, {workload.name}")
                    measured = measure(peer, workload, options.seconds * workload.share, options.size)
                    turns.setdefault(peer.name, {})[workload.name] = measured
            rounds.append({peer.name: turns[peer.name] for peer in peers})
        progress.over()
        described = {
            peer.name: report.Arrangement(peer.kind, peer.copies, peer.processes, peer.threads) for peer in peers
        }
    settings = {"rounds": options.rounds, "seconds": options.seconds, "size": options.size, "seats": SEATS}
    settings["warmup"] = WARMUP
    return report.Results(machine(options.server), settings, busy, described, rounds)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns that each peer takes (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of the longest turn (default: 2)")
    parser.add_argument("--quick", action="store_true", help="one short round, only to see that it works")
    parser.add_argument("--copies", type=int, nargs="+", default=[3, 2], help="copies behind a front (default: 3 2)")
    parser.add_argument("--server", choices=("loop", "threads"), default="loop", help="which server (default: loop)")
    parser.add_argument("--size", type=int, default=64 << 20, help="bytes of a download (default: 64 MiB)")
    parser.add_argument("--without", choices=("maitred", "haproxy"), action="append", default=[], help="leave one out")
    parser.add_argument("--write", action="store_true", help="record the run in docs/benchmarks/")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 0.4
    signal.signal(signal.SIGTERM, leave)
    fronts = [kind for kind in ("maitred", "haproxy") if kind not in options.without]
    arrangements = [("direct", 1), *((kind, copies) for copies in options.copies for kind in fronts)]
    try:
        results = run(arrangements, options)
    except PeerFailed as failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbenchmarks: interrupted", file=sys.stderr)
        return 130
    print(report.tables(results))
    if options.write:
        for path in report.write(results):
            print(f"written: {path}", file=sys.stderr)
    return 1 if report.failures(results) else 0


def leave(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM: leave as Ctrl-C does, so that the peers are ended."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
