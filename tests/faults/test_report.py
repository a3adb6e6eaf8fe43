"""The page and the figure of the campaign show what was recorded."""

import json
from xml.etree import ElementTree

import pytest
from tests.faults import report
from tests.faults.account import Account, Recovery
from tests.faults.campaign import Plan
from tests.faults.clients import Visit
from tests.faults.kernel import Level
from tests.faults.relation import Walk, Walks
from tests.faults.rounds import Recorded, Verified
from tests.faults.violence import Fault


@pytest.fixture
def found():
    visits = [Visit("a", "quick", 80, 1, "served", requests=3, began=1.0, greeted=1.5, ended=2)]
    visits.append(Visit("b", "slow", 80, 2, "lost", began=1.0, greeted=3.0, ended=5))
    account = Account(visits, [Fault("kill server", "server", 7, 7, 4.0, True)])
    account.before, account.after = {"Monitor": [Level(90, 1, 15 << 20)]}, {"Monitor": [Level(91, 1, 16 << 20)]}
    account.losses.update({"served by a server that died": 1})
    account.deaths.update({"server: kill server": 1})
    account.recoveries = [Recovery("server: kill server", 4.0, 0.25), Recovery("server: kill server", 5.0, 40.0)]
    walks = Walks(900, 1_000, [Walk("threading", 300, 40, "before line 800: Audited", 2.0)])
    recorded = Recorded(account, "12 lines of 3 machines: 4 steps, 5 effects", walks)
    numbers = {"verified": 1_900, "steps": 2_000, "dropped": 60, "unchecked": 40, "divergences": 0}
    verified = Verified(Account([*visits, *visits], [Fault("kill server", "server", 7, 7, 4.0, True)] * 5), numbers)
    return report.results(Plan(600, 300, 7), recorded, verified)


def test_the_page_shows_what_was_found(found):
    page = report.page(json.loads(json.dumps(found)))

    for said in (
        "For 10 minutes 300 clients",
        "**1 faults, 1 deaths, 2 visits**",
        "| slow | 0 | 0 | 1 | 0 | 0 | 0 |",
        "| served by a server that died | 1 |",
        "| server: kill server | 2 | 40.00 | 40.00 | 40.00 |",
        "| Monitor | 90 → 91 | 1 → 1 | 15.0 → 16.0 |",
        "12 lines of 3 machines",
        "first 900 of 1,000 lines",
        "| threading | 300 | 40 | 150 | before line 800: Audited |",
        "5 more faults met 4 visits",
        "of its 2,000 steps 1,900 were verified as they happened,\n60 were dropped",
        "**0 diverged**. 2 of its clients were lost",
        "The seed was 7",
    ):
        assert said in page
    assert "**Wrong:**" not in page
    assert "**every one of the\n1 losses has a named cause**" in page
    bad = report.page({**found, "wrong": ["a hole"]})
    assert "**Wrong:** a hole" in bad and "named cause" not in bad


def test_the_figure_has_a_dot_for_each_recovery_further_right_where_it_took_longer(found):
    root = ElementTree.fromstring(report.svg(found))
    dots = root.findall(".//{*}circle")
    assert len(dots) == 2
    assert float(dots[0].get("cx")) < float(dots[1].get("cx"))
    assert "server: kill server (2)" in [text.text for text in root.findall(".//{*}text")]


def test_what_is_written_can_be_made_again(found, tmp_path):
    report.write(found, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"faults.json", "faults.md", "faults.svg"}
    assert report.page(json.loads((tmp_path / "faults.json").read_text())) == (tmp_path / "faults.md").read_text()


def test_the_recorded_page_and_figure_are_made_from_the_recorded_figures():
    found = json.loads((report.DOCS / "faults.json").read_text())
    assert found["wrong"] == []
    assert (report.DOCS / "faults.md").read_text() == report.page(found)
    assert (report.DOCS / "faults.svg").read_text() == report.svg(found)
