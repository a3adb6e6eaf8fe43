"""What happens in the end is proved for any number; and a proof with a piece missing is no proof."""

from dataclasses import replace

import pytest
import z3
from proofs.induction import progress
from proofs.induction.progress import FOUNDATIONS, THEORY, formula, main, obligations, part_of
from proofs.solve.solver import CACHE, closing_table, run, solve
from spec.relation.progress import DEATHS, FAIRNESS, PROGRESS
from spec.relation.system import ACTIONS

pytestmark = [pytest.mark.properties, pytest.mark.recorded]
QUICK = 1_000_000
"""Z3's units of work, less than a second: what can be proved is so with a tenth of this."""


@pytest.mark.timeout(900)
def test_everything_is_discharged():
    outcomes = run(obligations(), CACHE)
    assert [o.obligation.name for o in outcomes if not o.holds] == []
    assert len(outcomes) > 750
    assert {part_of(o.obligation) for o in outcomes} == {*PROGRESS, FOUNDATIONS}
    assert closing_table(outcomes, part_of).row_count == len(PROGRESS) + 1


def test_every_transition_is_asked_of_unless_the_world_is_spared_it():
    for theorem in PROGRESS.values():
        assert theorem.spared <= set(ACTIONS.by_name), theorem.name
        assert not theorem.spared & {name for case in theorem.cases for name in case.helpful}, theorem.name
        assert {case.fairness for case in theorem.cases} <= set(FAIRNESS), theorem.name


def fails(monkeypatch, theorem, about):
    """Of the theorem, changed like this, some obligation that begins like that cannot be discharged."""
    monkeypatch.setitem(progress.PROGRESS, theorem.name, theorem)
    progress.proofs.cache_clear()
    try:
        asked = [o for o in obligations([theorem.name]) if o.name.startswith(f"{theorem.name}: {about}")]
        assert asked, about
        assert not all(solve(obligation, effort=QUICK).holds for obligation in asked), about
    finally:
        progress.proofs.cache_clear()


def test_who_waits_may_wait_for_ever_if_clients_stay(monkeypatch):
    theorem = PROGRESS["who_waits_is_seated"]
    staying = tuple(case for case in theorem.cases if case.name != "the server has a client")
    fails(monkeypatch, replace(theorem, cases=staying), "covers")


def test_who_waits_may_wait_for_ever_if_the_distributor_keeps_dying(monkeypatch):
    theorem = PROGRESS["who_waits_is_seated"]
    fails(monkeypatch, replace(theorem, spared=theorem.spared - DEATHS), "keeps: distributor_dies")


def test_who_waits_may_wait_for_ever_if_servers_keep_refusing(monkeypatch):
    theorem = PROGRESS["who_waits_is_seated"]
    spared = theorem.spared - {"server_refuses"}
    fails(monkeypatch, replace(theorem, spared=spared), "keeps: server_refuses")


@pytest.mark.parametrize("left_out", range(5))
def test_every_part_of_the_measure_is_needed(monkeypatch, left_out):
    theorem = PROGRESS["who_waits_is_seated"]
    measure = theorem.measure[:left_out] + theorem.measure[left_out + 1 :]
    broken = (
        "keeps: sends_hand, the measure",
        "falls: the server rests, rest_is_over",
        "falls: the server has something to read, server_accepts",
        "falls: the server has a client, client_leaves",
        "falls: the server has sent something, receives_accepted",
    )
    fails(monkeypatch, replace(theorem, measure=measure), broken[left_out])


def test_a_message_may_stay_unread_if_later_ones_are_preferred(monkeypatch):
    theorem = PROGRESS["every_answer_is_received"]
    (case,) = theorem.cases
    any_message = replace(case, where=lambda v, s, p, q, k: v.up_port(s, k) == p)
    fails(monkeypatch, replace(theorem, cases=(any_message,)), "can: there is a first")


def test_the_invariant_is_needed():
    name = "who_waits_is_seated: covers"
    needed = THEORY.hints()[name]
    assert "a_request_is_under_way" in needed
    without = [other for other in needed if other != "a_request_is_under_way"]
    (obligation,) = [o for o in obligations(["who_waits_is_seated"]) if o.name == name]
    assert solve(obligation, needed, QUICK).holds
    assert not solve(obligation, without, QUICK).holds
    assert len(formula(name, without)) == len(formula(name, needed)) - 1


def test_loads_compared_the_wrong_way_round_are_in_no_order(monkeypatch):
    monkeypatch.setattr(
        progress, "loads_are_ordered", lambda v: progress.And(v.lighter(1, 1, 1, 1), v.lighter(2, 1, 1, 1))
    )
    asymmetric, ordered, _ = progress._loads()
    for proof in (asymmetric, ordered):
        solver = z3.Solver()
        solver.add(*(part for _, part in proof.parts))
        assert str(solver.check()) == "sat"


def test_the_command(capsys):
    assert main(["a_distributor_is_started"]) == 0
    assert "9 obligations, 0 not discharged" in capsys.readouterr().out


def test_the_command_knows_its_theorems(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["nothing"])
    assert "no such theorem: nothing; there are the_distributor_comes_to_rest" in capsys.readouterr().err
