"""Verdicts are kept by content: the same question is not asked twice, and another question never gets its answer."""

import json

import pytest
import z3
from proofs import kept
from proofs.induction.obligations import obligation
from proofs.solve import solver
from proofs.solve.solver import Obligation, Theory, discharge, fingerprint, register, remembered, run, smtlib, solve

pytestmark = pytest.mark.properties

x, y = z3.Ints("x y")
FACTS = {"x is large": x > 10, "y is x": y == x, "x is not nine": x != 9}
GOALS = {"y is large": y > 10, "y is eleven": y == 11}


def parts(name, assume):
    return [*((other, FACTS[other]) for other in assume), ("goal", z3.Not(GOALS[name]))]


@pytest.fixture
def theory(tmp_path):
    return register(Theory(__name__, parts, tuple(FACTS), tmp_path / "hints"))


@pytest.fixture
def holds(theory):
    return Obligation(theory.name, "y is large")


@pytest.fixture
def fails(theory):
    return Obligation(theory.name, "y is eleven")


def test_what_holds_is_unsat_and_names_what_it_needed(holds):
    outcome = solve(holds)
    assert outcome.verdict == "unsat"
    assert set(outcome.needed) == {"x is large", "y is x"}


def test_what_fails_is_not(fails):
    assert solve(fails).verdict == "sat"
    assert not solve(fails).holds


def test_a_hint_that_is_not_enough_costs_a_second_try_and_nothing_else(holds, tmp_path):
    assert discharge(holds, ["y is x"], tmp_path).holds
    assert discharge(holds, ["y is x", "of a conjunct that is gone"], tmp_path).holds


def test_a_verdict_is_known_the_second_time(holds, fails, tmp_path):
    for asked in (holds, fails):
        first, second = (remembered(asked, None, solver.EFFORT, tmp_path) for _ in range(2))
        assert (first.known, second.known) == (False, True)
        assert (first.verdict, first.needed) == (second.verdict, second.needed)


def work(parts):
    asked = solver.fresh_solver(parts, solver.EFFORT)
    assert asked.check() == z3.unsat
    return asked.statistics().get_key_value("rlimit count")


def test_what_was_asked_before_changes_no_work():
    """Else a proof takes 0.03 s or 6 s, by what the process has done before, and a limit is met or not."""
    one = obligation("sees_dialog_end", "what_is_in_hand_is_nowhere_else")
    first = work(one.parts())
    assert work(obligation("server_accepts", "never_above_the_maximum").parts()) != first
    assert work(one.parts()) == first
    assert first * 10 < solver.EFFORT


def test_work_is_limited():
    hard = obligation("sees_dialog_end", "what_is_in_hand_is_nowhere_else")
    assert solve(hard, effort=1_000).verdict == "unknown"


def test_another_question_is_asked_anew(holds, tmp_path, monkeypatch):
    assert remembered(holds, None, solver.EFFORT, tmp_path).holds
    monkeypatch.setitem(FACTS, "x is large", x > 9)
    mutated = remembered(holds, None, solver.EFFORT, tmp_path)
    assert not mutated.known
    assert not mutated.holds, "ten is large no more"


def test_what_is_asked_is_in_the_fingerprint(holds):
    asked = holds.parts()
    others = [
        asked[1:],
        [("another name", asked[0][1]), *asked[1:]],
        [(asked[0][0], z3.Real("x") > 10), *asked[1:]],
    ]
    assert len({fingerprint(asked), *map(fingerprint, others)}) == 4
    assert fingerprint(holds.parts()) == fingerprint(asked)


def test_another_version_is_asked_anew(holds, monkeypatch):
    before = fingerprint(holds.parts())
    monkeypatch.setattr(z3, "get_full_version", lambda: "another")
    assert fingerprint(holds.parts()) != before


def test_what_is_unknown_is_not_kept(holds, tmp_path, monkeypatch):
    monkeypatch.setattr(solver, "_ask", lambda obligation, *_: solver.Outcome(obligation, "unknown", 1.0))
    assert not remembered(holds, None, solver.EFFORT, tmp_path).holds
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_whole_is_asked_anew(holds, tmp_path):
    remembered(holds, None, solver.EFFORT, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:9])
    assert not remembered(holds, None, solver.EFFORT, tmp_path).known
    assert json.loads(file.read_text())["verdict"] == "unsat"


def test_hints_are_kept_as_long_as_they_do(theory, holds):
    outcome = solve(holds)
    theory.write_hints([outcome])
    assert set(theory.hints()["y is large"]) == {"x is large", "y is x"}
    kept.write(theory.remembers, {"y is large": list(FACTS), "of a goal that is gone": []}, str)
    theory.write_hints([outcome])
    assert theory.hints() == {"y is large": list(FACTS)}


def test_nothing_to_prove_is_a_failure():
    with pytest.raises(ValueError, match="nothing to prove"):
        run([])


def test_the_text_declares_all_that_it_speaks_of(holds):
    text = smtlib(holds.parts())
    again = z3.Solver()
    again.from_string(text)
    assert again.check() == z3.unsat


def test_progress_is_reported_in_lines_where_there_is_no_terminal(capsys):
    with solver.watched("things", 20) as advance:
        for _ in range(20):
            advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "things: 2 of 20"
    assert lines[-1] == "things: 20 of 20"
    assert len(lines) == 10
