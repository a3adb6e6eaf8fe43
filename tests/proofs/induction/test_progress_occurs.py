"""No theorem of progress is empty: runs of a small system come to what it speaks of, to each case, and to the goal."""

import random
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
import z3
from proofs.induction import witnesses
from proofs.refinement.interpreter import compiled
from spec.relation.progress import PROGRESS
from spec.relation.state import NOW

pytestmark = [pytest.mark.properties, pytest.mark.recorded]
WALKS = 40
"""Random ones, from a fixed seed, beside the kept runs: four have been enough."""


class Occurrences:
    """Which parts of a theorem have been seen in the states of runs."""

    def __init__(self, theorem):
        self.theorem = theorem
        self.here = constants(theorem.parameters)
        self.pending = compiled(z3.And(theorem.pending(NOW, *self.here), z3.Not(theorem.goal(NOW, *self.here))))
        self.goal = compiled(theorem.goal(NOW, *self.here))
        self.cases = {
            case.name: (case.witness, compiled(case.where(NOW, *self.here, *constants(case.witness))))
            for case in theorem.cases
        }
        self.missing = {"it is pending", "the goal comes", *self.cases}

    def look(self, states):
        pending = set()
        for state in states:
            for given in places(state, self.theorem.parameters):
                if self.pending(state, given):
                    pending.add(tuple(given.values()))
                    self.missing -= {"it is pending", *self.applying(state, given)}
                elif tuple(given.values()) in pending and self.goal(state, given):
                    self.missing.discard("the goal comes")

    def applying(self, state, given):
        for name in self.missing & set(self.cases):
            witness, where = self.cases[name]
            if any(where(state, {**given, **chosen}) for chosen in places(state, witness)):
                yield name


def constants(sorts):
    return [z3.Const(f"{name}.it", sort) for name, sort in sorts.items()]


def places(state, sorts):
    names = [f"{name}.it" for name in sorts]
    for values in product(*(state.domains[sort.name()] for sort in sorts.values())):
        yield dict(zip(names, values, strict=True))


def states(run):
    state = witnesses.beginning()
    yield state
    for move in run:
        state = witnesses.taken(state, *move)
        yield state


def replaced():
    """A process dies that was to deliver a client, and before another has found it, so does the Distributor: what
    random walks come to too seldom.
    """
    kept = witnesses.read()["server_takes_back"]
    moves = kept[: [name for name, _ in kept].index("server_accepts") + 1]
    state = witnesses.beginning()
    for move in moves:
        state = witnesses.taken(state, *move)
    words = [name for name in witnesses.transitions() if name.startswith("monitor_")]
    for names in (["sender_dies"], ["distributor_dies"], words, ["distributor_starts"], ["adopts"]):
        while (move := _first(state, names)) is not None:
            moves = [*moves, move]
            state = witnesses.taken(state, *move)
            if names is not words:
                break
    return moves


def _first(state, names):
    """The first move of these transitions that may be taken."""
    possible = ((name, given) for name in names for given in witnesses.choices(state, name))
    return next((each for each in possible if may(state, *each)), None)


def may(state, name, given):
    return witnesses.transitions()[name].refused(state, given) is None


def runs():
    yield from witnesses.read().values()
    yield replaced()
    dice, seen = random.Random(1), Counter()
    for _ in range(WALKS):
        yield witnesses.walk(dice, seen)


def missing(theorems):
    """Of each theorem, what no run comes to."""
    occurrences = [Occurrences(theorem) for theorem in theorems]
    for run in runs():
        visited = list(states(run))
        for each in occurrences:
            if each.missing:
                each.look(visited)
        if not any(each.missing for each in occurrences):
            break
    return {each.theorem.name: each.missing for each in occurrences if each.missing}


def test_every_theorem_and_every_case_of_it_occurs():
    assert missing(PROGRESS.values()) == {}


@pytest.mark.timeout(600)
def test_a_theorem_about_nothing_is_found_out():
    whole = PROGRESS["who_waits_is_seated"]
    (first, *rest) = whole.cases
    nowhere = replace(first, where=lambda v, *here: z3.BoolVal(False))
    empty = replace(whole, name="of nobody", pending=lambda v, *here: z3.BoolVal(False))
    never = replace(whole, name="never", goal=lambda v, *here: z3.BoolVal(False))
    found = missing([replace(whole, cases=(nowhere, *rest)), empty, never])
    assert found[whole.name] == {first.name}
    assert "it is pending" in found["of nobody"]
    assert found["never"] == {"the goal comes"}
