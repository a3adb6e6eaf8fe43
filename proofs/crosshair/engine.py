"""Runs one case through CrossHair: symbolic numbers in, the real step, and a verdict out.

Numbers come from `number`, `flag` and `choice`; `assume` narrows them without splitting the path.  Both are called by
the function that builds a case, which CrossHair runs again for each path.

One thing of the core is set aside meanwhile.  A tree's shape follows the hashes of its keys, and to hash a symbolic
number is to fix it.  So every key has the same priority here: the tree is a chain, with the same content.  That a
tree's content does not depend on the priorities is a contract of its own (`tables`).
"""

from __future__ import annotations

import enum
import inspect
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar
from unittest import mock

import z3
from crosshair.condition_parser import POSTCONDITION, ConditionExpr, Conditions, condition_parser
from crosshair.core import CallTreeAnalysis, analyze_calltree, deep_realize
from crosshair.core_and_libs import NoTracing
from crosshair.libimpl.builtinslib import SymbolicBool, SymbolicInt
from crosshair.options import DEFAULT_OPTIONS
from crosshair.statespace import VerificationStatus, context_statespace
from crosshair.util import IgnoreAttempt, NotDeterministic

from maitred.core import invariants, tree
from maitred.core.transition import Reason, Rejected, Transition
from maitred.core.tree import Tree

PATIENCE: Final = 120.0
"""Seconds of processor time for one case."""
PATH_PATIENCE: Final = 60.0
"""Seconds of processor time for one path, of which the solver may take half for one question."""
RAISES: Final = "raises"
IMPURE: Final = "an argument has changed"
UNTYPED: Final = "neither a transition nor a typed rejection"

T = TypeVar("T")
Situation: TypeAlias = tuple[object, object]
"""A state of a machine, and an event."""


@dataclass(frozen=True)
class Case:
    """One skeleton of a contract."""

    label: str
    make: Callable[[], Situation]
    """Builds the situation of symbolic numbers; every invariant must hold of the state by construction."""


@dataclass(frozen=True)
class Contract:
    """What is asked of one kind of event."""

    name: str
    machine: str
    about: tuple[type, ...]
    """The kinds of event, and of message or timer in it, that it is about."""
    sizes: str
    """What there is of what, in words."""
    step: Callable[..., object]
    cases: tuple[Case, ...]
    quick: tuple[str, ...]
    """The labels of the cases that are asked in every run of the tests, and of a mutant."""
    lemmas: tuple[Callable[[object], bool], ...] = ()
    """What else is assumed before and must hold after: invariants that the core does not list."""
    laws: tuple[Callable[[Any, Any, Any], bool], ...] = ()  # Any: each is of its machine
    """What must be so of the state before, the event and the transition."""


class Verdict(enum.Enum):
    """What is known of a case; a contract has the worst of its cases."""

    CONFIRMED = "confirmed over all paths"
    UNCONFIRMED = "no counterexample, not confirmed"
    REFUTED = "refuted"


@dataclass(frozen=True)
class Finding:
    """What came of one case."""

    contract: str
    case: str
    verdict: Verdict
    paths: int
    """That were followed to their end."""
    taken: int
    """Of these, on which the step was taken: not rejected, not outside of what is assumed."""
    seconds: float
    """Of processor time."""
    broken: tuple[str, ...] = ()
    """Of a refutation: the invariants that do not hold, or what else is wrong."""
    example: str = ""
    """Of a refutation: numbers that show it."""

    @property
    def steps(self) -> bool:
        """The step is taken on some path: otherwise all that is shown is that it is declined, with a reason."""
        return self.taken > 0


# ================================================================ what cases are built of

_drawn: dict[str, object] = {}
"""The numbers of the path that is being followed, by their names."""


def number(name: str, least: int | None = None) -> int:
    """Any integer, or any that is not less than `least`."""
    with NoTracing():
        drawn = SymbolicInt(name)
        _drawn[name] = drawn
        if least is not None:
            context_statespace().add(drawn.var >= least)
    return drawn  # type: ignore[return-value]  # CrossHair is untyped; a symbolic integer stands for an integer


def flag(name: str) -> bool:
    """Either of the two."""
    with NoTracing():
        drawn = SymbolicBool(name)
        _drawn[name] = drawn
    return drawn  # type: ignore[return-value]  # as above


def choice(name: str, options: Sequence[T]) -> T:
    """Each of the options on paths of its own."""
    with NoTracing():
        place = 0
        while place < len(options) - 1 and not context_statespace().smt_fork(z3.Bool(f"{name}_is_{place}")):
            place += 1
        _drawn[name] = options[place]
        return options[place]


def term(value: int | SymbolicInt) -> z3.ArithRef:
    """The solver's word for the integer."""
    return value.var if isinstance(value, SymbolicInt) else z3.IntVal(value)


def truth(value: bool | SymbolicBool) -> z3.BoolRef:
    """The solver's word for the truth value."""
    return value.var if isinstance(value, SymbolicBool) else z3.BoolVal(value)


def integer(meant: z3.ArithRef) -> int:
    """The integer that the solver's term stands for."""
    with NoTracing():
        return SymbolicInt(meant)  # type: ignore[return-value]  # as above


def assume(*conditions: z3.BoolRef) -> None:
    """Go on with only those numbers for which all of the conditions hold: the path is not split."""
    with NoTracing():
        space, meant = context_statespace(), z3.And(*conditions)
        if not space.is_possible(meant):
            raise IgnoreAttempt("outside of what is assumed")
        space.add(meant)


