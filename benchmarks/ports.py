"""How long a step takes in the Rust port and in plain Python: each step of the vectors, without the JSON around it.

``python -m benchmarks.ports`` builds the port and prints a table; ``make bench-ports`` runs it.
"""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter_ns

from maitred.vectors import codec, files

ROOT = Path(__file__).parents[1]
ROUNDS = 30
"""The shortest counts: other processes only make a round longer."""


def python(vectors):
    """Microseconds for a step, by machine."""
    return {machine: mean(machine, vectors) / 1000 for machine in codec.MACHINES}


def mean(machine, vectors):
    steps = [
        (codec.decode_state(machine, vector.state), codec.decode_event(machine, vector.event))
        for vector in vectors
        if vector.machine == machine
    ]
    shortest = [min(timed(machine, *step) for _ in range(ROUNDS)) for step in steps]
    return sum(shortest) / len(shortest)


def timed(machine, state, event):
    start = perf_counter_ns()
    codec.take(machine, state, event)
    return perf_counter_ns() - start


def rust(vectors):
    target = ROOT / "build/ports"
    port = ROOT / "examples/ports/rust"
    subprocess.run(["make", "-s", "-C", port, "build", "RELEASE=yes", f"TARGET={target}"], check=True)
    lines = (json.dumps({"machine": one.machine, "state": one.state, "event": one.event}) for one in vectors)
    command = [target / "release/maitred-steps", "--time", str(ROUNDS)]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    return {machine: nanoseconds / 1000 for machine, nanoseconds in json.loads(done.stdout).items()}


def main():
    vectors = [*files.steps()]
    plain, port = python(vectors), rust(vectors)
    print(f"| machine | Rust | Python {sys.version_info.major}.{sys.version_info.minor} | times |")
    print("|---|---|---|---|")
    for machine in codec.MACHINES:
        print(
            f"| {machine} | {port[machine]:.2f} µs | {plain[machine]:.1f} µs | {plain[machine] / port[machine]:.0f} |"
        )


if __name__ == "__main__":
    main()
