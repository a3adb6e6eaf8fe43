"""The invariant of the relation is inductive, for any number of everything; and the proof would fail if it were not."""

from dataclasses import replace

import pytest
import z3
from proofs.induction import obligations as theory
from proofs.induction.invariant import main, wanted
from proofs.induction.obligations import BEGINNING, INDUCTIVE, obligation, obligations, pair, step_of
from proofs.refinement.interpreter import _Compiler
from proofs.solve import solver
from proofs.solve.solver import fresh_solver, run, solve
from spec.relation.invariant import INVARIANT
from spec.relation.language import View
from spec.relation.state import NOW, STATE
from spec.relation.system import ACTIONS, initial

from maitred.model.claims.safety import PROPERTIES

pytestmark = [pytest.mark.properties, pytest.mark.recorded]


@pytest.mark.timeout(900)
def test_every_transition_keeps_the_invariant():
    outcomes = run(obligations(), cache=None)
    assert [f"{o.verdict}: {o.obligation.name}" for o in outcomes if not o.holds] == []
    transitions, conjuncts = zip(*(pair(o.obligation) for o in outcomes), strict=True)
    assert set(conjuncts) == set(INVARIANT)
    assert {action.name for action in ACTIONS} - set(transitions) == UNTOUCHED


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_it_does_so_without_hints(monkeypatch):
    """The whole invariant is assumed in each proof from the first: what was needed last time is a shortcut only."""
    monkeypatch.setattr(solver, "EFFORT", 10 * solver.EFFORT)
    outcomes = run(obligations(), cache=None, hinted=False)
    assert [f"{o.verdict}: {o.obligation.name}" for o in outcomes if not o.holds] == []


def test_what_is_no_obligation_is_the_same_before_and_after():
    asked = {pair(each) for each in obligations()}
    for action in ACTIONS:
        after = View(STATE, step_of(action).changed)
        for name in INDUCTIVE:
            same = INVARIANT[name].says(after).eq(INVARIANT[name].says(NOW))
            assert same == ((action.name, name) not in asked)


UNTOUCHED = {
    "accept_is_tried_again",
    "asks_for_no_server",
    "client_closes",
    "dynamic_rest_is_over",
    "element_returns",
    "learns_that_none_comes",
    "opens_socket",
    "wants_server",
}
"""Nothing that the invariant speaks of is changed by these."""


def test_the_invariant_is_not_empty():
    beginning = fresh_solver([("initial", initial(NOW))], solver.EFFORT)
    assert beginning.check() == z3.sat, "some state is a beginning, and every beginning has the invariant"


def test_promises_have_the_models_names():
    promised = {name for name, conjunct in INVARIANT.items() if conjunct.promised}
    assert promised <= set(PROPERTIES)
    assert len(promised) >= 11


# ---------------------------------------------------------------- it can fail


def holds(transition, conjunct, assume=INDUCTIVE, effort=None):
    return solve(obligation(transition, conjunct), assume, effort).holds


QUICK = 1_000_000
"""Z3's units of work, less than a second: what holds is proved with a tenth of this."""


BENT = {
    "a client is sent though the server is not free": (
        "sends_hand",
        "never_above_the_maximum",
        "there_is_room_for_who_is_unread",
    ),
    "a refusal is believed of anybody": ("receives_refused", "what_is_in_hand_is_nowhere_else", None),
    "who waited is not released": ("releases", "store_has_exactly_those_who_wait", None),
    "a dead Distributor is not heard out": (
        "monitor_sees_distributor_dead",
        "a_dead_distributor_is_read_to_the_end",
        None,
    ),
}


def without_guards(name):
    """The transition as it would be if it required nothing."""
    action = ACTIONS.by_name[name]

    def body(require, now, then, **parameters):
        action.body(lambda *terms: None, now, then, **parameters)

    return replace(action, body=body)


@pytest.mark.parametrize("name", BENT)
def test_a_transition_without_its_guards_is_found_out(name, monkeypatch):
    transition, conjunct, other = BENT[name]
    assert holds(transition, other or conjunct)
    monkeypatch.setitem(ACTIONS.by_name, transition, without_guards(transition))
    assert not holds(transition, other or conjunct, effort=QUICK)


