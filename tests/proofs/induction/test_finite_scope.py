"""A finite scope agrees with the quantifiers, as far as it reaches."""

import pytest
import z3
from proofs.induction.finite_scope import Scope, term_of, value_of
from proofs.induction.necessity import Room
from proofs.induction.obligations import INDUCTIVE, before, obligation, step_of
from spec.relation.invariant import INVARIANT
from spec.relation.state import NOW, STATE, Client, Int, Server
from spec.relation.system import ACTIONS, initial

pytestmark = [pytest.mark.properties, pytest.mark.recorded]

SMALL = Scope(servers=1, clients=1, ports=1, places=1, top=2)
s, c, n = z3.Const("s", Server), z3.Const("c", Client), z3.Int("n")


def no_quantifier_is_left(term):
    return not z3.is_quantifier(term) and all(no_quantifier_is_left(child) for child in term.children())


def test_a_quantifier_is_written_out():
    scope = Scope(servers=2, clients=3)
    text = str(scope.ground(z3.ForAll([s], z3.Exists([c], NOW.serving(s, c)))))
    assert all(f"serving(server {i}, client {j})" in text for i in (1, 2) for j in (1, 2, 3))


def test_integers_reach_one_further_than_the_state():
    numbers = [value_of(x) for x in SMALL.members(Int)]
    assert numbers == [-1, 0, 1, 2, 3]


@pytest.mark.parametrize("name", INDUCTIVE)
def test_every_conjunct_can_be_written_out(name):
    assert no_quantifier_is_left(SMALL.ground(before(INVARIANT[name].says)))


def test_a_beginning_is_in_every_scope():
    solver = z3.Solver()
    solver.add(SMALL.ground(initial(NOW)), *SMALL.bounds(), *SMALL.loads())
    assert solver.check() == z3.sat
    facts = SMALL.facts(solver.model())
    assert facts["absent", ("client 1",)] is True
    assert facts["life", ()] == "absent"
    assert facts["lighter", (1, 1, 2, 1)] is True


def test_values_are_terms_and_back():
    for symbol in STATE.symbols.values():
        for place in SMALL.printed_points(symbol)[:3]:
            term = SMALL.at(symbol, place)
            for value in (True, 2) if term.sort() in (z3.BoolSort(), z3.IntSort()) else ():
                if isinstance(value, bool) == (term.sort() == z3.BoolSort()):
                    assert value_of(term_of(value, term.sort())) == value


def test_a_counterexample_is_one_when_quantifiers_reach_further():
    """No formula speaks of positions outside of the channels: so what is found in a scope is found at any size."""
    removed, transition = "who_is_unread_is_not_taken", "server_accepts"
    broken = "who_is_not_delivered_is_nowhere_else"
    found = Room(SMALL).counterexample(obligation(transition, broken), removed)
    assert found is not None
    wide = Scope(servers=1, clients=1, ports=1, places=1, top=2, further=4)
    solver = z3.Solver()
    for (name, place), value in found.before.items():
        symbol = STATE.symbols[name]
        where = [term_of(x, wide.sort(sort)) for x, sort in zip(place, symbol.arguments, strict=True)]
        term = wide.at(symbol, where)
        solver.add(term == term_of(value, term.sort()))
    solver.add(*(wide.ground(before(INVARIANT[name].says)) for name in INDUCTIVE if name != removed))
    step = step_of(ACTIONS.by_name[transition])
    solver.add(*(wide.ground(part) for _, part in obligation(transition, broken).parts(())))
    assert step.parameters.keys() == found.parameters.keys()
    assert solver.check() == z3.sat
    solver.add(wide.ground(before(INVARIANT[removed].says)))
    assert solver.check() == z3.unsat
