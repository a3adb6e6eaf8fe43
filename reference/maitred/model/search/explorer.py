"""Every world that can be reached, breadth first: so each counterexample is a shortest one.

Worlds are distinguished by fingerprints of 64 bits (`maitred.model.search.fingerprints` says what the risk of that is).
Of each world only its fingerprint and that of a predecessor are kept (`maitred.model.search.shard`); `path` finds the
way there again by walking it, from one real world to the next, of which those that were explored are the canonical
forms.  So the way that is shown is a run with steady names, also where the exploration is reduced by symmetry.

The outcome depends on neither the number of workers nor their speed: a level is explored to its end before anybody
looks at what was found in it, and of several equally short ways the one of the least fingerprints is kept.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from maitred.model.search.checkpoint import Checkpoint, Reached
from maitred.model.search.fingerprints import Fingerprints
from maitred.model.search.parallel import Alone, Crew, Prepare, Team
from maitred.model.search.shard import Enquiry, Level, Observer, Site
from maitred.model.world import Action, Bounds, World

__all__ = ["Enquiry", "Explorer", "Observer", "Path", "Prepare", "Progress", "Step", "cpus", "forecast"]

WORTH_A_TEAM: Final = 50_000
"""Without a given number of workers, an exploration starts several once it knows so many worlds."""
TREND: Final = 6
"""Levels from which the forecast estimates the trend."""
FARTHEST: Final = 20
"""A forecast of more than so many times what is known is none."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an exploration has come."""

    states: int
    """Distinct worlds found."""
    transitions: int
    queue: int
    """Worlds found whose successors are not known yet."""
    depth: int
    """Actions on a shortest way to the worlds at hand."""
    rate: float
    """Worlds found per second."""
    total: int | None = None
    """How many worlds there will be; None while no end is in sight."""
    exact: bool = False
    """The total is known from an earlier exploration, and no estimate from the sizes of the levels."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action on a path, and the world it leads to."""

    action: Action
    world: World


@dataclass(frozen=True, slots=True)
class Path:
    """A way through the system, from its beginning."""

    bounds: Bounds
    start: World
    steps: tuple[Step, ...]


def cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def forecast(sizes: Sequence[int]) -> int | None:
    """How many worlds there will be when the levels have had these sizes so far; None if no end is in sight.

    The levels of such a system grow, ever more slowly, and then shrink, ever faster: the logarithm of the ratio of one
    to the one before falls about linearly.  So the line through the last ratios is drawn on.
    """
    ratios = [math.log(b / a) for a, b in pairwise(sizes) if a and b][-TREND:]
    if len(ratios) < TREND:
        return None
    middle, mean = (len(ratios) - 1) / 2, sum(ratios) / len(ratios)
    spread = sum((i - middle) ** 2 for i in range(len(ratios)))
    slope = sum((i - middle) * (ratio - mean) for i, ratio in enumerate(ratios)) / spread
    if slope >= 0:
        return None
    known = total = sum(sizes)
    size, ratio = float(sizes[-1]), mean + slope * (len(ratios) - middle)
    while size >= 1 and total <= FARTHEST * known:
        size *= math.exp(ratio)
        total += int(size)
        ratio += slope
    return total if total <= FARTHEST * known else None


