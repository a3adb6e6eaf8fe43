"""The search for fair runs next to a slow decision that follows the definitions, on small graphs of every kind."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="the search needs scipy: the extra `verify` brings it")

from maitred.model.check.cycles import Search
from maitred.model.check.graph import Graph
from maitred.model.claims.fairness import Fairness, Named

LABELS = 4
WEAK, STRONG, NONE, CEASING = Fairness.WEAK, Fairness.STRONG, Fairness.NONE, Fairness.CEASING


def search(edges, fairness):
    """Edges are, for each state, (label, target) pairs."""
    return Search(Graph.of(edges, [Named(f"action {i}", "here") for i in range(len(fairness))]), fairness)


def mask(states, count):
    out = np.zeros(count, dtype=bool)
    out[list(states)] = True
    return out


# ================================================================ the slow decision


def able(edges, state):
    return {label for label, target in edges[state] if target != state}


def inner(edges, fairness, among):
    """The edges that a run which keeps to these states may take for ever."""
    return {
        (source, label, target)
        for source in among
        for label, target in edges[source]
        if target in among and target != source and fairness[label] is not CEASING
    }


def reachable(start, pairs):
    found, new = {start}, [start]
    while new:
        here = new.pop()
        for source, target in pairs:
            if source == here and target not in found:
                found.add(target)
                new.append(target)
    return found


def fair(edges, fairness, among):
    """Whether some run comes to exactly these states for ever, and takes all edges between them, and is fair."""
    steps = inner(edges, fairness, among)
    pairs = {(source, target) for source, _, target in steps}
    if any(reachable(state, pairs) != set(among) for state in among):
        return False
    taken = {label for _, label, _ in steps}
    for label, kind in enumerate(fairness):
        enabled = [label in able(edges, state) for state in among]
        if kind is WEAK and all(enabled) and label not in taken:
            return False
        if kind is STRONG and any(enabled) and label not in taken:
            return False
    return True


def refutable(edges, fairness, arises, away):
    """Whether, from a state of `arises` that can be reached, a way in `away` leads to a set that is fair."""
    everything = {(source, target) for source, out in enumerate(edges) for _, target in out}
    kept = {(source, target) for source, target in everything if source in away and target in away}
    met = reachable(0, everything) & arises
    beyond = set().union(*(reachable(state, kept) for state in met)) if met else set()
    sets = (among for size in range(1, len(edges) + 1) for among in combinations(sorted(away), size))
    return any(beyond & set(among) and fair(edges, fairness, among) for among in sets)


def check_round(edges, fairness, arises, away, graph, found):
    """A lasso must be a path, arise where it claims, keep away from then on, and be fair round by round."""
    sources = graph.sources
    state, states = 0, [0]
    for edge in (*found.prefix, *found.cycle):
        assert sources[edge] == state
        state = int(graph.targets[edge])
        states.append(state)
    assert states[len(found.prefix)] == states[-1] == found.start
    assert states[found.arises] in arises and set(states[found.arises :]) <= away
    visited = set(states[len(found.prefix) :])
    taken = {int(graph.labels[edge]) for edge in found.cycle}
    for label, kind in enumerate(fairness):
        enabled = [label in able(edges, state) for state in visited]
        assert kind is not WEAK or label in taken or not all(enabled)
        assert kind is not STRONG or label in taken or not any(enabled)
        assert kind is not CEASING or label not in taken


# ================================================================ the two compared


@st.composite
def questions(draw):
    size = draw(st.integers(1, 6))
    edge = st.tuples(st.integers(0, LABELS - 1), st.integers(0, size - 1))
    edges = draw(st.lists(st.lists(edge, max_size=4), min_size=size, max_size=size))
    fairness = draw(st.lists(st.sampled_from(Fairness), min_size=LABELS, max_size=LABELS))
    away = draw(st.sets(st.integers(0, size - 1), min_size=min(size, 3)))
    arises = draw(st.sets(st.sampled_from(sorted(away)), max_size=2)) if away else set()
    return edges, fairness, arises, away


@settings(max_examples=500, deadline=None)
@given(questions())
@example(([[(0, 1)], [(1, 0), (2, 2)], [(3, 0)]], [WEAK, WEAK, STRONG, NONE], {0}, {0, 1}))
def test_the_search_decides_as_the_definitions_do(question):
    edges, fairness, arises, away = question
    looked = search(edges, fairness)
    found = looked.refute(mask(arises, len(edges)), mask(away, len(edges)))
    wanted = refutable(edges, fairness, arises, away)
    event("refuted" if wanted else "holds")
    assert (found is not None) is wanted
    if found is not None:
        event("goes round" if found.cycle else "stays")
        check_round(edges, fairness, arises, away, looked.graph, found)
        assert len(looked.account(found)) == len({name for name, _ in looked.account(found)})


# ================================================================ by hand


def refuted(edges, fairness, arises=(0,), away=None):
    away = range(len(edges)) if away is None else away
    return search(edges, fairness).refute(mask(arises, len(edges)), mask(away, len(edges)))


def test_a_run_may_stay_where_nothing_is_fair():
    assert refuted([[(0, 1)], []], [NONE], away=[0]).cycle == ()
    assert refuted([[(0, 1)], []], [WEAK], away=[0]) is None


def test_a_step_that_changes_nothing_is_no_step():
    assert refuted([[(0, 0), (1, 1)], []], [WEAK, NONE], away=[0]) is not None


def test_weak_fairness_is_not_strong():
    """Two states; the way out is open in one of them only."""
    round_and_out = [[(0, 1)], [(1, 0), (2, 2)], []]
    found = refuted(round_and_out, [WEAK, WEAK, WEAK], away=[0, 1])
    assert found is not None and len(found.cycle) == 2
    assert refuted(round_and_out, [WEAK, WEAK, STRONG], away=[0, 1]) is None


def test_a_part_of_a_set_may_be_fair_where_the_whole_is_not():
    """Of 0 - 1 - 2, the strongly fair way out of 2 bars 2; the round of 0 and 1 is fair."""
    edges = [[(0, 1)], [(0, 0), (1, 2)], [(1, 1), (2, 3)], []]
    found = refuted(edges, [WEAK, NONE, STRONG], away=[0, 1, 2])
    assert found is not None and len(found.cycle) == 2
    assert refuted(edges, [WEAK, WEAK, STRONG], away=[0, 1, 2]) is not None
    assert refuted(edges, [WEAK, STRONG, STRONG], away=[0, 1, 2]) is None


def test_what_ceases_makes_no_round():
    assert refuted([[(0, 1)], [(1, 0)]], [CEASING, WEAK]) is not None  # it stays in 0
    assert refuted([[(0, 1), (2, 2)], [(1, 0)], []], [CEASING, WEAK, WEAK], away=[0, 1]) is None
    assert refuted([[(0, 1), (2, 2)], [(1, 0)], []], [NONE, WEAK, WEAK], away=[0, 1]) is not None


def test_what_comes_before_p_does_not_count():
    """The round does not come after the only state of P."""
    edges = [[(0, 1), (0, 2)], [(0, 0)], []]
    assert refuted(edges, [NONE], arises=[2], away=[0, 1, 2]).start == 2
    assert refuted(edges, [NONE], arises=[1], away=[1]).prefix != ()
    assert refuted(edges, [NONE], arises=[], away=[0, 1, 2]) is None


def test_of_what_was_not_looked_at_nothing_is_claimed():
    whole = Graph.of([[(0, 1)], []], [Named("on", "here")])
    cut = Graph(whole.starts, whole.targets, whole.labels, whole.names, expanded=1)
    everywhere = np.ones(2, dtype=bool)
    assert Search(whole, [WEAK]).refute(everywhere, everywhere) is not None
    assert Search(cut, [WEAK]).refute(everywhere, everywhere) is None
