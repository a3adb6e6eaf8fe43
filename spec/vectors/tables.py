"""Writes the check list for another implementation, of the vectors: ``python -m spec.vectors.tables``.

For each machine: which event in which phase has which effects, leads where, and is rejected for which reasons, as far
as the vectors have it; and how large each part is.  The tables atop the core's machines (`docs.step_tables`) are of
random walks, and show no effects.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from docs.refresh import refresh
from docs.step_tables import PORT_PHASES, named, phases, variants

from maitred.core import distributor, messages, monitor, server, wire
from maitred.core.transition import Rejected
from maitred.vectors import codec, files

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "generated" / "step-tables.md"
CORE: Final = {"distributor": distributor, "server": server, "monitor": monitor, "messages": messages, "wire": wire}
INTRODUCTION: Final = """\
# Step tables

Written by `python -m spec.vectors.tables`, from the [vectors](../../spec/vectors/README.md): a check list for whoever
writes the machines in another language. [In which order](../how-to/order-of-work.md) is another page.
"""
LEGEND: Final = """\
Lines are of the program in Python, without comments, texts and blank lines.

## How to read the tables

An event that brings a message or a timer has its name. *Always* are the effects of every vector of the row that is
taken, *may* those of some; [`order.toml`](../../spec/vectors/order.toml) has the order that effects must have. A row
that leads nowhere is never taken. What no vector has is not shown. The vectors have every event, every reason and every
branch of the core.
"""


@dataclass
class Row:
    """What the vectors have of one event in one phase."""

    effects: list[set[str]] = field(default_factory=list)
    """Of each that is taken."""
    after: set[str] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)
    count: int = 0


def stepped() -> Iterator[tuple[str, Any, Any, codec.Outcome]]:  # Any: a state and an event of the machine
    """Machine, state, event and outcome of each step of the vectors and traces."""
    for vector in files.steps():
        state = codec.decode_state(vector.machine, vector.state)
        event = codec.decode_event(vector.machine, vector.event)
        yield vector.machine, state, event, codec.take(vector.machine, state, event)
    for trace in files.traces():
        state = codec.decode_state(trace.machine, trace.state)
        for json, _ in trace.steps:
            event = codec.decode_event(trace.machine, json)
            outcome = codec.take(trace.machine, state, event)
            yield trace.machine, state, event, outcome
            state = state if isinstance(outcome, Rejected) else outcome.state


def collected() -> dict[tuple[str, str, str], Row]:
    """By machine, event and phase."""
    rows: dict[tuple[str, str, str], Row] = {}
    for machine, state, event, outcome in stepped():
        for phase in phases(machine, state, event):
            row = rows.setdefault((machine, named(event), phase), Row())
            row.count += 1
            if isinstance(outcome, Rejected):
                row.reasons.add(outcome.reason.name)
            else:
                row.effects.append({kind(effect) for effect in outcome.effects})
                after = phases(machine, outcome.state, event)
                row.after.add(phase if phase in after else after[0])
    return rows


def kind(effect: object) -> str:
    """An effect's kind, with that of what it brings."""
    inner = getattr(effect, "message", None) or getattr(effect, "timer", None)
    return type(effect).__name__ + (f".{type(inner).__name__}" if inner is not None else "")


def events_of(machine: str) -> list[str]:
    """The names of the machine's events, in the order of the core."""
    return [
        (inner or event).__name__
        for one in codec.choices(codec.MACHINES[machine].event)
        for event, inner in variants(one)
    ]


def phases_of(machine: str) -> tuple[str, ...]:
    """The names of the machine's phases."""
    return PORT_PHASES if machine == "server" else tuple(phase.value for phase in CORE[machine].Phase)


def lines_of(module: Any) -> int:  # Any: a module of the core
    """Lines of its program: without blank lines, comments and docstrings."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)] or [ast.Pass()]  # type: ignore[attr-defined]  # it has one
    return len(ast.unparse(tree).splitlines())


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def sizes() -> Iterator[str]:
    """A table: how large each part is."""
    steps, traces = [*files.steps()], [*files.traces()]
    yield "| part | events | kinds of effects | reasons | lines of the core | vectors | traces |"
    yield "|---|---|---|---|---|---|---|"
    for machine in codec.MACHINES:
        of = [vector.then for vector in steps if vector.machine == machine]
        reasons = {str(then["rejected"]) for then in of if isinstance(then, dict) and "rejected" in then}
        effects = len(codec.choices(codec.MACHINES[machine].effect))
        along = sum(trace.machine == machine for trace in traces)
        lines = lines_of(CORE[machine])
        yield f"| {machine} | {len(events_of(machine))} | {effects} | {len(reasons)} | {lines} | {len(of)} | {along} |"
    lines = lines_of(messages) + lines_of(wire)
    yield f"| messages and their bytes | | | | {lines} | {len([*files.packets()])} packets | |"


def table(machine: str, rows: dict[tuple[str, str, str], Row]) -> Iterator[str]:
    """The table of one machine."""
    yield "| event | phase | leads to | always | may | rejected with | vectors |"
    yield "|---|---|---|---|---|---|---|"
    for event in events_of(machine):
        for phase in phases_of(machine):
            if (row := rows.get((machine, event, phase))) is None:
                continue
            always = set.intersection(*row.effects) if row.effects else set()
            may = set.union(*row.effects) - always if row.effects else set()
            leads = " or ".join(one for one in phases_of(machine) if one in row.after)
            cells = (leads, *(", ".join(sorted(names)) for names in (always, may, row.reasons)))
            yield f"| {event} | {phase} | {' | '.join(cells)} | {row.count} |"


def page() -> str:
    """The page."""
    rows = collected()
    parts = [INTRODUCTION, "## How large it is", "", *sizes(), "", LEGEND]
    for machine in codec.MACHINES:
        where = "; a phase is the state of the event's port" if machine == "server" else ""
        parts += [f"## The {machine}", "", f"{len(events_of(machine))} events{where}.", "", *table(machine, rows), ""]
    return "\n".join(parts)


def main(argv: Sequence[str]) -> int:
    """Write the page, or with ``--check`` report whether it is stale."""
    return refresh("spec.vectors.tables", {PAGE.name: (PAGE, page())}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
