"""The page of the hostile campaign shows what was recorded, and when."""

import json
from collections import Counter

import pytest
from tests.hostile import report
from tests.hostile.account import Account, Asked
from tests.hostile.campaign import HONEST, HOSTILE, Plan


@pytest.fixture
def found():
    visits = Counter({(HONEST, "served"): 1_200, (HOSTILE, "served"): 900, (HOSTILE, "lost"): 5})
    asked = [Asked(1.0, 0.125, ((1, 1, "operating"),), ({1},)), Asked(2.0, 1.25, ((1, 1, "restarting"),), ({1},))]
    waits = {"honest, in war": [0.001, 0.002, 0.75]}
    account = Account(waits, visits, Counter(dies=3, breeds=2), [0.0625, 0.5], asked, Counter(reset=40), suffered=4)
    return report.results(Plan(600), account)


def test_the_page_shows_what_was_found(found):
    page = report.page(json.loads(json.dumps(found)))

    for said in (
        "For 10 minutes one copy",
        "**5 attacks, 40 hostile visits**",
        "| honest, in war | 3 | 0.002 | 0.750 | 0.750 |",
        "| hostile | 900 | 0 | 5 | 0 | 0 | 0 |",
        "asked for the status 2 times,\nand answered in 1.250 s at most; 1 times",
        "4 clients had been given to a hostile copy",
        "| dies | 3 |",
        "| reset | 40 |",
        "0.500 s at most (2",
        found["machine"]["date"],
    ):
        assert said in page
    assert "none was given to two honest copies" in page and "**Wrong:**" not in page
    bad = report.page({**found, "wrong": ["a hole"]})
    assert "**Wrong:** a hole" in bad and "none was given to two honest copies" not in bad


def test_what_is_written_can_be_made_again(found, tmp_path):
    report.write(found, tmp_path)
    assert report.page(report.recorded(tmp_path)) == (tmp_path / "hostile.md").read_text()


def test_the_recorded_page_is_made_from_the_recorded_figures():
    found = report.recorded()
    assert found["wrong"] == []
    assert (report.DOCS / "hostile.md").read_text() == report.page(found)
