"""The matrix shows of every mutant what kills it, and the published page is of this catalogue."""

import io

import pytest

pytest.importorskip("scipy", reason="liveness needs scipy: the extra `verify` brings it")

from proofs.mutation import matrix
from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.checks import RAISES
from proofs.mutation.core.unit_tests import main as unit
from proofs.mutation.core.unseen import UNSEEN, Unseen
from rich.console import Console

from maitred.model.check.liveness import LIVENESS
from maitred.model.claims.safety import PROPERTIES
from maitred.model.world import Bounds

NAMES = ("who_waits_is_not_stored", "a_stranger_disconnects", "a_tuple_of_any_length_is_read")


def silent():
    return Console(file=io.StringIO())


@pytest.mark.properties
@pytest.mark.recorded(also=["tests/core"])
@pytest.mark.timeout(600)
def test_every_column_is_asked_of_every_mutant():
    mutants = [CATALOGUE[name] for name in NAMES]
    found = matrix.matrix(mutants, silent())
    assert found.keys() == matrix.COLUMNS.keys()
    assert "store_has_exactly_those_who_wait" in found["properties"][NAMES[0]]
    assert found["properties"][NAMES[1]] == (), "tried, though its entry has no bounds"
    assert found["tests of the core"][NAMES[1]] == (
        "tests/core/test_server.py::TestRule3AClientIsCountedUntilItsConnectionIsGone"
        "::test_or_until_the_audit_finds_that_the_kernel_has_forgotten_it",
    )
    assert found["bridge"][NAMES[0]] != found["bridge"][NAMES[1]] == ()
    assert found["CrossHair"].keys() == {*NAMES[1:]}, "who dies by a property is not asked about"


def test_the_page_shows_what_was_named_and_what_was_found():
    mutant = CATALOGUE["who_waits_is_not_stored"]
    found = {
        "properties": {mutant.name: (*mutant.refutes, "no_client_is_lost")},
        "tests of the core": {},
        "bridge": {mutant.name: ("sends_hand is not enabled",)},
    }
    page = matrix.page([mutant], found)
    (row,) = [line for line in page.splitlines() if line.startswith("| who waits is not stored")]
    assert mutant.suffers in row
    assert all(f"**`{name}`**" in row for name in mutant.refutes)
    assert ("`no_client_is_lost`" in row) and matrix.rendered(mutant.within) in row
    assert "none survived" in page
    assert row.endswith(" | sends_hand is not enabled |  |")
    assert "Killed: 1 by properties, 0 by tests of the core, 1 by bridge, 0 by CrossHair." in page


def test_a_survivor_is_reported():
    mutants = [CATALOGUE[name] for name in NAMES]
    page = matrix.page(mutants, {"properties": {NAMES[0]: ("no_client_is_lost",)}, "tests of the core": {NAMES[1]: ()}})
    assert f"3 mutants; survived: {NAMES[1]}, {NAMES[2]}." in page


def test_the_page_explains_why_no_property_sees_one():
    page = matrix.page([CATALOGUE[name] for name in (*NAMES, "it_begins_twice")], {})
    (row,) = [line for line in page.splitlines() if line.startswith("| it begins twice |")]
    assert " *never offered* |" in row
    assert f"| *never offered* | {Unseen.NEVER_OFFERED.value} | 1 |" in page
    assert f"| *values* | {Unseen.VALUES.value} | 1 |" in page
    assert Unseen.STOPPED.value not in page, "none of these has that reason"


def test_what_no_property_sees_survives_only_by_its_reason():
    left_out = CATALOGUE["an_arrival_is_left_out"]
    assert UNSEEN[left_out.name] is Unseen.ONLY_ORDER
    assert "1 mutants; none survived." in matrix.page([left_out], {})


def test_large_numbers_and_a_break_down_are_reported():
    mutants = [CATALOGUE[name] for name in ("arrivals_end_at_64", "a_stranger_is_told_of")]
    page = matrix.page(mutants, {"properties": {"a_stranger_is_told_of": (RAISES,)}})
    assert "all numbers from 62)" in page
    assert page.count(RAISES) == 1, "named and found is one"


UNPUBLISHED = [""] * 6
"""Another test covers this."""


def rows():
    """The published rows, by mutant: their cells."""
    lines = [line.split(" | ") for line in matrix.PAGE.read_text().splitlines() if line.count(" | ") == 5]
    return {cells[0].removeprefix("| "): [cell.strip(" |") for cell in cells] for cells in lines}


def test_no_published_row_has_a_reason_and_a_property_that_kills():
    published = rows()
    killed = {}
    for name in UNSEEN:
        killers, *beside = published.get(name.replace("_", " "), UNPUBLISHED)[3:]
        named = [prop for prop in (*PROPERTIES, *LIVENESS, RAISES) if f"`{prop}`" in killers]
        killed[name] = [*named, *filter(None, beside)]
    assert {name: by for name, by in killed.items() if by} == {}, "strike them off proofs/mutation/core/unseen.py"


def test_a_proof_that_an_entry_names_is_in_its_published_row():
    published = rows()
    missing = [
        (mutant.name, proof)
        for mutant in CATALOGUE.values()
        for proof in mutant.proofs
        if not published.get(mutant.name.replace("_", " "), "......")[4 + [*matrix.BESIDE].index(proof)]
    ]
    assert missing == []


def test_bounds_are_described_by_what_differs_from_the_defaults():
    assert matrix.rendered(Bounds(servers=1, clients=2, warm=True)) == "servers 1, clients 2, warm"


def test_a_published_row_is_of_this_catalogue():
    page = matrix.PAGE.read_text()
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines() if line.count(" | ") == 5}
    stale = [
        mutant.name
        for mutant in CATALOGUE.values()
        if mutant.suffers not in rows.get(mutant.name.replace("_", " "), "")
    ]
    assert stale == [], f"{matrix.PAGE.name} is stale: python -m proofs.mutation.matrix --write"
    names = {name.replace("_", " ") for name in CATALOGUE}
    assert rows.keys() - names <= {"mutant"}


@pytest.mark.parametrize("command", [matrix.main, unit])
def test_a_mutant_that_is_not_there_is_a_plain_error(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        command(["nobody"])
    assert stopped.value.code == 2
    assert "no such mutant: nobody" in capsys.readouterr().err


@pytest.mark.campaign
def test_nothing_survives_the_matrix():
    mutants = list(CATALOGUE.values())
    found = matrix.matrix(mutants, silent())
    page = matrix.page(mutants, found)
    assert "none survived" in page
    assert page == matrix.PAGE.read_text(), "python -m proofs.mutation.matrix --write"
