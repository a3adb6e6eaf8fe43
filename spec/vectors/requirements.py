"""Which requirements a step shows, as far as it can be derived: by what ``spec/requirements.toml`` says of the code.

A requirement's `counterpart` names what it is about in the core: events, messages, effects, fields, reasons.  A step
shows it where all that it names in the machine, and of the messages, is in the step: the event, an effect, the message
of either, the reason, a field that has changed.  Requirements whose counterpart names anything else (a function, a
module, a class of the state) are not derived.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, get_type_hints

from maitred.core.transition import Reason, Rejected
from maitred.core.tree import Tree
from maitred.vectors.codec import MACHINES, Outcome, choices

FILE: Final = Path(__file__).parents[1] / "requirements.toml"


def shown(machine: str, state: object, event: object, outcome: Outcome) -> list[str]:
    """The ids of the requirements, sorted."""
    marks = {*_marks(event)}
    if isinstance(outcome, Rejected):
        marks.add(f"Reason.{outcome.reason.name}")
    else:
        marks |= {mark for effect in outcome.effects for mark in _marks(effect)}
        marks |= {*_changed(state, outcome.state)}
    return sorted(name for name, wanted in _wanted(machine).items() if wanted <= marks)


@cache
def _wanted(machine: str) -> Mapping[str, frozenset[str]]:
    """By requirement, what must be in a step of the machine that shows it."""
    with FILE.open("rb") as file:
        rows = tomllib.load(file)["requirement"]
    found = {}
    for row in rows:
        modules: dict[str, list[str]] = {}
        for part in row["counterpart"].split(";"):
            module, _, names = part.strip().partition(":")
            modules[module] = [name.strip() for name in names.split(",") if name.strip()]
        own = f"maitred.core.{machine}"
        named = [*modules.get(own, ()), *modules.get("maitred.core.messages", ())]
        named += modules.get("maitred.core.transition", [])
        if (
            (own in modules or own == "maitred.core.distributor")
            and named
            and all(_may_show(machine, n) for n in named)
        ):
            found[row["id"]] = frozenset(named)
    return found


@cache
def _may_show(machine: str, name: str) -> bool:
    """Whether it can be in a step of this machine."""
    kinds: dict[str, Any] = {}  # Any: classes
    for union in (MACHINES[machine].event, MACHINES[machine].effect):
        for kind in choices(union):
            kinds[kind.__name__] = kind
    modules = [MACHINES[machine].module]
    head, _, rest = name.partition(".")
    if head == "Reason":
        return rest in Reason.__members__
    if rest:
        kind = getattr(modules[0], head, None)
        is_state = is_dataclass(kind) and head not in kinds
        return is_state and rest in {each.name for each in fields(kind)}  # type: ignore[arg-type]  # a class
    return head in kinds or head in _brought(machine)


@cache
def _brought(machine: str) -> frozenset[str]:
    """The messages and timers that events and effects may bring."""
    found = set()
    for union in (MACHINES[machine].event, MACHINES[machine].effect):
        for kind in choices(union):
            for each in fields(kind):
                if each.name in ("message", "timer"):
                    found |= {one.__name__ for one in choices(get_type_hints(kind)[each.name])}
    return frozenset(found)


def _marks(value: object) -> Iterator[str]:
    """The names of an event or effect, and of its message or timer."""
    yield type(value).__name__
    for name in ("message", "timer"):
        if hasattr(value, name):
            yield type(getattr(value, name)).__name__


def _changed(before: Any, after: Any) -> Iterator[str]:  # Any: states and what is in them
    """The fields that have changed, as ``Class.field``."""
    if before == after:
        return
    if isinstance(before, Tree) and isinstance(after, Tree):
        for key in {*before, *after}:
            old, new = before.get(key, None), after.get(key, None)
            if old is not None and new is not None:
                yield from _changed(old, new)
    elif is_dataclass(before) and type(before) is type(after):
        for each in fields(before):
            old, new = getattr(before, each.name), getattr(after, each.name)
            if old != new:
                yield f"{type(before).__name__}.{each.name}"
                yield from _changed(old, new)
