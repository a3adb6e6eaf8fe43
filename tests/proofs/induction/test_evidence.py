"""Every property names what shows it for any number; and what hangs in the air would be noticed."""

import pytest
from proofs.induction import obligations as induction
from proofs.induction import progress
from proofs.induction.evidence import LIVENESS_EVIDENCE, SAFETY_EVIDENCE, Answer, Basis, orphans

pytestmark = pytest.mark.properties


@pytest.fixture(scope="module")
def obligations():
    return [o.name for o in (*induction.obligations(), *progress.obligations())]


@pytest.mark.recorded
def test_nothing_is_an_orphan(obligations):
    assert orphans(obligations=obligations) == []


def test_most_of_what_users_would_notice_is_proved():
    answers = [*SAFETY_EVIDENCE.values(), *LIVENESS_EVIDENCE.values()]
    assert sum(answer.basis is Basis.PROVED for answer in answers) >= 24


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("name", "answer", "says"),
    [
        ("never_stale_low", Answer(Basis.PROVED, ("it_never_rains",)), "there is no it_never_rains"),
        ("never_stale_low", Answer(Basis.PROVED), "proved by nothing"),
        ("one_accept_at_a_time", Answer(Basis.GUARDED, ("issues_accept",)), "guarded, and nothing says why"),
        ("index_is_true", Answer(Basis.NOT_MODELLED), "not modelled, and nothing says why"),
        ("never_rains", Answer(Basis.NOT_MODELLED, why="it does"), "there is no such property"),
    ],
)
def test_a_bad_answer_is_seen(obligations, name, answer, says):
    assert f"{name}: {says}" in orphans({**SAFETY_EVIDENCE, name: answer}, obligations=obligations)


@pytest.mark.recorded
def test_a_property_without_an_answer_is_seen(obligations):
    fewer = {name: answer for name, answer in SAFETY_EVIDENCE.items() if name != "never_stale_low"}
    assert orphans(fewer, obligations=obligations) == [
        "never_stale_low: nothing says what shows it for any number",
        "never_stale_low: a promise that shows no property",
    ]


@pytest.mark.recorded
def test_a_claim_without_an_obligation_is_seen(obligations):
    fewer = [name for name in obligations if "first_come_first_served" not in name]
    assert orphans(obligations=fewer) == ["first_come_first_served: no obligation is about it"]
