"""The cases for recorded traces: each file is one, and passes if the machines would have written it.

`maitred.shell.observe.replay` plays it through the machines; here is what the kit's report says of what it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from maitred.conform.cases import Case, Collection, Failed
from maitred.shell.observe.replay import Mismatch, replay

BEFORE: Final = 5
"""Lines of the trace that are shown with one that is wrong."""
SAYS: Final = "Every step in the trace is a step of its machine, and keeps its invariants."


def collection(files: Sequence[str]) -> Collection[list[str]]:
    """A case for each file; it is given a list, for the lines to show."""
    found: Collection[list[str]] = Collection()
    found.cases += [_case(file) for file in dict.fromkeys(files)]
    return found


def _case(file: str) -> Case[list[str]]:
    def run(shown: list[str]) -> None:
        try:
            wrong = replay(file).mismatch
        except RecursionError:
            raise Failed("a trace", "a line that is nested too deeply") from None
        if wrong is not None:
            shown += _lines(file, wrong)
            raise Failed("what a machine would have written", str(wrong))

    return Case(file, SAYS, (), run)


def _lines(file: str, wrong: Mismatch) -> list[str]:
    """The line that is wrong, after those before it."""
    with open(file, encoding="utf-8", errors="replace") as lines:
        first = max(wrong.line - BEFORE, 0)
        return [f"{number}: {line.rstrip()}" for number, line in enumerate(islice(lines, first, wrong.line), first + 1)]
