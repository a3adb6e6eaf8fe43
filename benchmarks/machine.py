"""What the figures depend on: the machine, who else uses it, and how far a run has come."""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

import maitred


def facts() -> dict[str, str]:
    """What the figures depend on; nothing that would name this one machine."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    release = re.match(r"[0-9.]+", platform.release())
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "kernel": release[0].rstrip(".") if release else platform.system(),
        "python": platform.python_version(),
        "maitred": maitred.__version__,
    }


def others_busy(seconds: float) -> float:
    """How much of the machine is in use while all peers rest: what the neighbours take, from 0 to 1."""
    before = _times()
    sleep(seconds)
    after = _times()
    idle, total = after[0] - before[0], after[1] - before[1]
    return round(1 - idle / max(total, 1), 3)


def _times() -> tuple[int, int]:
    """Idle and all ticks of all CPUs since boot."""
    ticks = [int(tick) for tick in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


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
