"""The kit for endpoints, on real processes: right ones pass; each bent one fails, for the reason that it is bent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conform import bent

from maitred.conform.bench import Bench, Settings
from maitred.conform.cases import Verdict, run
from maitred.conform.endpoint import ENDPOINT

ROOT = Path(__file__).parents[2]
CASES = {case.name: case for case in ENDPOINT.cases}
PORTED = (sys.executable, "-I", str(ROOT / "examples/ports/python/endpoint.py"), "4049")
pytestmark = pytest.mark.system


def kit(*arguments):
    """The command, as it is typed: exit code, document, and all that it has said."""
    command = [sys.executable, "-m", "maitred", "conform", "endpoint", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)
    return done.returncode, json.loads(done.stdout), done.stderr


def asked(name, command, patience=10.0):
    """One case, asked here."""
    bench = Bench(command, Settings(patience=patience, directed=True))
    try:
        return run(CASES[name], bench, lambda: list(bench.exchange), bench.output, directed=True)
    finally:
        bench.close()


def test_the_python_stand_in_passes(tmp_path):
    quick = ["full_dialog_delivers", "closed_listener", "two_ports", "free_descriptor", "sent_again", "no_message"]
    chosen = [word for text in quick for word in ("-k", text)]
    code, document, said = kit("--directed", *chosen, "--", "reference/maitred/conform/program.py", "4049")
    assert code == 0, said
    assert {case["verdict"] for case in document["cases"]} == {"passed"}
    assert len(document["cases"]) >= len(quick)


def test_an_endpoint_with_a_loop_of_its_own_passes():
    quick = ["a_client_is_accepted", "full_dialog_does_not", "given_once", "killed", "away_for_long", "own_is_bound"]
    chosen = [word for text in quick for word in ("-k", text)]
    code, document, said = kit("--directed", "--as-is", *chosen, "--", *PORTED)
    assert code == 0, said
    verdicts = {case["name"]: case["verdict"] for case in document["cases"]}
    assert verdicts.pop("a_port_of_its_own_is_bound_by_the_program") == "skipped"
    assert set(verdicts.values()) == {"passed"}


HAND = {
    "FallingNumbers": ("a_client_is_served_over_its_own_connection", "OWN-3.3a"),
    "RelativeCounts": ("counts_are_absolute", "OWN-3.3a"),
    "CountsFromAbove": ("the_program_asks_for_its_port", "OWN-3.3a"),
    "WrongClient": ("a_client_is_served_over_its_own_connection", "MSG-reply"),
    "OldIncarnation": ("a_new_distributor_is_answered", "FIG9-RestartReply"),
    "DisconnectsInSilence": ("a_client_that_leaves_is_reported", "SERVER-disconnect"),
    "RefusesEverybody": ("a_client_is_served_over_its_own_connection", "OWN-3.3a"),
    "AnswersTwice": ("a_client_that_leaves_is_reported", "MSG-reply"),
    "SpeaksGarbage": ("a_client_that_leaves_is_reported", "MSG-server_process_message"),
    "RequestsOnTheDialog": ("a_client_that_leaves_is_reported", "OWN-3.5c"),
    "PassesADescriptorBack": ("a_client_that_leaves_is_reported", "OWN-3.5c"),
    "DeliversFirst": ("a_client_is_accepted_before_it_is_served", "OWN-3.2f"),
    "KeepsWhatItRefuses": ("before_it_listens_a_program_refuses", "OWN-3.3h"),
    "KeepsConnections": ("a_client_that_leaves_is_reported", "OWN-3.3h"),
    "AcceptsWithoutDescriptor": ("a_client_without_its_descriptor_is_refused", "OWN-3.2e"),
    "ReadsThoughFull": ("a_full_dialog_delivers_nobody", "OWN-3.3i"),
    "AsksOnce": ("an_unanswered_request_is_sent_again", "OWN-BIND-again"),
    "ListensToo": ("the_program_asks_for_its_port", "SERVER-no-listen"),
    "ListensInSpiteOfAnError": ("a_port_in_use_is_not_listened_on", "OWN-BIND-in-use"),
    "EndsAtGarbage": ("what_is_no_message_is_passed_over", None),
    "LeavesAChildBehind": ("a_client_of_a_server_that_is_killed_goes_to_another", "OWN-3.5d"),
    "WillNotEnd": ("a_program_that_is_asked_to_end_ends", "OWN-3.11d"),
    "SendsTheWrongEnd": ("the_program_asks_for_its_port", "OWN-3.5a"),
}
"""Each bend made by hand: a case that it fails, and a requirement that is named."""
QUICK = ("RelativeCounts", "DeliversFirst", "KeepsConnections", "AcceptsWithoutDescriptor", "ListensToo")


def assert_failed(how, name, case, requirement=None):
    outcome = asked(case, (sys.executable, str(ROOT / "tests/conform/bent.py"), how, name, "4049"), patience=3.0)
    assert outcome.verdict is Verdict.FAILED
    assert outcome.expected and outcome.came and outcome.exchange
    assert requirement is None or requirement in outcome.requirements


def test_each_bend_is_asked_for():
    assert set(HAND) == set(bent.HAND)


@pytest.mark.parametrize("name", QUICK)
def test_a_bent_endpoint_fails(name):
    assert_failed("hand", name, *HAND[name])


@pytest.mark.recorded(also=("examples/ports/python", "reference/maitred/cli"))
@pytest.mark.parametrize("name", sorted(set(HAND) - set(QUICK)))
def test_a_further_bent_endpoint_fails(name):
    assert_failed("hand", name, *HAND[name])
