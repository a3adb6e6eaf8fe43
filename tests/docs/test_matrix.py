"""Nothing in the matrix hangs in the air, and it would be noticed if something did."""

from dataclasses import replace

import pytest
from docs import matrix

from maitred.model.check.liveness import LIVENESS
from maitred.model.claims.safety import PROPERTIES


@pytest.fixture(scope="module")
def real():
    return matrix.read()


def test_nothing_is_an_orphan(real):
    assert matrix.orphans(real) == []


def test_everything_is_in_it(real):
    assert {*real.always, *real.sometimes, *real.eventually} == {*PROPERTIES, *LIVENESS}
    assert len(real.requirements) > 250
    page = matrix.page()
    assert all(f"| {entry['id']} |" in page for entry in real.requirements)
    assert all(f"| `{name}` |" in page for name in (*real.always, *real.eventually))


def without(real, **changes):
    """The matrix with something taken out, joined again."""
    values = {name: getattr(real, name) for name in ("always", "sometimes", "eventually", "witnesses", "mutants")}
    values = {"requirements": real.requirements, **values, **changes}
    return matrix.join(**values)


def test_a_property_without_requirement_is_seen(real):
    entries = [
        {**entry, "properties": [n for n in entry["properties"] if n != "no_client_is_lost"]}
        for entry in real.requirements
    ]
    assert matrix.orphans(without(real, requirements=entries)) == [
        "no_client_is_lost: no requirement asks for this property"
    ]


def test_a_property_without_witness_is_seen(real):
    witnesses = {**real.witnesses, "no_client_is_lost": ()}
    assert "no_client_is_lost: has no witness" in matrix.orphans(without(real, witnesses=witnesses))


def test_a_property_that_no_mutant_refutes_is_seen(real):
    mutants = {name: tuple(n for n in names if n != "a_stop_ends") for name, names in real.mutants.items()}
    found = matrix.orphans(without(real, mutants=mutants))
    assert found == ["a_stop_ends: no mutant refutes this property: nothing shows that it can fail"]


def test_a_witness_of_nothing_is_seen(real):
    found = matrix.orphans(without(real, sometimes=(*real.sometimes, "it_rains")))
    assert found == ["it_rains: witnesses no property, and no requirement asks for it"]


def test_a_requirement_that_nothing_shows_is_seen(real):
    bare = {"id": "NEW", "properties": [], "tests": [], "later": ""}
    found = matrix.orphans(without(real, requirements=(*real.requirements, bare)))
    assert found == ["NEW: neither a property nor a test shows this requirement"]


def test_a_name_that_does_not_exist_is_seen(real):
    found = matrix.orphans(without(real, mutants={**real.mutants, "m": ("no_such_thing",)}))
    assert found == ["no_such_thing: there is no such property; named by m"]
    assert "nothing: there is no such property to be witnessed" in matrix.orphans(
        replace(real, witnesses={**real.witnesses, "nothing": ("a_waiter_is_seated",)})
    )
