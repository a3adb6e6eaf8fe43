"""The kit for steps, on real programs: the core passes; each bent program fails, with the place of what is wrong."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from maitred.conform import steps
from maitred.conform.cases import Verdict, run
from maitred.conform.lines import Lines
from maitred.vectors import codec, compare, files, fresh

ROOT = Path(__file__).parents[2]
RIGHT = (sys.executable, str(ROOT / "examples/ports/python/steps.py"))
BENT = (sys.executable, str(ROOT / "tests/conform/bent_steps.py"))
pytestmark = pytest.mark.system


def kit(*arguments):
    """The command, as it is typed: exit code, what it has printed, and what it has said of its progress."""
    command = [sys.executable, "-m", "maitred", "conform", "step", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)
    return done.returncode, done.stdout, done.stderr


def first_failure(command, machines, texts=(), seed=None, patience=10.0):
    """The outcome of the first case that fails; None if all pass."""
    lines = Lines(command, patience)
    try:
        for case in steps.collection(machines, seed).chosen(texts, notes=True):
            outcome = run(case, lines, lambda: lines.exchange, lines.output, directed=False)
            if outcome.verdict is not Verdict.PASSED:
                return outcome
    finally:
        lines.close()
    return None


# ================================================================ right programs


@pytest.mark.recorded(also=("examples/ports/python", "reference/maitred/cli", "spec/vectors"))
def test_the_steps_of_the_core_pass(tmp_path):
    code, printed, said = kit("--seed", 7, "--json", "--junit", tmp_path / "junit.xml", "--", *RIGHT)
    document = json.loads(printed)
    assert code == 0 and document["conforms"], said
    assert {case["verdict"] for case in document["cases"]} == {"passed"}
    assert len(document["cases"]) > 1400
    assert 'failures="0"' in (tmp_path / "junit.xml").read_text()


def test_a_program_with_one_machine_is_asked_for_that_one():
    code, printed, said = kit(
        "--machine", "server", "--machine", "wire", "-k", "server-0", "-k", "bytes-0", "--", *RIGHT
    )
    assert (code, said) == (0, "")
    assert "passed" in printed and "failed" not in printed


def test_every_vector_trace_and_packet_is_a_case():
    names = [case.name for case in steps.collection().cases]
    wanted = [*files.steps(), *files.traces(), *files.packets()]
    assert names == [each.id for each in wanted]


# ================================================================ bent programs

HAND = {
    "effects_in_reverse": ("distributor", "should be before"),
    "numbers_as_doubles": ("server", "expected {"),
    "rejects_with_a_word_of_its_own": ("server", "answer.rejected: 'NO' should be one of"),
    "a_field_too_many": ("server", "answer.state.spare: EndpointState has no such field"),
    "everything_is_taken": ("server", "came a step that is taken"),
    "the_last_effect_is_forgotten": ("monitor", "effects: there is no"),
    "answers_twice": ("server", "beside the last answer"),
    "no_json": ("server", "which is none"),
    "dies_of_a_rejection": ("server", "the end of the program, with exit code 1"),
    "is_silent": ("server", "nothing in 1 s"),
    "dies_at_once": ("server", "the end of the program, by signal SIGKILL"),
    "any_packet_is_a_message": ("wire", "message: expected null, came"),
}
"""Each bend made by hand: the machine that is asked for, and what the report has."""
CORE = (
    "the_index_of_free_servers_is_not_kept",
    "a_second_stop_is_graceful_too",
    "any_byte_is_a_truth",
    "the_tie_break_is_stuck",
    "a_filled_place_stays_vacant",
    "busy_servers_stay_noted_as_idle",
    "the_count_is_of_before",
    "a_deaf_program_is_ready",
    "sequence_numbers_end_at_256",
    "a_client_is_delivered_before_it_is_reported",
    "everybody_is_refused",
)


@pytest.mark.parametrize("name", HAND)
def test_a_bent_program_fails_and_the_report_says_where(name):
    machine, report = HAND[name]
    outcome = first_failure((*BENT, "hand", name), (machine,), patience=1.0 if name == "is_silent" else 10.0)
    assert outcome is not None and outcome.verdict is Verdict.FAILED
    assert report in "\n".join((outcome.came, *outcome.differences))
    assert outcome.expected and outcome.exchange[0].startswith("-> {")
    assert "panic: not implemented" in outcome.output or name != "dies_of_a_rejection"


@pytest.mark.recorded(also=("examples/ports/python", "reference/maitred/cli", "spec/vectors"))
@pytest.mark.parametrize("name", CORE)
def test_a_program_with_a_mutant_of_the_core_fails(name):
    outcome = first_failure((*BENT, "core", name), steps.MACHINES)
    assert outcome is not None and outcome.verdict is Verdict.FAILED
    assert outcome.differences or outcome.output  # a wrong index may have it end


def test_who_looks_the_answers_up_fails_with_a_seed_alone():
    command = (*BENT, "hand", "looks_the_answers_up")
    assert first_failure(command, ("server",)) is None
    assert first_failure(command, ("server",), seed=1).case.startswith("fresh-server-")


def test_the_report_has_all_that_helps():
    code, printed, _ = kit("--machine", "server", "-x", "--", *BENT, "hand", "a_field_too_many")
    assert code == 1
    for part in ("expected ", "came ", "requirements", "<- {", "-> {", "reproduce\n", " -k server-", "1 failed"):
        assert part in printed


def test_a_program_that_never_answers_is_not_started_for_ever():
    code, printed, _ = kit("--machine", "wire", "--", "false")
    assert code == 1
    assert printed.count("the end of the program, with exit code 1") == 3
    assert "it is not started again" in printed


def test_a_program_that_panics_is_started_again_for_the_next_vector():
    chosen = ("--machine", "server", "-k", "server-0", "-k", "server-1")
    code, printed, _ = kit(*chosen, "--json", "--", *BENT, "hand", "dies_of_a_rejection")
    verdicts = [case["verdict"] for case in json.loads(printed)["cases"]]
    first = verdicts.index("failed")
    assert code == 1 and "passed" in verdicts[first:]


# ================================================================ fresh walks


@pytest.mark.parametrize("machine", codec.MACHINES)
def test_fresh_walks_are_the_same_for_a_seed_and_others_for_another(machine):
    walks = [*islice(fresh.walks(1, machine), 8)]
    assert walks == [*islice(fresh.walks(1, machine), 8)]
    assert walks != [*islice(fresh.walks(2, machine), 8)]
    assert [difference for walk in walks for difference in compare.along(machine, walk)] == []
