"""The page of servers in other languages is what the outcomes say; each outcome is of a server that is there."""

import json

from tests.native import table


def test_the_page_is_what_the_outcomes_say():
    assert list(table.complaints(json.loads(table.RESULTS.read_text()), table.PAGE.read_text())) == []


def test_what_was_not_run_or_failed_is_named():
    noted = {"3.11": {"net": {"version": "v1", "passed": False}, "ftp": {"version": "v1", "passed": True}}}
    found = list(table.complaints(noted, ""))
    assert {"http has not been run", "there is no server ftp (any more)", "the test of net failed"} <= set(found)
    assert "is not what the outcomes say" in found[-1]
    assert "| JavaScript | net | v1 | **test failed** |" in table.render(noted)
