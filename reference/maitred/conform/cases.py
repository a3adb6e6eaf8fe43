"""What a case is: a function with a name, a sentence and requirements; how cases are chosen and run, one by one.

A case returns if all was well, and raises `Failed` at the first thing that was not, or `Skipped` where the program
under test cannot show what is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

B = TypeVar("B")
"""What a case is given: the bench that it works on."""


class Failed(Exception):
    """The program under test does not do what it should."""

    def __init__(
        self, expected: str, came: str, requirements: Sequence[str] = (), differences: Sequence[str] = ()
    ) -> None:
        """What should have come and what came.

        Args:
            expected: in words.
            came: in words.
            requirements: where they are not those of the case.
            differences: each place where the two differ, if there may be several.
        """
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came
        self.requirements = tuple(requirements)
        self.differences = tuple(differences)


class Skipped(Exception):
    """The program cannot show what the case asks for; the text says why."""


class Verdict(Enum):
    """How a case has ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    EXPECTED = "failed as expected"
    UNEXPECTED = "passed unexpectedly"

    @property
    def is_well(self) -> bool:
        """Whether it is no reason for an exit code."""
        return self in (Verdict.PASSED, Verdict.SKIPPED, Verdict.EXPECTED)


@dataclass(frozen=True)
class Case(Generic[B]):
    """One thing that is asked of the program under test."""

    name: str
    says: str
    """What holds if it passes: the first sentence of the function's docstring."""
    requirements: tuple[str, ...]
    run: Callable[[B], None]
    directed: bool = False
    """It needs a program that listens and closes on demand."""


@dataclass
class Outcome:
    """What has become of a case."""

    case: str
    says: str
    requirements: tuple[str, ...]
    verdict: Verdict
    seconds: float = 0.0
    expected: str = ""
    came: str = ""
    differences: tuple[str, ...] = ()
    exchange: list[str] = field(default_factory=list)
    """The last that was sent and received, in order."""
    output: str = ""
    """The last that the program has printed."""
    reproduce: str = ""
    """The command that runs this case alone."""


class Collection(Generic[B]):
    """The cases for one kind of program, in the order in which they are written."""

    def __init__(self) -> None:
        """None yet."""
        self.cases: list[Case[B]] = []

    def case(self, *requirements: str, directed: bool = False) -> Callable[[Callable[[B], None]], Callable[[B], None]]:
        """A decorator: the function is a case, and asks for these requirements."""

        def add(run: Callable[[B], None]) -> Callable[[B], None]:
            says = " ".join((run.__doc__ or "").split("\n\n")[0].split())
            self.cases.append(Case(run.__name__, says, requirements, run, directed))
            return run

        return add

    def chosen(self, texts: Iterable[str], *, notes: bool = False) -> list[Case[B]]:
        """Those whose name or a requirement (or sentence, with `notes`) has one of the texts; all if there is none."""
        wanted = tuple(texts)

        def is_wanted(case: Case[B]) -> bool:
            said = (case.name, *case.requirements, *((case.says,) if notes else ()))
            return any(text in part for text in wanted for part in said)

        return [case for case in self.cases if not wanted or is_wanted(case)]


def run(
    case: Case[B], bench: B, exchange: Callable[[], list[str]], output: Callable[[], str], *, directed: bool
) -> Outcome:
    """Run the case on the bench.

    Args:
        case: what to ask.
        bench: what it is asked on.
        exchange: gives the last that was sent and received.
        output: gives the last that the program has printed.
        directed: whether the program listens and closes on demand.
    """
    began = time.monotonic()
    outcome = Outcome(case.name, case.says, case.requirements, Verdict.PASSED)
    try:
        if case.directed and not directed:
            raise Skipped("needs a program that listens and closes on demand (--directed)")
        case.run(bench)
    except Skipped as reason:
        outcome.verdict, outcome.came = Verdict.SKIPPED, str(reason)
    except Failed as failure:
        outcome.verdict = Verdict.FAILED
        outcome.expected, outcome.came, outcome.differences = failure.expected, failure.came, failure.differences
        outcome.requirements = failure.requirements or case.requirements
        outcome.exchange, outcome.output = exchange(), output()
    outcome.seconds = time.monotonic() - began
    return outcome
