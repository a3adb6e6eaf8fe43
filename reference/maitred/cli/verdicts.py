"""How ``maitred check`` shows what it found, and how far it is: tables, tales and one line of progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from maitred.model.checker import Progress, Result, VerdictOn
    from maitred.model.liveness import LivenessResult
    from maitred.model.manifest import Configuration, Outcome

WIDE: Final = 140
"""Columns of a table that goes to a file."""
FAILED: Final = "It fails, as it must"
COLOURS: Final = {
    "HOLDS": "green",
    "WITNESSED": "green",
    "VIOLATED": "bold red",
    "NOT_REACHED": "bold red",
    "INCOMPLETE": "yellow",
}


def console() -> Console:
    """Where the results go."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE)


# ================================================================ progress


@contextmanager
def display(*, quiet: bool) -> Iterator[Callable[[str, Progress], None] | None]:
    """Progress in one line of the terminal, where there is one: what is explored, and how far that is."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True, markup=False).status("exploring") as line:
        yield lambda what, progress: line.update(f"{what}: {in_words(progress)}")


def in_words(progress: Progress) -> str:
    """How far an exploration has come."""
    words = (
        f"{progress.states:,} states, {progress.transitions:,} transitions, depth {progress.depth},"
        f" {progress.queue:,} to go on from, {progress.rate:,.0f} states a second"
    )
    if progress.total is None or progress.states > progress.total:
        return words
    left = duration((progress.total - progress.states) / progress.rate) if progress.rate else "some time"
    if progress.exact:
        return f"{words}; {progress.states / progress.total:.0%} of {progress.total:,}, {left} left"
    return f"{words}; perhaps {_rounded(progress.total):,} in all, {left} left"


def duration(seconds: float) -> str:
    """So many seconds, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _rounded(number: int) -> int:
    """Two figures: more would be a lie."""
    step: int = 10 ** max(len(str(number)) - 2, 0)
    return round(number / step) * step


# ================================================================ one exploration


def report(result: Result, *, must_fail: bool = False) -> int:
    """Print the table, and the counterexample if there is one; returns the exit code, as if it should not fail."""
    out = console()
    out.print(table(result))
    idle = sum(on.verdict.name == "NOT_APPLICABLE" for on in result.verdicts)
    if idle:
        out.print(f"({idle} more have no occasion within these bounds: allow more faults and events to see them.)")
    found = result.counterexample
    if found is not None:
        _tell(out, found)
    out.print(summary(result) if result.ok or not must_fail else FAILED)
    if not result.ok:
        return 1
    return 0 if result.complete else 2


def _tell(out: Console, on: VerdictOn) -> None:
    from maitred.model.narrate import narrate

    if on.path is not None:
        out.print(f"\n{on.property.name} is violated: {on.property.text}")
        out.print(f"A shortest way there, {len(on.path.steps)} actions:\n")
        for line in narrate(on.path, on.property.name):
            out.print(line, soft_wrap=True)


def summary(result: Result) -> str:
    """One line on the whole."""
    extent = f"{result.states:,} states, {result.transitions:,} transitions, depth {result.depth}"
    effort = f"{result.seconds:.1f} s"
    if not result.ok:
        return f"NOT ALL IS WELL, after {extent}, {effort}"
    if not result.complete:
        return f"INCOMPLETE: nothing is wrong so far, after {extent}, {effort}"
    risk = f"(the risk that one was overlooked is {result.risk:.0e})"
    return f"All is well: every state within the bounds was visited: {extent}, {effort} {risk}"


def table(result: Result) -> Table:
    """A row for each property that the bounds leave an occasion for.

    Its states, transitions and seconds are those of the exploration that the verdict rests on.  Its depth is the length
    of the path that was found, or, where none was, how deep the exploration went.
    """
    made = _table(("property", "kind", "verdict"), ("states", "transitions", "depth", "seconds"))
    for on in result.verdicts:
        if on.verdict.name == "NOT_APPLICABLE":
            continue
        depth = len(on.path.steps) if on.path is not None else result.depth
        extent = (f"{result.states:,}", f"{result.transitions:,}", str(depth), f"{result.seconds:.1f}")
        made.add_row(on.property.name, on.property.kind, _coloured(on.verdict.value, on.verdict.name), *extent)
    return made


def report_liveness(result: LivenessResult, *, must_fail: bool = False) -> int:
    """Print the table of what must happen in the end, and a lasso if there is one; returns the exit code."""
    out = console()
    made = _table(("property", "verdict"), ("occasions", "states", "transitions", "seconds"))
    for on in result.verdicts:
        if on.verdict.name != "NOT_APPLICABLE":
            extent = (f"{result.states:,}", f"{result.transitions:,}", f"{result.seconds:.1f}")
            made.add_row(on.property.name, _coloured(on.verdict.value, on.verdict.name), f"{on.occasions:,}", *extent)
    out.print(made)
    lasso = result.counterexample
    if lasso is not None:
        out.print()
        for line in lasso.tell():
            out.print(line, soft_wrap=True)
    if not result.ok:
        out.print(FAILED if must_fail else "NOT ALL IS WELL: something need not come to an end")
        return 1
    out.print("All is well" if result.complete else "INCOMPLETE: nothing is wrong so far")
    return 0 if result.complete else 2


# ================================================================ the manifest


def listing(configurations: Sequence[Configuration]) -> Table:
    """A row for each configuration."""
    made = _table(("configuration", "tier"), ("states",), ("what for",))
    for one in configurations:
        states = f"{one.counts['states']:,}" if one.counts else "?"
        made.add_row(one.slug, one.tier, states, one.why)
    return made


class Rows:
    """The table of the outcomes, printed row by row as they come."""

    def __init__(self, configurations: Sequence[Configuration]) -> None:
        """Print the head, wide enough for these."""
        self._out: Final = console()
        self._wide: Final = max((len(one.slug) for one in configurations), default=0)
        self._row("configuration", "outcome", "states", "transitions", "depth", "seconds")

    def _row(self, name: str, outcome: str, *numbers: str) -> None:
        counts = "".join(f"{number:>{wide}}" for number, wide in zip(numbers, (12, 13, 7, 9), strict=True))
        self._out.print(f"{name:{self._wide}}  {outcome:10}{counts}", soft_wrap=True)

    def add(self, outcome: Outcome) -> None:
        """Print the row of a configuration, and below it what is wrong."""
        counts = [f"{outcome.counts[key]:,}" if key in outcome.counts else "" for key in ("states", "transitions")]
        depth = str(outcome.counts.get("length", outcome.counts.get("depth", "")))
        expected = "violated" if outcome.configuration.violated else "holds"
        word = expected if outcome.ok else "counts" if outcome.miscounted else "WRONG"
        self._row(outcome.configuration.slug, word, *counts, depth, f"{outcome.seconds:.1f}")
        for problem in outcome.problems:
            self._out.print(f"    {problem}", soft_wrap=True)


# ================================================================ tables


def _table(left: Sequence[str], right: Sequence[str], more: Sequence[str] = ()) -> Table:
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for column in (*left, *right, *more):
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def _coloured(text: str, name: str) -> Text:
    from rich.text import Text

    return Text(text, style=COLOURS.get(name, ""))
