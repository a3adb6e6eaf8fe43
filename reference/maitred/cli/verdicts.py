"""How ``maitred check`` shows what it found, and how far it is: tables, tales and words on the progress.

The verdict stands first and last.  Tables fit into 80 columns; text is wrapped, between words only, where it goes to a
terminal, and left in one line where it goes to a file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

    from maitred.model.check.checker import Progress, Result, VerdictOn
    from maitred.model.check.liveness import Lasso, LivenessResult
    from maitred.model.check.manifest import Configuration, Outcome
    from maitred.model.check.portfolio import Explored

HEARTBEAT: Final = 3.0
"""Seconds of silence before a word on the progress, where there is no terminal; more as time goes by."""
CALM: Final = 20.0
"""Such a word comes after a further 1/20 of the time so far, but at least once a minute."""
COLOURS: Final = {"holds": "green", "witnessed": "green", "violated": "bold red", "not reached": "bold red"}
WELL: Final = "All is well: every state within the bounds was visited."
INCOMPLETE: Final = "INCOMPLETE: nothing is wrong so far, but not every state was visited."


def console() -> Console:
    """Where the results go."""
    from rich.console import Console

    return Console(highlight=False, markup=False)


def say(text: str, style: str = "") -> None:
    """Print one line; on a terminal wrapped between words, further lines indented like the first."""
    out = console()
    indent = " " * (len(text) - len(text.lstrip()))
    broken = wrap(text, out.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    for line in broken if out.is_terminal and len(text) > out.width else [text]:
        out.print(line, style=style, soft_wrap=True)


# ================================================================ progress


@contextmanager
def display(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Words on the progress, on stderr: one line that changes on a terminal, else a line every few seconds."""
    if quiet:
        yield lambda words: None
    elif not sys.stderr.isatty():
        yield _heartbeat(time.monotonic)
    else:
        from rich.console import Console

        with Console(stderr=True, markup=False).status("exploring") as line:
            yield line.update


def _heartbeat(clock: Callable[[], float]) -> Callable[[str], None]:
    began = last = clock()

    def report_progress(words: str) -> None:
        nonlocal last
        now = clock()
        if now - last >= min(max(HEARTBEAT, (now - began) / CALM), 60.0):
            last = now
            print(f"maitred: {words}", file=sys.stderr, flush=True)

    return report_progress


def in_words(progress: Progress) -> str:
    """How far an exploration has come."""
    words = (
        f"{progress.states:,} states, {progress.transitions:,} transitions, depth {progress.depth},"
        f" {progress.queue:,} to explore, {progress.rate:,.0f} states a second"
    )
    if progress.total is None or progress.states > progress.total:
        return words
    left = duration((progress.total - progress.states) / progress.rate) if progress.rate else "some time"
    if progress.exact:
        return f"{words}; {progress.states / progress.total:.0%} of {progress.total:,}, {left} left"
    return f"{words}; perhaps {_rounded(progress.total):,} in all, {left} left"


def duration(seconds: float) -> str:
    """A number of seconds, in words."""
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
    """Print the verdict, a row for each property, and the counterexample.

    Returns:
        The exit code, as if it should not fail.
    """
    verdict = summary(result, must_fail=must_fail)
    say(verdict, _style(result.ok or must_fail))
    say(f"{result.states:,} states, {result.transitions:,} transitions, depth {result.depth}, {result.seconds:.1f} s")
    if result.complete:
        say(f"The risk that a state was overlooked: {result.risk:.0e}.")
    print()
    rows(
        (on.verdict.value, str(len(on.path.steps)) if on.path is not None else "", on.property.name)
        for on in result.verdicts
        if on.verdict.name != "NOT_APPLICABLE"
    )
    idle = sum(on.verdict.name == "NOT_APPLICABLE" for on in result.verdicts)
    if idle:
        say(f"({idle} more have no occasion within these bounds: allow more to happen.)")
    if result.counterexample is not None:
        print_run(result.counterexample)
    print()
    say(verdict, _style(result.ok or must_fail))
    return code_of(result)


def code_of(result: Result | LivenessResult) -> int:
    """The exit code."""
    if not result.ok:
        return 1
    return 0 if result.complete else 2


