"""A cut of the campaign, both its rounds; and a trace or a verifier's word that is not as it should be is noticed."""

import json

import pytest
from tests.faults import relation, rounds
from tests.faults.campaign import CLASSES, Plan

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_200)]
NAMES = list(CLASSES)
BENT = 2_000
"""Lines of the trace in which something is bent."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The round with a trace, and where that is."""
    directory = tmp_path_factory.mktemp("recorded")
    return rounds.recorded(directory, Plan(12, 60, 5)), directory / "instance" / "trace"


def test_what_was_recorded_replays_and_is_a_run_of_the_relation(recorded, capsys):
    found, _ = recorded
    assert found.account.wrong == []
    assert found.account.faults and found.account.count("served") > 100
    assert [walk.name for walk in found.walks.classes] == NAMES
    assert all(walk.steps > 50 and walk.ends for walk in found.walks.classes)
    with capsys.disabled():
        print(f"\n{found.table()}")


def test_what_was_verified_as_it_happened_does_not_diverge(tmp_path, capsys):
    found = rounds.verified(tmp_path, Plan(6, 60, 6))
    assert found.account.wrong == []
    assert found.account.faults and found.account.count("served") > 50
    assert found.numbers["divergences"] == 0 < found.numbers["verified"]
    with capsys.disabled():
        print(f"\n{found.table()}")


def test_a_bent_trace_is_noticed(recorded, tmp_path):
    """Of the first class a hand-off to another server, of the last a hand-off less."""
    lines = recorded[1].read_text().splitlines()[:BENT]
    first, last = (_hand_off(lines, class_id) for class_id in (0, len(NAMES) - 1))
    record = json.loads(lines[first])
    record["effect"]["server"] += 1
    lines[first] = json.dumps(record, separators=(",", ":"))
    del lines[last]
    trace = tmp_path / "trace"
    trace.write_text("\n".join(lines) + "\n")

    wrong = relation.walks(trace, NAMES, BENT // 2).wrong()

    assert len(wrong) == 2
    assert NAMES[0] in wrong[0] and NAMES[-1] in wrong[1], wrong


def _hand_off(lines, class_id):
    who = f'"who":"distributor {class_id} '
    return next(i for i, line in enumerate(lines) if who in line and '"effect":' in line and '"HandOff"' in line)


@pytest.mark.parametrize(("most", "lines"), [(1, 1), (2, 2), (3, 5), (4, 5), (5, 5), (6, 7), (7, 7), (99, 7)])
def test_a_trace_is_cut_between_two_steps_of_every_machine(tmp_path, most, lines):
    """The lines 3 and 5 are one step, and so are 6 and 7."""
    kinds = ["a start", "b start", "a event", "b event", "a effect", "b event", "b rejected"]
    parts = (kind.split() for kind in kinds)
    trace = tmp_path / "trace"
    trace.write_text("".join(f'{{"who":"{who}","{kind}":0}}\n' for who, kind in parts))
    assert relation.cut(trace, most) == (lines, 7)


SAID = "maitred: verified: {} of 9 steps; 1 dropped, 2 came while the state was not known; {} divergences\n"


def test_the_verifiers_last_word_is_taken():
    numbers, wrong = rounds.verdict("maitred: ready\n" + SAID.format(6, 0))
    assert numbers == {"verified": 6, "steps": 9, "dropped": 1, "unchecked": 2, "divergences": 0}
    assert wrong == []


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("", "nothing at the end"),
        (SAID.format(0, 0), "verified nothing"),
        (SAID.format(6, 2), "2 divergences"),
        ("maitred: verify: DIVERGENCE of monitor at step 4: it performed nothing\n" + SAID.format(6, 0), "step 4"),
        (
            "maitred: the verifier (pid 7) was killed by SIGKILL: from here on no step is verified; verified: 1\n"
            + SAID.format(1, 0),
            "was killed",
        ),
    ],
)
def test_what_the_verifier_does_not_like_is_noticed(log, why):
    _, (wrong,) = rounds.verdict(log)
    assert why in wrong
