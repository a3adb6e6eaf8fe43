"""The steps among which the vectors are chosen, and where they come from.

=============  =========================================================================================================
source         steps
=============  =========================================================================================================
explorations   that the machines take in small closed systems, together with every fault (`proofs.mutation.core.steps`)
unit tests     that the tests of the core take, as far as these draw nothing at random
walks          random walks of each machine, by events of every kind (`docs.step_tables`)
skeletons      the catalogue of CrossHair's contracts, with drawn numbers instead of symbols (`proofs.crosshair`)
large numbers  some of these again, with every number that only rises far above what a double holds exactly
=============  =========================================================================================================

A candidate's state keeps the invariants, and is what its abstraction is read back as.  Draws are always the same.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

import pytest
import z3
from docs import step_tables
from proofs.crosshair import distributor, monitor, server
from proofs.crosshair.engine import Case
from proofs.crosshair.report import CONTRACTS
from proofs.mutation.core.steps import explored

from maitred.vectors.codec import MACHINES, Event, State
from maitred.vectors.fresh import lifted

ROOT: Final = Path(__file__).parents[2]


WALKS: Final = 150
"""Of the random walks of each machine, so many are taken."""


class Candidate(NamedTuple):
    """A step that may become a vector."""

    machine: str
    state: State
    event: Event
    source: str
    """What the note of the vector says about where it comes from."""


# ================================================================ where they come from


def of_explorations(worlds: int = 300) -> Iterator[Candidate]:
    """The first worlds of each small system."""
    for asked in explored(worlds=worlds):
        yield Candidate(asked.machine, asked.state, asked.event, "an exploration")


def of_walks() -> Iterator[Candidate]:
    """The walks of the tables of steps."""
    for machine in MACHINES:
        steps: list[tuple[Any, Any]] = []  # Any: a state and an event of the machine

        def see(state: Any, event: Any, outcome: object, steps: list[tuple[Any, Any]] = steps) -> None:
            steps.append((state, event))

        with mock.patch.object(step_tables, "WALKS", WALKS):
            step_tables.walks(machine, see)
        for state, event in steps:
            yield Candidate(machine, state, event, "a random walk")


class _Recorder:
    """A pytest plugin that notes the steps which tests without random draws take."""

    def __init__(self) -> None:
        self.steps: list[Candidate] = []
        self.test = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not getattr(getattr(item, "obj", None), "is_hypothesis_test", False)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.test = item.nodeid.rpartition("::")[2]

    def wrapped(self, machine: str, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:  # Any: a machine's
        def recorded(state: Any, event: Any) -> Any:
            if self.test:
                name = self.test.partition("[")[0].removeprefix("test_").replace("_", " ")
                self.steps.append(Candidate(machine, replace(state), event, f"the unit test “{name}”"))
            return step(state, event)

        return recorded


def of_unit_tests() -> Iterator[Candidate]:
    """The steps of `tests/core`."""
    recorder = _Recorder()
    with ExitStack() as stack:
        for name, machine in MACHINES.items():
            stack.enter_context(mock.patch.object(machine.module, "step", recorder.wrapped(name, machine.module.step)))
        tests = [str(ROOT / "tests" / "core" / f"test_{name}.py") for name in (*MACHINES, "survivors", "two_classes")]
        options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={ROOT}"]
        stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        status = pytest.main([*options, *tests], plugins=[recorder])
    assert status == pytest.ExitCode.OK, f"the tests of the core fail: {status}"
    yield from recorder.steps


# ================================================================ skeletons


class _Unlikely(Exception):
    """The numbers that were drawn are not as the skeleton assumes."""


LIKELY: Final = {
    "server": (0, 1, 2, 3, 4),
    "port": (79, 80, 80, 81),
    "origin": (80, 80, 81),
    "arrival": (0, 10, 20, 30, 40),
    "cookie": (10, 20, 30, 101, 102, 103, 7),
    "next": (6, 31, 35),
    "class": (0, 0, 1, 2),
    "element": (0, 1, 2),
    "request": (3, 4, 5),
    "deaths": (0, 1, 4, 5, 9),
    "unready": (0, 1, 3, 4, 5),
    "incarnation": (1, 2),
    "echo": (0, 1, 2),
    "rank": (0, 1, 2, 3, 4, 5),
}
"""From what a number of a skeleton is drawn, by the beginning of its name."""


@dataclass
class _Numbers:
    """Draws the numbers of a skeleton, in the place of CrossHair's symbols."""

    dice: random.Random

    def number(self, name: str, least: int | None = None) -> int:
        likely = LIKELY.get(name.partition("_")[0], (0, 1, 2, 3, 4, 5))
        fits = [value for value in likely if least is None or value >= least] or [least or 0]
        if self.dice.random() < 0.1:
            fits = [(least if least is not None else -1) + value for value in range(3)]
        return fits[int(self.dice.random() * len(fits))]

    def flag(self, name: str) -> bool:
        return self.dice.random() < 0.5

    def choice(self, name: str, options: Any) -> Any:  # Any: what is chosen from
        return options[int(self.dice.random() * len(options))]

    @staticmethod
    def term(value: Any) -> Any:  # Any: of the solver, which has no types
        return z3.IntVal(value)

    @staticmethod
    def truth(value: Any) -> Any:
        return z3.BoolVal(value)

    @staticmethod
    def integer(meant: Any) -> int:
        found: int = z3.simplify(meant).as_long()
        return found

    @staticmethod
    def assume(*conditions: Any) -> None:
        if not z3.is_true(z3.simplify(z3.And(*conditions))):
            raise _Unlikely

    @staticmethod
    def decide(condition: Any) -> bool:
        return bool(z3.is_true(z3.simplify(condition)))


@contextmanager
def _nothing() -> Iterator[None]:
    """In the place of the contexts that switch CrossHair's tracing."""
    yield


@contextmanager
def _drawing(dice: random.Random) -> Iterator[None]:
    numbers = _Numbers(dice)
    names = ("number", "flag", "choice", "term", "truth", "integer", "assume", "decide")
    with ExitStack() as stack:
        for module in (distributor, server, monitor):
            for name in names:
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, getattr(numbers, name)))
            for name in ("NoTracing", "ResumedTracing"):
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, _nothing))
        yield


def of_skeletons(each: int = 1, tries: int = 4) -> Iterator[Candidate]:
    """So many situations of each case of each contract; fewer of one whose assumptions are seldom met."""
    dice = random.Random(16)
    with _drawing(dice):
        for contract in CONTRACTS.values():
            if contract.machine not in MACHINES:
                continue
            for case in contract.cases:
                yield from _situations(contract.machine, case, each, tries)


def _situations(machine: str, case: Case, each: int, tries: int) -> Iterator[Candidate]:
    made = 0
    for _ in range(tries):
        if made == each:
            break
        try:
            state, event = case.make()
        except _Unlikely:
            continue
        made += 1
        yield Candidate(machine, state, event, f"the skeleton “{case.label}”")  # type: ignore[arg-type]  # of the case


# ================================================================ large numbers


def of_large_numbers(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Of each machine, event and outcome the first few candidates, with large numbers."""
    counts: Counter[object] = Counter()
    for candidate in candidates:
        machine, state, event, source = candidate
        outcome = MACHINES[machine].module.step(state, event)
        sort = (machine, step_tables.named(event), getattr(outcome, "reason", None))
        counts[sort] += 1
        if counts[sort] <= 4:
            yield Candidate(machine, lifted(state), lifted(event), f"{source}, with large numbers")
