"""Where each microsecond of the Distributor goes: a sampling profile of a running one, at full load.

Every Python process of the instance gets a `sitecustomize` which, from one SIGRTMIN to the next, looks every few
milliseconds of CPU (ITIMER_PROF) at which function of ours is running, whatever it calls: system calls count for the
function that makes them.  All runs as plain Python: compiled functions could not be told apart.  Nothing runs in a
process that gets no such signal.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import maitred
from benchmarks import load, peers
from benchmarks.build import Failed

SAMPLER = """\
import os, signal, sys

HOME = {home!r}
seen = {{}}

def sample(_number, frame):
    stack = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(HOME):
            stack.append(frame.f_code.co_filename[len(HOME):] + ":" + frame.f_code.co_name)
        frame = frame.f_back
    line = " ".join(stack)
    seen[line] = seen.get(line, 0) + 1

def turn(_number, _frame):
    running = signal.setitimer(signal.ITIMER_PROF, 0)[1]
    name = {place!r} + "/" + str(os.getpid())
    with open(name + ".part", "w") as file:
        for line, count in seen.items():
            print(count, line, file=file)
    os.replace(name + ".part", name)
    if not running:
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)

signal.signal(signal.SIGPROF, sample)
signal.signal(signal.SIGRTMIN, turn)
"""
MOST = 12
"""The number of functions on the page."""
ROOMS = (
    ("core/wire.py", "codecs"),
    ("core/", "the machine's steps and its tables"),
    ("shell/io/channel.py", "channels to servers and Monitor"),
    ("shell/io/loop.py", "the event loop"),
    ("shell/", "the rest of the shell"),
)
"""What a file's name begins with, and what the file is part of; the first that fits."""


@contextmanager
def _sampled(place: Path) -> Iterator[None]:
    """Have every Python that is started in this context sample itself."""
    home = str(Path(maitred.__file__).parent) + os.sep
    (place / "sitecustomize.py").write_text(SAMPLER.format(home=home, place=str(place)))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(place), before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _ask(pid: int, place: Path) -> list[tuple[int, list[str]]]:
    """Have the process begin to sample, or end: how often it has seen which functions, the innermost first."""
    file = place / str(pid)
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGRTMIN)
    end = monotonic() + load.SLACK
    while not file.exists():
        if monotonic() > end:
            raise Failed(f"process {pid} does not say where it has been")
        sleep(0.02)
    return [(int(count), functions) for count, *functions in map(str.split, file.read_text().splitlines())]


def room(functions: list[str]) -> str:
    """Which part of the Distributor was running."""
    inner = functions[0] if functions else ""
    return next((name for prefix, name in ROOMS if inner.startswith(prefix)), "what is not ours")


def distributor(place: Path, copies: int, seconds: float) -> dict[str, dict[str, float]]:
    """Microseconds of the Distributor's CPU for each connection in storm.

    Returns:
        ``total``: in ``all``, and of it in the ``kernel``; ``rooms``: in each of its parts; ``functions``: in the
        functions of ours that take most, without what others of ours take that they call.
    """
    samples = place / "samples"
    samples.mkdir()
    with _sampled(samples), peers.maitred("c", copies, place, plain=True) as peer:
        (pid,) = peer.front
        _ask(pid, samples)
        before = peers.cpu_seconds(peer.front), int(peers.stat(pid)[12])
        sample = load.run("connections", peer.port, warmup=0, seconds=seconds)
        used = peers.cpu_seconds(peer.front) - before[0]
        kernel = (int(peers.stat(pid)[12]) - before[1]) / peers.TICKS
        seen = _ask(pid, samples)
    each = 1e6 / max(sample.everything, 1)
    rooms: Counter[str] = Counter()
    inner: Counter[str] = Counter()
    for count, functions in seen:
        rooms[room(functions)] += count
        inner[functions[0] if functions else "what is not ours"] += count
    one = used * each / max(rooms.total(), 1)
    return {
        "total": {"all": round(used * each, 1), "kernel": round(kernel * each, 1)},
        "rooms": {name: round(count * one, 1) for name, count in rooms.most_common()},
        "functions": {name: round(count * one, 1) for name, count in inner.most_common(MOST)},
    }
