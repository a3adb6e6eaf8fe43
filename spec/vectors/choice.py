"""Which candidates become vectors: few, that together reach every goal which any candidate reaches.

A step's *goals* are what it shows:

==============  ========================================================================================================
goal            is reached by a step
==============  ========================================================================================================
cell            of this event, in this phase of the machine, that is taken or is rejected for this reason
effects         of this event in this phase, with effects of just these kinds, none, one or several of each
change          of this event in this phase, that changes just these fields of the state
arc             in which the core goes from this line of a function to that one
mutant          that a mutant of the core takes otherwise; twice, by two steps
large           with a number in this field that a double does not hold exactly
==============  ========================================================================================================
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, TypeAlias

from docs.step_tables import named, phases
from proofs.mutation.core import CATALOGUE
from proofs.mutation.core.mutant import Mutant
from spec.vectors.candidates import Candidate

from maitred.core.transition import Rejected
from maitred.vectors import codec
from maitred.vectors.codec import MACHINES, Json, Outcome
from maitred.vectors.compare import differences
from maitred.vectors.fresh import is_usable

Goal: TypeAlias = Hashable
PER_KIND: Final = 6
"""So many candidates are looked at of those whose cell, effects and change are the same."""
ALIKE: Final = 40
"""So many candidates are looked at more closely of those with the same event, phase and kinds of effects."""
FILES: Final = {machine.module.__file__: name for name, machine in MACHINES.items()}


@dataclass
class Step:
    """A candidate and all that is known of it."""

    candidate: Candidate
    outcome: Outcome
    goals: set[Goal]
    functions: set[str] = field(default_factory=set)
    """That ran in it: ``distributor._Work.place``."""


# ================================================================ what a step shows


def looked_at(candidates: Iterable[Candidate], tick: Callable[[], None] = lambda: None) -> list[Step]:
    """Of each sort of step some, with the goals that can be seen from outside."""
    kept: dict[Goal, list[Step]] = {}
    alike: Counter[Goal] = Counter()
    seen: set[Any] = set()  # Any: a machine's name, a state and an event
    for candidate in candidates:
        tick()
        machine, state, event, _ = candidate
        outcome = MACHINES[machine].module.step(state, event)
        rough = (machine, named(event), phases(machine, state, event)[:1], _roughly(outcome))
        alike[rough] += 1
        if alike[rough] > ALIKE or (machine, state, event) in seen:
            continue
        seen.add((machine, state, event))
        state = codec.canonical(state)
        outcome = codec.take(machine, state, event)
        sort = _seen_from_outside(machine, state, event, outcome)
        steps = kept.setdefault(sort, [])
        if len(steps) < PER_KIND and is_usable(machine, state):
            goals = {*sort, *_large(codec.encode_event(event), (machine, "event"))}
            goals |= {*_large(codec.encode_state(state), (machine, "state"))}
            steps.append(Step(candidate._replace(state=state), outcome, goals))
    return [step for steps in kept.values() for step in steps]


def _roughly(outcome: Any) -> Goal:  # Any: of a machine
    return outcome.reason if isinstance(outcome, Rejected) else frozenset(map(_kind, outcome.effects))


def _seen_from_outside(machine: str, state: Any, event: Any, outcome: Outcome) -> tuple[Goal, ...]:  # Any: a machine's
    name = named(event)
    phase = phases(machine, state, event)
    if isinstance(outcome, Rejected):
        return ((machine, "cell", name, phase[:1], outcome.reason.name),)
    effects = Counter(_kind(effect) for effect in outcome.effects)
    several = tuple(sorted((kind, min(count, 2)) for kind, count in effects.items()))
    changed = _changed(codec.encode_state(state), codec.encode_state(outcome.state))
    cells = (machine, "cell", name, phase[:1], phases(machine, outcome.state, event)[:1])
    where = (name, phase[:1])
    return (cells, (machine, "effects", where, several), (machine, "change", where, tuple(sorted({*changed}))))


def _kind(effect: object) -> str:
    inner = getattr(effect, "message", None) or getattr(effect, "timer", None)
    return f"{type(effect).__name__}.{type(inner).__name__}" if inner is not None else type(effect).__name__


def _changed(before: Json, after: Json, where: str = "") -> Iterator[str]:
    """The fields that differ, without the keys of maps."""
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        if before.keys() == {"#map"}:
            olds, news = ({repr(key): value for key, value in _pairs(side["#map"])} for side in (before, after))
            if news.keys() - olds.keys():
                yield f"{where}+"
            if olds.keys() - news.keys():
                yield f"{where}-"
            for key in olds.keys() & news.keys():
                yield from _changed(olds[key], news[key], where)
            return
        for name in before:
            yield from _changed(before[name], after[name], f"{where}.{name}")
        return
    yield where


def _pairs(items: Json) -> Iterator[tuple[Json, Json]]:
    assert isinstance(items, list)
    for item in items:
        assert isinstance(item, list)
        yield item[0], item[1]


def _large(json: Json, where: tuple[str, ...]) -> Iterator[Goal]:
    if isinstance(json, dict):
        for name, inner in json.items():
            if name == "#bigint":
                yield (*where[:2], "large", where[-1])
            elif name.startswith("#"):
                yield from _large(inner, where)
            else:
                yield from _large(inner, (*where[:2], name))
    elif isinstance(json, list):
        for inner in json:
            yield from _large(inner, where)


# ================================================================ what runs in it


def trace(step: Step) -> None:
    """Add the arcs, and the functions that ran."""
    arcs: set[Goal] = set()
    functions = step.functions

    def call(frame: FrameType, kind: str, argument: object) -> Any:
        name = FILES.get(frame.f_code.co_filename)
        if name is None:
            return None
        functions.add(f"{name}.{frame.f_code.co_qualname}")
        last = frame.f_code.co_firstlineno

        def line(frame: FrameType, kind: str, argument: object) -> Any:
            nonlocal last
            if kind in ("line", "return"):
                number = frame.f_lineno if kind == "line" else -1
                arcs.add((name, "arc", frame.f_code.co_firstlineno, last, number))
                last = number
            return line

        return line

    machine, state, event, _ = step.candidate
    before = sys.gettrace()
    sys.settrace(call)
    try:
        MACHINES[machine].module.step(state, event)
    finally:
        sys.settrace(before)
    step.goals |= arcs


# ================================================================ what mutants do


def kills(mutant: Mutant, step: Step) -> bool:
    """Whether the mutated core, once the mutant is in place, gives a wrong answer to the step."""
    machine, state, event, _ = step.candidate
    try:
        outcome = codec.take(machine, state, event)
        return outcome != step.outcome and next(differences(machine, step.outcome, outcome), None) is not None
    except Exception:  # whatever a mutated core may raise: no answer
        return True


def meet(mutant: Mutant, steps: Sequence[Step]) -> None:
    """Add the mutant to the goals of those that it takes otherwise."""
    with mutant.mutated():
        for step in steps:
            if mutant.where in step.functions and kills(mutant, step):
                step.goals.add((mutant.module, "mutant", mutant.name))


def mutants() -> list[Mutant]:
    """Those of the machines' own modules."""
    return [mutant for mutant in CATALOGUE.values() if mutant.module in MACHINES]


