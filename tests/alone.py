"""A test of real processes that failed while others ran is run again, alone: was it the machine, or is it maitred?

`make test` runs three tests at a time on two processors, and each test of real processes has a dozen of them.  A wait
that is too short there says nothing about maitred.  So with ``--alone`` (`make test` has it) a test that is marked
``system`` and failed is run again at the end, `TIMES` times, with the machine to itself.  Only if every one of these
runs succeeds, the whole run does; and both are printed, the failure and what became of it.

Nothing else is given a second chance:

- a test that is not marked ``system``: it comes to the same end each time;
- a test that is marked ``chance``: it looks for what happens seldom, so one failure is enough;
- an error while a test is set up or taken down: there the traces of the processes are replayed, and a trace that does
  not replay is a fault whenever it was recorded;
- anything, if more than `LIMIT` tests failed.
"""

import subprocess
import sys

import pytest

TIMES = 3
LIMIT = 5


def pytest_addoption(parser):
    parser.getgroup("alone", "tests of real processes that failed while others ran").addoption(
        "--alone", action="store_true", help=f"run them {TIMES} times again at the end, alone: each must succeed"
    )


def pytest_configure(config):
    if config.option.alone and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Again(config), "again")


class _Again:
    """Sees every failure, also of what other processes run."""

    def __init__(self, config):
        self.root = config.rootpath
        self.failed = {}
        """By test: whether it may be run again."""
        self.outcomes = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            may = report.when == "call" and "system" in report.keywords and "chance" not in report.keywords
            self.failed[report.nodeid] = may and self.failed.get(report.nodeid, True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus):
        if exitstatus != pytest.ExitCode.TESTS_FAILED or len(self.failed) > LIMIT or not all(self.failed.values()):
            return
        self.outcomes = [(test, self._succeeds(test)) for test in self.failed]
        if self.outcomes and all(successes == TIMES for _, successes in self.outcomes):
            session.exitstatus = pytest.ExitCode.OK

    def _succeeds(self, test):
        """How many runs in a row succeed, of `TIMES`."""
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
        for successes in range(TIMES):
            done = subprocess.run(command, cwd=self.root, capture_output=True, text=True)
            if done.returncode:
                print(f"\n{test}, alone:\n{done.stdout}{done.stderr}")
                return successes
        return TIMES

    def pytest_terminal_summary(self, terminalreporter):
        if self.outcomes:
            terminalreporter.section("failed while other tests ran, and were run again alone")
        for test, successes in self.outcomes:
            verdict = f"succeeded {TIMES} times of {TIMES}" if successes == TIMES else f"failed at run {successes + 1}"
            terminalreporter.write_line(f"{test}: {verdict}")
