"""Outcomes for people, as JSON and as JUnit XML; and the file that lists which cases are expected to fail.

A file of expected failures has the name of a case on each line; what follows ``#`` is for readers.  It is strict: a
case that is listed and passes is as wrong as one that is not listed and fails.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from maitred.config.error import ConfigError
from maitred.conform.cases import Outcome, Verdict

VERSION: Final = 1
"""Of the JSON document."""
_CONTROL: Final = {number: "?" for number in range(32) if chr(number) not in "\t\n"}
"""Characters that XML has not."""


def expected_failures(path: str, known: Collection[str]) -> frozenset[str]:
    """The cases that the file lists.

    Raises:
        ConfigError: it cannot be read, or lists what is no case, or lists it twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text in UTF-8") from error
    found: set[str] = set()
    for number, line in enumerate(lines, 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        if name not in known:
            raise ConfigError(f"{path}: line {number}: no case is called {name!r}; --list shows them")
        if name in found:
            raise ConfigError(f"{path}: line {number}: {name!r} is listed twice")
        found.add(name)
    return frozenset(found)


def against(outcome: Outcome, expected: Collection[str]) -> Outcome:
    """The outcome with the verdict that it has where these cases are expected to fail."""
    if outcome.case in expected:
        verdicts = {Verdict.FAILED: Verdict.EXPECTED, Verdict.PASSED: Verdict.UNEXPECTED}
        outcome.verdict = verdicts.get(outcome.verdict, outcome.verdict)
    return outcome


def reproduce(kind: str, case: str, options: Sequence[str], command: Sequence[str]) -> str:
    """The command that runs one case alone."""
    return shlex.join(["maitred", "conform", kind, *options, "-k", case, "--", *command])


def row(outcome: Outcome) -> str:
    """One line for each case, as it ends."""
    why = f": {outcome.came}" if outcome.verdict is Verdict.SKIPPED else ""
    return f"{outcome.verdict.value:<8} {outcome.seconds:6.2f} s  {outcome.case}{why}"


def explanation(outcome: Outcome) -> str:
    """All that helps to mend what has failed."""
    lines = [
        "",
        f"{outcome.case}: {outcome.verdict.value}",
        f"  {outcome.says}",
    ]
    if outcome.requirements:
        lines.append(f"  requirements  {', '.join(outcome.requirements)} (spec/requirements.toml)")
    if outcome.verdict is Verdict.UNEXPECTED:
        lines.append("  it passes: take it off the list of expected failures")
    else:
        lines += [f"  expected      {outcome.expected}", f"  came          {outcome.came}"]
    if len(outcome.differences) > 1:
        lines += ["  differences", *(f"    {text}" for text in outcome.differences)]
    if outcome.exchange:
        between = any(text.startswith(("->", "<-")) for text in outcome.exchange)
        title = "exchange (-> sent to the program, <- received from it)" if between else "lines of the trace"
        lines += [f"  {title}", *(f"    {text}" for text in outcome.exchange)]
    if outcome.output:
        lines += ["  the program's output", *(f"    {line}" for line in outcome.output.splitlines())]
    lines += ["  reproduce", f"    {outcome.reproduce}"]
    return "\n".join(lines)


def summary(outcomes: Iterable[Outcome]) -> str:
    """How many cases have ended in which way."""
    verdicts = [outcome.verdict for outcome in outcomes]
    parts = [f"{verdicts.count(verdict)} {verdict.value}" for verdict in Verdict if verdict in verdicts]
    return f"{len(verdicts)} case{'' if len(verdicts) == 1 else 's'}: {', '.join(parts) or 'nothing was asked'}"


def document(kind: str, command: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The outcomes for programs."""
    return {
        "version": VERSION,
        "kind": kind,
        "command": list(command),
        "conforms": all(outcome.verdict.is_well for outcome in outcomes),
        "cases": [
            {
                "name": outcome.case,
                "says": outcome.says,
                "requirements": list(outcome.requirements),
                "verdict": outcome.verdict.value,
                "seconds": round(outcome.seconds, 3),
                "expected": outcome.expected,
                "came": outcome.came,
                "differences": list(outcome.differences),
                "exchange": outcome.exchange,
                "output": outcome.output,
                "reproduce": outcome.reproduce,
            }
            for outcome in outcomes
        ],
    }


def junit(kind: str, outcomes: Sequence[Outcome]) -> str:
    """The outcomes as JUnit XML, which continuous integration shows."""
    bad = sum(not outcome.verdict.is_well for outcome in outcomes)
    skipped = sum(outcome.verdict in (Verdict.SKIPPED, Verdict.EXPECTED) for outcome in outcomes)
    total = sum(outcome.seconds for outcome in outcomes)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name="maitred conform {kind}" tests="{len(outcomes)}" failures="{bad}" errors="0"'
        f' skipped="{skipped}" time="{total:.3f}">',
    ]
    for outcome in outcomes:
        head = f'  <testcase classname="{kind}" name={quoteattr(outcome.case)} time="{outcome.seconds:.3f}"'
        message = quoteattr(_clean(outcome.came or outcome.verdict.value))
        if not outcome.verdict.is_well:
            text = escape(_clean(explanation(outcome)))
            lines.append(f"{head}><failure message={message}>{text}</failure></testcase>")
        elif outcome.verdict is Verdict.PASSED:
            lines.append(f"{head}/>")
        else:
            lines.append(f"{head}><skipped message={message}/></testcase>")
    return "\n".join([*lines, "</testsuite>", ""])


def _clean(text: str) -> str:
    return text.translate(_CONTROL)
