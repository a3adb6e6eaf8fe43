"""A proof that nothing could break proves nothing: guards and assignments are dropped, and the induction breaks."""

import pytest
from proofs import kept
from proofs.mutation.proof_mutants import (
    FATES,
    Fate,
    Noticed,
    Verdict,
    broken_by,
    counted,
    facts,
    is_implied,
    judge,
    judged,
    main,
    may_be_noticed,
    relation_mutant,
    relation_mutants,
    rendered,
    room,
    shown_to_the_bridge,
    touched,
)
from proofs.refinement.bridge import Tally, compare
from spec.relation.state import STATE
from spec.relation.system import ACTIONS

from maitred.model.world import Bounds

pytestmark = pytest.mark.properties

KILLED = {
    ("server_accepts", "== HandOff"): "who_is_not_delivered_is_nowhere_else",
    ("server_accepts", "down_head"): "who_is_unread_is_not_taken",
    ("server_accepts", "clients"): "the_last_message_has_the_count",
    ("releases", "effective"): "store_has_exactly_those_who_wait",
    ("releases", "waiting"): "store_has_exactly_those_who_wait",
    ("receives_refused", "request(s!)"): "what_is_in_hand_is_nowhere_else",
    ("monitor_sees_distributor_dead", "word_head"): "a_dead_distributor_is_read_to_the_end",
    ("monitor_sees_server_gone", "main(s!)"): "who_is_alive_fills_a_place",
    ("monitor_stores", "store"): "the_last_word_decides",
    ("distributor_dies", "waiting"): "a_dead_distributor_knows_nothing",
    ("distributor_starts", "to_restore"): "store_has_exactly_those_who_wait",
    ("sends_hand", "ready"): "what_is_unread_is_kept",
}
"""What is dropped, and a conjunct that breaks."""


@pytest.mark.parametrize("which", KILLED, ids=" without ".join)
def test_a_mutant_of_the_proof_is_killed(which):
    assert broken_by(relation_mutant(*which), [KILLED[which]], room(0)) == KILLED[which]


def test_the_relation_itself_is_not(monkeypatch):
    """The same question, of a transition that is not mutated, finds nothing."""
    unmutated = relation_mutant("server_accepts", "clients")
    monkeypatch.setattr(type(unmutated), "step", lambda self: ACTIONS.by_name[self.transition].step(STATE))
    assert not broken_by(unmutated, touched(unmutated), room(0))


def test_what_safety_does_not_need_is_reported_as_such():
    assert judge(relation_mutant("dynamic_rest_is_over", "dynamic_resting")).fate is Fate.SURVIVED


@pytest.mark.parametrize(
    ("which", "implied"),
    [
        (("receives_accepted", "row(s!)"), True),
        (("sees_dialog_end", "row(s!)"), True),
        (("releases_dropped", "life == up"), True),
        (("releases", "arrival"), False),
        (("issues_accept", "c.seat"), False),
    ],
)
def test_a_guard_that_follows_from_the_rest_is_distinguished(which, implied):
    assert is_implied(relation_mutant(*which)) is implied


def test_each_guard_that_is_kept_as_implied_is():
    by_label = {each.label: each for each in relation_mutants().values()}
    labels = [label for label, fate in kept.read(FATES).items() if fate == Fate.IMPLIED.value]
    assert len(labels) > 30
    assert [label for label in labels if not is_implied(by_label[label])] == []


def test_every_guard_and_every_assignment_is_dropped_once():
    guards = sum(len(action.step(STATE).guards) for action in ACTIONS)
    assignments = sum(len(action.step(STATE).changed) for action in ACTIONS)
    assert len(relation_mutants()) == guards + assignments


def test_an_unknown_name_is_an_error(capsys):
    with pytest.raises(LookupError, match="0 guards or assignments"):
        relation_mutant("server_accepts", "no such thing")
    with pytest.raises(SystemExit):
        main(["server_acepts"])
    assert "no such transition: server_acepts" in capsys.readouterr().err


def test_what_is_kept_names_what_breaks():
    killed, left = (
        relation_mutant("server_accepts", "clients"),
        relation_mutant("dynamic_rest_is_over", "dynamic_resting"),
    )
    assert facts([Verdict(killed, Fate.KILLED, "never_above_the_maximum"), Verdict(left, Fate.SURVIVED)]) == {
        "server_accepts without the assignment clients": "refuted by the induction: never_above_the_maximum",
        "dynamic_rest_is_over without the assignment dynamic_resting": "noticed by neither: idle",
    }


def test_each_has_a_label_of_its_own():
    assert len({each.label for each in relation_mutants().values()}) == len(relation_mutants())


def test_what_is_kept_is_counted():
    fates = kept.read(FATES)
    assert counted(fates.values()).startswith(f"{sum('refuted' in fate for fate in fates.values())} refuted by")


def test_of_what_nobody_notices_it_is_kept_why():
    idle, ghost = relation_mutant("receives_accepted", "q! >= 1"), relation_mutant("server_accepts", "taken_by")
    worlds = next(
        b for b in relation_mutants().values() if b.guard is not None and not ACTIONS.by_name[b.transition].exact
    )
    found = [rendered(Verdict(each, Fate.SURVIVED)).partition(": ")[2] for each in (idle, ghost, worlds)]
    assert found == ["idle", "a ghost", "of the world"]


def test_the_bridge_notices_what_safety_does_not_need():
    """An assignment that is compared; a guard that is the only one to be false; not a ghost, nor what is idle."""
    seen = relation_mutant("receives_accepted", "requested"), relation_mutant("issues_accept", "opened(p!)")
    unseen = relation_mutant("server_accepts", "taken_by"), relation_mutant("receives_accepted", "q! >= 1")
    assert [may_be_noticed(each) for each in (*seen, *unseen)] == [True, True, False, True]
    watch = Noticed({*seen, *unseen})
    compare(Bounds(servers=1, clients=2, warm=True), 300, Tally(watch=watch))
    assert watch.found == set(seen)


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_what_neither_notices_is_reported():
    verdicts = shown_to_the_bridge(judged(list(relation_mutants().values())))
    found = facts(verdicts).items() - kept.read(FATES).items()
    assert [name for name, fate in found if fate.startswith(Fate.SURVIVED.value)] == []
