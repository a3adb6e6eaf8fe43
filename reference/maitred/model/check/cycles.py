"""Whether a graph has a run that is fair and keeps away from a goal for ever; and the shortest way to show one.

Rules
-----
1.  A run is an infinite path, or one that ends in a state and stays there: to stay is always possible.
2.  A run is *fair* if each weakly fair label is disabled again and again on it or taken again and again; each strongly
    fair one is taken again and again or from some moment on disabled; and each ceasing one is from some moment on not
    taken.
3.  `P ~> Q` is refuted by a fair run on which, after a state of P, no state of Q comes.

Theory of operation
-------------------
The states that a run comes back to for ever are strongly connected among themselves, without Q and without ceasing
edges.  Conversely, in a strongly connected set, there is a run that comes to all its states and takes all its edges for
ever.  So such a run exists exactly if some strongly connected set is *fair*: for each weakly fair label it has a state
where the label is disabled or an edge of it; for each strongly fair one an edge of it, or no state where it is enabled.

A maximal set that wants a weakly fair label has no subset that would not want it: it is given up.  One that wants a
strongly fair label may have such subsets, but without the states where the label is enabled: these are taken out, and
what remains is looked at again (Emerson and Lei, for Streett's condition).  A single state is a set like any other; the
run that stays there takes no edge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from maitred.model.check.graph import Graph
from maitred.model.claims.fairness import Fairness, Named

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Round:
    """A way to a cycle, and the cycle."""

    prefix: tuple[int, ...]
    """Edges, by number, from the first state to the state where the cycle begins."""
    cycle: tuple[int, ...]
    """Edges from there to there; none: the run stays."""
    arises: int
    """After how many of the edges P holds first, with no Q to come."""
    start: int
    """The state where the cycle begins."""


class Search:
    """Fair runs of one graph."""

    def __init__(self, graph: Graph, fairness: Sequence[Fairness]) -> None:
        """Prepare: `fairness` says how fair each label is, in the order of `graph.names`."""
        self.graph: Final = graph
        self._sources: Final = graph.sources
        self._weak: Final = np.array([f is Fairness.WEAK for f in fairness], dtype=np.bool_)
        self._strong: Final = np.array([f is Fairness.STRONG for f in fairness], dtype=np.bool_)
        self._weak_labels: Final = set(np.flatnonzero(self._weak).tolist())
        ceasing = np.array([f is Fairness.CEASING for f in fairness], dtype=np.bool_)
        self._lasting: Final = ~ceasing[graph.labels] if len(graph.labels) else np.zeros(0, dtype=np.bool_)
        self._width: Final = max(len(fairness), 1)
        pairs = np.unique(self._sources.astype(np.int64) * self._width + graph.labels)
        self._able: Final = (pairs // self._width).astype(np.int32), (pairs % self._width).astype(np.uint16)
        """(pairs,) each state and each label that is enabled there."""

    # ------------------------------------------------ whether

    def fair_sets(self, away: Mask) -> list[NDArray[np.int32]]:
        """The greatest fair sets of states, among those where `away` is true."""
        left = away.copy()
        left[self.graph.expanded :] = False  # what can happen there is not known
        found = []
        while left.any():
            component = self._components(left)
            wanting_weak, wanting_strong = self._wanting(component)
            kept = component >= 0
            fair = ~wanting_weak
            fair[np.unique(component[self._able[0][wanting_strong]])] = False
            members = np.flatnonzero(kept & fair[component]).astype(np.int32)
            found += _grouped(members, component[members])
            left = kept & ~wanting_weak[component] & ~fair[component]
            left[self._able[0][wanting_strong]] = False
        return found

    def _components(self, mask: Mask) -> NDArray[np.int32]:
        """(states,) to which strongly connected set each state of the mask belongs, from 0; -1 of the others."""
        inside = self._inside(mask)
        numbers = np.cumsum(mask, dtype=np.int32) - 1
        count = int(mask.sum())
        ends = numbers[self._sources[inside]], numbers[self.graph.targets[inside]]
        matrix = csr_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(count, count))
        _, labels = connected_components(matrix, directed=True, connection="strong")
        component = np.full(self.graph.states, -1, dtype=np.int32)
        component[mask] = labels
        return component

    def _inside(self, mask: Mask) -> Mask:
        """(edges,) which edges a run that keeps to the mask may take for ever."""
        inside: Mask = mask[self._sources] & mask[self.graph.targets] & self._lasting
        return inside

    def _wanting(self, component: NDArray[np.int32]) -> tuple[Mask, Mask]:
        """(sets,) which want a weakly fair label; (pairs,) which are of a strongly fair one that is wanted."""
        states, labels = self._able
        sets = component[states]
        keys = np.where(sets >= 0, sets.astype(np.int64) * self._width + labels, -1)
        ends = component[self._sources], component[self.graph.targets]
        taken = (ends[0] >= 0) & (ends[0] == ends[1]) & self._lasting
        taken_keys = np.unique(ends[0][taken].astype(np.int64) * self._width + self.graph.labels[taken])
        wanted = (sets >= 0) & ~np.isin(keys, taken_keys)
        sizes = np.bincount(component[component >= 0])
        weak_keys, counts = np.unique(keys[wanted & self._weak[labels]], return_counts=True)
        always = counts == sizes[weak_keys // self._width]
        wanting_weak = np.zeros(len(sizes), dtype=np.bool_)
        wanting_weak[weak_keys[always] // self._width] = True
        return wanting_weak, wanted & self._strong[labels]

    # ------------------------------------------------ how

    def refute(self, arises: Mask, away: Mask) -> Round | None:
        """A fair run that comes to a state of `arises` and from there on stays in `away`; None where there is none.

        Args:
            arises: (states,) where P holds; a part of `away`.
            away: (states,) where Q does not hold.
        """
        if not arises.any():
            return None
        sets = self.fair_sets(away)
        if not sets:
            return None
        goal = np.full(self.graph.states, -1, dtype=np.int32)
        for i, members in enumerate(sets):
            goal[members] = i
        way = self._way(arises, away, goal >= 0)
        if way is None:
            return None
        edges = tuple(self._edge(*ends) for ends in pairwise(way))
        since = next((i for i in reversed(range(len(way))) if not away[way[i]]), -1) + 1
        arisen = next(i for i in range(since, len(way)) if arises[way[i]])
        start = way[-1]
        return Round(edges, self._cycle(start, sets[goal[start]]), arisen, start)

    def _way(self, arises: Mask, away: Mask, goal: Mask) -> list[int] | None:
        """The states of a shortest way through `arises`, then in `away` only, to the goal.

        It is sought in two copies of the graph, with a bridge from the first to the second where P holds.
        """
        n, graph = self.graph.states, self.graph
        both = away[self._sources] & away[graph.targets]
        bridges = np.flatnonzero(arises)
        rows = np.concatenate([self._sources, self._sources[both] + n, bridges])
        columns = np.concatenate([graph.targets, graph.targets[both] + n, bridges + n])
        matrix = csr_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(2 * n, 2 * n))
        order, previous = breadth_first_order(matrix, 0, directed=True, return_predecessors=True)
        second = order[order >= n] - n
        ends = second[goal[second]]
        if not len(ends):
            return None
        node, nodes = int(ends[0]) + n, []
        while node >= 0:
            nodes.append(node)
            node = int(previous[node])
        nodes.reverse()
        del nodes[sum(node < n for node in nodes)]  # the bridge is no step
        return [node % n for node in nodes]

    def _edge(self, source: int, target: int) -> int:
        """The first edge between the two."""
        begin, end = self.graph.starts[source], self.graph.starts[source + 1]
        return int(begin + np.flatnonzero(self.graph.targets[begin:end] == target)[0])

    def _cycle(self, start: int, members: NDArray[np.int32]) -> tuple[int, ...]:
        """A fair way round the set from one of its states; empty where it is fair to stay there."""
        within = set(members.tolist())
        wanted = self.enabled(start) & self._weak_labels
        wanted |= {label for state in members.tolist() for label in self.enabled(state) if self._strong[label]}
        cycle: list[int] = []
        here = start
        while wanted:
            leg = self._leg(here, within, partial(self._serves, frozenset(wanted)))
            cycle += leg
            for edge in leg:
                wanted -= self._given(edge)
            here = int(self.graph.targets[leg[-1]])
        if cycle and here != start:
            cycle += self._leg(here, within, lambda edge: int(self.graph.targets[edge]) == start)
        return tuple(cycle)

    def _serves(self, wanted: frozenset[int], edge: int) -> bool:
        return not wanted.isdisjoint(self._given(edge))

    def _given(self, edge: int) -> set[int]:
        """The labels that are treated fairly by taking the edge: its own, and the weak ones disabled where it leads."""
        return {int(self.graph.labels[edge])} | self._weak_labels - self.enabled(int(self.graph.targets[edge]))

    def _leg(self, start: int, within: set[int], serves: Callable[[int], bool]) -> list[int]:
        """The edges of a shortest way in the set that ends with an edge which serves."""
        came: dict[int, int] = {start: -1}
        queue = deque([start])
        while queue:
            state = queue.popleft()
            for edge in range(int(self.graph.starts[state]), int(self.graph.starts[state + 1])):
                target = int(self.graph.targets[edge])
                if target not in within or not self._lasting[edge]:
                    continue
                if serves(edge):
                    leg = [edge]
                    while came[state] >= 0:
                        leg.append(came[state])
                        state = int(self._sources[came[state]])
                    return leg[::-1]
                if target not in came:
                    came[target] = edge
                    queue.append(target)
        raise AssertionError("the set is strongly connected, and fair")

    def enabled(self, state: int) -> set[int]:
        """The labels that are enabled in the state."""
        begin, end = self.graph.starts[state], self.graph.starts[state + 1]
        return set(self.graph.labels[begin:end].tolist())

    # ------------------------------------------------ why it is fair

    def account(self, found: Round) -> tuple[tuple[Named, str], ...]:
        """Every fair action that is possible on the cycle, and how the cycle is fair to it all the same."""
        states = [found.start, *(int(self.graph.targets[edge]) for edge in found.cycle[:-1])]
        taken: dict[int, int] = {}
        for i, edge in enumerate(found.cycle, 1):
            taken.setdefault(int(self.graph.labels[edge]), i)
        possible = [self.enabled(state) for state in states]
        fair = [label for label in sorted(set().union(*possible)) if self._weak[label] or self._strong[label]]
        return tuple((self.graph.names[label], _how(label, taken, possible)) for label in fair)

    def free(self, found: Round) -> tuple[tuple[Named, bool], ...]:
        """What is possible on the cycle and of no fairness, and whether the cycle takes it."""
        states = [found.start, *(int(self.graph.targets[edge]) for edge in found.cycle[:-1])]
        taken = {int(self.graph.labels[edge]) for edge in found.cycle}
        possible = sorted(set().union(*map(self.enabled, states)))
        free = (label for label in possible if not (self._weak[label] or self._strong[label]))
        return tuple((self.graph.names[label], label in taken) for label in free)


def _how(label: int, taken: Mapping[int, int], possible: Sequence[set[int]]) -> str:
    if label in taken:
        return f"it is taken, as step {taken[label]} of the round"
    idle = next(i for i, labels in enumerate(possible) if label not in labels)
    return f"it is not possible after step {idle} of the round" if idle else "it is not possible where the round begins"


def _grouped(members: NDArray[np.int32], groups: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """The members of each group."""
    if not len(members):
        return []
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    return np.split(members[order], cuts)
