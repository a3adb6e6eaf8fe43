"""Every world that can be reached, breadth first: so each counterexample is a shortest one.

Worlds are told apart exactly, by the identities of their interned components (`System.key`); nothing is hashed away.
Of each world only its key and how it was first reached are kept; `path` finds the way there again by walking it.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from maitred.model.world import Action, Bounds, System, World


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an exploration has come."""

    states: int
    """Distinct worlds found."""
    transitions: int
    queue: int
    """Worlds found whose successors are not known yet."""
    depth: int
    """Actions on a shortest way to the world at hand."""
    rate: float
    """Worlds found per second."""


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


Visit = Callable[[World, Action, World, tuple[str, ...], bool], Iterable[str]]
"""Asked of every transition: before, action, after, what the step broke, whether the world is new; names to record."""


class Explorer:
    """A breadth-first exploration, and what it found."""

    def __init__(self, system: System, visit: Visit, greet: Callable[[World], Iterable[str]]) -> None:
        """Prepare: `visit` and `greet` (for the first world) name what is to be recorded as found there."""
        self.system = system
        self.visit = visit
        self.greet = greet
        self.states = 0
        self.transitions = 0
        self.depth = 0
        self.complete = False
        self.seconds = 0.0
        self.found: dict[str, tuple[int, int]] = {}
        """Where each recorded name was found first: the number of a world, and of its successor (-1: itself)."""
        self._parent = array("q")
        self._choice = array("l")

    def run(
        self,
        progress: Callable[[Progress], None] | None = None,
        max_states: int | None = None,
        stop: Callable[[dict[str, tuple[int, int]]], bool] | None = None,
    ) -> None:
        """Explore until nothing new is found, `max_states` are known, or `stop` says so of what was found."""
        collecting = gc.isenabled()
        gc.disable()  # nothing here refers back to itself: the collector would only walk it all again and again
        try:
            self._run(progress, max_states, stop)
        finally:
            if collecting:
                gc.enable()

    def _run(
        self,
        progress: Callable[[Progress], None] | None,
        max_states: int | None,
        stop: Callable[[dict[str, tuple[int, int]]], bool] | None,
    ) -> None:
        began = told = time.monotonic()
        first = self.system.initial()
        key, successors, visit = self.system.key, self.system.successors, self.visit
        seen = {key(first)}
        queue: deque[tuple[int, int, World]] = deque([(0, 0, first)])
        self._parent.append(-1)
        self._choice.append(-1)
        for name in self.greet(first):
            self.found.setdefault(name, (0, -1))
        transitions = 0
        stopped = False
        while queue and not stopped:
            number, depth, world = queue.popleft()
            self.depth = depth
            for choice, (action, after, wrong) in enumerate(successors(world)):
                transitions += 1
                mark = key(after)
                new = mark not in seen
                if new:
                    queue.append((len(seen), depth + 1, after))
                    seen.add(mark)
                    self._parent.append(number)
                    self._choice.append(choice)
                for name in visit(world, action, after, wrong, new):
                    self.found.setdefault(name, (number, choice))
            if stop is not None and self.found and stop(self.found):
                stopped = True
            if max_states is not None and len(seen) >= max_states and queue:
                stopped = True
            if progress is not None and number % 256 == 0 and time.monotonic() - told >= 0.2:
                told = time.monotonic()
                progress(Progress(len(seen), transitions, len(queue), depth, len(seen) / (told - began)))
        self.states, self.transitions = len(seen), transitions
        self.complete = not queue and not stopped
        self.seconds = time.monotonic() - began

    def path(self, name: str) -> Path:
        """A shortest way to where the name was recorded."""
        number, last = self.found[name]
        choices = [last] if last >= 0 else []
        while number > 0:
            choices.append(self._choice[number])
            number = self._parent[number]
        world = start = self.system.initial()
        steps = []
        for choice in reversed(choices):
            for i, (action, after, _) in enumerate(self.system.successors(world)):
                if i == choice:
                    steps.append(Step(action, after))
                    world = after
                    break
        return Path(self.system.bounds, start, tuple(steps))
