"""An instance of `maitred` for a test of this room, and the account of which server works: see `table.py`."""

import os

from tests.compat import table
from tests.system.conftest import maitred

__all__ = ["maitred"]

RESULTS = "MAITRED_COMPAT_RESULTS"
"""Names the file in which the outcomes are noted; without it they are not."""

_noted = {}


def pytest_runtest_logreport(report):
    """A server works where its whole test has passed, its end included.  Noted at once: a run may be cut short."""
    properties = dict(report.user_properties)
    if not properties.keys() >= {"server", "version"}:
        return  # it is none of a server, or has failed before its version was known
    row = _noted.setdefault(report.nodeid, {"version": properties["version"], "passed": True})
    row["passed"] = row["passed"] and report.passed
    if report.when == "teardown" and RESULTS in os.environ:
        table.note(os.environ[RESULTS], {properties["server"]: row})
