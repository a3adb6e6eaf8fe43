"""Every conjunct is wanted: without it there is a counterexample to induction, or it is itself what is promised."""

import pytest
from proofs.induction.necessity import SCOPES, Need, Room, find, main, necessity, readable, to_induction
from proofs.induction.obligations import obligation
from spec.relation.invariant import INVARIANT

pytestmark = [
    pytest.mark.properties,
    pytest.mark.recorded,
]

KNOWN = {
    "who_is_unread_is_not_taken": ("server_accepts", "who_is_not_delivered_is_nowhere_else"),
    "there_is_room_for_who_is_unread": ("server_accepts", "never_above_the_maximum"),
    "the_last_word_decides": ("distributor_starts", "store_has_exactly_those_who_wait"),
    "what_is_unread_is_kept": ("adopts", "what_is_unread_is_known"),
    "who_was_taken_is_answered_for": ("sees_dialog_end", "what_is_in_hand_is_nowhere_else"),
}


@pytest.fixture(scope="module")
def room():
    return Room(SCOPES[0])


@pytest.mark.parametrize("removed", KNOWN)
def test_what_breaks_without_a_conjunct(removed, room):
    transition, broken = KNOWN[removed]
    found = room.counterexample(obligation(transition, broken), removed)
    assert found is not None
    assert found.changed
    text = "\n".join(readable(found))
    assert f"then: {transition}(" in text
    assert f"and this is false: {broken}" in text
    assert room.counterexample(obligation(transition, broken), "") is None, "with it, there is none"


def test_a_counterexample_is_as_plain_as_can_be(room):
    found = room.counterexample(
        obligation("distributor_starts", "store_has_exactly_those_who_wait"), "the_last_word_decides"
    )
    assert readable(found)[:4] == [
        "before: all conjuncts but this one hold",
        "    life = absent    the Distributor's process",
        "    store(client 1)  the client's connection is kept",
        "then: distributor_starts(e = element 1)",
    ]


def test_what_is_proved_has_no_counterexample():
    assert to_induction(obligation("releases", "store_has_exactly_those_who_wait")) is None


def test_a_promise_on_which_nothing_rests_is_wanted_for_itself():
    assert necessity("never_above_the_maximum").need is Need.ITSELF


def test_a_lemma_on_which_nothing_rests_is_found_out(monkeypatch):
    """A copy of a conjunct is not needed beside it."""
    monkeypatch.setattr("proofs.induction.necessity.users_of", lambda conjunct: [])
    assert necessity("positions_are_in_order").need is Need.NONE


def test_one_can_be_asked_for(capsys):
    assert main(["the_last_word_decides"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("the_last_word_decides: a lemma; without it there is a counterexample to ")
    assert INVARIANT["the_last_word_decides"].text in " ".join(said.split())
    assert "proofs of others used it: " in said
    assert "\nbefore: all conjuncts but this one hold\n" in said
    assert said.endswith("1 conjuncts: 1 others rest on it\n")


def test_an_unknown_name_is_an_error(capsys):
    with pytest.raises(SystemExit):
        main(["who_is_unread"])
    assert "no such conjunct: who_is_unread" in capsys.readouterr().err


@pytest.mark.minutes
@pytest.mark.timeout(0)
def test_every_conjunct_is_wanted():
    found = {each.conjunct: each.need for each in find(list(INVARIANT))}
    assert {name: need.value for name, need in found.items() if need in (Need.NONE, Need.UNKNOWN)} == {}
