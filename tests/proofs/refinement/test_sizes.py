"""What is compared in worlds of some size holds of any size: neither text has a number that a larger one could pass.

The bridge compares the relation with the code in worlds that are finite, and so of some size.  A guard such as "fewer
than three clients" would hold in all small ones.  So no transition may have a number but 0, 1 and -1 in it, the
machines none but those that are listed here, and walks go where there is more than one and two of everything.
"""

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import z3
from proofs.refinement.bridge import DEEP, TRANSITIONS, Divergence, compare_on_the_way
from proofs.refinement.pinned_configurations import LENGTH
from spec.relation.state import STATE
from spec.relation.system import ACTIONS

from maitred.core import distributor, monitor, numbering, server

pytestmark = pytest.mark.properties

PLAIN = {-1, 0, 1}
"""The next, none, and whether there is any: what does not depend on how many there are."""
LISTED = {
    (distributor, 1_000): "FORGET_LIMIT: an audit names so many; an audit that names anybody is not compared",
    (monitor, 5): "how often a server may die before it is rested; the relation leaves the counting of deaths out",
    (numbering, 2): "the least gap that a counter may leave, in what only the model calls",
}


def numbers(term):
    """The integers that are written in a term."""
    found = {term.as_long()} if z3.is_int_value(term) else set()
    return found.union(*map(numbers, [term.body()] if z3.is_quantifier(term) else term.children()))


def written(step):
    """The integers in a transition's guards and assignments."""
    terms = [guard for _, guard in step.guards]
    for name, assigned in step.changed.items():
        terms.append(assigned(*(z3.Const(f"a{i}", sort) for i, sort in enumerate(STATE.symbols[name].arguments))))
    return set().union(*map(numbers, terms))


def test_no_transition_has_a_number_in_it():
    assert {action.name: found - PLAIN for action in ACTIONS if (found := written(action.step(STATE))) - PLAIN} == {}


def test_a_number_in_a_guard_is_found():
    clients = z3.Function("clients", z3.IntSort(), z3.IntSort())
    x = z3.Int("x")
    assert numbers(z3.ForAll([x], z3.Implies(x > 0, clients(x) < 3))) == {0, 3}


def test_the_machines_have_only_the_numbers_that_are_listed():
    found = set()
    for module in (distributor, monitor, server, numbering):
        tree = ast.parse(Path(module.__file__).read_text())
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        found |= {(module, value) for value in constants if type(value) in (int, float) and value not in PLAIN}
    assert found == LISTED.keys()


def most():
    """How many there were of each at once, at most, on the walks where there are many."""
    found = Counter()

    def look(state, _name, _parameters):
        get, domains = state.value, state.domains
        sizes = {
            "servers": sum(get("main", s) for s in domains["Server"]),
            "clients of a server": max(get("clients", s) for s in domains["Server"]),
            "who wait": sum(get("waiting", c) for c in domains["Client"]),
            "words to the Monitor": get("word_tail") - get("word_head"),
        }
        found.update({name: size - found[name] for name, size in sizes.items() if size > found[name]})

    for name in ("many servers", "many clients"):
        compare_on_the_way(DEEP[name], f"{name} 0", LENGTH, witness=look)
    return found


def test_walks_go_where_there_are_many_of_each():
    found = most()
    assert min(found.values()) >= 3, found


def test_a_relation_that_holds_of_few_only_is_found_out(monkeypatch):
    taken = TRANSITIONS["server_accepts"]
    *others, (line, last) = taken.guards
    few = (line, lambda state, given: last(state, given) and state.value("clients", given["s!"]) < 2)
    monkeypatch.setitem(TRANSITIONS, "server_accepts", replace(taken, guards=(*others, few)))
    with pytest.raises(Divergence, match="server_accepts"):
        most()