def summary(result: Result | LivenessResult, *, must_fail: bool = False) -> str:
    """The verdict, in one line."""
    if result.ok:
        return WELL if result.complete else INCOMPLETE
    first, *others = failures(result)
    more = f" (and {len(others)} more)" if others else ""
    return f"{'It fails, as it must' if must_fail else 'FAILED'}: {first}{more}."


def failures(result: Result | LivenessResult) -> list[str]:
    """What is wrong, the shortest counterexample first: a clause each."""
    found: list[tuple[int, str]] = []
    for on in result.verdicts:
        path = getattr(on, "path", None) or getattr(getattr(on, "lasso", None), "path", None)
        steps = len(path.steps) if path is not None else sys.maxsize
        if on.verdict.name == "VIOLATED":
            after = f", after {steps} steps" if path is not None else ""
            found.append((steps, f"{on.property.name} is violated{after}"))
        elif on.verdict.name == "NOT_REACHED":
            found.append((sys.maxsize, f"{on.property.name} never happens"))
    return [text for _, text in sorted(found, key=lambda each: each[0])]


def rows(cells: Iterable[tuple[str, str, str]]) -> None:
    """The table of properties: the verdict, a number, the name."""
    out = console()
    out.print(f"{'verdict':11}{'step':>4} property")
    for verdict, number, name in cells:
        out.print(f"{verdict:11}", style=COLOURS.get(verdict, "yellow"), end="")
        out.print(f" {number:>3} {name}", soft_wrap=True)


def print_run(on: VerdictOn) -> None:
    """Print a shortest run that violates the property, or is its witness."""
    from maitred.model.story.narrate import narrate

    if on.path is None:
        return
    violated = " is violated" if on.verdict.name == "VIOLATED" else ""
    print()
    say(f"{on.property.name}{violated}: {on.property.text}")
    say(f"A shortest way there, {len(on.path.steps)} actions:")
    print()
    for line in narrate(on.path, on.property.name):
        say(line)


def report_liveness(result: LivenessResult, *, must_fail: bool = False) -> int:
    """Print the verdict, a row for each property, and a lasso if there is one; returns the exit code."""
    verdict = summary(result, must_fail=must_fail)
    say(verdict, _style(result.ok or must_fail))
    say(f"{result.states:,} states, {result.transitions:,} transitions, {result.seconds:.1f} s")
    print()
    out = console()
    out.print(f"{'verdict':11} {'occasions':>11}  property")
    for on in result.verdicts:
        if on.verdict.name != "NOT_APPLICABLE":
            out.print(f"{on.verdict.value:11}", style=COLOURS.get(on.verdict.value, "yellow"), end="")
            out.print(f" {on.occasions:>11,}  {on.property.name}", soft_wrap=True)
    if result.counterexample is not None:
        _print_lasso(result.counterexample)
    print()
    say(verdict, _style(result.ok or must_fail))
    return code_of(result)


def _print_lasso(lasso: Lasso) -> None:
    print()
    for line in lasso.lines():
        say(line)


def _style(well: bool) -> str:
    return "bold" if well else "bold red"


# ================================================================ the portfolio


def report_portfolio(explored: Sequence[Explored], asked: int, seconds: float) -> int:
    """Print the verdict, a row for each system, and the counterexample of the one that failed; returns the exit code.

    Args:
        explored: what was found; the last may have failed.
        asked: how many systems the portfolio has.
        seconds: how long all of it took.
    """
    last = explored[-1]
    code = max((code_of(one.result) for one in explored), key=(0, 2, 1).index)
    states = sum(one.result.states for one in explored)
    verdict = (
        f"All is well: every state of {len(explored)} small systems was visited: {states:,} states, {seconds:.1f} s."
    )
    if code == 2:
        verdict = INCOMPLETE
    elif code == 1:
        first, *others = failures(last.result)
        more = f" (and {len(others)} more)" if others else ""
        verdict = f"FAILED: in {last.configuration.slug}, {first}{more}."
    say(verdict, _style(code != 1))
    print()
    out = console()
    out.print(f"{'verdict':11} {'states':>7} {'depth':>6} {'seconds':>8}  system")
    for one in explored:
        found = one.result
        word = ("holds", "violated", "incomplete")[code_of(found)]
        out.print(f"{word:11}", style=COLOURS.get(word, "yellow"), end="")
        numbers = f" {found.states:>7,} {found.depth:>6} {found.seconds:>8.1f}"
        out.print(f"{numbers}  {one.configuration.slug}", soft_wrap=True)
    if len(explored) < asked:
        say(f"({asked - len(explored)} more were not asked any more.)")
    if code == 1:
        if last.result.counterexample is not None:
            print_run(last.result.counterexample)
        say(f"The system: maitred check --config {last.configuration.slug}, with all its properties.")
    else:
        say("(maitred check --list lists larger systems, --all asks those that take seconds.)")
    print()
    say(verdict, _style(code != 1))
    return code


