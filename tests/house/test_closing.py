"""A run of the properties closes with a table that hides nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests import closing

ROOT = Path(__file__).resolve().parents[2]

SAMPLE = """
'''It rains upwards.  And this says more.'''
import pytest
pytestmark = pytest.mark.properties
def test_held(): pass
def test_failed(): assert False
def test_skipped(): pytest.skip('for want of rain')
@pytest.fixture
def broken(): raise OSError('no umbrella')
def test_error(broken): pass
"""


def report(when, outcome, duration=1.0, nodeid="test_rain.py::test_it"):
    return SimpleNamespace(
        nodeid=nodeid,
        when=when,
        duration=duration,
        failed=outcome == "failed",
        skipped=outcome == "skipped",
    )


def test_each_file_has_a_row(tmp_path):
    (tmp_path / "test_rain.py").write_text(SAMPLE)
    (tmp_path / "test_dry.py").write_text("x = 1\n")
    reports = [
        report("setup", "passed", 0.5),
        report("call", "passed"),
        report("call", "failed"),
        report("setup", "failed"),
        report("setup", "skipped"),
        report("call", "passed", 2.0, "test_dry.py::test_that"),
    ]
    rain, dry = closing.rows(reports, tmp_path)
    assert (rain.says, rain.held, rain.failed, rain.skipped) == ("It rains upwards.  And this says more", 1, 2, 1)
    assert rain.seconds == 4.5
    assert (dry.says, dry.held) == ("test_dry", 1)
    head, *body, together = closing.lines([rain, dry])
    assert head.split() == ["held", "failed", "skipped", "seconds"]
    assert len(body) == 2
    assert together.split() == ["together", "2", "2", "1", "6.5"]


@pytest.mark.parametrize(("asked", "shown"), [("properties", True), ("not properties", False)])
def test_the_table_is_shown_where_properties_are_asked(tmp_path, asked, shown):
    (tmp_path / "test_rain.py").write_text(SAMPLE)
    options = ["-c", os.devnull, "--rootdir", tmp_path, "-p", "no:cacheprovider", "-p", "tests.conftest"]
    command = [sys.executable, "-m", "pytest", *options, "-o", "markers=properties", "-m", asked, tmp_path]
    run = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert ("what was asked, and whether it held" in run.stdout) is shown, run.stdout + run.stderr
    row = re.search(r"It rains upwards.*? +1 +2 +1 ", run.stdout)
    assert (row is not None) is shown, run.stdout
