"""Writes the vectors: ``python -m spec.vectors --write``.  Without ``--write`` it reports whether they are stale.

Stale are they if a vector is not what the core does now, or if its id, its requirements or its form are not those that
would be written: then `--write` makes them again, from their sources (`spec.vectors.candidates`), which takes some
minutes.  Steps that a new part of the core needs come with the next ``--write``: `spec.vectors.branches` says whether
one is due.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from docs.step_tables import named, phases
from rich.console import Console
from rich.progress import Progress
from spec.vectors import choice
from spec.vectors.candidates import of_explorations, of_large_numbers, of_skeletons, of_unit_tests, of_walks
from spec.vectors.check import identity, stale
from spec.vectors.choice import Step
from spec.vectors.requirements import shown

from maitred.core.transition import Rejected
from maitred.vectors import codec

HERE: Final = Path(__file__).parent
STEPS: Final = HERE / "steps.jsonl"
SOURCES: Final = (of_unit_tests, of_explorations, of_skeletons, of_walks)


def compact(json_value: object) -> str:
    """The text of a line."""
    return json.dumps(json_value, separators=(",", ":"), ensure_ascii=True)


# ================================================================ writing


def note(step: Step) -> str:
    """What the vector is for, and where the step is from."""
    machine, state, event, source = step.candidate
    phase = "/".join(phases(machine, state, event)[:1])
    if isinstance(step.outcome, Rejected):
        what = f"is rejected: {step.outcome.reason.value}"
    else:
        what = "is taken"
    noticed = sorted(goal[2].replace("_", " ") for goal in step.goals if goal[1] == "mutant")  # type: ignore[index]  # a tuple
    suffix = f" It notices, of mutants: {'; '.join(noticed[:3])}{'; ...' if noticed[3:] else ''}." if noticed else ""
    return f"{named(event)} ({phase}) {what}. From {source}.{suffix}"


def line(step: Step) -> str:
    """The vector of the step."""
    machine, state, event, _ = step.candidate
    before, happens = codec.encode_state(state), codec.encode_event(event)
    return compact(
        {
            "id": identity(machine, before, happens),
            "machine": machine,
            "state": before,
            "event": happens,
            "then": codec.encode_outcome(step.outcome),
            "requirements": shown(machine, state, event, step.outcome),
            "note": note(step),
        }
    )


def write(console: Console) -> None:
    """Make the vectors, and say what they hold."""
    candidates = []
    for source in SOURCES:
        candidates += list(source())
        console.print(f"{len(candidates)} candidates with those of {source.__name__.removeprefix('of_')}")
    with Progress(console=console, transient=not console.is_terminal) as progress:
        bar = progress.add_task("looked at", total=len(candidates))
        steps = choice.looked_at(candidates, lambda: progress.advance(bar))
        steps += choice.looked_at(of_large_numbers(step.candidate for step in steps))
        for step in progress.track(steps, description="traced"):
            choice.trace(step)
        console.print(f"{len(steps)} sorts of steps")
        for mutant in progress.track(choice.mutants(), description="mutants"):
            choice.meet(mutant, steps)
    found = choice.chosen(steps)
    lines = sorted({text.split('"')[3]: text for text in map(line, found)}.values())  # one for each id
    STEPS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    console.print(f"{len(lines)} vectors: {dict(Counter(step.candidate.machine for step in found))}")


# ================================================================ the command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 1 if a vector is stale."""
    parser = argparse.ArgumentParser(prog="python -m spec.vectors", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="make the vectors again, some minutes")
    given = parser.parse_args(argv)
    if given.write:
        write(Console(stderr=True))
    found = [*stale()]
    for text in found:
        print(f"stale: {text}", file=sys.stderr)
    if found:
        print("run: python -m spec.vectors --write", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
