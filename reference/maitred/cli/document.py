"""What ``maitred check --json`` prints: one document, as ``docs/reference/check.schema.json`` describes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from maitred.model.check.checker import Result, VerdictOn
    from maitred.model.check.liveness import Lasso, LivenessResult
    from maitred.model.check.manifest import Configuration
    from maitred.model.world import Bounds

VERSION: Final = 1
VERDICTS: Final = ("well", "wrong", "incomplete")
"""By exit code."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in one system."""

    configuration: Configuration | None
    """None where the bounds were given by hand."""
    result: Result | LivenessResult
    problems: tuple[str, ...] = ()
    """What is not as the manifest has it, a sentence each."""


def show(found: Sequence[Found], code: int, way: VerdictOn | Lasso | None, gaps: Sequence[str] = ()) -> int:
    """Print the document; returns the exit code.

    Args:
        found: in the order in which the systems were explored.
        code: the exit code.
        way: the counterexample, or the way to a witness that was asked for.
        gaps: the properties that no configuration exercises, a sentence each.
    """
    document = {
        "version": VERSION,
        "verdict": VERDICTS[code],
        "systems": [_system(one) for one in found],
        "problems": [*gaps],
        "way": _way(way) if way is not None else None,
    }
    print(json.dumps(document, indent=2))
    return code


def _system(one: Found) -> dict[str, Any]:  # Any: as JSON has it
    found, of = one.result, one.configuration
    return {
        "configuration": of.slug if of is not None else None,
        "must_be_violated": of.violated if of is not None else None,
        "bounds": _bounds(found.bounds),
        "symmetric": getattr(found, "symmetric", False),
        "unassumed": [*getattr(found, "without", ())],
        "complete": found.complete,
        "states": found.states,
        "transitions": found.transitions,
        "depth": getattr(found, "depth", None),
        "seconds": round(found.seconds, 3),
        "risk": getattr(found, "risk", None),
        "properties": [_property(on) for on in found.verdicts],
        "problems": [*one.problems],
    }


def _bounds(bounds: Bounds) -> dict[str, Any]:  # Any: as JSON has it
    values = {field.name: getattr(bounds, field.name) for field in fields(bounds)}
    return {**values, "without": [assumption.value for assumption in bounds.without]}


def _property(on: Any) -> dict[str, Any]:  # Any: a verdict on either kind of property; as JSON has it
    lasso = getattr(on, "lasso", None)
    path = lasso.path if lasso is not None else getattr(on, "path", None)
    return {
        "name": on.property.name,
        "kind": getattr(on.property, "kind", "eventually"),
        "verdict": on.verdict.value,
        "steps": len(path.steps) if path is not None else None,
    }


def _way(way: VerdictOn | Lasso) -> dict[str, Any]:  # Any: as JSON has it
    from maitred.model.check.liveness import Lasso
    from maitred.model.story.narrate import narrate

    path = way.path
    assert path is not None, "only what was found is shown"
    tale = way.lines() if isinstance(way, Lasso) else narrate(path, way.property.name)
    return {
        "property": way.property.name,
        "text": way.property.text,
        "steps": len(path.steps),
        "bounds": _bounds(path.bounds),
        "tale": [*tale],
    }
