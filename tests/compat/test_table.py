"""The compatibility page shows what the tests have seen, of every server, and nothing else."""

import copy
import json

import pytest
from tests.compat import table
from tests.compat.makes import MAKES

NOTED = {
    python: {make.name: {"version": "1.0", "passed": True} for make in MAKES}
    for python in ("3.9", "3.10")  # in the order of numbers, not of letters
}


def test_the_page_is_generated_from_the_last_run(capsys):
    assert table.main(["--check"]) == 0, capsys.readouterr().err


def test_the_page_has_a_row_for_each_server():
    page = table.render(NOTED)
    assert "| server | version | 3.9 | 3.10 |" in page
    for make in MAKES:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {make.name} |")]
        assert row.count("no" if make.fails else "works") >= 2
        assert row.endswith(f"{make.remark} |")
    assert list(table.complaints(NOTED, page)) == []


def missing(noted):
    del noted["3.10"][MAKES[0].name]


def unknown(noted):
    noted["3.9"]["a server of old"] = {"version": "1.0", "passed": True}


def failed(noted):
    noted["3.9"][MAKES[1].name]["passed"] = False


@pytest.mark.parametrize(
    ("bend", "complaint"),
    [
        (missing, f"3.10: {MAKES[0].name} has not been run"),
        (unknown, "3.9: there is no server a server of old (any more)"),
        (failed, f"3.9: the test of {MAKES[1].name} failed"),
    ],
)
def test_wrong_outcomes_are_named(bend, complaint):
    noted = copy.deepcopy(NOTED)
    bend(noted)
    assert list(table.complaints(noted, table.render(noted))) == [complaint]


def test_a_page_that_was_changed_by_hand_is_noticed():
    page = table.render(NOTED)
    assert list(table.complaints(NOTED, page.replace("works", "shines", 1)))


def test_a_run_replaces_its_own_rows_only(tmp_path):
    path = tmp_path / "noted.json"
    for rows in ({"a": {"passed": False}, "b": {"passed": True}}, {"a": {"passed": True}}):
        table.note(path, rows)
    (noted,) = json.loads(path.read_text()).values()
    assert noted == {"a": {"passed": True}, "b": {"passed": True}}


def test_missing_outcomes_are_a_clear_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table, "RESULTS", tmp_path / "none.json")
    assert table.main([]) == 1
    assert "none.json" in capsys.readouterr().err
    assert table.main(["--nonsense"]) == 2
