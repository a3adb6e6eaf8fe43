"""What a connection takes that is counted and not timed: system calls, and steps of the machines.

System calls are counted by strace, which is attached to a running peer for as long as one run of the load generator
takes; steps, by the lines of `maitred run --trace`.  Neither depends on how busy the machine is, but for what a busy
machine batches: one client at a time leaves nothing to batch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from benchmarks import load
from benchmarks.build import Failed
from benchmarks.peers import Absent, Peer

ATTACH = 10.0
"""Seconds that strace has to attach."""
SETTLE = 0.1
"""Seconds after the last answer in which the processes finish with the last connection."""
_CALL = re.compile(r"(\d+) +(?:\S+ +)?(\w+)\(")
_TRACER = re.compile(r"TracerPid:\t([1-9]\d*)")

Calls = dict[str, dict[str, float]]
"""By role (``front``, ``others``, ``servers``) and name: calls for each connection."""


def roles(peer: Peer) -> dict[str, tuple[int, ...]]:
    """The peer's processes by what they do."""
    every = {"front": peer.front, "others": peer.others, "servers": peer.servers}
    return {role: pids for role, pids in every.items() if pids}


def threads(pids: tuple[int, ...]) -> list[int]:
    return [int(task) for pid in pids for task in os.listdir(f"/proc/{pid}/task")]


@contextmanager
def _strace(pids: list[int], log: Path) -> Iterator[None]:
    """Count from when all the threads are being traced."""
    command = shutil.which("strace")
    if command is None:
        raise Absent("strace is not installed (apt-get install strace)")
    asked = [word for pid in pids for word in ("-p", str(pid))]
    errors = log.with_suffix(".errors")
    with errors.open("wb") as output:
        tracer = subprocess.Popen([command, "-f", "-s", "0", "-o", str(log), *asked], stderr=output, stdout=output)
    try:
        end = monotonic() + ATTACH
        while not all(_TRACER.search(Path(f"/proc/{pid}/status").read_text()) for pid in pids):
            if tracer.poll() is not None or monotonic() > end:
                raise Absent(f"strace may not attach here: {errors.read_text().strip()}")
            sleep(0.01)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # it detaches
        tracer.wait()


def system_calls(peer: Peer, place: Path, clients: int = 1, seconds: float = 0.5) -> Calls:
    """The peer's system calls for each connection, under so many clients at a time.

    Raises:
        Absent: strace is not here, or may not attach.
        Failed: a connection failed.
    """
    role_of = {thread: role for role, pids in roles(peer).items() for thread in threads(pids)}
    log = place / f"{peer.name}.strace"
    with _strace(list(role_of), log):
        sample = load.run("connections", peer.port, clients=clients, warmup=0, seconds=seconds)
        sleep(SETTLE)
    if sample.failed or not sample.everything:
        raise Failed(f"{peer.name}, traced: {sample.failed or 'no connection'}")
    made: dict[str, Counter[str]] = {role: Counter() for role in roles(peer)}
    for line in log.read_text(errors="replace").splitlines():
        call = _CALL.match(line)  # not the second half of an unfinished one: "PID <... NAME resumed>"
        if call and int(call[1]) in role_of:
            made[role_of[int(call[1])]][call[2]] += 1
    each = sample.everything
    return {role: {name: round(n / each, 2) for name, n in names.most_common()} for role, names in made.items()}


def steps(trace: Path) -> Counter[str]:
    """How many events of each kind the machines have taken, as ``distributor Received Accepted``."""
    taken: Counter[str] = Counter()
    for line in trace.read_text().splitlines():
        record = json.loads(line)
        if "event" in record:
            event = record["event"]
            inner = event.get("message") or event.get("timer") or {}
            taken[" ".join(filter(None, [record["who"].split()[0], event["is"], inner.get("is")]))] += 1
    return taken
