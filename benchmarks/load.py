"""Runs the load generator, c/load.c, and gives what it has seen.  Its CPU is no part of any figure."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field

from benchmarks.build import Failed, program

GRACE = 5.0
"""Seconds that clients which are under way at the end may take to finish; the generator's own."""
WARMUP = 0.2
"""Seconds before results count."""
SLACK = 20.0
"""Seconds that the generator may take beyond its time before the run is given up."""


@dataclass
class Sample:
    """What one run of a workload has seen."""

    results: int = 0
    """Within the measured time."""
    everything: int = 0
    """Results of the warm-up and of the grace included: what the servers have had to do."""
    seconds: float = 0.0
    """The measured time."""
    p50: float = 0.0
    """Milliseconds of one result: the median."""
    p99: float = 0.0
    worst: float = 0.0
    bytes: int = 0
    """Of the answers, within the measured time; of a download whatever of it arrived then."""
    cpu: float = 0.0
    """Seconds of CPU that the generator itself has used, warm-up and grace included."""
    served: dict[str, int] = field(default_factory=dict)
    """By the pid of the copy that answered."""
    failed: dict[str, int] = field(default_factory=dict)
    """By what went wrong."""


def run(
    mode: str,
    port: int,
    *,
    clients: int = 64,
    warmup: float = WARMUP,
    seconds: float = 1.0,
    value: float = 0,
    seed: int = 1,
    cpus: set[int] | None = None,
) -> Sample:
    """One run of the load generator.

    Args:
        mode: ``connections``, ``requests``, ``download``, ``tail`` or ``hold``; see c/load.c.
        port: where the peer listens on 127.0.0.1.
        clients: how many at a time.
        warmup: seconds before results count.
        seconds: for how long they do.
        value: bytes of a download; arrivals a second of ``tail``.
        seed: of what is random.
        cpus: the CPUs that the generator may run on; None: those of this process.

    Raises:
        Failed: the generator has ended with an error, or has not ended.
    """
    command = [str(program("load")), mode, *map(str, (port, clients, warmup, seconds, value, seed))]
    within = warmup + seconds + GRACE + SLACK
    generator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if cpus:
            os.sched_setaffinity(generator.pid, cpus)
        said, error = generator.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        raise Failed(f"the load generator has not ended within {within:g} s: {' '.join(command)}") from None
    finally:
        generator.kill()
        generator.wait()
    if generator.returncode:
        raise Failed(f"the load generator failed: {error}")
    return Sample(**json.loads(said))