# ================================================================ the manifest


def listing(configurations: Sequence[Configuration]) -> None:
    """Print each configuration: its name, its tier and size, and what it is there for."""
    out = console()
    out.print(f"{'tier':8}{'states':>10}   configuration (* of the portfolio)")
    for one in configurations:
        states = f"{one.counts['states']:,}" if one.counts else "?"
        star = "*" if one.portfolio else " "
        out.print(f"{one.tier:8}{states:>10} {star} {one.slug}", soft_wrap=True)
        for line in wrap(one.why, 74):
            out.print(f"    {line}", soft_wrap=True)


def report_all(outcomes: Sequence[Outcome], gaps: Sequence[str], left: int) -> int:
    """Print the verdict on the manifest, a row for each configuration, and what is wrong; returns the exit code.

    Of several counterexamples the shortest is shown.

    Args:
        outcomes: of the configurations that were explored.
        gaps: the properties that no configuration exercises, a sentence each.
        left: how many configurations take longer, and were not explored.
    """
    wrong = [outcome for outcome in outcomes if not outcome.ok]
    states = sum(outcome.counts["states"] for outcome in outcomes)
    verdict = f"All is well: {len(outcomes)} configurations, {states:,} states."
    if wrong or gaps:
        verdict = f"FAILED: {len(wrong)} of {len(outcomes)} differ from the manifest."
    say(verdict, _style(not (wrong or gaps)))
    print()
    out = console()
    out.print(f"{'outcome':9} {'states':>10} {'seconds':>7}  configuration")
    for outcome in outcomes:
        word = _outcome(outcome)
        out.print(f"{word:9}", style="bold red" if word in ("WRONG", "counts") else "green", end="")
        numbers = f" {outcome.counts['states']:>10,} {outcome.seconds:>7.1f}"
        out.print(f"{numbers}  {outcome.configuration.slug}", soft_wrap=True)
    if wrong or gaps:
        print()
    for outcome in wrong:
        for problem in outcome.problems:
            say(f"{outcome.configuration.slug}: {problem}")
    for gap in gaps:
        say(gap)
    _print_shortest(wrong)
    if left:
        say(f"({left} more take longer: --tier minutes, --tier hours)")
    print()
    say(verdict, _style(not (wrong or gaps)))
    return 1 if wrong or gaps else 0


def _outcome(outcome: Outcome) -> str:
    if outcome.ok:
        return "violated" if outcome.configuration.violated else "holds"
    return "counts" if outcome.miscounted else "WRONG"


def shortest(outcomes: Sequence[Outcome]) -> tuple[str, VerdictOn] | None:
    """The shortest counterexample of those where something else than the counts is wrong, and its configuration."""
    found = [
        (outcome.configuration.slug, outcome.safety.counterexample)
        for outcome in outcomes
        if not outcome.miscounted and outcome.safety is not None and outcome.safety.counterexample is not None
    ]
    return min(found, key=lambda each: len(each[1].path.steps) if each[1].path else 0, default=None)


def _print_shortest(wrong: Sequence[Outcome]) -> None:
    found = shortest(wrong)
    if found is not None:
        print()
        say(f"The shortest counterexample, in {found[0]}:")
        print_run(found[1])
        return
    for outcome in wrong:
        if not outcome.miscounted and outcome.liveness is not None and outcome.liveness.counterexample is not None:
            print()
            say(f"A counterexample, in {outcome.configuration.slug}:")
            _print_lasso(outcome.liveness.counterexample)
            return
