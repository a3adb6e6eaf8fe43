"""The closed system as a labelled graph: every world that can be reached, every step between two, each step named.

What a search for cycles needs and an exploration for safety does not: all edges, kept.  They are rows of arrays, some
eight bytes an edge and a few for each world; the worlds themselves are dropped, and found again by walking (`retrace`).
"""

from __future__ import annotations

import gc
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from maitred.model.check.requested import Requested
from maitred.model.claims.fairness import Named, named
from maitred.model.search.explorer import Path, Progress, Step
from maitred.model.world import Action, Deed, DistributorCutOff, DistributorStep, EffectDeclined, System, World

_NOTHING: Final[frozenset[Named]] = frozenset()


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph whose edges have labels.  Edges that lead to where they come from are stuttering, and left out.

    Attributes:
        starts: (states + 1,) where the edges of each state begin; state 0 is the first.
        targets: (edges,) where each leads.
        labels: (edges,) what each is, an index of `names`.
        names: what the labels mean.
        expanded: how many states, from 0, have all their edges here; an exploration cut short knows more states.
    """

    starts: NDArray[np.int64]
    targets: NDArray[np.int32]
    labels: NDArray[np.uint16]
    names: tuple[Named, ...]
    expanded: int

    @property
    def states(self) -> int:
        """How many states there are."""
        return len(self.starts) - 1

    @property
    def sources(self) -> NDArray[np.int32]:
        """(edges,) where each edge comes from."""
        return np.repeat(np.arange(self.states, dtype=np.int32), np.diff(self.starts))

    @staticmethod
    def of(edges: Sequence[Iterable[tuple[int, int]]], names: Sequence[Named]) -> Graph:
        """The graph in which state i has the edges ``edges[i]``, each a label and a target."""
        kept = [[(label, target) for label, target in out if target != i] for i, out in enumerate(edges)]
        starts = np.cumsum([0, *map(len, kept)], dtype=np.int64)
        flat = [edge for out in kept for edge in out]
        labels = np.array([label for label, _ in flat], dtype=np.uint16)
        targets = np.array([target for _, target in flat], dtype=np.int32)
        return Graph(starts, targets, labels, tuple(names), len(edges))


Marks = Callable[[World], bytes]
"""What is to be remembered of each world, a fixed number of bytes."""


class Worlds:
    """A breadth-first exploration that keeps the graph; a `Path` of worlds is found again from the numbers on it."""

    def __init__(self, system: System, marks: Marks) -> None:
        """Prepare: `marks` gives what to remember of each world."""
        self.system = system
        self.seconds = 0.0
        self.transitions = 0
        self.depth = 0
        self._marks = marks
        self._requested = Requested(system)
        self._starts = array("q", [0])
        self._targets = array("i")
        self._labels = array("H")
        self._choices = array("H")
        self._names: dict[Named, int] = {}
        self._marked = bytearray()
        self.lacks: dict[int, frozenset[Named]] = {}
        """Where something that the guards allow was not asked for: what, by the number of the world."""

    def explore(self, progress: Callable[[Progress], None] | None = None, max_states: int | None = None) -> Graph:
        """Everything that can be reached, or as much as `max_states` allow."""
        collecting = gc.isenabled()
        gc.disable()  # nothing here refers back to itself: the collector would only walk it all again and again
        began = time.monotonic()
        try:
            states, expanded = self._explore(progress, max_states, began)
        finally:
            if collecting:
                gc.enable()
        self.seconds = time.monotonic() - began
        self._starts.extend(self._starts[-1] for _ in range(states - expanded))
        return Graph(
            np.frombuffer(self._starts, dtype=np.int64),
            np.frombuffer(self._targets, dtype=np.int32),
            np.frombuffer(self._labels, dtype=np.uint16),
            tuple(self._names),
            expanded,
        )

    def _explore(
        self, progress: Callable[[Progress], None] | None, max_states: int | None, began: float
    ) -> tuple[int, int]:
        reported = began
        first = self.system.initial()
        seen: dict[bytes | tuple[bytes, frozenset[Named]], int] = {self.system.key(first): 0}
        self._marked += self._marks(first)
        queue = deque([(first, _NOTHING, 0)])
        expanded = 0
        while queue and (max_states is None or len(seen) < max_states):
            world, lack, self.depth = queue.popleft()
            for choice, name, after, lacking in self._steps(world, lack):
                self.transitions += 1
                key = self.system.key(after)
                state = (key, lacking) if lacking else key
                number = seen.get(state)
                if number is None:
                    number = seen[state] = len(seen)
                    self._marked += self._marks(after)
                    if lacking:
                        self.lacks[number] = lacking
                    queue.append((after, lacking, self.depth + 1))
                if number != expanded:
                    self._targets.append(number)
                    self._labels.append(self._names.setdefault(name, len(self._names)))
                    self._choices.append(choice)
            expanded += 1
            self._starts.append(len(self._targets))
            if progress is not None and expanded % 256 == 0 and time.monotonic() - reported >= 0.2:
                reported = time.monotonic()
                rate = len(seen) / (reported - began)
                progress(Progress(len(seen), self.transitions, len(queue), self.depth, rate))
        return len(seen), expanded

    def _steps(self, world: World, lack: frozenset[Named]) -> Iterator[tuple[int, Named, World, frozenset[Named]]]:
        """Every step that is possible and was asked for: which successor, its name, and what it leads to."""
        for choice, (action, after, _) in enumerate(self.system.successors(world)):
            name = named(world, action, after)
            if name not in lack:
                yield choice, name, after, self._requested.lacking(lack, world, action, after)

    def marks(self) -> NDArray[np.uint8]:
        """(states, width) what was remembered of each world."""
        states = len(self._starts) - 1
        return np.frombuffer(self._marked, dtype=np.uint8).reshape(states, -1)

    def retrace(self, edges: Sequence[int]) -> Path:
        """The worlds on a way from the beginning, given by the numbers of its edges."""
        world = start = self.system.initial()
        steps = []
        for edge in edges:
            successors = self.system.successors(world)
            action, world, _ = next(islice(successors, self._choices[edge], None))
            steps.append(Step(action, world))
        return Path(self.system.bounds, start, tuple(steps))

    def steadily(self, path: Path) -> Path:
        """The same way, on which every server keeps its name, for people to read.

        The worlds of the graph are normal forms, in which servers are renumbered as others are forgotten; so the
        way is walked again, and each step is one of the same kind to a world whose normal form is the path's.  Where
        there is none, as a machine heeds numbers that a normal form has moved, it is the way as it was given.
        """
        system = System(path.bounds, steady=True)
        world = start = system.initial()
        steps: list[Step] = []
        for step in path.steps:
            kind = _kind(step.action)
            alike = (
                Step(action, after)
                for action, after, _ in system.successors(world)
                if _kind(action) == kind and self.system.canonical(after) == step.world
            )
            found = next(alike, None)
            if found is None:
                return path
            steps.append(found)
            world = found.world
        return Path(path.bounds, start, tuple(steps))


def _kind(action: Action) -> tuple[object, ...]:
    """What an action has in common with one that differs in names only."""
    what = action.what if isinstance(action.what, Deed) else type(action.what)
    match action:
        case DistributorCutOff():
            return type(action), what, action.late, action.performed
        case EffectDeclined():
            return type(action), what, action.late, action.declined
        case DistributorStep():
            return type(action), what, action.late
        case _:
            return type(action), what
