"""The table of what is explored and compared has no blank, is fresh, and a blank in it is noticed."""

import pytest
from proofs.refinement import explored_fields, field_table
from proofs.refinement.explored_fields import CONSTANT, MOST, PAGE, blanks, compared, every_field, seen, table

from maitred.model.check import manifest

pytestmark = [pytest.mark.properties, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def found():
    return seen(configuration for configuration in manifest.load() if configuration.tier in MOST)


@pytest.mark.recorded
def test_there_is_no_blank(found):
    assert blanks(found) == []


@pytest.mark.recorded(also=["docs/generated/explored-fields.md"])
def test_the_page_is_fresh(found):
    assert PAGE.read_text(encoding="utf-8") == table(found), "python -m proofs.refinement.explored_fields --write"


def test_a_field_that_never_varies_is_noticed():
    full = {field: "somewhere" for field in every_field() if field not in CONSTANT}
    assert blanks(full) == []
    del full["Adopt.weight"]
    assert blanks(full) == ["Adopt.weight: one value in all that is explored, and no reason"]


def test_a_reason_that_is_not_needed_is_noticed():
    full = dict.fromkeys(every_field(), "somewhere")
    assert f"{next(iter(CONSTANT))}: stated to be constant, and explored with several values" in blanks(full)


def test_a_field_that_nobody_compares_is_noticed(monkeypatch):
    full = {field: "somewhere" for field in every_field() if field not in CONSTANT}
    monkeypatch.setattr(explored_fields, "NOT_MODELLED", {**explored_fields.NOT_MODELLED, "Store.odd": "in vain"})
    monkeypatch.setitem(field_table.FIELDS, "word_client", ("World.to_monitor", "Release.client"))
    assert blanks(full) == [
        "Store.client: neither compared, nor is there a reason why not",
        "Store.odd: there is no such field",
    ]


def test_what_compares_is_a_symbol():
    assert compared("Client.arrival") == "`arrival`"
    assert compared("Drained.server") == "`word_server`"


def test_one_configuration_in_which_nothing_varies_gives_a_table_of_blanks():
    (least,) = [c for c in manifest.load() if c.slug == "one-of-each"]
    wrong = blanks(seen([least]))
    assert "Adopt.weight: one value in all that is explored, and no reason" in wrong
