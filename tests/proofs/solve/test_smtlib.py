"""cvc5 confirms Z3's verdict on some obligations, and of a wrong one it does not."""

import subprocess
import sys
from dataclasses import replace

import pytest
from proofs.induction.obligations import BEGINNING, obligation, obligations
from proofs.solve.smtlib import PAGE, asked, main, page, question, second_opinion, second_opinions
from proofs.solve.solver import Outcome
from spec.relation.invariant import INVARIANT
from spec.relation.system import ACTIONS

pytestmark = pytest.mark.properties

SOME = (
    ("server_accepts", "no_client_has_two_servers"),
    ("server_accepts", "never_above_the_maximum"),
    ("receives_accepted", "no_client_is_lost"),
    ("distributor_starts", "store_has_exactly_those_who_wait"),
    ("monitor_stores", "the_last_word_decides"),
    (BEGINNING, "no_client_is_lost"),
)


@pytest.mark.parametrize("pair", SOME, ids=" ".join)
def test_cvc5_confirms(pair):
    assert second_opinion(obligation(*pair)).verdict == "unsat"


def test_a_wrong_obligation_is_not_confirmed(monkeypatch):
    action = ACTIONS.by_name["monitor_stores"]

    def body(require, now, then):
        action.body(require, now, then)
        then.store[now.word_client(now.word_head)] = False

    monkeypatch.setitem(ACTIONS.by_name, "monitor_stores", replace(action, body=body))
    assert asked(question(obligation("monitor_stores", "the_last_word_decides")), 3_000) != "unsat"


def test_what_can_be_true_is_sat():
    assert asked("(set-logic UFDTLIA)(declare-const x Int)(assert (> x 3))(check-sat)") == "sat"


def test_a_function_and_a_value_of_one_name_are_distinguished():
    both = next(o for o in obligations() if {"(absent)", "(is_absent "} <= set_of_texts(question(o)))
    assert second_opinion(both).holds


def set_of_texts(text):
    return {piece for piece in ("(absent)", "(is_absent ") if piece in text}


def test_the_questions_can_be_had_as_files(tmp_path, capsys):
    assert main(["monitor_stores", "--export", str(tmp_path)]) == 0
    file = tmp_path / "monitor_stores-the_last_word_decides.smt2"
    program = "import sys, z3; s = z3.Solver(); s.from_file(sys.argv[1]); print(s.check())"
    said = subprocess.run(
        [sys.executable, "-c", program, file], capture_output=True, text=True, check=True, timeout=100
    )
    assert said.stdout == "unsat\n"


def test_the_page_names_what_is_not_confirmed():
    known, unknown = obligation(*SOME[0]), obligation(*SOME[1])
    text = page([Outcome(known, "unsat", 0.1), Outcome(unknown, "unknown", 9.0)])
    assert "**1 of 2**" in text
    assert f"- `{unknown.name}`: unknown" in text
    assert known.name not in text


def test_the_page_has_been_written():
    assert "cvc5 confirms **" in PAGE.read_text()


def test_nothing_to_ask_is_a_failure():
    with pytest.raises(ValueError, match="nothing to ask"):
        second_opinions([])


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_cvc5_contradicts_nothing():
    outcomes = second_opinions(obligations())
    assert [o.obligation.name for o in outcomes if o.verdict == "sat"] == []
    assert sum(o.holds for o in outcomes) >= 0.95 * len(outcomes)
    assert set(INVARIANT) <= {o.obligation.name.partition(": ")[2] for o in outcomes}
