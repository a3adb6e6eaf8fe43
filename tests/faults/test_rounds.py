"""A cut of the campaign, both its rounds; and a trace or a verifier's word that is not as it should be is noticed."""

import json

import pytest
from tests.faults import relation, rounds
from tests.faults.campaign import CLASSES, Plan

pytestmark = [pytest.mark.system, pytest.mark.chance, pytest.mark.timeout(1_200)]
NAMES = list(CLASSES)
ROOM = 100
"""Lines that are followed after those that are bent."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The round with a trace, and where that is."""
    directory = tmp_path_factory.mktemp("recorded")
    return rounds.recorded(directory, Plan(6, 60, 5, pause=(0.1, 0.6)), {}), directory / "instance" / "trace"


def test_what_was_recorded_replays_and_is_a_run_of_the_relation(recorded, capsys):
    found, _ = recorded
    assert found.account.wrong == []
    assert found.account.faults and found.account.count("served") > 10
    assert [walk.name for walk in found.walks.classes] == NAMES
    assert all(walk.steps and walk.ends for walk in found.walks.classes)
    assert found.walks.lines == found.walks.of
    with capsys.disabled():
        print(f"\n{found.table()}")


def test_what_was_verified_as_it_happened_does_not_diverge(tmp_path, capsys):
    found = rounds.verified(tmp_path, Plan(6, 60, 6), {})
    assert found.account.wrong == []
    assert found.account.faults and found.account.count("served") > 10
    assert found.numbers["divergences"] == 0 < found.numbers["verified"]
    with capsys.disabled():
        print(f"\n{found.table()}")


def test_a_bent_trace_is_noticed(recorded, tmp_path):
    """Of the first class a hand-off to another server, of the last a count that no server has sent."""
    lines = recorded[1].read_text().splitlines()
    sent = _first(lines, '"who":"distributor 0 ', '"effect":', '"HandOff"')
    heard = _first(lines, f'"who":"distributor {len(NAMES) - 1} ', '"event":', '"Accepted"')
    _bend(lines, sent, lambda record: record["effect"].update(server=record["effect"]["server"] + 1))
    _bend(lines, heard, lambda record: record["event"]["message"]["count"].update(clients=9))
    trace = tmp_path / "trace"
    trace.write_text("\n".join(lines) + "\n")

    wrong = relation.walks(trace, NAMES, max(sent, heard) + ROOM).wrong()

    assert len(wrong) == 2
    assert NAMES[0] in wrong[0] and "sends_hand" in wrong[0], wrong
    assert NAMES[-1] in wrong[1] and f"line {heard + 1}," in wrong[1], wrong


def _first(lines, *words):
    """The place of the first line with all these words."""
    return next(place for place, line in enumerate(lines) if all(word in line for word in words))


def _bend(lines, place, change):
    record = json.loads(lines[place])
    change(record)
    lines[place] = json.dumps(record, separators=(",", ":"))


@pytest.mark.parametrize(("most", "lines"), [(1, 1), (2, 2), (3, 5), (4, 5), (5, 5), (6, 7), (7, 7), (99, 7)])
def test_a_trace_is_cut_between_two_steps_of_every_machine(tmp_path, most, lines):
    """The lines 3 and 5 are one step, and so are 6 and 7."""
    kinds = ["a start", "b start", "a event", "b event", "a effect", "b event", "b rejected"]
    parts = (kind.split() for kind in kinds)
    trace = tmp_path / "trace"
    trace.write_text("".join(f'{{"who":"{who}","{kind}":0}}\n' for who, kind in parts))
    assert relation.cut(trace, most) == (lines, 7)


SUMMARY = "maitred: verified: {} of 9 steps; 1 dropped, 2 came while the state was not known; {} divergences\n"


def test_the_verifiers_last_word_is_taken():
    numbers, wrong = rounds.verdict("maitred: ready\n" + SUMMARY.format(6, 0))
    assert numbers == {"verified": 6, "steps": 9, "dropped": 1, "unchecked": 2, "divergences": 0}
    assert wrong == []


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("", "nothing at the end"),
        (SUMMARY.format(0, 0), "verified nothing"),
        (SUMMARY.format(6, 2), "2 divergences"),
        ("maitred: verify: DIVERGENCE of monitor at step 4: it performed nothing\n" + SUMMARY.format(6, 0), "step 4"),
        (
            "maitred: the verifier (pid 7) was killed by SIGKILL: from here on no step is verified; verified: 1\n"
            + SUMMARY.format(1, 0),
            "was killed",
        ),
    ],
)
def test_what_the_verifier_does_not_like_is_noticed(log, why):
    _, (wrong,) = rounds.verdict(log)
    assert why in wrong