class Explorer:
    """A breadth-first exploration, and what it found."""

    def __init__(self, prepare: Prepare, *, workers: int | None = 1, checkpoint: Checkpoint | None = None) -> None:
        """Prepare to explore.

        Args:
            prepare: makes what is explored.  Where there are several workers each of them calls it: it must be
                possible to pickle it, and it must make the same everywhere.
            workers: processes; None: as many as there are CPUs, once that is worth it.
            checkpoint: where to write now and then how far the exploration is, and to go on from, if it has begun.
        """
        self.states = 0
        self.transitions = 0
        self.complete = False
        self.seconds = 0.0
        self.sizes: list[int] = []
        """New worlds, of each level."""
        self._prepare: Final = prepare
        self._enquiry: Final = prepare()
        self._workers: Final = workers
        self._checkpoint: Final = checkpoint
        self._found: dict[str, tuple[int, Site]] = {}
        """Where each name was found first: the level of the first of the two worlds, and these."""
        self._ways: Mapping[str, tuple[int, ...]] = {}
        self._cut = False

    @property
    def found(self) -> frozenset[str]:
        """The names that have been recorded."""
        return frozenset(self._found)

    @property
    def depth(self) -> int:
        """Actions on the longest of all shortest ways."""
        return max(sum(map(bool, self.sizes)) - 1, 0)

    # ------------------------------------------------ exploring

    def run(
        self,
        progress: Callable[[Progress], None] | None = None,
        max_states: int | None = None,
        stop: Callable[[frozenset[str]], bool] | None = None,
    ) -> None:
        """Explore until nothing new is found, about `max_states` are known, or `stop` is true of what a level found.

        Raises:
            CheckpointError: the checkpoint is of another exploration, damaged, or in use.
            Collision: two components of worlds have one digest.
            WorkerLost: a worker was killed.
        """
        collecting = gc.isenabled()
        gc.disable()  # nothing here refers back to itself: the collector would only walk it all again and again
        try:
            with self._checkpoint or contextlib.nullcontext():
                self._run(progress, max_states, stop)
        finally:
            if collecting:
                gc.enable()

    def _run(
        self,
        progress: Callable[[Progress], None] | None,
        max_states: int | None,
        stop: Callable[[frozenset[str]], bool] | None,
    ) -> None:
        saved = self._checkpoint.read() if self._checkpoint is not None else None
        crew: Crew = Alone(self._enquiry) if self._workers in (None, 1) else Team(self._prepare, self._workers or 1)
        try:
            if saved is None:
                began = time.monotonic()
                self._add(crew.begin())
            else:
                began = time.monotonic() - self._restore(saved[0])
                crew.load(saved[1])
            while not self._over(max_states, stop):
                self.seconds = time.monotonic() - began
                if self._workers is None:
                    crew = self._enlarged(crew)
                if self._checkpoint is not None and self._checkpoint.due:
                    self._checkpoint.write(self._reached(), crew.save)
                self._add(crew.level(max_states, self.found, self._reporter(progress, began)))
            self.seconds = time.monotonic() - began
            self._ways = self._traced(crew)
        finally:
            crew.close()
        self._enquiry.observer.settle(())
        if self._checkpoint is not None and not self._cut:
            self._checkpoint.discard()

    def _over(self, max_states: int | None, stop: Callable[[frozenset[str]], bool] | None) -> bool:
        self.complete = not self.sizes[-1] and not self._cut
        self._cut = self._cut or (max_states is not None and self.states >= max_states and not self.complete)
        return self.complete or self._cut or (stop is not None and bool(self._found) and stop(self.found))

    def _add(self, level: Level) -> None:
        """A level is over."""
        for name, site in level.found.items():
            self._found.setdefault(name, (max(len(self.sizes) - 1, 0), site))
        if level.queue or not level.cut:
            self.sizes.append(level.queue)
        self.states += level.queue
        self.transitions += level.transitions
        self._cut = level.cut

    def _enlarged(self, crew: Crew) -> Crew:
        """A team instead of one process, where there is enough to do for it."""
        if not isinstance(crew, Alone) or self.states < WORTH_A_TEAM or cpus() == 1:
            return crew
        team = Team(self._prepare, cpus())
        try:
            team.load(crew.dump())
        except BaseException:
            team.close()
            raise
        return team

    def _reporter(self, progress: Callable[[Progress], None] | None, began: float) -> Callable[[int, int, int], None]:
        total = forecast(self.sizes)

        def report(states: int, transitions: int, queue: int) -> None:
            if progress is not None:
                rate = states / max(time.monotonic() - began, 1e-9)
                waiting = queue + states - self.states
                progress(Progress(states, self.transitions + transitions, waiting, self.depth, rate, total))

        return report

    # ------------------------------------------------ going on

    def _reached(self) -> Reached:
        return Reached(self.states, self.transitions, self.seconds, tuple(self.sizes), dict(self._found))

    def _restore(self, reached: Reached) -> float:
        self.states, self.transitions, self.sizes = reached.states, reached.transitions, list(reached.sizes)
        self._found = dict(reached.found)
        return reached.seconds

    # ------------------------------------------------ ways

    def _traced(self, crew: Crew) -> Mapping[str, tuple[int, ...]]:
        """The fingerprints along a shortest run to where each name was recorded, both ends included."""
        ways = {name: [site.before] for name, (_, site) in self._found.items()}
        for level in range(self.depth, 0, -1):
            reached = [way for name, way in ways.items() if self._found[name][0] >= level]
            parents = crew.parents(level, {way[-1] for way in reached}) if reached else {}
            for way in reached:
                way.append(parents[way[-1]])
        for name, (_, site) in self._found.items():
            if site.after is not None:
                ways[name].insert(0, site.after)
        return {name: tuple(reversed(way)) for name, way in ways.items()}

    def path(self, name: str) -> Path:
        """A shortest run to a world where the name was recorded.

        Raises:
            KeyError: it was not.
            RuntimeError: the way cannot be walked again: the system does not always do the same, or is not as symmetric
                as it was taken to be.
        """
        system, observer = self._enquiry
        fingerprints = Fingerprints(system)
        world = start = system.initial()
        lost = fingerprints.of(system.canonical(start)) != self._ways[name][0]
        steps: list[Step] = []
        for mark in self._ways[name][1:]:
            last = len(steps) + 2 == len(self._ways[name])
            for action, after, wrong in system.successors(world):
                found = fingerprints.of(system.canonical(after)) == mark
                if found and last:
                    found = name in {*observer.step(world, action, after, wrong), *observer.world(after)}
                if found:
                    steps.append(Step(action, after))
                    world = after
                    break
            else:
                lost = True
                break
        if lost:
            raise RuntimeError(f"the way to {name} cannot be walked again: a world has other successors than before")
        return Path(system.bounds, start, tuple(steps))
