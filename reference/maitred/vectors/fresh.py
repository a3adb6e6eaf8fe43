"""Sequences of steps that no file has: random walks of the machines from the vectors' states, with other numbers.

An implementation that looks the vectors' answers up cannot answer these.  A walk begins in the state of a vector whose
numbers have been raised; its events are those of the vectors, partly with what the state holds in the place of their
own clients, servers, ports and numbers.  A seed always gives the same walks of the same files.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any, Final

from maitred.core.invariants import broken
from maitred.core.transition import Rejected
from maitred.core.tree import Tree
from maitred.core.value import replace
from maitred.vectors import codec, files
from maitred.vectors.codec import Event, State

WALKS: Final = 60
"""Of each machine."""
LENGTH: Final = 8
"""The most steps of a walk."""
DRAWS: Final = 6
"""So many events are drawn for a step; one that is taken is preferred."""
RISING: Final = ("arrival", "cookie", "sequence", "next_arrival", "incarnation", "asked")
"""Fields whose numbers only rise, or mean nothing but themselves: they may be large in life."""
FAR: Final = 2**53
"""From here on a double does not hold every whole number."""


def lifted(value: Any, by: int = FAR) -> Any:  # Any: a state or an event, and what is in it
    """The same with such numbers so much higher; what is not above 0 stays, as it stands for none."""
    if isinstance(value, Tree):
        return Tree.of((lifted(key, by), lifted(inner, by)) for key, inner in value.items())
    if isinstance(value, tuple):
        return tuple(lifted(inner, by) for inner in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changes = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        rises = field.name in RISING and type(inner) is int and inner > 0
        changes[field.name] = inner + by if rises else lifted(inner, by)
    return replace(value, **changes)


def is_usable(machine: str, state: State) -> bool:
    """Whether the abstraction has all of the state, which keeps its invariants."""
    if broken(state):
        return False
    try:
        return codec.decode_state(machine, codec.encode_state(state)) == codec.canonical(state)
    except codec.CodecError:
        return False


def walks(seed: int, machine: str) -> Iterator[files.Trace]:
    """The walks of the machine for this seed."""
    dice = random.Random(f"{seed} {machine}")
    vectors = [vector for vector in files.steps() if vector.machine == machine]
    events: dict[str, list[Event]] = {}
    for vector in vectors:
        event = codec.decode_event(machine, vector.event)
        events.setdefault(f"{type(event).__name__} {type(getattr(event, 'message', None)).__name__}", []).append(event)
    made = 0
    while made < WALKS:
        first = codec.decode_state(machine, dice.choice(vectors).state)
        first = lifted(first, FAR if dice.random() < 0.1 else dice.randrange(1, 1_000_000))
        if is_usable(machine, first) and (walk := _walk(dice, seed, machine, first, list(events.values()))):
            yield walk
            made += 1


def _walk(
    dice: random.Random, seed: int, machine: str, first: State, kinds: Sequence[Sequence[Event]]
) -> files.Trace | None:
    """One walk; None where no step of it keeps the invariants."""
    state, steps = first, []
    for _ in range(LENGTH):
        known = _known(state)
        event = _retargeted(dice.choice(dice.choice(kinds)), known, dice)
        outcome = codec.take(machine, state, event)
        for _ in range(DRAWS):
            if not isinstance(outcome, Rejected) or dice.random() < 0.1:
                break
            event = _retargeted(dice.choice(dice.choice(kinds)), known, dice)
            outcome = codec.take(machine, state, event)
        if not isinstance(outcome, Rejected):
            if not is_usable(machine, outcome.state):
                break
            state = outcome.state
        then = codec.encode_outcome(outcome)
        assert isinstance(then, dict)
        then.pop("state", None)
        steps.append((codec.encode_event(event), then))
    if not steps:
        return None
    begins = codec.encode_state(first)
    text = json.dumps([machine, begins, steps], sort_keys=True)
    return files.Trace(
        id=f"fresh-{machine}-{sha256(text.encode()).hexdigest()[:12]}",
        machine=machine,
        state=begins,
        steps=tuple(steps),
        end=codec.encode_state(state),
        note=f"A random walk of seed {seed}.",
    )


def _known(state: State) -> dict[object, list[Any]]:
    """What the state holds: numbers by the name of their field, records by their type."""
    found: dict[object, list[Any]] = {}

    def look(value: Any) -> None:  # Any: whatever is in a state
        if isinstance(value, Tree):
            for key, inner in value.items():
                look(key)
                look(inner)
        elif isinstance(value, tuple):
            for inner in value:
                look(inner)
        elif is_dataclass(value):
            found.setdefault(type(value), []).append(value)
            for field in fields(value):
                inner = getattr(value, field.name)
                if type(inner) is int:
                    found.setdefault(field.name, []).append(inner)
                look(inner)

    look(state)
    return found


def _retargeted(value: Any, known: dict[object, list[Any]], dice: random.Random) -> Any:  # Any: an event, what is in it
    """The same, with some of its records and numbers replaced by what is known."""
    if not is_dataclass(value) or isinstance(value, (type, Tree)):
        return value
    if type(value) in known and dice.random() < 0.7:
        return dice.choice(known[type(value)])
    changes = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        drawn = type(inner) is int and field.name in known and dice.random() < 0.6
        changes[field.name] = dice.choice(known[field.name]) if drawn else _retargeted(inner, known, dice)
    return replace(value, **changes)
