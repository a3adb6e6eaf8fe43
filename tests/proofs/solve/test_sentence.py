"""What is reported of a sentence that does not hold: the file, the line, the transition, and how it reads."""

import re
from pathlib import Path

import pytest
from proofs.mutation.core import CATALOGUE
from proofs.refinement.bridge import Divergence, compare
from proofs.solve import sentence
from spec.relation.invariant import INVARIANT
from spec.relation.state import STATE
from spec.relation.system import ACTIONS

from maitred.model.world import Bounds

pytestmark = pytest.mark.properties
ROOT = Path(__file__).resolve().parents[3]


def test_every_guard_is_found_where_it_stands():
    for action in ACTIONS:
        for number in range(len(action.step(STATE).guards)):
            text = sentence.guard(action.name, number)
            where, line, reads = re.fullmatch(rf"(\S+):(\d+) in {action.name}: (.+)", text).groups()
            lines = (ROOT / where).read_text().splitlines()
            assert "require" in lines[int(line) - 1]
            assert "".join(reads.split()) in "".join("".join(lines[int(line) - 1 : int(line) + 12]).split())


def test_every_conjunct_is_found_where_it_stands():
    for name in INVARIANT:
        assert re.match(rf"spec/relation/\w+\.py:\d+ in {name}: .", sentence.conjunct(name))


def test_the_bridge_names_the_sentence():
    mutant = CATALOGUE["the_maximum_is_ignored"]
    with (
        mutant.mutated(),
        pytest.raises(Divergence, match=r"spec/relation/system\.py:\d+ in \w+: \w+") as caught,
    ):
        compare(Bounds(servers=1, clients=2, warm=True))
    assert "does not hold" in str(caught.value)


@pytest.mark.parametrize("name", ["who_stops_waiting_stays_counted", "nobody_is_seated_when_a_seat_becomes_free"])
def test_the_bridge_names_where_the_transition_stands(name):
    """Of one that leads elsewhere, and of one that the code never takes."""
    with CATALOGUE[name].mutated(), pytest.raises(Divergence) as caught:
        compare(Bounds(servers=1, clients=2, warm=True))
    transition, how = caught.value.about.split(" ", 1)
    assert how in ("leads elsewhere", "does not happen")
    assert f"{sentence.place(ACTIONS.by_name[transition].body)} {transition}" in str(caught.value)
