"""The relation is read twice, as a program and as logic; both readings agree, on both sides of each guard."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
from proofs.refinement.bridge import DEEP, MIDST, Tally, compare, compare_on_the_way
from proofs.refinement.guard_cases import ENABLED, MIXED, Cases, Wanted, implied
from proofs.refinement.interpreter import compiled
from proofs.refinement.z3_interpreter import TRANSITIONS, Undecided, closed, decided, reading, universe
from spec.relation.state import NOW

from maitred.model.world import Bounds

pytestmark = [pytest.mark.properties, pytest.mark.recorded]

SOME = Wanted(enabled=12, alone=4, mixed=6)
MANY = Wanted(enabled=80, alone=15, mixed=60)


@cache
def chosen(wanted):
    """Cases of each kind, from explored worlds and from the midst of the steps between them."""
    cases, tally = Cases(wanted, "cases"), Tally()
    small = Bounds(servers=1, clients=1, distributor_crashes=1, descriptor_losses=1, warm=True)
    compare(small, None, tally, enabled=False, witness=cases.visit)
    compare(MIDST, None, tally, enabled=False, witness=cases.visit)
    for name, bounds in DEEP.items():
        for seed in range(1 if wanted is SOME else 6):
            compare_on_the_way(bounds, f"{name} {seed}", 150, tally, enabled=False, witness=cases.visit)
        compare(bounds, tally.worlds + 60, tally, enabled=False, witness=cases.visit)
    cases.disturb(searches=300, length=400)
    return cases


def differences(cases):
    """How many cases were compared, and where the two readings differ."""
    found, compared = [], 0
    for case in cases:
        one = reading(case.name, universe(case.state))
        found += one.differences(case.state, case.parameters)
        compared += 1
    return compared, found


def assert_covered(cases):
    """Each transition is enabled somewhere, and each guard alone is false somewhere."""
    lacking = cases.lacking()
    assert [name for name, kind in lacking if kind == ENABLED] == [], "a transition was never enabled"
    assert [key for key in lacking if not implied(*key)] == [], "a guard was never alone false, and could be"


@pytest.mark.timeout(600)
def test_both_readings_agree():
    cases = chosen(SOME)
    compared, found = differences(cases)
    assert found == []
    assert compared > 2_000
    assert_covered(cases)


@pytest.mark.minutes
@pytest.mark.timeout(3_600)
def test_both_readings_agree_on_ten_thousand():
    cases = chosen(MANY)
    compared, found = differences(cases)
    assert found == []
    assert compared >= 10_000
    assert_covered(cases)


def test_most_kinds_are_reached_and_the_others_are_known():
    """A state that the code does not reach stands in only where a guard is false nowhere else."""
    cases = chosen(SOME)
    reached = Counter(kind == ENABLED for (name, kind) in cases.found if (name, kind) not in cases.disturbed)
    assert reached[True] == len(TRANSITIONS) - len({name for name, kind in cases.disturbed if kind == ENABLED})
    assert not {name for name, kind in cases.disturbed if kind == ENABLED}


@pytest.mark.timeout(600)
def test_a_solver_gives_the_same_verdicts_on_the_guards_with_all_integers():
    """Z3's solver, which is given the quantifiers as they are, and not only the integers of the state."""
    asked = Counter()
    for (name, kind), cases in chosen(SOME).found.items():
        for case in cases[:1]:
            asked[kind] += 1
            assert decided(case.state, name, case.parameters) == TRANSITIONS[name].verdicts(case.state, case.parameters)
    assert asked[ENABLED] == len(TRANSITIONS)
    assert asked[MIXED] > 50


# ---------------------------------------------------------------- and it can fail


def test_nothing_compared_is_nothing_covered():
    empty = Cases(SOME, "nothing")
    assert differences(empty) == (0, [])
    with pytest.raises(AssertionError, match="never enabled"):
        assert_covered(empty)


def test_a_guard_whose_one_side_was_never_seen_is_noticed():
    cases = Cases(SOME, "one side")
    cases.found = {key: ["something"] for key in cases.found}
    cases.found["sends_hand", 2] = []
    with pytest.raises(AssertionError, match="sends_hand"):
        assert_covered(cases)


def mutated(name, **changes):
    """The evaluator with one transition mutated."""
    return {**TRANSITIONS, name: replace(TRANSITIONS[name], **changes)}


def test_an_evaluator_that_reads_a_guard_otherwise_is_noticed(monkeypatch):
    line, _ = TRANSITIONS["client_comes"].guards[1]
    guards = (TRANSITIONS["client_comes"].guards[0], (line, compiled(NOW.holding)))
    monkeypatch.setattr("proofs.refinement.z3_interpreter.TRANSITIONS", mutated("client_comes", guards=guards))
    assert any("client_comes: guard 1" in one for one in differences(of("client_comes"))[1])


def test_an_evaluator_that_reads_an_update_otherwise_is_noticed(monkeypatch):
    other = {**TRANSITIONS["client_comes"].updates, "next_came": ((), compiled(NOW.next_came))}
    monkeypatch.setattr("proofs.refinement.z3_interpreter.TRANSITIONS", mutated("client_comes", updates=other))
    assert "client_comes: next_came is another in the state after" in differences(of("client_comes"))[1]


def of(name):
    return [case for (transition, _), cases in chosen(SOME).found.items() if transition == name for case in cases]


def test_a_solver_that_knows_too_little_reports_it():
    """What a state leaves open is no verdict."""
    case = of("client_comes")[0]
    one = replace(reading("client_comes", universe(case.state)), symbols=frozenset())
    with pytest.raises(Undecided, match="leaves this open"):
        one.differences(case.state, case.parameters)


def test_a_universe_that_is_too_large_is_refused():
    case = of("client_comes")[0]
    large = {**case.state.domains, "Client": tuple(range(100))}
    with pytest.raises(Undecided, match="more than"):
        universe(closed(replace(case.state, domains=large)))
