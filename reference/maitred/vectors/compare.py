"""In what an implementation's answer to a vector differs from what is expected.

The state is compared as a value: sets and maps in any order, ranks by their order.  Effects are compared as a
collection: the same ones, each as often; and of their order only what ``spec/vectors/order.toml`` lists.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from maitred.core.transition import Rejected
from maitred.vectors.codec import (
    MACHINES,
    CodecError,
    Effect,
    Json,
    Outcome,
    Taken,
    canonical,
    decode_event,
    decode_outcome,
    decode_state,
    encode,
    encode_outcome,
    encode_state,
)
from maitred.vectors.files import Trace, folder

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Before:
    """A rule of the partial order: of two effects of one step, the first must be performed before the second."""

    machine: str
    first: str
    """A kind of effect, or ``KIND.MESSAGE``: with this message (or timer); ``*`` for any."""
    then: str
    same: tuple[str, ...]
    """The fields in which the two must agree for the rule to say something about them."""
    why: str

    def orders(self, first: Effect, second: Effect) -> bool:
        """Whether the rule says that the first goes before the second."""
        if not (_fits(self.first, first) and _fits(self.then, second)) or first == second:
            return False
        return all(_field(first, name) == _field(second, name) for name in self.same)


@cache
def order() -> tuple[Before, ...]:
    """The rules of ``order.toml``."""
    with (folder() / "order.toml").open("rb") as file:
        rows = tomllib.load(file)["before"]
    return tuple(Before(**{**row, "same": tuple(row["same"])}) for row in rows)


def differences(machine: str, expected: Outcome, answer: Outcome) -> Iterator[str]:
    """What is wrong with the answer, a sentence each; nothing where it is right."""
    if isinstance(expected, Rejected) or isinstance(answer, Rejected):
        if expected != answer:
            yield f"expected {_named(expected)}, came {_named(answer)}"
        return
    yield from _unlike(encode_outcome(expected), encode_outcome(answer))
    yield from _effects(machine, expected.effects, answer.effects)


def along(machine: str, trace: Trace) -> Iterator[str]:
    """Where the core, which keeps its own state, parts from the trace; it ends with the first step that differs."""
    state = decode_state(machine, trace.state)
    for number, (happens, then) in enumerate(trace.steps):
        event = decode_event(machine, happens, f"step {number}: event")
        outcome = MACHINES[machine].module.step(state, event)
        if not isinstance(outcome, Rejected):
            state = outcome.state
        found = encode_outcome(outcome if isinstance(outcome, Rejected) else Taken(canonical(state), outcome.effects))
        assert isinstance(found, dict) and isinstance(then, dict)
        expected = {"state": found.get("state"), **then} if "effects" in then else then
        wrong = check(machine, expected, found) if found.keys() == expected.keys() else ("taken or rejected, wrongly",)
        if wrong:
            yield from (f"step {number}: {text}" for text in wrong)
            return
    yield from places(trace.end, encode_state(canonical(state)), "the state at the end")


def check(machine: str, expected: Json, answer: Json) -> tuple[str, ...]:
    """The same of the JSON of both; an answer that cannot be read differs in just this."""
    right = decode_outcome(machine, expected, "vector")
    try:
        given = decode_outcome(machine, answer)
    except CodecError as error:
        return (str(error),)
    return tuple(differences(machine, right, given))


def _named(outcome: Outcome) -> str:
    return f"the rejection {outcome.reason.name}" if isinstance(outcome, Rejected) else "a step that is taken"


# ================================================================ states


def _unlike(expected: Json, answer: Json) -> Iterator[str]:
    assert isinstance(expected, dict) and isinstance(answer, dict)
    yield from places(expected["state"], answer["state"], "state")


def places(expected: Json, answer: Json, where: str) -> Iterator[str]:
    """The places where two values differ; both are in the order of `encode`."""
    if expected == answer:
        return
    if isinstance(expected, dict) and isinstance(answer, dict):
        if expected.keys() == answer.keys() == {"#map"}:
            yield from _entries(expected["#map"], answer["#map"], where)
            return
        if expected.keys() == answer.keys() and not any(name.startswith("#") for name in expected):
            for name in expected:
                yield from places(expected[name], answer[name], f"{where}.{name}")
            return
    yield f"{where}: expected {shown(expected)}, came {shown(answer)}"


def _entries(expected: Json, answer: Json, where: str) -> Iterator[str]:
    wanted, given = ({repr(key): (key, value) for key, value in _pairs(entries)} for entries in (expected, answer))
    for text in {**wanted, **given}:
        key = (wanted.get(text) or given[text])[0]
        if text not in given:
            yield f"{where}: has no {shown(key)}"
        elif text not in wanted:
            yield f"{where}: has {shown(key)}, should not have it"
        else:
            yield from places(wanted[text][1], given[text][1], f"{where}[{shown(key)}]")


def _pairs(entries: Json) -> Iterator[tuple[Json, Json]]:
    assert isinstance(entries, list)
    for entry in entries:
        assert isinstance(entry, list)
        yield entry[0], entry[1]


# ================================================================ effects


def _effects(machine: str, expected: Sequence[Effect], answer: Sequence[Effect]) -> Iterator[str]:
    wanted, given = Counter(expected), Counter(answer)
    for effect in wanted - given:
        yield f"effects: there is no {_effect(machine, effect)}"
    for effect in given - wanted:
        yield f"effects: {_effect(machine, effect)} should not be there"
    if wanted != given:
        return
    rules = [rule for rule in order() if rule.machine == machine]
    for i, first in enumerate(expected):
        for second in expected[i + 1 :]:
            rule = next((rule for rule in rules if rule.orders(first, second)), None)
            if rule and answer.index(first) > answer.index(second):
                yield (f"effects: {_effect(machine, first)} should be before {_effect(machine, second)}: {rule.why}")


def _effect(machine: str, effect: Effect) -> str:
    return shown(encode(MACHINES[machine].effect, effect))


def _fits(pattern: str, effect: Effect) -> bool:
    kind, _, brought = pattern.partition(".")
    inner = getattr(effect, "message", None) or getattr(effect, "timer", None)
    return kind in ("*", type(effect).__name__) and brought in ("", type(inner).__name__)


def _field(effect: Effect, name: str) -> object:
    """The field of the effect, of its message, or of the client in it."""
    message = getattr(effect, "message", None)
    for holder in (effect, message, getattr(message, "client", None)):
        if hasattr(holder, name):
            return getattr(holder, name)
    return _ABSENT


def shown(value: object) -> str:
    """The JSON of the value, cut if it is long."""
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
