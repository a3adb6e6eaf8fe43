"""What a check or a replay found, as text: every assertion on a verdict prints it, so that a failure shows why.

assert result.ok, shown(result)
"""

from __future__ import annotations

from collections.abc import Iterator

from maitred.model.check.checker import Result, Verdict, VerdictOn
from maitred.model.check.liveness import Lasso, LivenessResult, VerdictOnLiveness
from maitred.model.check.manifest import Outcome
from maitred.model.story.diagram import bounds_in_words
from maitred.model.story.narrate import narrate
from maitred.shell.observe.replay import ReplayResult


def shown(found: object) -> str:
    """The verdicts, and the counterexample step by step, or the first divergence; anything else as it is."""
    return "\n" + "\n".join(_lines(found))


def _lines(found: object) -> Iterator[str]:
    match found:
        case ReplayResult():
            yield f"{found.lines} lines of {found.machines} machines, {found.steps} steps"
            yield str(found.mismatch or "every step is one of the machines")
        case Lasso():
            yield from found.lines()
        case VerdictOn(path=path):
            yield f"{found.property.name}: {found.verdict.value}"
            yield from narrate(path, found.property.name) if path is not None else ()
        case VerdictOnLiveness(lasso=lasso):
            yield f"{found.property.name}: {found.verdict.value}, of {found.occasions} occasions"
            yield from lasso.lines() if lasso is not None else ()
        case Result() | LivenessResult():
            within = bounds_in_words(found.bounds)
            yield f"{'all' if found.complete else 'the first'} {found.states} states, within {within}"
            asked = (on for on in found.verdicts if on.verdict is not Verdict.NOT_APPLICABLE)
            yield from (f"  {on.verdict.value:12} {on.property.name}" for on in asked)
            yield from _lines(found.counterexample) if found.counterexample is not None else ()
        case Outcome():
            yield from found.problems
            yield from (line for each in (found.safety, found.liveness) if each is not None for line in _lines(each))
        case _:
            yield repr(found)
