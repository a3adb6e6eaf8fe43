"""The shell's mutants: each can be made, the record is of the code as it is, and a cut is killed here and now."""

import ast
import json
from dataclasses import replace

import pytest
from proofs.mutation import matrix
from proofs.mutation.core.mutant import CannotMutate
from proofs.mutation.shell import CATALOGUE
from proofs.mutation.shell.__main__ import main
from proofs.mutation.shell.result import COMMAND, TITLES, recorded, section, stale
from proofs.mutation.shell.run import (
    ROOT,
    CannotRun,
    Outcome,
    fingerprint,
    module_of,
    mutated_text,
    outcomes,
    unmutated_failure,
)

CUT = (
    "lost_descriptors_are_not_noticed",
    "a_reset_ends_before_the_data",
    "a_cancelled_timer_rings",
    "news_reach_a_numbers_next_owner",
    "a_port_in_time_wait_is_in_use",
    "the_control_socket_is_open_to_all",
    "the_registrys_lock_is_not_taken",
    "a_client_that_is_stored_twice_keeps_both",
    "an_effect_is_traced_before_it_is_performed",
    "a_lost_descriptor_is_not_noticed",
)
"""Of each kind of part one whose killer takes no second."""
ONE = CATALOGUE[CUT[0]]


def test_there_are_enough_of_every_part():
    assert len(CATALOGUE) >= 60
    parts = {mutant.module for mutant in CATALOGUE.values()}
    wanted = "distributor monitor endpoint stand_in channel loop registry status launch trace"
    assert set(wanted.split()) <= parts <= TITLES.keys()


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_is_an_edit_of_the_code_as_it_is(name):
    mutant = CATALOGUE[name]
    text = module_of(mutant).read_text()
    assert ast.dump(ast.parse(mutated_text(mutant, text))) != ast.dump(ast.parse(text))
    assert mutant.suffers and mutant.tests and fingerprint(mutant)


def test_the_record_is_of_the_code_as_it_is():
    found = stale(recorded())
    assert found == [], f"{len(found)} are not as recorded; run: {COMMAND}"


def test_a_record_of_other_code_is_noticed():
    """The function, the killer, the edit, the catalogue, the outcome: each change is named."""
    record = recorded()
    kept = {ONE.name: record[ONE.name]}
    assert stale(kept, {ONE.name: ONE}) == []
    assert "has changed since" in stale(kept, {ONE.name: replace(ONE, new="True")})[0]
    assert stale({}, {ONE.name: ONE}) == [f"{ONE.name}: never run"]
    assert stale(kept, {}) == [f"{ONE.name}: no longer in the catalogue"]
    survived = {ONE.name: {**kept[ONE.name], "outcome": Outcome.SURVIVED.value}}
    assert stale(survived, {ONE.name: ONE}) == [f"{ONE.name}: survived"]


@pytest.mark.parametrize("which", ["function", "killer"])
def test_a_fingerprint_is_of_the_function_and_of_the_killer_alone(which):
    file, _, test = ONE.tests[0].partition("::")
    path, name = (module_of(ONE).relative_to(ROOT).as_posix(), "parse") if which == "function" else (file, test)
    text = (ROOT / path).read_text()
    begin = text.index(f"def {name}(")
    end = text.index("return Packet(" if which == "function" else "assert", begin)
    changed = text[:end] + "pass;" + text[end:]
    assert fingerprint(ONE, {path: changed}) != fingerprint(ONE)
    assert fingerprint(ONE, {path: text + "\n\ndef another():\n    pass\n"}) == fingerprint(ONE)


@pytest.mark.system
def test_a_cut_is_killed():
    mutants = [CATALOGUE[name] for name in CUT]
    assert unmutated_failure(mutants) == ""
    assert {mutant.name: outcome for mutant, outcome in outcomes(mutants)} == dict.fromkeys(CUT, Outcome.KILLED)


@pytest.mark.system
def test_an_edit_that_changes_nothing_survives_and_a_killer_that_is_not_there_is_an_error():
    harmless = replace(ONE, new=f"({ONE.old})")
    assert [outcome for _, outcome in outcomes([harmless])] == [Outcome.SURVIVED]
    with pytest.raises(CannotRun, match="not found"):
        list(outcomes([replace(ONE, tests=(f"{ONE.tests[0]}_of_old",))]))


def test_an_edit_of_what_is_not_there_cannot_be_made():
    text = module_of(ONE).read_text()
    with pytest.raises(CannotMutate, match="0 times"):
        mutated_text(replace(ONE, old="nowhere"), text)
    with pytest.raises(CannotMutate, match="no Python"):
        mutated_text(replace(ONE, new="("), text)


def test_the_page_shows_each_with_its_killer_and_names_survivors():
    record = {name: {"outcome": Outcome.KILLED.value} for name in CATALOGUE}
    lines = list(section(record))
    assert any("none survived" in line for line in lines)
    assert sum(line.startswith("| ") for line in lines) == 1 + len(CATALOGUE)
    record[ONE.name] = {"outcome": Outcome.SURVIVED.value}
    assert any(f"survived: {ONE.name}." in line for line in section(record))


def test_the_published_section_is_of_the_record():
    page = matrix.PAGE.read_text()
    assert "\n".join(section(recorded())) in page, "python -m proofs.mutation.matrix --write"


def test_a_mutant_that_is_not_there_is_a_plain_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["nobody"])
    assert stopped.value.code == 2
    assert "no such mutant: nobody" in capsys.readouterr().err


def test_the_record_is_in_the_order_of_the_catalogue():
    assert list(json.loads((ROOT / "proofs/mutation/shell/result.json").read_text())) == list(CATALOGUE)
