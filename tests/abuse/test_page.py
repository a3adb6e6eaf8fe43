"""The page of load and abuse shows what the tests have measured, and its checks can fail."""

import copy
import json

import pytest
from tests.abuse import __main__ as page
from tests.abuse.catalogue import ABUSES, BY_KEY


@pytest.fixture(scope="module")
def noted():
    return json.loads(page.NOTED.read_text())


def test_the_page_is_what_has_been_measured(noted):
    assert list(page.complaints(noted, page.PAGE.read_text())) == []


def test_a_page_that_is_not_is_noticed(noted):
    other = copy.deepcopy(noted)
    other["idle"]["clients"] += 1
    [complaint] = page.complaints(other, page.PAGE.read_text())
    assert "is not what the figures" in complaint


def test_a_figure_that_was_not_measured_is_noticed(noted):
    less = {key: figures for key, figures in noted.items() if key != "idle"}
    [complaint] = page.complaints(less, page.PAGE.read_text())
    assert complaint.startswith(f"{page.NOTED.name}: 'idle' has not been measured")


def test_a_test_that_is_not_there_is_noticed(noted, monkeypatch):
    monkeypatch.setattr(page, "HERE", page.HERE / "servers")
    found = list(page.complaints(noted, page.render(noted)))
    assert len(found) == sum(len(abuse.tests) for abuse in ABUSES)


def test_the_figures_are_those_of_the_long_runs(noted):
    assert noted["idle"]["clients"] == 10_000
    assert noted["waiting"]["limit"] == 5_000
    assert noted["vanish_free"]["number"] == noted["vanish_taken"]["number"] == 60_000


def test_every_row_has_a_line_of_the_log_or_a_reason_why_not():
    assert [key for key, abuse in BY_KEY.items() if bool(abuse.lines) is bool(abuse.silence)] == []