NEEDED = {
    ("server_accepts", "never_above_the_maximum"): "there_is_room_for_who_is_unread",
    ("server_notes", "no_client_has_two_servers"): "who_is_not_delivered_is_nowhere_else",
    ("server_accepts", "who_is_not_delivered_is_nowhere_else"): "who_is_unread_is_not_taken",
    ("sees_dialog_end", "what_is_in_hand_is_nowhere_else"): "who_was_taken_is_answered_for",
    ("distributor_starts", "store_has_exactly_those_who_wait"): "the_last_word_decides",
    ("learns_that_it_is_deaf", "what_is_unread_is_kept"): "who_is_unread_is_not_taken",
}


@pytest.mark.parametrize(("transition", "conjunct"), NEEDED)
def test_a_lemma_is_needed(transition, conjunct):
    """Without it there is a counterexample to induction."""
    assert holds(transition, conjunct)
    rest = [name for name in INDUCTIVE if name != NEEDED[transition, conjunct]]
    assert not holds(transition, conjunct, rest, QUICK)


def test_a_beginning_that_is_wrong_is_found_out(monkeypatch):
    monkeypatch.setattr(theory, "initial", lambda v: z3.BoolVal(True))
    assert not holds(BEGINNING, "no_client_has_two_servers", effort=QUICK)


def test_a_part_can_be_asked_for(capsys):
    assert {pair(each)[1] for each in wanted(["server_accepts"])} > {"never_above_the_maximum"}
    assert {pair(each)[0] for each in wanted(["never_above_the_maximum"])} > {"server_accepts", BEGINNING}
    assert main(["monitor_stores"]) == 0
    assert f"{len(wanted(['monitor_stores']))} obligations, 0 not discharged" in capsys.readouterr().out


def test_an_unknown_name_is_an_error(capsys):
    with pytest.raises(SystemExit):
        main(["server_acepts"])
    assert "neither a transition nor a conjunct nor an obligation: server_acepts" in capsys.readouterr().err


@pytest.mark.timeout(900)
def test_what_is_not_discharged_is_shown(capsys, monkeypatch, tmp_path):
    """Whether Z3 gives up on it for any number or refutes it: the small counterexample is looked for and shown."""
    name = "releases: store_has_exactly_those_who_wait"
    monkeypatch.setattr(solver, "CACHE", tmp_path)
    monkeypatch.setattr(solver, "EFFORT", QUICK)
    monkeypatch.setitem(ACTIONS.by_name, "releases", without_guards("releases"))
    assert main([name]) == 1
    said = capsys.readouterr().out
    assert said.startswith((f"unknown: {name} (", f"sat: {name} ("))
    assert f"a counterexample to {name}\n" in said
    assert "1 obligations, 1 not discharged" in said


# ---------------------------------------------------------------- the text itself


def test_ghosts_decide_nothing():
    """No guard asks a ghost, and nothing but ghosts is made from one."""
    ghosts = {name for name, symbol in STATE.symbols.items() if symbol.ghost}
    for action in ACTIONS:
        step = action.step(STATE)
        texts = {line: _Compiler().text(term) for line, term in step.guards}
        for name, macro in step.changed.items():
            symbol = STATE.symbols[name]
            if not symbol.ghost:
                places = [z3.Const(f"a{i}", sort) for i, sort in enumerate(symbol.arguments)]
                texts[name] = _Compiler().text(macro(*places))
        for where, text in texts.items():
            asked = {ghost for ghost in ghosts if f"S.value('{ghost}'" in text}
            assert not asked, f"{action.name}, {where}: {asked}"


def test_what_never_changes_is_never_assigned():
    rigid = {name for name, symbol in STATE.symbols.items() if symbol.rigid}
    assert not [(action.name, name) for action in ACTIONS for name in action.step(STATE).changed if name in rigid]


def test_every_symbol_is_assigned_or_rigid():
    assigned = {name for action in ACTIONS for name in action.step(STATE).changed}
    assert {name for name, symbol in STATE.symbols.items() if not symbol.rigid} == assigned


def test_what_is_assigned_is_assigned_once_for_each_place():
    """The state after is a function of the state before: a view gives each symbol one value."""
    for action in ACTIONS:
        after = View(STATE, action.step(STATE).changed)
        assert all(getattr(after, name) is not None for name in STATE.symbols)
