"""Every transition is reached from the beginning, and what each promise speaks of occurs; Z3 confirms the runs."""

import random
from collections import Counter

import pytest
from proofs.induction.witnesses import (
    OCCASIONS,
    Refuted,
    about,
    beginning,
    confirm,
    main,
    reaches,
    read,
    replayed,
    search,
    shortened,
    targets,
    transitions,
    walk,
)
from spec.relation.invariant import INVARIANT

pytestmark = [pytest.mark.properties, pytest.mark.recorded]


@pytest.fixture(scope="module")
def runs():
    return read()


def test_every_transition_has_a_run(runs):
    assert set(runs) == set(targets())


def test_every_promise_has_an_occasion():
    promised = {name for name, conjunct in INVARIANT.items() if conjunct.promised}
    assert {occasion.promise for occasion in OCCASIONS.values()} == promised


def test_every_run_leads_where_it_should(runs):
    """By the second reading."""
    for target, run in runs.items():
        reached = replayed(run)
        assert reached is not None and reached[0] == run, target
        assert reaches(reached, target), target


def test_nothing_can_be_left_out_of_a_run(runs):
    run = runs["receives_accepted"]
    for left_out in range(len(run)):
        shorter = replayed(run[:left_out] + run[left_out + 1 :])
        assert shorter is None or not reaches(shorter, "receives_accepted")


@pytest.mark.timeout(600)
def test_z3_confirms_the_short_runs(runs):
    short = {target: run for target, run in runs.items() if len(run) <= 9}
    confirmed = confirm(short)
    assert {"server_sends", "server_notes", "sees_dialog_end"} <= confirmed.transitions
    assert {"a server follows another"} <= confirmed.occasions


@pytest.mark.minutes
@pytest.mark.timeout(0)
def test_z3_confirms_every_run(runs):
    confirmed = confirm(runs)
    assert confirmed.transitions == set(transitions())
    assert confirmed.occasions == set(OCCASIONS)


def test_a_run_that_is_none_is_refuted(runs):
    run = runs["distributor_starts"]
    with pytest.raises(Refuted, match=r"distributor_starts:\d+ is false at distributor_starts"):
        confirm({"distributor_starts": [*run, *run]})
    with pytest.raises(Refuted, match="begins: the run does not lead there"):
        confirm({"begins": run})
    with pytest.raises(Refuted, match="a server is full: the run does not lead there"):
        confirm({"a server is full": run})


def test_walks_find_what_is_near():
    found = search(walks=1, seed=3)
    assert {"distributor_starts", "monitor_starts_server"} <= set(found)
    assert len(found["distributor_starts"]) == 1


def test_a_walk_is_a_run_and_is_made_short():
    run = walk(random.Random(2), Counter())
    reached = replayed(run)
    assert reached is not None
    assert len(shortened(run, run[-1][0])) < len(run)


def test_the_beginning_has_no_occasion():
    assert not [name for name in OCCASIONS if reaches(([], beginning()), name)]


def test_one_can_be_asked_for(capsys):
    assert main(["distributor_starts"]) == 0
    said = capsys.readouterr().out
    assert about("distributor_starts") in said.replace("\n", " ")
    assert "    1 distributor_starts(e = element 1)" in said
    with pytest.raises(SystemExit):
        main(["distributor_stops"])
    assert "neither a transition nor an occasion: distributor_stops" in capsys.readouterr().err