def decide(condition: z3.BoolRef) -> bool:
    """Whether the condition holds: on paths of their own where both can be."""
    with NoTracing():
        simple = z3.simplify(condition)
        if z3.is_true(simple) or z3.is_false(simple):
            return bool(z3.is_true(simple))
        return bool(context_statespace().smt_fork(condition))


# ================================================================ what is asked of a path


@dataclass
class _Tally:
    """What a search leaves behind beside its verdict."""

    taken: int = 0
    wrong: tuple[str, ...] = ()
    example: str = ""


def _ask(contract: Contract, case: Case, tally: _Tally) -> tuple[str, ...]:
    """What is wrong with the step, on the path that is being followed; nothing, as a rule.

    Raises:
        Exception: the step does, or an invariant cannot be asked of what it leaves.
    """
    try:
        return _wrong(contract, case, tally)
    except KeyError:  # its text is the key: a symbol, which cannot be printed once the path has ended
        raise KeyError("a key that is not there") from None


def _wrong(contract: Contract, case: Case, tally: _Tally) -> tuple[str, ...]:
    with NoTracing():
        _drawn.clear()
    state, event = case.make()
    before = _image(state, event)
    outcome = contract.step(state, event)
    wrong = [] if _same(before, _image(state, event)) else [IMPURE]
    if isinstance(outcome, Rejected) and isinstance(outcome.reason, Reason):
        return tuple(wrong)
    if not isinstance(outcome, Transition):
        return (*wrong, UNTYPED)
    wrong += invariants.broken(outcome.state)
    wrong += [lemma.__name__ for lemma in contract.lemmas if not lemma(outcome.state)]
    if not wrong:  # of a state that is broken, a law need not make sense
        wrong += [law.__name__ for law in contract.laws if not _obeyed(law, state, event, outcome)]
    with NoTracing():
        tally.taken += 1
    return tuple(wrong)


def _obeyed(law: Callable[[Any, Any, Any], bool], state: object, event: object, outcome: object) -> bool:
    """Not, where what the law speaks of is not there."""
    try:
        return law(state, event, outcome)
    except KeyError:
        return False


def _image(*values: object) -> list[object]:
    """Every object that can be reached from the values, in an order that only a change can change."""
    with NoTracing():
        return [found for value in values for found in _reach(value)]


def _reach(value: object) -> Iterator[object]:
    yield value
    if isinstance(value, Tree):
        yield from _reach_nodes(value._root)
    elif isinstance(value, tuple):
        for item in value:
            yield from _reach(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _reach(getattr(value, field.name))


def _reach_nodes(node: tree._Node[tree.Key, object] | None) -> Iterator[object]:
    if node is not None:
        yield node
        yield from _reach(node.key)
        yield from _reach(node.value)
        yield from _reach_nodes(node.left)
        yield from _reach_nodes(node.right)


def _same(before: list[object], after: list[object]) -> bool:
    with NoTracing():
        return len(before) == len(after) and all(a is b for a, b in zip(before, after, strict=True))


# ================================================================ the run


@contextmanager
def flat() -> Iterator[None]:
    """All keys have the same priority, so that no key is hashed."""
    with mock.patch.object(tree, "_priority", _level):
        yield


def _level(key: object) -> int:
    return 0


def run(contract: Contract, case: Case, patience: float = PATIENCE) -> Finding:
    """Ask CrossHair about the case, for so many seconds of processor time."""
    began = time.process_time()
    tally = _Tally()
    analysis, paths = _analyse(lambda: _ask(contract, case, tally), tally, patience)
    seconds = time.process_time() - began
    finding = Finding(contract.name, case.label, Verdict.UNCONFIRMED, paths, tally.taken, seconds)
    if analysis.verification_status is VerificationStatus.CONFIRMED:
        return replace(finding, verdict=Verdict.CONFIRMED)
    if analysis.verification_status is not VerificationStatus.REFUTED:
        return finding
    (message, *_) = analysis.messages
    if message.message.startswith(NotDeterministic.__name__):
        return replace(finding, example=message.message)
    wrong = tally.wrong or (f"{RAISES} {message.message.partition(':')[0]}",)
    return replace(finding, verdict=Verdict.REFUTED, broken=wrong, example=tally.example)


def _analyse(body: Callable[[], tuple[str, ...]], tally: _Tally, patience: float) -> tuple[CallTreeAnalysis, int]:
    """CrossHair's own search, on a condition that is made here instead of read from a docstring."""

    def describe(args: inspect.BoundArguments, wrong: object, reprs: object) -> tuple[str, str]:
        tally.wrong = wrong if isinstance(wrong, tuple) else ()
        tally.example = ", ".join(f"{name}={deep_realize(value)!r}" for name, value in _drawn.items())
        return tally.example, repr(wrong)

    nothing_wrong = ConditionExpr(POSTCONDITION, lambda names: not names["_"], __file__, 1, "nothing is wrong")
    conditions = Conditions(
        fn=body,
        src_fn=body,
        pre=[],
        post=[nothing_wrong],
        raises=frozenset(),
        sig=inspect.Signature([], return_annotation=object),
        mutable_args=None,
        fn_syntax_messages=[],
        counterexample_description_maker=describe,
    )
    options = DEFAULT_OPTIONS.overlay(
        analysis_kind=[],
        per_condition_timeout=patience,
        per_path_timeout=PATH_PATIENCE,
        max_uninteresting_iterations=sys.maxsize,
        stats=Counter(),
    )
    with flat(), condition_parser(options.analysis_kind):
        analysis = analyze_calltree(options, conditions)
    assert options.stats is not None, "given above"
    return analysis, options.stats["num_paths"]
