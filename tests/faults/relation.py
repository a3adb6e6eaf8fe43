"""Follows a campaign's trace through the relation, for each server class in a process of its own
(`proofs.refinement.traces`).

`maitred replay` asks whether each machine did what it should; this asks whether what they did together is a run of what
the proofs are about.  Nothing is followed past a class's first line that the relation does not model: an audit that
finds something, as after the death of a forked child, or the stop.  What lies outside is counted.
"""

import itertools
import multiprocessing
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from proofs.refinement.bridge import Divergence
from proofs.refinement.traces import validate

MOST = 200_000
"""Lines of a trace that are followed: some 80,000 steps, of which a second takes a few hundred."""
WHO = re.compile(r'"who":"([^"]+)"')


@dataclass
class Walk:
    """What came of following one server class."""

    name: str
    steps: int = 0
    """Events of machines that were rendered as transitions of the relation."""
    outside: int = 0
    """Events after those, in the lines that were followed."""
    ends: str = ""
    """Where it was followed to, and why no further."""
    seconds: float = 0.0
    divergence: str = ""


@dataclass
class Walks:
    """What came of following a trace."""

    lines: int
    """That were followed: its first ones."""
    of: int
    """All lines of the trace."""
    classes: list[Walk]

    def wrong(self):
        """The divergences, in words."""
        diverged = [each for each in self.classes if each.divergence]
        return [f"the trace diverges from the relation, {each.name}: {each.divergence}" for each in diverged]


def walks(trace, names, most=MOST):
    """Follow the beginning of a trace, as far as it goes between two steps of every machine.

    Args:
        trace: its path; the lines that are followed are copied to a file beside it.
        names: of the server classes, in their order.
        most: lines that are followed, more or less.
    """
    beginning = trace.with_name(f"{trace.name}.beginning")
    lines, of = cut(trace, most)
    with open(trace) as file, open(beginning, "w") as copy:
        copy.writelines(itertools.islice(file, lines))
    workers = min(len(names), len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        every = [pool.submit(walk, beginning, number, name) for number, name in enumerate(names)]
    return Walks(lines, of, [each.result() for each in every])


def cut(trace, most):
    """How many lines are to be followed, and how many there are: no machine's step lies on both sides of the cut."""
    began, lines, number = {}, most, 0
    with open(trace) as file:
        for number, line in enumerate(file, 1):
            who = WHO.search(line)[1]
            if '"event":' in line or '"start":' in line:
                began[who] = number
            elif began[who] <= lines < number:
                lines = number
    return min(lines, number), number


def walk(trace, class_id, name):
    """Follow one server class."""
    made, began = Walk(name), time.monotonic()
    try:
        followed = validate(trace, class_id)
    except Divergence as divergence:
        made.divergence = str(divergence)
    else:
        made.steps, made.outside, made.ends = followed.steps, followed.outside, followed.ends
    made.seconds = time.monotonic() - began
    return made