# ================================================================ the choice


def weight(step: Step) -> int:
    """How long its line will be, roughly."""
    return len(repr(codec.encode_state(step.candidate.state))) + 500


def chosen(steps: Sequence[Step]) -> list[Step]:
    """Steps that together reach every goal, greedily: always the one that reaches most that is not reached, by weight.

    At the end, what others have made needless is left out again.
    """
    wanted = {goal: 2 if goal[1] == "mutant" else 1 for step in steps for goal in step.goals}  # type: ignore[index]  # a tuple
    available = Counter(goal for step in steps for goal in step.goals)
    wanted = {goal: min(times, available[goal]) for goal, times in wanted.items()}
    weights = {id(step): weight(step) for step in steps}
    left = dict(wanted)
    found: list[Step] = []
    rest = {id(step): step for step in steps}
    gains = {key: len(step.goals) / weights[key] for key, step in rest.items()}
    while any(left.values()):
        while True:  # a gain only falls, so one that is still the greatest when counted anew is the greatest
            best = max(gains, key=gains.__getitem__)
            gain = sum(left[goal] > 0 for goal in rest[best].goals) / weights[best]
            if gain == gains[best]:
                break
            gains[best] = gain
        step = rest.pop(best)
        del gains[best]
        found.append(step)
        for goal in step.goals:
            left[goal] = max(left[goal] - 1, 0)
    return _without_needless(found, wanted)


def _without_needless(found: Sequence[Step], wanted: Mapping[Goal, int]) -> list[Step]:
    reached = Counter(goal for step in found for goal in step.goals)
    kept = []
    for step in reversed(found):
        if all(reached[goal] > wanted[goal] for goal in step.goals):
            reached.subtract(step.goals)
        else:
            kept.append(step)
    return kept[::-1]
