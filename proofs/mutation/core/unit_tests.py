"""Which tests fail of a mutated core: the tests are collected once, and each mutant has a forked process of its own.

    python -m proofs.mutation.core.unit_tests [--all] [NAME ...]

runs, for each mutant named (or for every one), the tests that its entry names, or with ``--all`` every test of the
core, to the first that fails; it writes a line of JSON for each mutant: its name, the tests that failed, and how many
ran.  A mutant that makes a test run for longer than `PATIENCE` seconds has failed it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.mutant import Mutant

ROOT = Path(__file__).resolve().parents[3]
CORE_TESTS = ("tests/core",)
"""What ``--all`` runs: the tests of the machines, of the codec and of the trace format."""
PATIENCE = 20
"""Seconds that one test may take under a mutant: none takes a tenth of that with the unmutated core."""
UNMUTATED = "unmutated"
"""Stands for the core as it is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the tests said of one mutant."""

    name: str
    failed: tuple[str, ...]
    """Those tests, as pytest node ids, in the order in which they ran."""
    ran: int
    missing: tuple[str, ...] = ()
    """Tests that the entry names and that do not exist."""


def outcomes(names: Sequence[str], *, every_test: bool = False) -> Iterator[Outcome]:
    """What the tests say of each of the mutants, each yielded as soon as it is known.

    Args:
        names: of the mutants; `UNMUTATED` is the core as it is, and runs what all the others' entries name.
        every_test: run all tests of the core, each mutant's to the first that fails, and not those that it names.

    Raises:
        RuntimeError: the tests could not be collected; the text is pytest's.
    """
    command = [sys.executable, "-m", "proofs.mutation.core.unit_tests", *(["--all"] if every_test else []), *names]
    with TemporaryFile("w+") as said:
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True) as process:
            assert process.stdout is not None, "it is a pipe"
            for line in process.stdout:
                told = json.loads(line)
                yield Outcome(told["name"], tuple(told["failed"]), told["ran"], tuple(told["missing"]))
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)}: status {process.returncode}\n{said.read()[-2_000:]}")


class _Runner:
    """A pytest plugin that runs the collected tests once for each mutant."""

    def __init__(self, mutants: Sequence[Mutant | None], out: int, *, every_test: bool) -> None:
        """Prepare; None among the mutants is the core as it is, and the lines are written to the descriptor."""
        self.mutants = mutants
        self.out = out
        self.every_test = every_test
        self.failed: list[str] = []
        self.ran = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors while the tests were collected")
        for mutant in self.mutants:
            child = os.fork()
            if not child:
                try:
                    self._run(session.items, mutant)
                finally:
                    os._exit(1)  # whatever was raised is not for this pytest, which goes on in the parent
            os.waitpid(child, 0)  # a child that was cut off has reported nothing, which whoever asked will notice
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)

    def _run(self, items: Sequence[pytest.Item], mutant: Mutant | None) -> None:
        """In a process of its own: mutate, run, and report."""
        named = mutant.tests if mutant is not None else tuple(test for m in CATALOGUE.values() for test in m.tests)
        chosen = [item for item in items if self.every_test or _is_of(item.nodeid, named)]
        if mutant is not None:  # the tests of what is mutated are the likeliest to fail
            chosen.sort(key=lambda item: item.path.name != f"test_{mutant.module}.py")
        missing = [] if self.every_test else [t for t in named if not any(_is_of(i.nodeid, (t,)) for i in items)]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the terminal is the parent's
        with ExitStack() as stack:
            if mutant is not None:
                stack.enter_context(mutant.mutated())
            for item, following in zip(chosen, [*chosen[1:], None], strict=True):
                if not self._is_over(item):
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    self.ran += 1
        name = mutant.name if mutant is not None else UNMUTATED
        line = json.dumps({"name": name, "failed": self.failed, "ran": self.ran, "missing": missing})
        os.write(self.out, f"{line}\n".encode())

    def _is_over(self, item: pytest.Item) -> bool:
        """Whether nothing is left to learn: some test has failed, or this very one with other parameters."""
        return bool(self.failed) and (self.every_test or _plain(item.nodeid) in map(_plain, self.failed))


def _plain(nodeid: str) -> str:
    """The test without its parameters."""
    return nodeid.partition("[")[0]


def _is_of(nodeid: str, tests: Collection[str]) -> bool:
    """Whether the node is one of the tests, whatever its parameters."""
    return _plain(nodeid) in tests


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its status: pytest's."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs.mutation.core.unit_tests", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--all", action="store_true", help="run every test of the core, to the first that fails")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant; all by default")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in CATALOGUE and name != UNMUTATED]
    if unknown:
        parser.error(f"no such mutant: {', '.join(unknown)}")
    mutants = [CATALOGUE.get(name) for name in given.names or CATALOGUE]
    files = sorted({test.partition("::")[0] for mutant in CATALOGUE.values() for test in mutant.tests})
    out = os.dup(1)
    os.dup2(2, 1)  # what pytest has to say is no result
    runner = _Runner(mutants, out, every_test=given.all)
    options = ["-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--timeout={PATIENCE}"]
    return int(pytest.main([*options, *(CORE_TESTS if given.all else files)], plugins=[runner]))


if __name__ == "__main__":
    sys.exit(main())
